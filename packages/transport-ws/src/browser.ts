/**
 * The entry for browsers, and for whatever else has a `WebSocket` of its own: it dials, and never listens. Neither Node.js
 * nor a DOM is known to the compiler here: what is used of the platform is said below.
 */
import { PairlinkError, type Transport } from '@pairlink/core'
import { PlatformPipe, type PlatformSocket } from './browser-pipe.js'
import { SUBPROTOCOL } from './messages.js'
import { reachOf, urlOf } from './url.js'

interface Platform {
  readonly WebSocket?: new (url: string, protocol: string) => PlatformSocket
  /** Of a page or a worker. */
  readonly location?: { readonly origin: string }
}

/** A browser waits for minutes, and a process that is stopped still takes connections. */
const OPENING_MS_MAX = 5000

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a dial.
const { clearTimeout, setTimeout } = globalThis

/**
 * Dials with the platform's WebSocket, and never listens.
 *
 * A browser does not say why it could not connect: whether nobody listens, or the listener refuses the page. The event
 * `waiting` and the log tell of both.
 * @param url of a `ws` or an `attachWs`, with its path: `ws://localhost:4711/pairlink`
 * @throws TypeError for what is no such URL, and where there is no WebSocket
 */
export function webSocket(url: string | URL): Transport {
  const parsed = urlOf(url)
  const address = parsed.href
  const platform = globalThis as Platform
  if (platform.WebSocket === undefined) throw new TypeError('webSocket: this platform has no WebSocket')
  const Socket = platform.WebSocket
  let obstacle: PairlinkError | undefined
  return {
    address,
    reach: reachOf(parsed.hostname),
    encrypted: parsed.protocol === 'wss:',
    async dial(signal) {
      signal.throwIfAborted()
      let socket: PlatformSocket
      try {
        socket = new Socket(address, SUBPROTOCOL)
      } catch (cause) {
        throw new PairlinkError('ADDRESS_INVALID', `${address}: this platform does not dial it`, { cause })
      }
      const result = await opening(socket, signal)
      obstacle =
        result === 'open' ? undefined : result === 'silent' ? silent(address) : unreachable(address, platform.location)
      if (result === 'open') return new PlatformPipe(socket, address)
      return result === 'silent' ? 'full' : 'absent'
    },
    listen: () => Promise.resolve('cannot'),
    obstacle: () => obstacle,
  }
}

/** @throws the reason of `signal` */
function opening(socket: PlatformSocket, signal: AbortSignal): Promise<'open' | 'failed' | 'silent'> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      socket.onopen = socket.onerror = socket.onclose = null
    }
    const abort = (): void => {
      done()
      socket.close()
      reject(signal.reason as Error)
    }
    const timer = setTimeout(() => {
      done()
      socket.close()
      resolve('silent')
    }, OPENING_MS_MAX)
    signal.addEventListener('abort', abort, { once: true })
    socket.onopen = () => {
      done()
      resolve('open')
    }
    socket.onerror = socket.onclose = () => {
      done()
      resolve('failed')
    }
  })
}

function unreachable(address: string, location: Platform['location']): PairlinkError {
  const hint = location === undefined ? '' : `. The listener must have '${location.origin}' among its origins`
  const text = `${address} cannot be reached: nobody listens there, or the listener refuses this page, and a browser does not say which${hint}; its event refused and its log tell why`
  return new PairlinkError('PEER_LOST', text)
}

function silent(address: string): PairlinkError {
  return new PairlinkError('PEER_SILENT', `${address}: somebody accepted and did not open a WebSocket`)
}
