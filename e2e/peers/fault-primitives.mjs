// What the protocol asks of its driver: hashes and UTF-8, from Node.js.
import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'

const joined = (digest, parts) => {
  for (const part of parts) digest.update(part)
  return new Uint8Array(digest.digest())
}
export const hash = {
  sha256: (...parts) => joined(createHash('sha256'), parts),
  hmacSha256: (key, ...parts) => joined(createHmac('sha256', key), parts),
  hkdfSha256: (input, salt, info, length) => new Uint8Array(hkdfSync('sha256', input, salt, info, length)),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
export const utf8 = { encode: (text) => encoder.encode(text), decode: (bytes) => decoder.decode(bytes) }
