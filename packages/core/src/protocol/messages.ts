/**
 * Large messages on their way out (PROTOCOL.md, section 6.3): cut into fragments, taking turns, so that none holds up
 * another. A message is opened only while the totals fit what the peer puts together at once.
 */
import type { Outbox } from './outbox.js'
import { Queue } from './queue.js'
import { FLAG, HEADER_BYTES, KIND, TOTAL_BYTES, writeU64 } from './wire.js'

/** Blocks kept for the next large message (8 MiB); more are left to the garbage collector. */
const SPARE_BLOCKS_MAX = 128

/** Who owns the bytes of a payload: the caller, who may change them after the call (`copy`) or promised not to until it
 * is settled (`borrow`); or pairlink, to which they were handed over (`own`). */
export type Ownership = 'copy' | 'borrow' | 'own'

export interface Message {
  readonly kind: number
  readonly id: number
  readonly content: number
  /** What precedes the content in the first fragment, such as a method. */
  readonly fixed: Uint8Array
  readonly totalBytes: number
  /** The content, whole; or undefined when it was copied into `blocks`, one for each fragment. */
  bytes: Uint8Array | undefined
  blocks: Uint8Array[] | undefined
  readonly borrower: number
  /** Bytes of content that were put into fragments. */
  encodedBytes: number
  fragments: number
}

export class Messages {
  readonly #outbox: Outbox
  readonly #fragmentBytes: number
  readonly #reassemblyBytesMax: number
  readonly #spares: Uint8Array[] = []
  readonly #open: Message[] = []
  readonly #waiting = new Queue<Message>()
  #turn = 0
  #openBytes = 0
  /** By kind: bytes of messages that were given and not yet put into fragments. */
  readonly heldBytes = new Float64Array(KIND.NOTIFY + 1)
  /** By kind: the message that is under way for longest. */
  readonly #oldest: (Message | undefined)[] = []
  readonly #encoded: (message: Message, now: number) => void
  readonly #releaseBlock = (block: Uint8Array): void => {
    if (this.#spares.length < SPARE_BLOCKS_MAX) this.#spares.push(new Uint8Array(block.buffer))
  }

  /** `encoded` is called when a fragment of a message was queued in the outbox; `isEncoded` tells whether it was the last. */
  constructor(
    outbox: Outbox,
    limits: { fragmentBytes: number; reassemblyBytesMax: number },
    encoded: (message: Message, now: number) => void,
  ) {
    this.#outbox = outbox
    this.#fragmentBytes = limits.fragmentBytes
    this.#reassemblyBytesMax = limits.reassemblyBytesMax
    this.#encoded = encoded
  }

  /** Takes a message over; with `copy` its bytes are copied now. */
  add(
    kind: number,
    id: number,
    content: number,
    fixed: Uint8Array,
    bytes: Uint8Array,
    ownership: Ownership,
    borrower: number,
  ): Message {
    const message: Message = {
      kind,
      id,
      content,
      fixed,
      totalBytes: bytes.length,
      bytes: ownership === 'copy' ? undefined : bytes,
      blocks: ownership === 'copy' ? this.#copyToBlocks(bytes, fixed.length) : undefined,
      borrower: ownership === 'borrow' ? borrower : -1,
      encodedBytes: 0,
      fragments: 0,
    }
    this.#hold(kind, bytes.length)
    this.#waiting.push(message)
    this.#openMore()
    return message
  }

  /** True while a fragment could be encoded. */
  get pending(): boolean {
    return this.#open.length > 0
  }

  /**
   * Bytes of this kind that wait behind others: those of the message that is under way for longest do not, and however
   * large it is, small messages need not wait until it is through.
   */
  waitingBytes(kind: number): number {
    const oldest = this.#oldest[kind]
    return (this.heldBytes[kind] ?? 0) - (oldest === undefined ? 0 : oldest.totalBytes - oldest.encodedBytes)
  }

