// A peer that knows the secret and the keys and says what it is told to: its hello, its proof and its records are right,
// whatever stands in them. It is written after PROTOCOL.md with Node's own hashes, and reads what the other side writes.
import { createHash, createHmac, hkdfSync } from 'node:crypto'
import { hash } from '../peers/fault-primitives.mjs'
import { Finding } from './finding.mjs'
import {
  frame,
  HEADER_BYTES,
  join,
  KIND,
  KINDS,
  MODE,
  number,
  preamble,
  PREAMBLE_BYTES,
  text,
  toHex,
} from './bytes.mjs'

/**
 * @import { Encryption, SealedHandshake, SealedKeys } from '@pairlink/core'
 * @import { Mode, Side } from './bytes.mjs'
 *
 * @typedef {{ kind: number, flags: number, content: number, id: number, payload: Uint8Array }} Heard
 */

export const SECRET = text('a secret')
export const proofKeyOf = (/** @type {Uint8Array} */ secret) =>
  new Uint8Array(hkdfSync('sha256', secret, 'pairlink 1', 'proof key', 32))
const KEY = proofKeyOf(SECRET)
/** No frame is longer than any side can have announced. */
const FRAME_BYTES_MAX = 65_536
const RECORD_PLAIN_BYTES_MAX = 65_000
const PREFIX_BYTES = 25

export class Insider {
  /** Every frame that the other side has written, its handshake included. @type {Heard[]} */
  heard = []
  /** @type {Side} */ side
  /** @type {Encryption | undefined} */ #encryption
  /** @type {Mode} */ #mode
  /** @type {SealedHandshake | undefined} */ #noise
  /** @type {SealedKeys | undefined} */ #keys
  /** @type {Uint8Array[]} */ #own = []
  /** @type {Uint8Array[]} */ #theirs = []
  /** @type {Uint8Array} */ #transcript = new Uint8Array(0)
  #sealedCount = 0
  #openedCount = 0
  #isOver = false
  #opensRecords = false
  #wire = new Uint8Array(0)
  #stream = new Uint8Array(0)

  constructor(/** @type {Side} */ side, /** @type {Encryption | undefined} */ encryption, ephemeralByte = 0x33) {
    this.side = side
    this.#encryption = encryption
    this.#mode = encryption?.mode ?? 'proof'
    if (encryption?.mode === 'sealed') {
      const prologue = join(text('pairlink 1 sealed'), preamble('sealed', 0).subarray(0, 6))
      this.#noise = encryption.begin(side, KEY, prologue, new Uint8Array(32).fill(ephemeralByte), hash)
    }
  }

  /** Whether both hellos have been exchanged, so that there is something to prove. */
  get isAgreed() {
    return this.#transcript.length > 0
  }

  /** Whether the other side's first message was read. */
  get hasHeard() {
    return this.#theirs.length > 0
  }

