/**
 * Who may ask for a WebSocket here: the path, the Host and the Origin of a request, judged before anything of it is
 * answered. Any page in any browser on this host can dial, so its Origin must be listed; and a page can make a name of its
 * own lead here, which the Host tells. Sockets are not known here.
 */
import type { IncomingMessage } from 'node:http'
import { SUBPROTOCOL } from './messages.js'
import type { GuestOptions } from './options.js'
import { reachOf } from './url.js'

export interface Guests {
  readonly path: string
  /** Why a request is refused; undefined for one that may come in. */
  judge(request: IncomingMessage): Refusal | undefined
}

/** Which fault of a request, as the `reason` of the error. */
type Reason = 'path' | 'upgrade' | 'version' | 'host' | 'origin' | 'subprotocol' | 'malformed' | 'reach'

export interface Refusal {
  readonly reason: Reason
  /** What stood there, for the listener. A stranger chose it. */
  readonly found: string | undefined
}

/** What is answered, and what the listener is told: "a stranger …". */
export const FAULTS = {
  path: { status: 404, answer: 'There is no pairlink at this path.', text: 'asked for another path' },
  upgrade: {
    status: 426,
    answer: 'There is a WebSocket of pairlink here, and no page.',
    text: 'asked for no WebSocket',
  },
  version: {
    status: 426,
    answer: 'The version of WebSocket must be 13.',
    text: 'asked for another version of WebSocket',
  },
  host: {
    status: 403,
    answer: 'This Host is not among the hosts of the listener.',
    text: 'came under a Host that is not listed; if it is yours, add its name to hosts',
  },
  origin: {
    status: 403,
    answer: 'This Origin is not among the origins of the listener.',
    text: 'came from a page whose Origin is not listed; if it is yours, add it to origins',
  },
  subprotocol: {
    status: 400,
    answer: `The subprotocol must be ${SUBPROTOCOL}.`,
    text: 'asked for another subprotocol, so it is no pairlink',
  },
  malformed: { status: 400, answer: 'This is no request for a WebSocket.', text: 'sent no request for a WebSocket' },
  reach: {
    status: 403,
    answer: 'This server can be reached from beyond its host, which the listener does not allow.',
    text: 'came while the server listens beyond this host; if it shall, give allowNetwork: true where the link is encrypted',
  },
} as const satisfies Record<Reason, { readonly status: number; readonly answer: string; readonly text: string }>

const PATH_DEFAULT = '/pairlink'
const VERSION = '13'
/** What a page may have as its Origin: a scheme, a host and perhaps a port. */
const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s]+$/
/** A host and perhaps a port, and nothing else that a URL may have in this place. */
const HOST = /^[^/?#@\\\s]+$/

/**
 * @param own names that are always let in
 * @throws TypeError for what no request can match, or any page could
 */
export function guestsOf(who: string, options: GuestOptions, own: readonly string[] = []): Guests {
  const path = checkPath(who, options.path ?? PATH_DEFAULT)
  const origins = new Set(list(who, 'origins', options.origins).map((origin) => checkOrigin(who, origin)))
  const names = new Set([...own, ...list(who, 'hosts', options.hosts)].map((host) => checkHost(who, host)))
  const isLoopbackIn = options.hosts === undefined
  const isHost = (name: string): boolean => names.has(name) || (isLoopbackIn && reachOf(name) === 'host')
  return {
    path,
    judge({ method, url, headers, headersDistinct }) {
      const fault = (reason: Reason, found: string | undefined): Refusal => ({ reason, found })
      const asked = url?.split('?', 1)[0]
      if (asked !== path) return fault('path', asked)
      // Who stands before this server may have gone by the other one.
      if ((headersDistinct['host']?.length ?? 0) > 1) return fault('malformed', 'two Host headers')
      const name = hostOf(headers.host)
      if (name === undefined || !isHost(name)) return fault('host', headers.host)
      const { origin } = headers
      if (origin !== undefined && !origins.has(origin.toLowerCase())) return fault('origin', origin)
      if (method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket') return fault('upgrade', method)
      const version = headers['sec-websocket-version']
      // An older version names the page in another header.
      if (version !== VERSION) return fault('version', version)
      const protocols = headers['sec-websocket-protocol']
      const isOffered = protocols?.split(',').some((protocol) => protocol.trim() === SUBPROTOCOL) === true
      return isOffered ? undefined : fault('subprotocol', protocols)
    },
  }
}

function list(who: string, name: string, value: unknown): readonly string[] {
  if (value === undefined) return []
  if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) return value
  throw new TypeError(`${who}: ${name} must be a list of strings`)
}

function checkPath(who: string, path: unknown): string {
  if (typeof path === 'string' && path.startsWith('/') && URL.canParse(path, 'http://localhost')) {
    // Requests carry it as browsers write it.
    if (new URL(path, 'http://localhost').href === `http://localhost${path}` && !/[?#]|%(?![\da-f]{2})/i.test(path))
      return path
  }
  throw new TypeError(`${who}: path must be one such as ${PATH_DEFAULT}, as it stands in a URL`)
}

function checkOrigin(who: string, given: string): string {
  const origin = given.toLowerCase()
  if (origin === 'null') {
    throw new TypeError(`${who}: the Origin 'null' cannot be listed, since any page can have it in a sandbox`)
  }
  if (!ORIGIN.test(origin) || origin.includes('*') || !URL.canParse(origin)) {
    throw new TypeError(`${who}: each of origins must be one such as https://app.example, not '${given}'`)
  }
  // Browsers leave out the usual port. Schemes that a URL has no origin for stay as they are.
  const normal = new URL(origin).origin
  return normal === 'null' ? origin : normal
}

function checkHost(who: string, given: string): string {
  // An IPv6 address is given with brackets or without.
  const bracketed = given.includes(':') && !given.startsWith('[') ? `[${given}]` : given
  const name = hostOf(bracketed)
  // With a port behind it, only what had none is still a URL.
  if (name === undefined || name.includes('*') || !URL.canParse(`http://${bracketed}:1`)) {
    throw new TypeError(`${who}: each of hosts must be a name or an address without a port, not '${given}'`)
  }
  return name
}

/** The name of a Host header, as URLs write it. */
function hostOf(host: string | undefined): string | undefined {
  if (host === undefined || !HOST.test(host) || !URL.canParse(`http://${host}`)) return undefined
  return new URL(`http://${host}`).hostname
}
