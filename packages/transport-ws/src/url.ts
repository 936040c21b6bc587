/** The URL that is dialled, checked, and whether a host's name stands for this host. No runtime is known here. */
import type { Reach } from '@pairlink/core'

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/** @throws TypeError for what is no URL of a WebSocket, or has a part that has no meaning in one */
export function urlOf(url: string | URL): URL {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch (cause) {
    throw new TypeError('webSocket: the URL must be one such as ws://localhost:4711/pairlink', { cause })
  }
  if (parsed.protocol !== 'ws:' && parsed.protocol !== 'wss:') {
    throw new TypeError(`webSocket: the URL must begin with ws: or wss:, not ${parsed.protocol}`)
  }
  if (parsed.hash !== '') throw new TypeError('webSocket: the URL of a WebSocket has no part behind a #')
  // It would stand in logs, and browsers do not send it.
  if (parsed.username !== '' || parsed.password !== '') {
    throw new TypeError('webSocket: the URL must not hold a user or a password')
  }
  return parsed
}

/** @param hostname as `URL.hostname` has it. What another name stands for is decided elsewhere, so it counts as a network. */
export function reachOf(hostname: string): Reach {
  return LOOPBACK.test(hostname) ? 'host' : 'network'
}
