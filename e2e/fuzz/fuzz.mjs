// Runs targets on inputs drawn from a seed until the time is over or something was found, one target after another in turns,
// and counts.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { keep, kept } from './corpus.mjs'
import { encodeInput } from './inputs.mjs'
import { seeded } from './random.mjs'
import { inputFor } from './targets.mjs'

/**
 * @import { Input } from './inputs.mjs'
 * @import { Target } from './targets.mjs'
 *
 * @typedef {object} Counts
 * @property {string} target
 * @property {number} runs
 * @property {number} bytes
 * @property {Map<string, number>} ends
 * @property {number} slowestMs
 * @property {number} heapBytes after the last turn, garbage collected
 * @property {number} growthBytes of the heap since the first turn
 *
 * @typedef {object} Found
 * @property {string} target
 * @property {Input} input
 * @property {unknown} error
 *
 * @typedef {object} Options
 * @property {readonly Target[]} targets
 * @property {number} seed
 * @property {number} [runs] ends after so many of each target
 * @property {number} [forMs] ends after so long
 * @property {boolean} [isGrowing] keeps inputs that end in a way of their own
 */

const TURN_MS = 1000
/** A run takes about a millisecond; a busy machine may add something, a loop without an end adds more. */
const RUN_MS_MAX = 5000
const GROWTH_BYTES_MAX = 64 * 1024 * 1024
/** The corpus stays small: what is rare is found again from the seeds. */
const KEPT_BYTES_MAX = 1024
const KEPT_MAX = 16

/** @returns {Promise<{ counts: Counts[], found: Found | undefined, fresh: number, grown: string[] }>} */
export async function fuzz(
  /** @type {Options} */ { targets, seed, runs = Infinity, forMs = Infinity, isGrowing = false },
) {
  const collect = collector()
  const until = performance.now() + forMs
  let fresh = 0
  /** @type {string[]} */
  const grown = []
  const all = targets.map((target, index) => ({
    target,
    random: seeded((seed + 0x9e3779b9 * (index + 1)) >>> 0),
    inputs: kept(target).map(({ input }) => input),
    known: new Set(),
    heapAtFirst: 0,
    counts: { target: target.name, runs: 0, bytes: 0, ends: new Map(), slowestMs: 0, heapBytes: 0, growthBytes: 0 },
  }))
  const finish = (/** @type {Found | undefined} */ found) => ({
    counts: all.map(({ counts }) => counts),
    found,
    fresh,
    grown,
  })

  for (const one of all) {
    for (const input of [...one.target.honest(), ...one.inputs]) {
      const { outcome, found } = await attempt(one.target, input, one.counts)
      if (found !== undefined) return finish(found)
      one.known.add(outcome?.end)
    }
  }
  for (let turn = 0; ; turn++) {
    for (const one of all) {
      const turnEnd = runs === Infinity ? Math.min(until, performance.now() + TURN_MS) : until
      for (let run = 0; run < runs && performance.now() < turnEnd; run++) {
        const input = inputFor(one.target, one.random, one.inputs)
        const { outcome, found } = await attempt(one.target, input, one.counts)
        if (found !== undefined) return finish(found)
        if (outcome === undefined || one.known.has(outcome.end)) continue
        one.known.add(outcome.end)
        const small = await smaller(one.target, input, outcome.end)
        if (small.pieces.reduce((sum, { length }) => sum + length, 0) > KEPT_BYTES_MAX) continue
        fresh++
        one.inputs.push(small)
        if (isGrowing && one.inputs.length <= KEPT_MAX) grown.push(keep(one.target, small))
      }
      const heapBytes = collect()
      one.heapAtFirst ||= heapBytes
      one.counts.heapBytes = heapBytes
      one.counts.growthBytes = heapBytes - one.heapAtFirst
      if (one.counts.growthBytes > GROWTH_BYTES_MAX) {
        const error = new Error(`the heap has grown by ${one.counts.growthBytes} bytes in ${one.counts.runs} runs`)
        return finish({ target: one.target.name, input: { seed, pieces: [] }, error })
      }
      if (performance.now() >= until) return finish(undefined)
    }
    if (runs !== Infinity) return finish(undefined)
  }
}

/** What is to be said of a finding, and how to see it again. */
export function report(
  /** @type {Found} */ { target, input, error },
  /** @type {string} */ file,
  /** @type {number} */ seed,
) {
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return [
    `FOUND by ${target}, seed ${seed}: ${what}`,
    'Its input:',
    encodeInput(input).trimEnd(),
    `It is kept in ${file}. To see it again: npm run fuzz -- --target ${target} --replay ${file}`,
  ].join('\n')
}

/** One line for a target. */
export function lineOf(/** @type {Counts} */ { target, runs, bytes, ends, slowestMs, heapBytes, growthBytes }) {
  /** @type {Map<string, number>} */
  const kinds = new Map()
  for (const [end, count] of ends) {
    const kind = end.replace(/: .*/, '')
    kinds.set(kind, (kinds.get(kind) ?? 0) + count)
  }
  const told = [...kinds].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${count}`)
  const mib = (/** @type {number} */ of) => (of / 1024 / 1024).toFixed(1)
  return (
    `${target}: ${runs} runs · ${mib(bytes)} MiB · ${ends.size} ends (${told.join(', ')}) · ` +
    `slowest ${slowestMs.toFixed(1)} ms · heap ${mib(heapBytes)} MiB (${growthBytes < 0 ? '' : '+'}${mib(growthBytes)})`
  )
}

/** @returns {Promise<{ outcome?: import('./targets.mjs').Outcome, found?: Found }>} */
export async function attempt(/** @type {Target} */ target, /** @type {Input} */ input, /** @type {Counts} */ counts) {
  const startedAt = performance.now()
  try {
    const running = target.run(input)
    const outcome = running instanceof Promise ? await running : running
    const tookMs = performance.now() - startedAt
    if (tookMs > RUN_MS_MAX) throw new Error(`it took ${tookMs} ms`)
    counts.runs++
    counts.bytes += outcome.bytes
    counts.slowestMs = Math.max(counts.slowestMs, tookMs)
    counts.ends.set(outcome.end, (counts.ends.get(outcome.end) ?? 0) + 1)
    return { outcome }
  } catch (error) {
    return { found: { target: target.name, input, error } }
  }
}

/** The same without the pieces that do not matter for how it ends. */
async function smaller(/** @type {Target} */ target, /** @type {Input} */ input, /** @type {string} */ end) {
  let pieces = [...input.pieces]
  for (let at = pieces.length - 1; at >= 0; at--) {
    const fewer = pieces.toSpliced(at, 1)
    try {
      if ((await target.run({ seed: input.seed, pieces: fewer })).end === end) pieces = fewer
    } catch {
      // Found by itself sooner or later; here it only is not the same.
    }
  }
  return { seed: input.seed, pieces }
}

/** Collects the garbage and gives what is left, in bytes. */
function collector() {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  return () => {
    collect()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
}
