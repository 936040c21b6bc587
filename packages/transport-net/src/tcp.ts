/**
 * TCP as a Transport: a port is taken by whoever binds it first, and free again when its process is gone, so there is
 * nothing to take over. It reaches beyond this host only when told so.
 */
import { lookup } from 'node:dns/promises'
import { createServer, isIP, type Socket } from 'node:net'
import { PairlinkError, type Listener, type Pipe, type Reach, type Transport } from '@pairlink/core'
import type { Layer } from './layer.js'
import { checkOptions, type TcpOptions } from './options.js'
import { dialPipe } from './pipe.js'
import { bind, isLoopback, ServerListener } from './server.js'
import { now as clock } from './timers.js'

/** Which addresses a port is taken at: 0 for those that `host` says. */
export type TcpFamily = 0 | 4 | 6

/** The whole of a name that stands for this host, whatever the system's resolver says. */
const LOCALHOST = 'localhost'
/** Nobody listens there. */
const ABSENT = new Set(['ECONNREFUSED'])
/** It cannot be told at this moment. */
const AGAIN = new Set([
  'EAGAIN',
  'EINTR',
  'ECONNRESET',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'EPIPE',
  'EADDRNOTAVAIL',
  'ENOMEM',
  'EAI_AGAIN',
  'EAI_MEMORY',
  'EAI_SYSTEM',
])
/** The other host, or the way to it, does not answer. */
const AWAY = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN'])
/** A port that refuses and cannot be bound either, over so long a time, is held by something that will not listen. */
const CONTRADICTED_MS_MAX = 1000

/**
 * Meets at a port, with pipes of another layer.
 * @param scheme what the address begins with, and the sentences of errors
 * @throws TypeError for options that can never work
 */
export function tcpWith(scheme: string, options: TcpOptions, family: TcpFamily, layer: Layer): Transport {
  return new TcpTransport(scheme, options, family, layer)
}

class TcpTransport implements Transport {
  readonly address: string
  readonly reach: Reach
  readonly encrypted: boolean
  readonly #layer: Layer
  readonly #host: string
  readonly #port: number
  readonly #family: TcpFamily
  readonly #allowNetwork: boolean
  /** Since when, and when last, the port refused dials and could not be bound. */
  #contradicted: { readonly since: number; readonly last: number } | undefined

  constructor(scheme: string, options: TcpOptions, family: TcpFamily, layer: Layer) {
    checkOptions(scheme, options, ['port', 'host', 'allowNetwork'])
    const { port, host = family === 6 ? '::1' : '127.0.0.1', allowNetwork = false } = options
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new TypeError(`${scheme}: port must be a whole number from 1 to 65535, not ${String(port)}`)
    }
    if (typeof host !== 'string' || host === '') throw new TypeError(`${scheme}: host must be a name or an address`)
    if (typeof allowNetwork !== 'boolean') throw new TypeError(`${scheme}: allowNetwork must be true or false`)
    const literal = isIP(host)
    if (literal !== 0 && family !== 0 && literal !== family) {
      throw new TypeError(`${scheme}: ${host} is not an IPv${family} address`)
    }
    this.address = `${scheme}://${literal === 6 ? `[${host}]` : host}:${port}`
    // What another name stands for is decided elsewhere and may change, so it counts as a network.
    this.reach = host.toLowerCase() === LOCALHOST || isLoopback(host) ? 'host' : 'network'
    this.encrypted = layer.encrypted
    this.#layer = layer
    this.#host = host
    this.#port = port
    this.#family = family
    this.#allowNetwork = allowNetwork
  }

  async dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again'> {
    signal.throwIfAborted()
    const dialling = this.#layer.dialling()
    const host = await this.#resolve()
    signal.throwIfAborted()
    if (host === undefined) return 'again'
    const dialled = await dialPipe({ host, port: this.#port }, signal, undefined, isNotItself, dialling)
    if (dialled === 'wrong') return 'absent'
    if (!(dialled instanceof Error)) {
      this.#contradicted = undefined
      return dialled
    }
    const code = dialled.code ?? ''
    if (ABSENT.has(code)) return 'absent'
    if (AGAIN.has(code)) return 'again'
    if (AWAY.has(code)) return 'absent'
    throw this.#invalid(`it cannot be dialled (${code})`, 'Check the address', dialled)
  }

  async listen(accept: (pipe: Pipe) => void, signal: AbortSignal): Promise<Listener | 'taken' | 'cannot'> {
    signal.throwIfAborted()
    this.#layer.check()
    const host = await this.#resolve()
    signal.throwIfAborted()
    if (host === undefined) return 'taken'
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      accept(this.#layer.accepted(socket))
    })
    try {
      await bind(server, { host, port: this.#port, ipv6Only: this.#family === 6 })
    } catch (error) {
      return this.#notBound(error as NodeJS.ErrnoException)
    }
    this.#contradicted = undefined
    if (signal.aborted) server.close()
    signal.throwIfAborted()
    return new ServerListener(server)
  }

  #notBound(error: NodeJS.ErrnoException): 'taken' | 'cannot' {
    const code = error.code ?? ''
    if (AGAIN.has(code) && code !== 'EADDRNOTAVAIL') return 'taken'
    switch (code) {
      case 'EADDRINUSE': {
        // The dial before was refused. One that has just ended or begun explains that, but not for long.
        const now = clock()
        const isSame = this.#contradicted !== undefined && now - this.#contradicted.last < CONTRADICTED_MS_MAX
        const since = isSame ? (this.#contradicted?.since ?? now) : now
        this.#contradicted = { since, last: now }
        if (now - since <= CONTRADICTED_MS_MAX) return 'taken'
        this.#contradicted = undefined
        const text = `${this.address}: something holds the port and does not listen on it. Find it with a tool such as ss or lsof, or choose another port`
        throw new PairlinkError('ADDRESS_IN_USE', text, { cause: error })
      }
      case 'EADDRNOTAVAIL':
        return 'cannot' // an address of another host: it can only be dialled
      case 'EACCES':
        throw this.#invalid('this user may not listen there', 'Choose a port from 1024 up', error)
      default:
        throw this.#invalid(`it cannot be listened on (${code})`, 'Check the address', error)
    }
  }

  /** One address, the same for dialling and listening; undefined when the name cannot be looked up at this moment. */
  async #resolve(): Promise<string | undefined> {
    if (this.reach === 'network' && !this.#allowNetwork) {
      const text = `${this.address} reaches beyond this host. Use 127.0.0.1 or ::1, or allowNetwork: true where the link is encrypted`
      throw new PairlinkError('NOT_LOCAL', text)
    }
    if (isIP(this.#host) !== 0) return this.#host
    try {
      const { address } = await lookup(this.#host, { family: this.#family, order: 'ipv4first' })
      if (this.reach !== 'network' && !isLoopback(address)) {
        throw new PairlinkError('NOT_LOCAL', `${this.address}: '${this.#host}' stands for ${address} here`)
      }
      return address
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (AGAIN.has(code)) return undefined
      if (code === 'NOT_LOCAL') throw error
      throw this.#invalid(`the name cannot be looked up (${code})`, 'Check its spelling', error)
    }
  }

  #invalid(problem: string, remedy: string, cause: unknown): PairlinkError {
    return new PairlinkError('ADDRESS_INVALID', `${this.address}: ${problem}. ${remedy}`, { cause })
  }
}

/** Dialling an unused port of the range for outgoing connections can meet itself. */
function isNotItself(socket: Socket): boolean {
  return socket.localPort !== socket.remotePort || socket.localAddress !== socket.remoteAddress
}
