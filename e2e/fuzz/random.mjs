// Numbers that look random and are the same each time, drawn from a seed.

/** @typedef {() => number} Random gives fractions from 0 to 1 */

/** Mulberry32. @returns {Random} */
export function seeded(/** @type {number} */ seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** One fraction that depends on nothing but its arguments: the order of the draws means nothing. @returns {number} */
export function drawn(/** @type {number[]} */ ...from) {
  let state = 0x811c9dc5
  for (const value of from) state = Math.imul(state ^ (value >>> 0), 0x01000193) ^ (state >>> 13)
  return seeded(state)()
}

export const below = (/** @type {Random} */ random, /** @type {number} */ bound) => Math.floor(random() * bound)

/** @template T @returns {T} */
export function pick(/** @type {Random} */ random, /** @type {readonly T[]} */ list) {
  const chosen = list[below(random, list.length)]
  if (chosen === undefined) throw new Error('nothing to pick from')
  return chosen
}

export const randomBytes = (/** @type {Random} */ random, /** @type {number} */ count) =>
  Uint8Array.from({ length: count }, () => below(random, 256))
