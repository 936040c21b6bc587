/**
 * The algorithms that encryption is made of, as one synchronous interface, so that the handshake and the records are
 * written once. It must not know Noise: what is hashed, agreed and encrypted is its user's concern.
 */

export interface Provider {
  /** @param privateKey 32 bytes */
  x25519(privateKey: Uint8Array): Agreement
  /** AES-256-GCM under one key of 32 bytes. */
  aes256gcm(key: Uint8Array): Aead
}

/** Our half of one X25519 key agreement. */
export interface Agreement {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /**
   * The 32 bytes that both sides get; undefined when the other side's key is of low order, which makes them zeros.
   * @param publicKey 32 bytes
   */
  agree(publicKey: Uint8Array): Uint8Array | undefined
}

/** The nonce, 12 bytes, is the caller's to choose, and never twice; it is read before these return. */
export interface Aead {
  /** Ciphertext of the chunks, one after another, and the tag of 16 bytes, in new pieces. */
  seal(nonce: Uint8Array, associated: Uint8Array, chunks: readonly Uint8Array[]): Uint8Array[]
  /** The plaintext in an ArrayBuffer of its own; undefined when the tag is wrong, or not all there. */
  open(nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined
}

export const TAG_BYTES = 16
