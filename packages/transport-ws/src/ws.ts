/**
 * A port as a meeting place for WebSockets: that of transport-net, with a layer between its sockets and its pipes. How a
 * port is taken and how a handshake goes is known elsewhere. Like `options.ts` there it must not show a type of Node.js.
 */
import type { Transport } from '@pairlink/core'
import { checkOptions, tcpWith, type Layer } from '@pairlink/transport-net/layer'
import { guestsOf } from './guests.js'
import { open, ZERO_MASK } from './opening.js'
import type { GuestOptions } from './options.js'
import { WsPipe } from './pipe.js'
import { Upgrader } from './upgrade.js'

export interface WsOptions extends GuestOptions {
  /** 1 to 65,535. */
  readonly port: number
  /** An address of this host, or a name of one: `127.0.0.1` by default. */
  readonly host?: string
  /** Lets the link leave this host, where it must be encrypted. */
  readonly allowNetwork?: boolean
}

/**
 * Meets at a port, over WebSocket. Pages in browsers may dial, too, if their Origin is listed.
 *
 * A request that is refused is answered with a status of HTTP and a sentence; the listener's event `refused` carries a
 * `PairlinkError` `NOT_PAIRLINK` with `path`, `host`, `origin` or another word as its `reason`.
 * @throws TypeError for options that can never work
 */
export function ws(options: WsOptions): Transport {
  checkOptions('ws', options, ['port', 'host', 'path', 'origins', 'hosts', 'allowNetwork'])
  const { port, host = '127.0.0.1', allowNetwork = false } = options
  const place = tcpWith(
    'ws',
    { port, host, allowNetwork },
    0,
    layerOf(() => ({ url, upgrader, masks })),
  )
  const guests = guestsOf('ws', options, [host])
  const url = new URL(guests.path, place.address)
  const address = place.address + guests.path
  const upgrader = new Upgrader(guests, address)
  const masks = place.reach === 'host' ? ZERO_MASK : {}
  return {
    address,
    reach: place.reach,
    encrypted: place.encrypted,
    dial: (signal) => place.dial(signal),
    listen: (accept, signal) => place.listen(accept, signal),
  }
}

interface LayerParts {
  readonly url: URL
  readonly upgrader: Upgrader
  readonly masks: typeof ZERO_MASK
}

function layerOf(parts: () => LayerParts): Layer {
  return {
    encrypted: false,
    check: () => undefined,
    accepted: (socket) =>
      new WsPipe({
        socket,
        address: parts().url.href,
        begin: (sink) => {
          parts().upgrader.read(socket, sink)
        },
      }),
    dialling: () => ({
      pipe: (socket) => {
        const { url, masks } = parts()
        return new WsPipe({
          socket,
          address: url.href,
          begin: (sink) => {
            open(socket, url, url.href, sink, masks)
          },
        })
      },
    }),
  }
}
