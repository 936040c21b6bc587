// @ts-check
// The lines that people read.

/** @import { Result } from './bench.mjs' */

const COLUMNS = ['', 'what', 'peer', 'reference', 'peer', 'share', 'min..max', 'CPU µs', 'RSS MB', 'p50 µs', 'p99 µs']
const WIDTHS = [9, 30, 13, 12, 12, 6, 12, 14, 10, 13, 13]
const LEFT_ALIGNED = 3

/** @param {string} reference */
export function tableHead(reference) {
  return line(COLUMNS.map((column) => (column === 'reference' ? reference : column)))
}

/** @param {Result} result */
export function tableLine(result) {
  const { workload, title, peer, rate, referenceRate, unit, share } = result
  const { cpuMicros, rssMegabytes, p50Micros, p99Micros } = result
  return line([
    workload,
    title,
    peer,
    referenceRate === undefined ? '' : withUnit(referenceRate, unit),
    withUnit(rate, unit),
    share === undefined ? '' : share.median.toFixed(2),
    share === undefined ? '' : `${share.min.toFixed(2)}..${share.max.toFixed(2)}`,
    pair(cpuMicros, cpuMicros.peer < 100 ? 2 : 0),
    pair(rssMegabytes, 0),
    p50Micros === undefined ? '' : pair(p50Micros, 1),
    p99Micros === undefined ? '' : pair(p99Micros, 1),
  ])
}

export const LEGEND = [
  'share: of the reference in the same round (mean of its runs before and after); median, min..max over the rounds.',
  'CPU µs: user and system of both processes, per operation. RSS MB: peak of the larger process. Where two figures',
  'stand in one cell, the reference is first.',
].join('\n')

const COST_COLUMNS = ['', 'what', '', 'raw', '+ seal', 'pairlink', '+ seal', 'raw tls', 'ratio', 'of medians']
export const COST_HEAD = line(COST_COLUMNS)

/**
 * @param {import('./workloads.mjs').Workload} workload
 * @param {number[]} medians CPU µs of the reference, it sealed, pairlink, it sealed, the reference over TLS
 * @param {number} ratio
 * @param {number} ofMedians
 */
export function costLine({ id, title }, [raw, rawSealed, open, sealed, tls], ratio, ofMedians) {
  const cells = [raw, rawSealed - raw, open, sealed - open, tls].map((micros) => micros.toFixed(2))
  return line([id, title, '', ...cells, ratio.toFixed(2), ofMedians.toFixed(2)])
}

export const COST_LEGEND = [
  'CPU µs of both processes per query, medians over the rounds. + seal: what AES-256-GCM adds; to the reference by one',
  'record per write. ratio: what it adds to pairlink over what it adds to the reference, median over the rounds.',
].join('\n')

const RETENTION_COLUMNS = ['', 'what', 'per query', 'without', 'with', 'cost', 'half', 'min..max']
export const RETENTION_HEAD = line(RETENTION_COLUMNS)

/**
 * @param {import('./workloads.mjs').Workload} workload
 * @param {{ figure: string, medians: number[], ratio: import('./statistics.mjs').Spread }} compared
 */
export function retentionLine({ id, title }, { figure, medians, ratio }) {
  const percent = (/** @type {number} */ value) => ((value - 1) * 100).toFixed(1)
  const range = (/** @type {number} */ from, /** @type {number} */ to) => `${percent(from)}..${percent(to)}`
  const cells = medians.map((micros) => micros.toFixed(2))
  return line([id, title, figure, ...cells, percent(ratio.median), range(...ratio.half), range(ratio.min, ratio.max)])
}

export const RETENTION_LEGEND = [
  'CPU: user and system of both processes. cost: what the peer as it is needs more, in %: in each round the median of its',
  'turns, each against the turn without beside it; median of the rounds, where the middle half of them lies, and min..max.',
].join('\n')

/** @param {string[]} cells */
function line(cells) {
  return cells
    .map((cell, index) => (index < LEFT_ALIGNED ? cell.padEnd(WIDTHS[index]) : cell.padStart(WIDTHS[index])))
    .join(' ')
    .trimEnd()
}

/**
 * @param {number} rate
 * @param {string} unit
 */
function withUnit(rate, unit) {
  return unit === 'MB/s' ? `${Math.round(rate)} MB/s` : `${Math.round(rate).toLocaleString('en')}/s`
}

/**
 * @param {{ reference?: number, peer: number }} figures
 * @param {number} digits
 */
function pair({ reference, peer }, digits) {
  return reference === undefined ? peer.toFixed(digits) : `${reference.toFixed(digits)} ${peer.toFixed(digits)}`
}
