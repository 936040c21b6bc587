/**
 * What the transports of this package are given. It must not use a type of Node.js: programs without those could not be
 * compiled.
 */

export interface TcpOptions {
  /** 1 to 65,535. */
  readonly port: number
  /** An address of this host, or a name of one: `127.0.0.1` by default, `::1` with `tcp6`. */
  readonly host?: string
  /** Lets the link leave this host, where it must be encrypted. */
  readonly allowNetwork?: boolean
}

export interface LockOptions {
  /**
   * How a stale address is locked while it is taken over, where not as the system does it: `'abstract'`, a name that needs
   * no `flock` program, on Linux. Both processes must say the same, and share a network namespace.
   */
  readonly lock?: 'abstract'
}

export interface UnixOptions extends LockOptions {
  /** Who may dial, as a file mode: 0o600 by default, this user alone. */
  readonly mode?: number
  /** The group of the socket file, for a `mode` that lets a group in. */
  readonly gid?: number
  /** The user whose socket may lie there, where it is not this one. Such a process only dials. */
  readonly owner?: number
}

/** @throws TypeError for what is not an object, or has a name that is not known */
export function checkOptions(who: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw new TypeError(`${who}: the options must be an object`)
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new TypeError(`${who}: unknown option '${name}'; known are ${known.join(', ')}`)
  }
}
