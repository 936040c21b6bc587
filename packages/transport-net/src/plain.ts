/** The transports with sockets as they are. Like `options.ts` it must not show a type of Node.js. */
import type { Transport } from '@pairlink/core'
import type { TcpOptions, UnixOptions } from './options.js'
import { PLAIN } from './pipe.js'
import { tcpWith } from './tcp.js'
import { unixWith } from './unix.js'

/** Meets at a port of this host, over IPv4 or IPv6 as `host` says. @throws TypeError for options that can never work */
export function tcp(options: TcpOptions): Transport {
  return tcpWith('tcp', options, 0, PLAIN)
}

/** Meets at a port over IPv4. @throws TypeError for options that can never work */
export function tcp4(options: TcpOptions): Transport {
  return tcpWith('tcp4', options, 4, PLAIN)
}

/** Meets at a port over IPv6. @throws TypeError for options that can never work */
export function tcp6(options: TcpOptions): Transport {
  return tcpWith('tcp6', options, 6, PLAIN)
}

/**
 * Meets at a path of the file system.
 * @param path relative ones are resolved now
 * @throws TypeError for a path or an option that can never work. What depends on the file system shows when dialling.
 */
export function unix(path: string, options: UnixOptions = {}): Transport {
  return unixWith('unix', path, options, PLAIN)
}
