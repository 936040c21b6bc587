/**
 * What a session has to send and what it must still be able to send again (PROTOCOL.md, section 7): sequenced frames in
 * the order in which they were queued, kept until they are acknowledged. Small frames lie in 64 KiB slabs, one behind the
 * other, with no record of their own; large payloads are references beside them. To replay is to rewind.
 *
 * It knows frame headers and sequence numbers, and nothing of calls.
 */
import { copied } from './bytes.js'
import { FLAG, HEADER_BYTES, KIND, readU32, writeHeader } from './wire.js'

export const SLAB_BYTES = 65_536
/** Freed slabs kept for the next frames (4 MiB); more are left to the garbage collector. */
const SPARE_SLABS_MAX = 64

class Slab {
  readonly bytes = new Uint8Array(SLAB_BYTES)
  /** Where the next frame begins. */
  end = 0
  /** Up to where it was handed to a pipe. */
  handed = 0
  firstSeq = 0
  lastSeq = 0
  /** When the oldest frame that was not handed over was queued. */
  queuedAt = 0
  /** For each frame with a payload outside: where in the slab that payload belongs. Outlives the reference. */
  readonly externals: number[] = []
}

/** A payload that lies outside the slab that holds its frame's header. */
interface Reference {
  readonly seq: number
  readonly slab: Slab
  /** Where in the slab the payload belongs: behind the header and the fixed part of its frame. */
  readonly at: number
  bytes: Uint8Array
  /** The slot of the call whose caller still owns the bytes, or -1. */
  readonly borrower: number
  /** Takes the bytes back when the peer has them. */
  readonly release: ((bytes: Uint8Array) => void) | undefined
}

/** Rewrites what goes stale in a queued QUERY: the remaining time at `at`. */
export type RefreshQuery = (bytes: Uint8Array, at: number, id: number) => void

/** A frame that waited longer than this before it could be written gets its remaining time anew. */
const STALE_AFTER_MS = 10

export class Outbox {
  /** The sequence number of the last frame queued; the first is 1. */
  queuedSeq = 0
  /** Of the last frame handed to a pipe, on any link. */
  handedSeq = 0
  /** Of the last frame that the peer has acknowledged. */
  ackedSeq = 0
  /** Bytes handed to a pipe and not yet free. */
  retainedBytes = 0
  /** Bytes queued and not yet handed over. */
  unhandedBytes = 0
  /** Set when a queued QUERY must not be handed over as it stands: its caller is gone. */
  withdrawn = false

  readonly #slabs: Slab[] = []
  readonly #spares: Slab[] = []
  /** References in the order of their frames, and how many of them were handed to the present pipe. */
  readonly #references: Reference[] = []
  #referencesHanded = 0
  /** Index of the slab from which the next bytes are handed over. */
  #sendAt = 0
  #cursorSeq = 0
  #rewound = false
  readonly #refresh: RefreshQuery

  /** The place of the frame that `frame` began last: its payload goes to `bytes` from `at` on. */
  bytes: Uint8Array = new Uint8Array(0)
  at = 0

  constructor(refresh: RefreshQuery) {
    this.#refresh = refresh
  }

  /**
   * Begins a frame: writes its header and makes room for `inlineBytes` of payload, which the caller must write at once to
   * `this.bytes` from `this.at` on. The `externalBytes` that follow are announced by `refer` directly afterwards.
   */
  frame(
    kind: number,
    flags: number,
    content: number,
    id: number,
    inlineBytes: number,
    externalBytes: number,
    now: number,
  ): void {
    let slab = this.#slabs[this.#slabs.length - 1]
    if (slab === undefined || slab.end + HEADER_BYTES + inlineBytes > SLAB_BYTES) slab = this.#addSlab()
    const at = slab.end
    writeHeader(slab.bytes, at, kind, flags, content, id, inlineBytes + externalBytes)
    const seq = ++this.queuedSeq
    if (slab.firstSeq === 0) slab.firstSeq = seq
    slab.lastSeq = seq
    if (slab.handed === at) slab.queuedAt = now
    slab.end = at + HEADER_BYTES + inlineBytes
    this.unhandedBytes += HEADER_BYTES + inlineBytes
    this.bytes = slab.bytes
    this.at = at + HEADER_BYTES
  }

  /** Gives the frame begun last its external payload. */
  refer(bytes: Uint8Array, borrower: number, release?: (bytes: Uint8Array) => void): void {
    const slab = this.#slabs[this.#slabs.length - 1]
    if (slab === undefined) return
    this.#references.push({ seq: this.queuedSeq, slab, at: slab.end, bytes, borrower, release })
    slab.externals.push(slab.end)
    this.unhandedBytes += bytes.length
  }

