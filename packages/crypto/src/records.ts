/**
 * One direction of a link after the handshake: records under one key, numbered from 0, of which none may be missing, come
 * twice, or come out of turn. It must not know how the key was agreed or how records are framed.
 */
import type { Opener, Sealer } from '@pairlink/core/protocol'
import { EMPTY } from './bytes.js'
import { TAG_BYTES, type Aead } from './provider.js'

const NONCE_BYTES = 12
const COUNTER_AT = 4
const U32_MAX = 0xffff_ffff

/**
 * The nonces of one key as Noise has them for AESGCM: four zero bytes and a counter of 64 bits, big-endian, whose last value
 * stays unused. Two halves, since a number is exact to 53 bits only and a bigint is slow.
 */
export class Nonces {
  readonly #nonce = new Uint8Array(NONCE_BYTES)
  readonly #view = new DataView(this.#nonce.buffer, COUNTER_AT)
  #high: number
  #low: number

  /** @param first the counter to begin with; other than 0 in tests alone */
  constructor(first = 0n) {
    this.#high = Number(first >> 32n)
    this.#low = Number(first & 0xffff_ffffn)
  }

  /** 12 bytes that are valid until the next call; undefined at the end. */
  next(): Uint8Array | undefined {
    if (this.#low === U32_MAX && this.#high === U32_MAX) return undefined
    this.#view.setUint32(0, this.#high)
    this.#view.setUint32(4, this.#low)
    if (this.#low === U32_MAX) {
      this.#low = 0
      this.#high++
    } else {
      this.#low++
    }
    return this.#nonce
  }
}

export class RecordSealer implements Sealer {
  readonly overheadBytes = TAG_BYTES
  readonly #aead: Aead
  readonly #nonces: Nonces

  constructor(aead: Aead, nonces = new Nonces()) {
    this.#aead = aead
    this.#nonces = nonces
  }

  seal(chunks: readonly Uint8Array[]): Uint8Array[] | undefined {
    const nonce = this.#nonces.next()
    return nonce === undefined ? undefined : this.#aead.seal(nonce, EMPTY, chunks)
  }
}

export class RecordOpener implements Opener {
  /** Undefined after a record that does not verify: what comes after it cannot be the next one. */
  #aead: Aead | undefined
  readonly #nonces: Nonces

  constructor(aead: Aead, nonces = new Nonces()) {
    this.#aead = aead
    this.#nonces = nonces
  }

  open(record: Uint8Array): Uint8Array | undefined {
    if (this.#aead === undefined) return undefined
    const nonce = this.#nonces.next()
    const plain = nonce === undefined ? undefined : this.#aead.open(nonce, EMPTY, record)
    if (plain === undefined) this.#aead = undefined
    return plain
  }
}
