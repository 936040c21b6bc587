/**
 * The two families of things that go wrong in the protocol: *theirs* (the peer broke a rule, its link ends) and *yours*
 * (a call that the state does not allow, which changes nothing). Any other exception is a bug of pairlink.
 */

/** The peer broke a rule of the protocol. The link is over; whatever came before the offending frame stays delivered. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  /** The section of PROTOCOL.md that was broken, such as `4.2`. */
  readonly section: string

  constructor(section: string, message: string, cause?: unknown) {
    super(`${message} (PROTOCOL.md, section ${section})`, cause === undefined ? undefined : { cause })
    this.section = section
  }
}

/** A command that the present state does not allow: decidable by reading the calling code. Nothing was changed. */
export class MisuseError extends Error {
  override readonly name = 'MisuseError'
}

/** The own cipher failed, or its counter is at its end: the link cannot go on, and the peer is not to blame. */
export class CipherError extends Error {
  override readonly name = 'CipherError'
}
