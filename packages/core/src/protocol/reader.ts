/**
 * Bytes in, frames out (PROTOCOL.md, section 3): an incremental pull parser. A header is checked against the limit
 * before anything of its payload is kept. It knows the shape of a frame and nothing of what frames mean.
 */
import { plain } from './bytes.js'
import { ProtocolError } from './errors.js'
import type { RecordReader } from './records.js'
import { CONTENT, FLAG, HEADER_BYTES, KIND, readU32 } from './wire.js'

const EMPTY = new Uint8Array(0)
/**
 * Payloads up to this size are copied one by one; a larger one may hold on to the whole chunk that it came in, which is at most
 * 32 times as large. Without it a peer could make the limits of memory mean little by padding.
 */
export const SLICE_BYTES_MAX = 2048

/** Which kinds may carry fragments, content and an id; a kind that is not here is unknown. */
const SHAPE: Readonly<Record<number, { readonly parts: boolean; readonly content: boolean; readonly id: boolean }>> = {
  [KIND.HELLO]: { parts: false, content: false, id: false },
  [KIND.PROVE]: { parts: false, content: false, id: false },
  [KIND.WELCOME]: { parts: false, content: false, id: false },
  [KIND.REFUSE]: { parts: false, content: false, id: false },
  [KIND.QUERY]: { parts: true, content: true, id: true },
  [KIND.ANSWER]: { parts: true, content: true, id: true },
  [KIND.FAIL]: { parts: true, content: true, id: true },
  [KIND.CANCEL]: { parts: false, content: false, id: true },
  [KIND.NOTIFY]: { parts: true, content: true, id: true },
  [KIND.ACK]: { parts: false, content: false, id: false },
  [KIND.PING]: { parts: false, content: false, id: false },
  [KIND.PONG]: { parts: false, content: false, id: false },
  [KIND.CLOSE]: { parts: false, content: false, id: false },
}

/** Finds where the next part of a message that is being put together goes, or undefined to take it as any payload. */
export type Place = (kind: number, id: number, lengthBytes: number) => Uint8Array | undefined

/** After `next()` returned true its fields describe one frame, until the next call of `next` or `feed`. */
export class FrameReader {
  kind = 0
  flags = 0
  content = 0
  id = 0
  /** The payload is `bytes[start, end)`; both are 0 when it went to where `place` said. */
  bytes: Uint8Array = EMPTY
  start = 0
  end = 0
  /** Bytes of payload, wherever they went. */
  lengthBytes = 0
  /** The largest frame that is taken, header included. */
  frameBytesMax: number
  place: Place | undefined

