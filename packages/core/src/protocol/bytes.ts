/**
 * Bytes as others hand them over. Most of Node.js are a Buffer: a Uint8Array whose `slice` does not copy, and of which views are
 * Buffers again.
 */

/** The same bytes as a plain Uint8Array, whose `slice` copies and whose shape is always the same. */
export function plain(bytes: Uint8Array): Uint8Array {
  return bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A copy, of whatever kind they are. */
export function copied(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}