  /** Hands over queued bytes in order, up to about `budgetBytes`, as chunks that stay unchanged until acknowledged. */
  take(budgetBytes: number, now: number, out: Uint8Array[]): void {
    let budget = budgetBytes
    while (budget > 0) {
      const slab = this.#slabs[this.#sendAt]
      if (slab === undefined) return
      if (this.withdrawn || this.#rewound || (slab.queuedAt + STALE_AFTER_MS < now && slab.handed < slab.end)) {
        this.#refreshQueries(slab)
      }
      let reference = this.#references[this.#referencesHanded]
      while (reference !== undefined && reference.slab === slab && budget > 0) {
        budget -= this.#hand(slab, reference.at, out)
        out.push(reference.bytes)
        budget -= reference.bytes.length
        this.unhandedBytes -= reference.bytes.length
        this.retainedBytes += reference.bytes.length
        this.#advance(reference.seq)
        reference = this.#references[++this.#referencesHanded]
      }
      if (budget <= 0) return
      budget -= this.#hand(slab, slab.end, out)
      if (slab.lastSeq > 0) this.#advance(slab.lastSeq)
      if (this.#sendAt === this.#slabs.length - 1) {
        this.withdrawn = false
        this.#rewound = false
        return
      }
      this.#sendAt++
    }
  }

  /** The peer has all frames up to `seq`, which the caller has checked to be between `ackedSeq` and `handedSeq`. */
  acknowledge(seq: number): void {
    this.ackedSeq = seq
    let count = 0
    for (; count < this.#referencesHanded; count++) {
      const reference = this.#references[count]
      if (reference === undefined || reference.seq > seq) break
      this.retainedBytes -= reference.bytes.length
      reference.release?.(reference.bytes)
    }
    if (count > 0) {
      this.#references.splice(0, count)
      this.#referencesHanded -= count
    }
    let slab = this.#slabs[0]
    while (slab !== undefined && slab.lastSeq <= seq && slab.handed === slab.end) {
      this.retainedBytes -= slab.end
      slab.end = slab.handed = slab.firstSeq = slab.lastSeq = slab.externals.length = 0
      if (this.#slabs.length === 1) return // the last one goes on being filled from its beginning
      this.#slabs.shift()
      if (this.#sendAt > 0) this.#sendAt--
      if (this.#spares.length < SPARE_SLABS_MAX) this.#spares.push(slab)
      slab = this.#slabs[0]
    }
  }

  /** A new pipe: everything after `seq`, up to which the peer has all, is to be handed over again. */
  rewind(seq: number): void {
    this.acknowledge(seq)
    this.#referencesHanded = 0
    this.retainedBytes = 0
    this.unhandedBytes = 0
    this.#sendAt = 0
    this.#rewound = true
    this.#cursorSeq = seq
    for (const slab of this.#slabs) {
      const end = slab.end
      slab.handed = 0
      // Frames that the peer already has lie at the beginning of the first slab.
      for (let frameSeq = slab.firstSeq; frameSeq !== 0 && frameSeq <= seq; frameSeq++) {
        slab.handed = frameEnd(slab, slab.handed)
      }
      this.retainedBytes += slab.handed
      this.unhandedBytes += end - slab.handed
    }
    for (const reference of this.#references) this.unhandedBytes += reference.bytes.length
  }

  /** True while a frame lies here that was not handed to the present pipe. */
  get pending(): boolean {
    return this.unhandedBytes > 0
  }

  /** The last frame handed to the *present* pipe: below `handedSeq` while replaying. */
  get cursorSeq(): number {
    return this.#cursorSeq
  }

  /** The caller of `borrower` takes its bytes back: what is still needed of them is copied. */
  unborrow(borrower: number): void {
    for (const reference of this.#references) {
      if (reference.borrower === borrower) reference.bytes = copied(reference.bytes)
    }
  }

  #hand(slab: Slab, to: number, out: Uint8Array[]): number {
    const count = to - slab.handed
    if (count === 0) return 0
    out.push(new Uint8Array(slab.bytes.buffer, slab.handed, count))
    slab.handed = to
    this.unhandedBytes -= count
    this.retainedBytes += count
    return count
  }

  #advance(seq: number): void {
    this.#cursorSeq = seq
    if (seq > this.handedSeq) this.handedSeq = seq
  }

  #addSlab(): Slab {
    const slab = this.#spares.pop() ?? new Slab()
    this.#slabs.push(slab)
    return slab
  }

  /** Passes every QUERY that was not handed over, and begins here, to the refresh function. */
  #refreshQueries(slab: Slab): void {
    for (let at = slab.handed; at < slab.end; at = frameEnd(slab, at)) {
      const flags = slab.bytes[at + 1] ?? 0
      if (slab.bytes[at] !== KIND.QUERY || (flags !== 0 && (flags & FLAG.FIRST) === 0)) continue
      const remainingAt = at + HEADER_BYTES + (flags === 0 ? 0 : 8)
      this.#refresh(slab.bytes, remainingAt, readU32(slab.bytes, at + 4))
    }
  }
}

/** Where the frame that begins at `at` ends in its slab, which is before its payload where that lies outside. */
function frameEnd(slab: Slab, at: number): number {
  const whole = at + HEADER_BYTES + readU32(slab.bytes, at + 8)
  // The first payload outside that belongs behind `at` is this frame's, unless it belongs to a later frame.
  for (const external of slab.externals) if (external > at) return Math.min(external, whole)
  return whole
}