  /** The preamble and the first message, with this body of a hello. */
  first(/** @type {Uint8Array} */ body) {
    const message = this.#noise?.write(body) ?? frame(KIND.HELLO, body)
    this.#own = [preamble(this.#mode, message.length), message]
    this.#agree()
    return join(...this.#own)
  }

  /** The dialer's PROVE. */
  prove() {
    if (this.#mode === 'sealed') return this.seal(frame(KIND.PROVE))
    const proof = this.#mac('pairlink 1 dialer proof', this.#transcript)
    return frame(KIND.PROVE, this.#mode === 'custom' ? join(proof, this.#record(new Uint8Array(0))) : proof)
  }

  /** The listener's WELCOME. */
  welcome(/** @type {Uint8Array} */ body) {
    if (this.#mode === 'sealed') return this.seal(frame(KIND.WELCOME, body))
    return frame(KIND.WELCOME, join(body, this.#mac('pairlink 1 listener proof', join(this.#transcript, body))))
  }

  /** A part of the stream as it travels, in records of at most `recordBytes`. */
  seal(/** @type {Uint8Array} */ plain, recordBytes = RECORD_PLAIN_BYTES_MAX) {
    if (this.#mode === 'proof') return plain
    const records = []
    for (let at = 0; at < plain.length; at += recordBytes) {
      const record = this.#record(plain.subarray(at, at + recordBytes))
      records.push(number(2, record.length), record)
    }
    return join(...records)
  }

  /** What the other side has written. @throws Finding for what no side may write */
  hear(/** @type {Uint8Array} */ bytes) {
    if (bytes.length === 0) return
    if (this.#isOver) throw new Finding('wrote behind a REFUSE')
    this.#wire = join(this.#wire, bytes)
    if (this.#theirs.length === 0) this.#readFirst()
    if (this.#theirs.length === 0) return
    for (;;) {
      if (!this.#opensRecords) {
        this.#stream = join(this.#stream, this.#wire)
        this.#wire = new Uint8Array(0)
      } else if (!this.#readRecord()) {
        this.#readFrames()
        return
      }
      if (!this.#readFrames()) return
    }
  }

  #readFirst() {
    const wire = this.#wire
    if (wire.length < PREAMBLE_BYTES) return
    const [magic, version, mode] = [toHex(wire.subarray(0, 4)), wire[4], wire[5] ?? 0]
    if (magic !== '504c4e4b' || version !== 1) throw new Finding('wrote bytes that are no preamble')
    const messageBytes = ((wire[6] ?? 0) << 8) | (wire[7] ?? 0)
    if ((mode & 0x7f) !== MODE[this.#mode] || messageBytes < 1 || messageBytes > 1024)
      throw new Finding('wrote a preamble that no side may write')
    const end = PREAMBLE_BYTES + messageBytes
    if (wire.length < end) return
    const message = wire.slice(PREAMBLE_BYTES, end)
    this.#wire = wire.slice(end)
    this.#theirs = [wire.slice(0, PREAMBLE_BYTES), message]
    if (mode >= 0x80) {
      this.#stream = message
      this.#readFrames()
      if (this.heard.at(-1)?.kind !== KIND.REFUSE) throw new Finding('announced a REFUSE that did not follow')
      return
    }
    if (this.#noise !== undefined) {
      if (this.#noise.read(message) === undefined) throw new Finding('wrote a first message that does not verify')
      this.#opensRecords = true
    } else this.#stream = message
    this.#agree()
    this.#readFrames()
  }

  #agree() {
    if (this.#own.length === 0 || this.#theirs.length === 0) return
    if (this.#noise !== undefined) {
      this.#keys = this.#noise.finish()
      this.#transcript = this.#keys.hash
      return
    }
    const both = this.side === 'dialer' ? [...this.#own, ...this.#theirs] : [...this.#theirs, ...this.#own]
    this.#transcript = new Uint8Array(
      createHash('sha256')
        .update(join(...both))
        .digest(),
    )
  }

  /** True when the way of reading has changed: what is left on the wire is to be looked at again. */
  #readFrames() {
    for (;;) {
      const stream = this.#stream
      if (stream.length < HEADER_BYTES) return this.#opensRecords && this.#wire.length > 0
      const view = new DataView(stream.buffer, stream.byteOffset)
      const lengthBytes = view.getUint32(8)
      const [kind = 0, flags = 0, content = 0, reserved] = stream
      if (!KINDS.includes(kind) || reserved !== 0 || lengthBytes > FRAME_BYTES_MAX)
        throw new Finding(`wrote a frame of kind ${kind} and ${lengthBytes} bytes, which nobody can read`)
      const end = HEADER_BYTES + lengthBytes
      if (stream.length < end) return this.#opensRecords && this.#wire.length > 0
      if (this.#isOver) throw new Finding('wrote behind a REFUSE')
      this.heard.push({ kind, flags, content, id: view.getUint32(4), payload: stream.slice(HEADER_BYTES, end) })
      this.#stream = stream.slice(end)
      this.#isOver = kind === KIND.REFUSE
      if (this.#mode === 'custom' && (kind === KIND.PROVE || kind === KIND.WELCOME)) {
        if (kind === KIND.PROVE) this.#openedCount = 1
        this.#opensRecords = true
        this.#wire = this.#stream
        this.#stream = new Uint8Array(0)
        return true
      }
    }
  }

  /** False when no whole record is there. */
  #readRecord() {
    const wire = this.#wire
    const lengthBytes = ((wire[0] ?? 0) << 8) | (wire[1] ?? 0)
    if (wire.length < 2 || wire.length < 2 + lengthBytes) return false
    const plain = this.#opened(wire.slice(2, 2 + lengthBytes))
    if (plain === undefined || plain.length === 0) throw new Finding('wrote a record that does not verify')
    this.#wire = wire.slice(2 + lengthBytes)
    this.#stream = join(this.#stream, plain)
    return true
  }

  #opened(/** @type {Uint8Array} */ record) {
    if (this.#encryption?.mode !== 'custom') return this.#keys?.opener.open(record)
    const plain = this.#encryption.decrypt(record)
    const expected = this.#prefix(this.side === 'dialer' ? 1 : 0, this.#openedCount++)
    if (plain === undefined || toHex(plain.subarray(0, PREFIX_BYTES)) !== toHex(expected)) return undefined
    return new Uint8Array(plain.subarray(PREFIX_BYTES))
  }

  #record(/** @type {Uint8Array} */ plain) {
    if (this.#encryption?.mode !== 'custom') return join(...(this.#keys?.sealer.seal([plain]) ?? []))
    const prefix = this.#prefix(this.side === 'dialer' ? 0 : 1, this.#sealedCount++)
    return new Uint8Array(this.#encryption.encrypt(join(prefix, plain)))
  }

  #prefix(/** @type {number} */ direction, /** @type {number} */ counter) {
    return join(this.#transcript.subarray(0, 16), Uint8Array.of(direction), number(8, counter))
  }

  #mac(/** @type {string} */ label, /** @type {Uint8Array} */ over) {
    return new Uint8Array(createHmac('sha256', KEY).update(label).update(over).digest())
  }
}
