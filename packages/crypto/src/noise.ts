/**
 * The handshake, Noise_NNpsk0_25519_AESGCM_SHA256, written after https://noiseprotocol.org/noise.html, revision 34; without a
 * psk it is Noise_NN_25519_AESGCM_SHA256, which exists for its public vectors. It must not know what the psk is made of, what
 * the payloads say, or which library computes.
 *
 *     psk, e  →  dialer's message
 *     e, ee   ←  listener's answer
 */
import type { Hash, SealedHandshake, SealedKeys, Side } from '@pairlink/core/protocol'
import { concat, EMPTY } from './bytes.js'
import { TAG_BYTES, type Aead, type Agreement, type Provider } from './provider.js'
import { RecordOpener, RecordSealer } from './records.js'

const KEY_BYTES = 32
const MESSAGE_BYTES_MAX = 65_535
/** A key encrypts at most one payload of the handshake before the next key replaces it, so the counter is always 0. */
const NONCE = new Uint8Array(12)

type Step = 'write' | 'read' | 'finish'
const STEPS: Readonly<Record<Side, readonly Step[]>> = {
  dialer: ['write', 'read', 'finish'],
  listener: ['read', 'write', 'finish'],
}

export interface HandshakeInput {
  readonly side: Side
  readonly prologue: Uint8Array
  /** 32 random bytes, the private key of this handshake. */
  readonly ephemeral: Uint8Array
  /** 32 bytes. */
  readonly psk?: Uint8Array
}

export class Handshake implements SealedHandshake {
  readonly #provider: Provider
  readonly #hashing: Hash
  readonly #side: Side
  readonly #ephemeral: Uint8Array
  readonly #hasPsk: boolean
  #steps: readonly Step[]
  #agreement: Agreement | undefined
  /** Of both ephemeral keys, known to each side as soon as it has read. */
  #shared: Uint8Array | undefined
  #chainingKey: Uint8Array
  #hash: Uint8Array
  /** None in the first message without a psk: its payload travels in clear. */
  #aead: Aead | undefined

  constructor(provider: Provider, hashing: Hash, { side, prologue, ephemeral, psk }: HandshakeInput) {
    this.#provider = provider
    this.#hashing = hashing
    this.#side = side
    this.#ephemeral = new Uint8Array(ephemeral)
    this.#hasPsk = psk !== undefined
    this.#steps = STEPS[side]
    // A name of exactly 32 bytes, or fewer with zeros after them, stands for itself; a longer one is hashed.
    const name = new TextEncoder().encode(`Noise_NN${psk === undefined ? '' : 'psk0'}_25519_AESGCM_SHA256`)
    this.#hash =
      name.length <= KEY_BYTES ? concat([name, new Uint8Array(KEY_BYTES - name.length)]) : hashing.sha256(name)
    this.#chainingKey = this.#hash
    this.#mixHash(prologue)
    // The first token of the first message, so both sides can do it at once.
    if (psk !== undefined) this.#mixKeyAndHash(psk)
  }

