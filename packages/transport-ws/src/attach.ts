/**
 * A path of a web server that is there already as a Transport. The server stays its owner's: it is neither begun nor ended
 * here, and requests for other paths are left alone where somebody else takes them. It must not show a type of Node.js.
 */
import { Server as TlsServer } from 'node:tls'
import { PairlinkError, type Listener, type Transport } from '@pairlink/core'
import { checkOptions } from '@pairlink/transport-net/layer'
import { doorsOf, type Door, type Upgrading } from './doors.js'
import { guestsOf } from './guests.js'
import type { GuestOptions } from './options.js'
import { WsPipe } from './pipe.js'
import { Upgrader, type UpgradeSink } from './upgrade.js'
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

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a listen.
const { setImmediate } = globalThis

/**
 * Listens at a path of that server, and never dials: the other side does, with `webSocket(url)`. The link is encrypted
 * where the server is one of `node:https`.
 *
 * Listening waits for the server to listen. It rejects with a `PairlinkError` `NOT_LOCAL` where that is beyond this host and
 * `allowNetwork` is not given, and with `ADDRESS_IN_USE` where the path of this server is taken in this process. A server that
 * listens beyond this host later refuses each request.
 * @throws TypeError for options that can never work
 */
export function attachWs(server: HttpServer, options: AttachOptions = {}): Transport {
  checkOptions('attachWs', options, ['path', 'origins', 'hosts', 'allowNetwork'])
  if (!isHttpServer(server)) {
    const text =
      'attachWs: a server of node:http or node:https is needed, and no application: what app.listen() of Express or Koa gives, or app.server of Fastify'
    throw new TypeError(text)
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
      signal.throwIfAborted()
      const at = allowNetwork ? undefined : beyondHost(boundTo(server))
      if (at !== undefined) {
        const text = `${address}: the server listens at ${at}, beyond this host. Let it listen at 127.0.0.1 or ::1, or give allowNetwork: true where the link is encrypted`
        throw new PairlinkError('NOT_LOCAL', text)
      }
      const doors = doorsOf(server as unknown as Upgrading)
      const door: Door = (request, socket, head, isAnswered) => {
        const begin = (sink: UpgradeSink): void => {
          // The server may listen elsewhere by now, and a socket be older than that.
          const from = allowNetwork ? undefined : (beyondHost(boundTo(server)) ?? beyondHost(socket.localAddress))
          if (from === undefined) upgrader.take(request, socket, head, sink)
          else upgrader.refuse(sink, { reason: 'reach', found: from })
        }
        accept(new WsPipe({ socket, address, begin, ...(isAnswered && { fault: answeredBefore(address) }) }))
      }
      if (!doors.add(guests.path, door)) {
        const text = `${address}: another connection of this process listens at this path. Give each a path of its own`
        throw new PairlinkError('ADDRESS_IN_USE', text)
      }
      return listenerOf(() => {
        doors.remove(guests.path)
      })
    },
    obstacle: () =>
      server.listening ? undefined : new PairlinkError('PEER_LOST', `${address}: the server does not listen yet`),
  }
}

/** Applications have the methods of an emitter, too, and never listen themselves. */
function isHttpServer(server: unknown): boolean {
  const { listenerCount, address, listening } = (server ?? {}) as Partial<HttpServer>
  return typeof listenerCount === 'function' && typeof address === 'function' && typeof listening === 'boolean'
}

function answeredBefore(address: string): PairlinkError {
  const text = `${address}: another handler of this server answers this path, and was first. Let it leave the path alone: a WebSocketServer of ws with noServer, which is given its own paths`
  return new PairlinkError('NOT_PAIRLINK', text, { reason: 'answered' })
}

/** Not before the next turn, so that a signal that fires behind the call is seen. @throws the reason of `signal` */
function untilListening(server: HttpServer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const done = (): void => {
      server.off('listening', done)
      signal.removeEventListener('abort', abort)
      resolve()
    }
    const abort = (): void => {
      server.off('listening', done)
      reject(signal.reason as Error)
    }
    if (server.listening) setImmediate(done)
    else server.on('listening', done)
    signal.addEventListener('abort', abort, { once: true })
  })
}

/** A path of the file system, or of pipes of Windows, is none. */
function boundTo(server: HttpServer): string | undefined {
  const bound = server.address()
  return typeof bound === 'object' && bound !== null && 'address' in bound ? String(bound.address) : undefined
}

/** The same address, where it leads beyond this host. */
function beyondHost(at: string | undefined): string | undefined {
  return at === undefined || reachOf(at.includes(':') ? `[${at}]` : at) === 'host' ? undefined : at
}

/**
 * The place is the server's, also while that does not listen: one that ends lets its sockets finish, and one that listens
 * again finds us there. It keeps the process alive, or not, by itself.
 */
function listenerOf(release: () => void): Listener {
  let closed: Promise<void> | undefined
  return {
    close() {
      if (closed === undefined) release()
      closed ??= Promise.resolve()
      return closed
    },
    ref: () => undefined,
    unref: () => undefined,
  }
}
