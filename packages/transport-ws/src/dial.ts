/**
 * Dials a URL from Node.js: for the other side of a server that is there already, which can only listen. In a bundle for
 * browsers `browser.ts` stands in the place of the whole package. It must not show a type of Node.js.
 */
import type { Pipe, Transport } from '@pairlink/core'
import { checkOptions, tcpWith, type Layer } from '@pairlink/transport-net/layer'
import { open, openSecurely } from './opening.js'
import { WsPipe } from './pipe.js'
import { reachOf, urlOf } from './url.js'

export interface DialOptions {
  /** Certificates as PEM that are trusted with `wss:` instead of those that Node.js brings. */
  readonly ca?: string | Uint8Array
}

/**
 * Dials, and never listens.
 *
 * With `wss:` the server's certificate must be trusted and fit its name, else the pipe is closed with a `PairlinkError`
 * `CERTIFICATE`. With `ws:` and a host other than this one, the connection must encrypt.
 * @param url of a `ws` or an `attachWs`, with its path: `ws://localhost:4711/pairlink`
 * @throws TypeError for what is no such URL
 */
export function webSocket(url: string | URL, options: DialOptions = {}): Transport {
  checkOptions('webSocket', options, ['ca'])
  const parsed = urlOf(url)
  const { ca } = options
  if (ca !== undefined && typeof ca !== 'string' && !(ca instanceof Uint8Array)) {
    throw new TypeError('webSocket: ca must be certificates as PEM')
  }
  const isSecure = parsed.protocol === 'wss:'
  const port = parsed.port === '' ? (isSecure ? 443 : 80) : Number(parsed.port)
  const host = parsed.hostname.replace(/^\[|\]$/g, '')
  const address = parsed.href
  const pem = ca instanceof Uint8Array ? Buffer.from(ca) : ca
  const layer: Layer = {
    encrypted: isSecure,
    check: () => undefined,
    accepted: (socket) => {
      throw new TypeError(`nobody listens at ${String(socket.localPort)}`)
    },
    dialling: () => ({
      pipe: (socket) =>
        new WsPipe({
          socket,
          address,
          begin: (sink) => {
            if (isSecure) openSecurely(socket, parsed, address, pem, sink)
            else open(socket, parsed, address, sink)
          },
        }),
    }),
  }
  // The URL says plainly where the link leads to.
  const placeAt = (at: string): Transport =>
    tcpWith(parsed.protocol.slice(0, -1), { port, host: at, allowNetwork: true }, 0, layer)
  const place = placeAt(host)
  // As in browsers: a server at localhost may have either address, and most names of it stand for 127.0.0.1 first.
  const other = host === 'localhost' ? placeAt('::1') : undefined
  return {
    address,
    reach: reachOf(parsed.hostname),
    encrypted: isSecure,
    async dial(signal) {
      const dialled = await place.dial(signal)
      return dialled === 'absent' && other !== undefined ? pipeOrAbsent(other, signal) : dialled
    },
    listen: () => Promise.resolve('cannot'),
  }
}

/** Nobody is at an address that this host does not have, either. */
async function pipeOrAbsent(place: Transport, signal: AbortSignal): Promise<Pipe | 'absent'> {
  try {
    const dialled = await place.dial(signal)
    return typeof dialled === 'string' ? 'absent' : dialled
  } catch {
    return 'absent'
  }
}