  /** @throws Error when it is not this side's turn, or the payload is too long for a message */
  write(payload: Uint8Array): Uint8Array {
    this.#step('write')
    if (payload.length > MESSAGE_BYTES_MAX - KEY_BYTES - TAG_BYTES) throw new Error('the payload is too long')
    const { publicKey } = this.#own()
    this.#mixEphemeral(publicKey)
    if (this.#shared !== undefined) this.#mixKey(this.#shared)
    return concat([publicKey, ...this.#encrypt(payload)])
  }

  /** @throws Error when it is not the other side's turn */
  read(message: Uint8Array): Uint8Array | undefined {
    this.#step('read')
    const payload = this.#open(message)
    if (payload === undefined) this.#steps = []
    return payload
  }

  /** @throws Error before both messages, and the second time: two sealers with the same key would repeat its nonces */
  finish(): SealedKeys {
    this.#step('finish')
    const [toListener, toDialer] = this.#split(this.#derive(EMPTY, 2))
    const [own, theirs] = this.#side === 'dialer' ? [toListener, toDialer] : [toDialer, toListener]
    return {
      hash: this.#hash,
      sealer: new RecordSealer(this.#provider.aes256gcm(own)),
      opener: new RecordOpener(this.#provider.aes256gcm(theirs)),
    }
  }

  #step(step: Step): void {
    const [next, ...rest] = this.#steps
    if (next !== step) throw new Error(`${step}() is out of turn; next is ${next ?? 'nothing'}`)
    this.#steps = rest
  }

  #open(message: Uint8Array): Uint8Array | undefined {
    if (message.length < KEY_BYTES || message.length > MESSAGE_BYTES_MAX) return undefined
    const publicKey = new Uint8Array(message.subarray(0, KEY_BYTES))
    const sealed = message.subarray(KEY_BYTES)
    this.#mixEphemeral(publicKey)
    if (this.#side === 'dialer') {
      return this.#agree(publicKey) ? this.#decrypt(sealed) : undefined
    }
    // Agreed upon only after it has verified: it costs far more than the cipher, and strangers can ask for it. And yet
    // before our answer, so that a key of low order fails here.
    const payload = this.#decrypt(sealed)
    return payload !== undefined && this.#agree(publicKey) ? payload : undefined
  }

  #own(): Agreement {
    this.#agreement ??= this.#provider.x25519(this.#ephemeral)
    return this.#agreement
  }

  /** False for a key of low order. The dialer, who has written before, mixes the result in at once. */
  #agree(publicKey: Uint8Array): boolean {
    this.#shared = this.#own().agree(publicKey)
    // Not every runtime refuses by itself to derive zeros.
    if (this.#shared === undefined || this.#shared.every((byte) => byte === 0)) return false
    if (this.#side === 'dialer') this.#mixKey(this.#shared)
    return true
  }

  #mixHash(...data: readonly Uint8Array[]): void {
    this.#hash = this.#hashing.sha256(this.#hash, ...data)
  }

  #mixEphemeral(publicKey: Uint8Array): void {
    this.#mixHash(publicKey)
    if (this.#hasPsk) this.#mixKey(publicKey)
  }

  #mixKey(input: Uint8Array): void {
    const [chainingKey, key] = this.#split(this.#derive(input, 2))
    this.#chainingKey = chainingKey
    this.#aead = this.#provider.aes256gcm(key)
  }

  #mixKeyAndHash(input: Uint8Array): void {
    const derived = this.#derive(input, 3)
    const [chainingKey, hashed] = this.#split(derived)
    this.#chainingKey = chainingKey
    this.#mixHash(hashed)
    this.#aead = this.#provider.aes256gcm(derived.subarray(2 * KEY_BYTES))
  }

  /** HKDF of Noise is that of RFC 5869 with the chaining key as salt and nothing as info. */
  #derive(input: Uint8Array, keys: 2 | 3): Uint8Array {
    return this.#hashing.hkdfSha256(input, this.#chainingKey, EMPTY, keys * KEY_BYTES)
  }

  #split(derived: Uint8Array): [Uint8Array, Uint8Array] {
    return [derived.slice(0, KEY_BYTES), derived.slice(KEY_BYTES, 2 * KEY_BYTES)]
  }

  #encrypt(payload: Uint8Array): Uint8Array[] {
    const sealed = this.#aead === undefined ? [payload] : this.#aead.seal(NONCE, this.#hash, [payload])
    this.#mixHash(...sealed)
    return sealed
  }

  #decrypt(sealed: Uint8Array): Uint8Array | undefined {
    const payload = this.#aead === undefined ? new Uint8Array(sealed) : this.#aead.open(NONCE, this.#hash, sealed)
    this.#mixHash(sealed)
    return payload
  }
}
