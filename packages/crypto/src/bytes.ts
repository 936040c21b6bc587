/** Small things about bytes, for every runtime. It knows nothing of what they mean. */

export const EMPTY = new Uint8Array(0)

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const kindOfTypedArray = Object.getOwnPropertyDescriptor(typedArray, Symbol.toStringTag) as {
  get(): string | undefined
}

/** True also for a Uint8Array of another realm, as test runners have them. */
export function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array || (ArrayBuffer.isView(value) && kindOfTypedArray.get.call(value) === 'Uint8Array')
}

export function concat(chunks: readonly Uint8Array[]): Uint8Array {
  let lengthBytes = 0
  for (const chunk of chunks) lengthBytes += chunk.length
  const whole = new Uint8Array(lengthBytes)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
