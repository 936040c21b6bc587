/**
 * A path of a web server that is there already as a Transport. The server stays its owner's: it is neither begun nor ended
 * here, and requests for other paths are left alone where somebody else takes them. It must not show a type of Node.js.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { PairlinkError, type Listener, type Pipe, type Transport } from '@pairlink/core'
import { checkOptions } from '@pairlink/transport-net/layer'
import { guestsOf } from './guests.js'
import type { GuestOptions } from './options.js'
import { WsPipe } from './pipe.js'
import { Upgrader } from './upgrade.js'
import { reachOf } from './url.js'

export interface AttachOptions extends GuestOptions {
  /** Lets the server listen beyond this host, where the link must be encrypted. */
  readonly allowNetwork?: boolean
}

/** What is needed of a server of `node:http` or `node:https`. */
export interface HttpServer {
  readonly listening: boolean
  address(): unknown
  on(event: string, listener: () => void): unknown
  off(event: string, listener: () => void): unknown
  listenerCount(event: string): number
}

type Door = (request: IncomingMessage, socket: Socket, head: Buffer) => void

/** The same server as it is used here, which cannot be said without types of Node.js. */
interface Upgrading {
  on(event: 'upgrade', door: Door): unknown
  off(event: 'upgrade', door: Door): unknown
  listenerCount(event: 'upgrade'): number
}

/**
 * Listens at a path of that server, and never dials: the other side does, with `webSocket(url)`. The link is encrypted
 * where the server is one of `node:https`.
 *
 * Listening waits for the server to listen. It rejects with a `PairlinkError` `NOT_LOCAL` where that is beyond this host and
 * `allowNetwork` is not given, and with `ADDRESS_IN_USE` where the path of this server is taken in this process.
 * @throws TypeError for options that can never work
 */
export function attachWs(server: HttpServer, options: AttachOptions = {}): Transport {
  checkOptions('attachWs', options, ['path', 'origins', 'hosts', 'allowNetwork'])
  if (typeof (server as Partial<HttpServer> | undefined)?.listenerCount !== 'function') {
    throw new TypeError(
      'attachWs: a server of node:http or node:https is needed, such as app.listen() of Express gives',
    )
  }
  const { allowNetwork = false } = options
  if (typeof allowNetwork !== 'boolean') throw new TypeError('attachWs: allowNetwork must be true or false')
  const guests = guestsOf('attachWs', options)
  const encrypted = server instanceof TlsServer
  const address = `${encrypted ? 'wss' : 'ws'}+attached:${guests.path}`
  const upgrader = new Upgrader(guests, address)
  return {
    address,
    // Where it listens is known later, and looked at then.
    reach: allowNetwork ? 'network' : 'host',
    encrypted,
    dial: () => Promise.resolve('absent'),
    async listen(accept, signal) {
      await untilListening(server, signal)
      if (!allowNetwork) checkReach(address, server.address())
      const doors = doorsOf(server as unknown as Upgrading)
      const door: Door = (request, socket, head) => {
        accept(pipeOf(upgrader, address, request, socket, head))
      }
      if (!doors.add(guests.path, door)) {
        const text = `${address}: another connection of this process listens at this path. Give each a path of its own`
        throw new PairlinkError('ADDRESS_IN_USE', text)
      }
      return listenerOf(server, () => {
        doors.remove(guests.path)
      })
    },
  }
}

function pipeOf(upgrader: Upgrader, address: string, request: IncomingMessage, socket: Socket, head: Buffer): Pipe {
  return new WsPipe({
    socket,
    address,
    begin: (sink) => {
      upgrader.take(request, socket, head, sink)
    },
  })
}

/** @throws the reason of `signal` */
function untilListening(server: HttpServer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    if (server.listening) {
      resolve()
      return
    }
    const listens = (): void => {
      server.off('listening', listens)
      signal.removeEventListener('abort', abort)
      resolve()
    }
    const abort = (): void => {
      server.off('listening', listens)
      reject(signal.reason as Error)
    }
    server.on('listening', listens)
    signal.addEventListener('abort', abort, { once: true })
  })
}

function checkReach(address: string, bound: unknown): void {
  // A path of the file system, or of pipes of Windows, is a string.
  if (typeof bound !== 'object' || bound === null || !('address' in bound)) return
  const at = String(bound.address)
  if (reachOf(at.includes(':') ? `[${at}]` : at) === 'host') return
  const text = `${address}: the server listens at ${at}, beyond this host. Let it listen at 127.0.0.1 or ::1, or give allowNetwork: true where the link is encrypted`
  throw new PairlinkError('NOT_LOCAL', text)
}

/** The server keeps the process alive, or not, by itself. */
function listenerOf(server: HttpServer, release: () => void): Listener {
  let closed: Promise<void> | undefined
  return {
    holds: () => server.listening,
    close() {
      if (closed === undefined) release()
      closed ??= Promise.resolve()
      return closed
    },
    ref: () => undefined,
    unref: () => undefined,
  }
}

/** Every path of one server, behind one listener of its event. */
class Doors {
  readonly #server: Upgrading
  readonly #doors = new Map<string, Door>()

  constructor(server: Upgrading) {
    this.#server = server
  }

  /** False where the path is taken. */
  add(path: string, door: Door): boolean {
    if (this.#doors.has(path)) return false
    if (this.#doors.size === 0) this.#server.on('upgrade', this.#upgrade)
    this.#doors.set(path, door)
    return true
  }

  remove(path: string): void {
    this.#doors.delete(path)
    if (this.#doors.size === 0) this.#server.off('upgrade', this.#upgrade)
  }

  readonly #upgrade = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    const door = this.#doors.get(request.url?.split('?', 1)[0] ?? '')
    if (door !== undefined) {
      door(request, socket, head)
    } else if (this.#server.listenerCount('upgrade') === 1) {
      // Nobody else will answer. Any of ours refuses it.
      const [any] = this.#doors.values()
      any?.(request, socket, head)
    }
  }
}

const doorsOfServers = new WeakMap<Upgrading, Doors>()

function doorsOf(server: Upgrading): Doors {
  const known = doorsOfServers.get(server) ?? new Doors(server)
  doorsOfServers.set(server, known)
  return known
}
