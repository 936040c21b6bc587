/** Bytes that say where they belong: a long stream without a period that is short, and a check of what arrived of it. */

/** A prime, so that no size of chunks repeats it. */
const PERIOD_BYTES = 1_000_003

const base = ((): Uint8Array => {
  const bytes = new Uint8Array(PERIOD_BYTES)
  let state = 0x2545f491
  for (let at = 0; at < bytes.length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
})()

/** A copy of the stream from `at` on. */
export function streamBytes(at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const from = (at + done) % PERIOD_BYTES
    const part = base.subarray(from, Math.min(PERIOD_BYTES, from + length - done))
    bytes.set(part, done)
    done += part.length
  }
  return bytes
}

/** Where the chunk first differs from the stream at `at`; -1 when it does not. */
export function firstDifference(chunk: Uint8Array, at: number): number {
  let from = at % PERIOD_BYTES
  for (let place = 0; place < chunk.length; place++) {
    if (chunk[place] !== base[from]) return place
    if (++from === PERIOD_BYTES) from = 0
  }
  return -1
}

export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}
