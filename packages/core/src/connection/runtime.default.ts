/** What differs between runtimes, where there are no Node.js modules: browsers above all. */
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import type { Hash } from '../protocol/index.js'

export const hash: Hash = {
  sha256(...parts) {
    const digest = sha256.create()
    for (const part of parts) digest.update(part)
    return digest.digest()
  },
  hmacSha256(key, ...parts) {
    const mac = hmac.create(sha256, key)
    for (const part of parts) mac.update(part)
    return mac.digest()
  },
  hkdfSha256: (input, salt, info, lengthBytes) => hkdf(sha256, input, salt, info, lengthBytes),
  equal(a, b) {
    if (a.length !== b.length) return false
    let difference = 0
    for (let at = 0; at < a.length; at++) difference |= (a[at] ?? 0) ^ (b[at] ?? 0)
    return difference === 0
  },
}

/** Nothing keeps an ArrayBuffer from being transferred here, so the bytes get one of their own. */
export const guarded = (bytes: Uint8Array): Uint8Array => bytes.slice()

const { queueMicrotask } = globalThis

export const soon = (callback: () => void): void => {
  queueMicrotask(callback)
}