  /** Puts the next fragment of the message whose turn it is into the outbox. */
  encodeNext(now: number): void {
    if (this.#turn >= this.#open.length) this.#turn = 0
    const message = this.#open[this.#turn]
    if (message === undefined) return
    const first = message.fragments === 0
    const inlineBytes = first ? TOTAL_BYTES + message.fixed.length : 0
    const room = this.#fragmentBytes - HEADER_BYTES - inlineBytes
    const count = Math.min(room, message.totalBytes - message.encodedBytes)
    const last = message.encodedBytes + count === message.totalBytes
    const flags = FLAG.PART | (first ? FLAG.FIRST : 0) | (last ? 0 : FLAG.MORE)
    const outbox = this.#outbox
    outbox.frame(message.kind, flags, message.content, message.id, inlineBytes, count, now)
    if (first) {
      writeU64(outbox.bytes, outbox.at, message.totalBytes)
      outbox.bytes.set(message.fixed, outbox.at + TOTAL_BYTES)
    }
    const block = message.blocks?.[message.fragments]
    if (block !== undefined) {
      outbox.refer(block.length === count ? block : block.subarray(0, count), -1, this.#releaseBlock)
    } else if (message.bytes !== undefined) {
      outbox.refer(message.bytes.subarray(message.encodedBytes, message.encodedBytes + count), message.borrower)
    }
    message.encodedBytes += count
    message.fragments++
    this.#hold(message.kind, -count)
    if (last) {
      this.#open.splice(this.#turn, 1)
      this.#close(message)
    } else {
      this.#turn++
    }
    this.#encoded(message, now)
  }

  /**
   * Drops what was not encoded of a message. One that was begun still counts towards the open totals: the caller queues
   * its CANCEL or FAIL at once and in front of anything that this makes room for.
   */
  drop(message: Message): void {
    if (isEncoded(message)) return
    this.#hold(message.kind, message.encodedBytes - message.totalBytes)
    for (const block of message.blocks?.slice(message.fragments) ?? []) this.#releaseBlock(block)
    if (this.#waiting.remove((waiting) => waiting === message) !== undefined) return
    const open = this.#open.indexOf(message)
    if (open < 0) return
    this.#open.splice(open, 1)
    if (open < this.#turn) this.#turn--
    this.#close(message)
  }

  #hold(kind: number, bytes: number): void {
    this.heldBytes[kind] = (this.heldBytes[kind] ?? 0) + bytes
  }

  #close(message: Message): void {
    this.#openBytes -= message.totalBytes
    if (this.#oldest[message.kind] === message) {
      this.#oldest[message.kind] = this.#open.find(({ kind }) => kind === message.kind)
    }
    this.#openMore()
  }

  #openMore(): void {
    let next = this.#waiting.peek()
    while (next !== undefined && this.#openBytes + next.totalBytes <= this.#reassemblyBytesMax) {
      this.#waiting.shift()
      this.#openBytes += next.totalBytes
      this.#open.push(next)
      this.#oldest[next.kind] ??= next
      next = this.#waiting.peek()
    }
  }

  #copyToBlocks(bytes: Uint8Array, fixedBytes: number): Uint8Array[] {
    const blocks: Uint8Array[] = []
    for (let at = 0; at < bytes.length; ) {
      const room = this.#fragmentBytes - HEADER_BYTES - (at === 0 ? TOTAL_BYTES + fixedBytes : 0)
      const count = Math.min(room, bytes.length - at)
      const spare = this.#spares.pop() ?? new Uint8Array(this.#fragmentBytes)
      const block = count === spare.length ? spare : new Uint8Array(spare.buffer, 0, count)
      block.set(new Uint8Array(bytes.buffer, bytes.byteOffset + at, count))
      blocks.push(block)
      at += count
    }
    return blocks
  }
}

/** True when every fragment was queued in the outbox. */
export function isEncoded(message: Message): boolean {
  return message.encodedBytes === message.totalBytes
}
