/**
 * Every bound of the protocol, with its default and the reason for it. What a side announces in its hello is what it is
 * willing to receive; the sender keeps to it, so nobody ever has to stop reading.
 */

export interface Limits {
  /** Largest message in bytes of content. 64 MiB: an image or a document passes, a runaway does not. */
  readonly messageBytesMax: number
  /** Largest frame in bytes, header included. 64 KiB fills a block of the send buffer exactly. */
  readonly fragmentBytes: number
  /**
   * Bytes of queries, and separately of notifications and of answers, accepted and not yet written. One query and one answer
   * that is in fragments and under way does not count, since small ones pass it.
   */
  readonly sendBytesMax: number
  /** Bytes written and not yet acknowledged. 16 MiB keeps a local pipe full between two acknowledgements. */
  readonly replayBytesMax: number
  /** Bytes of notifications received whose handler has not returned. */
  readonly inboxBytesMax: number
  /** Sum of the totals of all messages being put together. At least `messageBytesMax`. */
  readonly reassemblyBytesMax: number
  /** Queries of one peer handled at once; up to 16 times as many when queries are nested. */
  readonly handlersMax: number
  /** Links of a listener that have not proven the secret. An honest handshake takes milliseconds. */
  readonly strangersMax: number
}

const KIB = 1024
const MIB = 1024 * KIB

export const DEFAULT_LIMITS: Limits = {
  messageBytesMax: 64 * MIB,
  fragmentBytes: 64 * KIB,
  sendBytesMax: 16 * MIB,
  replayBytesMax: 16 * MIB,
  inboxBytesMax: 16 * MIB,
  reassemblyBytesMax: 128 * MIB,
  handlersMax: 1024,
  strangersMax: 16,
}

/** How far each limit can be moved: [least, most]. */
const RANGES: Record<keyof Limits, readonly [number, number]> = {
  messageBytesMax: [1, 2 ** 32 - 1], // what one Uint8Array can hold everywhere
  fragmentBytes: [4 * KIB, 64 * KIB], // room for the longest fixed part of a frame; the size of a block
  sendBytesMax: [1, 2 ** 40],
  replayBytesMax: [1, 2 ** 40],
  inboxBytesMax: [1, 2 ** 40],
  reassemblyBytesMax: [1, 2 ** 40],
  handlersMax: [1, 4096], // 16 × 4096 slots fill the 16 bits that an id has for them
  strangersMax: [1, 4096],
}

/** Slots of queries per `handlersMax`: room for nested queries, which must never wait for one another. */
export const NESTING_FACTOR = 16

/**
 * Fills in the defaults and checks the ranges.
 * @throws TypeError that names the limit and its range, or the two limits that contradict each other.
 */
export function completeLimits(given: Partial<Limits>): Limits {
  const limits: { -readonly [Name in keyof Limits]: number } = { ...DEFAULT_LIMITS }
  for (const [name, value] of Object.entries(given) as [keyof Limits, number | undefined][]) {
    if (value !== undefined) limits[name] = value
  }
  if (given.messageBytesMax !== undefined && given.reassemblyBytesMax === undefined) {
    limits.reassemblyBytesMax = Math.max(limits.reassemblyBytesMax, limits.messageBytesMax)
  }
  for (const [name, [least, most]] of Object.entries(RANGES) as [keyof Limits, readonly [number, number]][]) {
    const value = limits[name]
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new TypeError(`limits.${name} must be a whole number from ${least} to ${most}, not ${String(value)}`)
    }
  }
  if (limits.reassemblyBytesMax < limits.messageBytesMax) {
    throw new TypeError(
      `limits.reassemblyBytesMax (${limits.reassemblyBytesMax}) must be at least limits.messageBytesMax ` +
        `(${limits.messageBytesMax}), or the largest message could never be put together`,
    )
  }
  return limits
}