  #chunk: Uint8Array = EMPTY
  #at = 0
  /** The chunk will be overwritten once `next()` has returned false. */
  #transient = false
  /** What `bytes` refers to will be overwritten. */
  #bytesTransient = false
  readonly #head = new Uint8Array(HEADER_BYTES)
  #headFilled = 0
  /** A payload that did not come in one piece. */
  #body: Uint8Array | undefined
  #bodyFilled = 0
  #bodyPlaced = false

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax
  }

  /** Hands over the next chunk. The one before must have been read to its end: `next()` has returned false. */
  feed(chunk: Uint8Array, transient: boolean): void {
    this.#chunk = plain(chunk)
    this.#at = 0
    this.#transient = transient
  }

  /** Bytes of the present chunk that were not read yet. */
  get unreadBytes(): number {
    return this.#chunk.length - this.#at
  }

  /** Gives the bytes that were not read to a reader of records. */
  handOver(records: RecordReader): void {
    records.feed(this.#chunk.subarray(this.#at), this.#transient)
    this.discard()
  }

  /** Drops the rest of the chunk and whatever was half read. */
  discard(): void {
    this.#chunk = EMPTY
    this.#at = 0
    this.#headFilled = 0
    this.#body = undefined
  }

  /**
   * Reads up to the next whole frame; false when the chunk is used up.
   * @throws ProtocolError for a header that no frame can have or a payload over the limit. The reader is of no use then.
   */
  next(): boolean {
    if (this.#body !== undefined) return this.#continueBody(this.#body)
    const chunk = this.#chunk
    const at = this.#at
    const available = chunk.length - at
    if (this.#headFilled === 0 && available >= HEADER_BYTES) {
      this.#at = at + HEADER_BYTES
      this.#header(chunk, at)
    } else {
      if (available === 0) return false
      const wanted = Math.min(HEADER_BYTES - this.#headFilled, available)
      for (let i = 0; i < wanted; i++) this.#head[this.#headFilled + i] = chunk[at + i] ?? 0
      this.#headFilled += wanted
      this.#at = at + wanted
      if (this.#headFilled < HEADER_BYTES) return false
      this.#headFilled = 0
      this.#header(this.#head, 0)
    }
    return this.#payload()
  }

  /** The payload from `from` on, safe to keep. A view where that is possible, so it may hold on to a whole chunk. */
  keep(from: number): Uint8Array {
    const lengthBytes = this.end - from
    if (lengthBytes === 0) return new Uint8Array(0)
    if (lengthBytes <= SLICE_BYTES_MAX) return this.bytes.slice(from, this.end)
    if (!this.#bytesTransient) return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + from, lengthBytes)
    // Copying the rest of the chunk once is cheaper than cutting out each of the payloads that follow.
    const rest = this.bytes.slice(from)
    this.#chunk = rest
    this.#at -= from
    this.#transient = false
    this.bytes = rest
    this.start -= from
    this.end -= from
    this.#bytesTransient = false
    return new Uint8Array(rest.buffer, rest.byteOffset, lengthBytes)
  }

  #header(bytes: Uint8Array, at: number): void {
    const kind = bytes[at] ?? 0
    const flags = bytes[at + 1] ?? 0
    const content = bytes[at + 2] ?? 0
    this.kind = kind
    this.flags = flags
    this.content = content
    this.id = readU32(bytes, at + 4)
    this.lengthBytes = readU32(bytes, at + 8)
    if (this.lengthBytes + HEADER_BYTES > this.frameBytesMax) {
      throw new ProtocolError(
        '3.1',
        `A frame of ${this.lengthBytes + HEADER_BYTES} bytes; the limit is ${this.frameBytesMax}`,
      )
    }
    // The common frame (QUERY or ANSWER in one piece) passes on these few comparisons.
    const shape = SHAPE[kind]
    if (shape === undefined) throw new ProtocolError('3.2', `Unknown frame kind ${kind}`)
    if (flags !== 0 && !(shape.parts && isPart(flags)))
      throw new ProtocolError('3.3', `Flags ${flags} on frame kind ${kind}`)
    if (content > CONTENT.JSON || (content !== CONTENT.NONE && !shape.content)) {
      throw new ProtocolError('3.4', `Content ${content} on frame kind ${kind}`)
    }
    if (bytes[at + 3] !== 0) throw new ProtocolError('3.1', 'The reserved byte is not 0')
    if (this.id !== 0 && !shape.id) throw new ProtocolError('3.1', `An id on frame kind ${kind}`)
  }

  #payload(): boolean {
    const lengthBytes = this.lengthBytes
    const chunk = this.#chunk
    const at = this.#at
    const placed =
      this.place !== undefined && (this.flags & (FLAG.PART | FLAG.FIRST)) === FLAG.PART
        ? this.place(this.kind, this.id, lengthBytes)
        : undefined
    if (chunk.length - at >= lengthBytes) {
      this.#at = at + lengthBytes
      if (placed !== undefined) {
        placed.set(new Uint8Array(chunk.buffer, chunk.byteOffset + at, lengthBytes))
        this.#setPayload(EMPTY, 0, 0, false)
      } else {
        this.#setPayload(chunk, at, at + lengthBytes, this.#transient)
      }
      return true
    }
    this.#body = placed ?? new Uint8Array(lengthBytes)
    this.#bodyPlaced = placed !== undefined
    this.#bodyFilled = 0
    return this.#continueBody(this.#body)
  }

  #continueBody(body: Uint8Array): boolean {
    const chunk = this.#chunk
    const wanted = Math.min(body.length - this.#bodyFilled, chunk.length - this.#at)
    if (wanted > 0) body.set(new Uint8Array(chunk.buffer, chunk.byteOffset + this.#at, wanted), this.#bodyFilled)
    this.#at += wanted
    this.#bodyFilled += wanted
    if (this.#bodyFilled < body.length) return false
    this.#body = undefined
    if (this.#bodyPlaced) this.#setPayload(EMPTY, 0, 0, false)
    else this.#setPayload(body, 0, body.length, false)
    return true
  }

  #setPayload(bytes: Uint8Array, start: number, end: number, transient: boolean): void {
    this.bytes = bytes
    this.start = start
    this.end = end
    this.#bytesTransient = transient
  }
}

function isPart(flags: number): boolean {
  return flags === FLAG.PART || flags === (FLAG.PART | FLAG.MORE) || flags === (FLAG.PART | FLAG.FIRST | FLAG.MORE)
}
