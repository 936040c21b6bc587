/**
 * What differs between runtimes, on Node.js and those that have its modules: the hash, the end of a turn of the loop, and how
 * bytes are kept from being transferred.
 */
import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { markAsUntransferable } from 'node:worker_threads'
import type { Hash } from '../protocol/index.js'

export const hash: Hash = {
  sha256(...parts) {
    const digest = createHash('sha256')
    for (const part of parts) digest.update(part)
    return new Uint8Array(digest.digest())
  },
  hmacSha256(key, ...parts) {
    const mac = createHmac('sha256', key)
    for (const part of parts) mac.update(part)
    return new Uint8Array(mac.digest())
  },
  hkdfSha256: (input, salt, info, lengthBytes) => new Uint8Array(hkdfSync('sha256', input, salt, info, lengthBytes)),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
}

/**
 * Bytes that share an ArrayBuffer with others, fit to be given to the application: who transfers it to a worker transfers a
 * copy, or is told by an error, and does not take the others' bytes with it.
 */
export const guarded = (bytes: Uint8Array): Uint8Array => {
  markAsUntransferable(bytes.buffer)
  return bytes
}

const nextTick = process.nextTick.bind(process)

/** After all microtasks of this turn, so that what their continuations send goes out in one write. */
export const soon = (callback: () => void): void => {
  nextTick(callback)
}
