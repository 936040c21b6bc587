/**
 * What the protocol needs from its runtime and cannot have itself, as synchronous interfaces. It must not know who
 * implements them: Node's crypto, a portable library, or a test.
 */

export interface Hash {
  /** SHA-256 over the parts, one after another: 32 bytes. */
  sha256(...parts: readonly Uint8Array[]): Uint8Array
  /** HMAC-SHA-256 (RFC 2104) over the parts, one after another: 32 bytes. */
  hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array
  /** HKDF-SHA-256 (RFC 5869): `lengthBytes` bytes, at most 255 × 32. */
  hkdfSha256(input: Uint8Array, salt: Uint8Array, info: Uint8Array, lengthBytes: number): Uint8Array
  /** Compares in a time that depends on the lengths alone. */
  equal(a: Uint8Array, b: Uint8Array): boolean
}

export interface Utf8 {
  encode(text: string): Uint8Array
  /** Throws on bytes that are not UTF-8. Keeps a byte order mark, so that text arrives as it was sent. */
  decode(bytes: Uint8Array): string
}
