// @ts-check
// Medians and shares. Absolute figures drift with the host, so a share is made within a round: against the mean of the
// reference's runs just before and just after it.

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * The middle half of the rounds lies in `half`.
 * @typedef {{ median: number, half: [number, number], min: number, max: number, rounds: number[] }} Spread
 *
 * @param {number[]} rounds
 * @returns {Spread}
 */
export function spread(rounds) {
  const sorted = rounds.toSorted((a, b) => a - b)
  const last = sorted.length - 1
  const quarter = Math.floor(last / 4)
  return {
    median: median(rounds),
    half: [sorted[quarter], sorted[last - quarter]],
    min: sorted[0],
    max: sorted[last],
    rounds,
  }
}

/**
 * @param {number[]} reference one more than there are rounds
 * @param {number[]} rounds
 * @returns {Spread}
 */
export function share(reference, rounds) {
  return spread(rounds.map((value, round) => value / ((reference[round] + reference[round + 1]) / 2)))
}
