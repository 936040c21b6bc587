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
 * @param {number[]} reference one more than there are rounds
 * @param {number[]} rounds
 * @returns {{ median: number, min: number, max: number, rounds: number[] }}
 */
export function share(reference, rounds) {
  const shares = rounds.map((value, round) => value / ((reference[round] + reference[round + 1]) / 2))
  return { median: median(shares), min: Math.min(...shares), max: Math.max(...shares), rounds: shares }
}
