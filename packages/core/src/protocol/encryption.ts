/**
 * What a link needs to encrypt (PROTOCOL.md, section 11), as synchronous interfaces that `@pairlink/crypto` and users
 * implement. It must not know any algorithm.
 */
import type { Side } from './hello.js'
import type { Hash } from './primitives.js'

/** The option `encryption` of a Connection. */
export type Encryption = SealedEncryption | CustomEncryption

/** A key agreement inside the handshake, with fresh keys for each link. */
export interface SealedEncryption {
  readonly mode: 'sealed'
  /**
   * Begins the handshake of one link.
   * @param secret the user's, which the pre-shared key is made of together with the key that the implementation holds
   * @param prologue what both sides must have read alike
   * @param ephemeral 32 random bytes that serve this link alone: the private key
   * @param hash the connection's own, so that a page does not load SHA-256 twice
   */
  begin(side: Side, secret: Uint8Array, prologue: Uint8Array, ephemeral: Uint8Array, hash: Hash): SealedHandshake
}

/** Two messages, the dialer's and the listener's answer. */
export interface SealedHandshake {
  /** Our message, which carries the payload. */
  write(payload: Uint8Array): Uint8Array
  /** The payload of the other side's message; undefined when it does not verify, and then the handshake is of no use. */
  read(message: Uint8Array): Uint8Array | undefined
  /** After both messages. */
  finish(): SealedKeys
}

export interface SealedKeys {
  /** 32 bytes that are the same on both sides of this link and on no other. */
  readonly hash: Uint8Array
  readonly sealer: Sealer
  readonly opener: Opener
}

/** One direction. Its key serves this link alone, and its counter rises with each record. */
export interface Sealer {
  /** Bytes that a record has beyond its plaintext. */
  readonly overheadBytes: number
  /**
   * The ciphertext of the chunks, one after another, as one record in pieces. The pieces are new: the chunks are free
   * afterwards. Undefined when the counter is at its end.
   */
  seal(chunks: readonly Uint8Array[]): Uint8Array[] | undefined
}

export interface Opener {
  /** Why the last record did not verify, where the cipher has said so. */
  readonly failure?: unknown
  /** The plaintext of the next record, in bytes of its own; undefined when it does not verify, or the counter is at its end. */
  open(record: Uint8Array): Uint8Array | undefined
}

/** A cipher of the user's, under which core puts what a naive one lacks: link, direction and counter of each record. */
export interface CustomEncryption {
  readonly mode: 'custom'
  /** 1 to 64 bytes of UTF-8; both sides must say the same. */
  readonly cipherName: string
  /** May make a record at most 256 bytes longer. */
  encrypt(plain: Uint8Array): Uint8Array
  /** Throws, or gives undefined, for what was not encrypted with the same key. */
  decrypt(record: Uint8Array): Uint8Array | undefined
}
