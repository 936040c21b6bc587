/**
 * Records (PROTOCOL.md, section 11.1): a length and a ciphertext, one after another, that carry the stream of frames. Cuts
 * bytes into records and streams into what is to be sealed; it knows no cipher and no frames.
 */
import { plain } from './bytes.js'
import type { Sealer } from './encryption.js'
import { CipherError, ProtocolError } from './errors.js'
import type { FrameReader } from './reader.js'
import { readU16, writeU16 } from './wire.js'

const HEAD_BYTES = 2
/** The most that its length can say. */
export const RECORD_BYTES_MAX = 65_535

const EMPTY = new Uint8Array(0)

/** Bytes in, ciphertexts out. */
export class RecordReader {
  /** The longest record that is taken. */
  bytesMax: number
  #chunk: Uint8Array = EMPTY
  #at = 0
  #transient = false
  readonly #head = new Uint8Array(HEAD_BYTES)
  #headFilled = 0
  /** Of the record that is being read; 0 while its head is not whole. */
  #lengthBytes = 0
  /** A record that did not come in one piece. */
  #body: Uint8Array | undefined
  #bodyFilled = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** Hands over the next chunk. The one before must have been read to its end: `next()` has returned undefined. */
  feed(chunk: Uint8Array, transient: boolean): void {
    this.#chunk = plain(chunk)
    this.#at = 0
    this.#transient = transient
  }

  /** What comes next is so long and has no head. */
  expect(lengthBytes: number): void {
    this.#lengthBytes = lengthBytes
  }

  /** Bytes of the present chunk that were not read yet. */
  get unreadBytes(): number {
    return this.#chunk.length - this.#at
  }

  /** Gives the bytes that were not read to a reader that takes them as they are. */
  handOver(reader: FrameReader): void {
    reader.feed(this.#chunk.subarray(this.#at), this.#transient)
    this.discard()
  }

  /** Drops the rest of the chunk and whatever was half read. */
  discard(): void {
    this.#chunk = EMPTY
    this.#at = this.#headFilled = this.#lengthBytes = 0
    this.#body = undefined
  }

  /**
   * The next whole record, to be read before the next call; undefined when the chunk is used up.
   * @throws ProtocolError for a length that is 0 or over the limit, before any of its bytes is kept. The reader is of no use then.
   */
  next(): Uint8Array | undefined {
    const chunk = this.#chunk
    while (this.#lengthBytes === 0) {
      if (this.#at === chunk.length) return undefined
      this.#head[this.#headFilled++] = chunk[this.#at++] ?? 0
      if (this.#headFilled < HEAD_BYTES) continue
      this.#headFilled = 0
      const lengthBytes = readU16(this.#head, 0)
      if (lengthBytes === 0 || lengthBytes > this.bytesMax) {
        throw new ProtocolError('11.1', `A record of ${lengthBytes} bytes; the limit is ${this.bytesMax}`)
      }
      this.#lengthBytes = lengthBytes
    }
    const at = this.#at
    const lengthBytes = this.#lengthBytes
    if (this.#body === undefined) {
      if (chunk.length - at >= lengthBytes) {
        this.#at = at + lengthBytes
        this.#lengthBytes = 0
        return chunk.subarray(at, this.#at)
      }
      this.#body = new Uint8Array(lengthBytes)
      this.#bodyFilled = 0
    }
    const body = this.#body
    const wanted = Math.min(lengthBytes - this.#bodyFilled, chunk.length - at)
    body.set(chunk.subarray(at, at + wanted), this.#bodyFilled)
    this.#at = at + wanted
    this.#bodyFilled += wanted
    if (this.#bodyFilled < lengthBytes) return undefined
    this.#body = undefined
    this.#lengthBytes = 0
    return body
  }
}

/**
 * Appends to `out` the stream that `chunks` are, in as few records as possible.
 * @throws CipherError when the counter of this direction is at its end, or a cipher of the user's fails
 */
export function sealStream(chunks: readonly Uint8Array[], sealer: Sealer, out: Uint8Array[]): void {
  const plainBytesMax = RECORD_BYTES_MAX - sealer.overheadBytes
  let plain: Uint8Array[] = []
  let plainBytes = 0
  const seal = (): void => {
    const pieces = sealer.seal(plain)
    if (pieces === undefined) throw new CipherError('This link has sent its last record')
    const head = new Uint8Array(HEAD_BYTES)
    out.push(head)
    let lengthBytes = 0
    for (const piece of pieces) {
      lengthBytes += piece.length
      out.push(piece)
    }
    writeU16(head, 0, lengthBytes)
    plain = []
    plainBytes = 0
  }
  for (const chunk of chunks) {
    let rest = chunk
    while (plainBytes + rest.length > plainBytesMax) {
      const room = plainBytesMax - plainBytes
      plain.push(rest.subarray(0, room))
      rest = rest.subarray(room)
      seal()
    }
    if (rest.length > 0) plain.push(rest)
    plainBytes += rest.length
  }
  if (plainBytes > 0) seal()
}
