// @ts-check
// The benchmark's command line: runs every workload for the reference and the other peers in turn, as two processes
// each, once on one core and once free, and prints what share of the reference each reaches in the same round.

import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { runInTurns, runPair, whyNotPinned } from './pair.mjs'
import { hottest } from './profile.mjs'
import { buildVariants, checkVariants, WITH, WITHOUT } from './retention.mjs'
import { median, share, spread } from './statistics.mjs'
import { COST_HEAD, COST_LEGEND, costLine, LEGEND, tableHead, tableLine } from './table.mjs'
import { RETENTION_HEAD, RETENTION_LEGEND, retentionLine } from './table.mjs'
import { WORKLOADS } from './workloads.mjs'

/**
 * @import { Placement, Run } from './pair.mjs'
 * @import { Workload } from './workloads.mjs'
 *
 * Figures of a peer beside those of the reference in the same run; all are medians over the rounds.
 * @typedef {{ reference?: number, peer: number }} Figures
 *
 * @typedef {object} Result
 * @property {Placement} placement
 * @property {string} workload
 * @property {string} title
 * @property {string} reference
 * @property {string} peer
 * @property {'per second' | 'MB/s'} unit
 * @property {number} rate
 * @property {number} [referenceRate]
 * @property {import('./statistics.mjs').Spread} [share]
 * @property {Figures} cpuMicros of both processes, per operation
 * @property {Figures} rssMegabytes
 * @property {Figures} [p50Micros]
 * @property {Figures} [p99Micros]
 * @property {Run[]} runs
 * @property {Run[]} [referenceRuns]
 */

const USAGE = `Usage: npm run bench -- [options]

  --quick         short runs, some minutes in all
  --json FILE     writes all figures to FILE
  --rounds N      how often each peer runs (3 with --quick, otherwise 5)
  --only IDS      some lines only: W2, or W2,W4-borrow
  --all           strings and JSON objects, too
  --peers NAMES   the reference first, instead of raw,pairlink and then ws,pairlink-ws; also pairlink-sealed,
                  raw-sealed, raw-tls, raw-unbatched
  --cost          what encryption costs, against what it costs the reference (W2, W3, W4; on one core)
  --retention     what keeping frames for a resume and acknowledging them costs (W1, W2), against a build without it
  --pin WHERE     one: both processes on one core; free: where the scheduler puts them; both
  --profile       takes CPU profiles of both processes instead of comparing
  --profile-to FOLDER`

const QUICK = { rounds: 3, warmUpMs: 250, measureMs: 600 }
const FULL = { rounds: 5, warmUpMs: 700, measureMs: 1500 }
/** The reference first, for what a transport carries its bytes on. */
const COMPARISONS = [
  ['raw', 'pairlink'],
  ['ws', 'pairlink-ws'],
]
/** In this order the ratio is made of their CPU times; the last one is only shown. */
const COST_PEERS = ['raw', 'raw-sealed', 'pairlink', 'pairlink-sealed', 'raw-tls']
const COST_WORKLOADS = ['W2', 'W3', 'W4']
const RETENTION_WORKLOADS = ['W1', 'W2']
/** A round has so many parts, each measured with and without, by processes that have run for longer than others. */
const RETENTION_TURNS = 20
const RETENTION_LONGER = 3
const HOTTEST_COUNT = 15
const PLACEMENT_TITLES = { one: 'both processes on one core', free: 'where the scheduler puts them' }

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string' },
    all: { type: 'boolean', default: false },
    peers: { type: 'string' },
    cost: { type: 'boolean', default: false },
    retention: { type: 'boolean', default: false },
    pin: { type: 'string', default: 'both' },
    profile: { type: 'boolean', default: false },
    'profile-to': { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

if (flags.help) {
  console.log(USAGE)
} else {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'bench-'))
  try {
    const run = flags.retention ? retention : flags.cost ? cost : flags.profile ? profile : compare
    await run(folder)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** @param {string} folder */
async function compare(folder) {
  const settings = chosenSettings()
  const comparisons = flags.peers === undefined ? COMPARISONS : [flags.peers.split(',')]
  const placements = chosenPlacements()
  const workloads = chosenWorkloads()
  const host = describeHost()
  console.log(`${host.cpu}, ${host.cores} cores, Node ${host.node}; ${settings.rounds} rounds, interleaved`)

  /** @type {Result[]} */
  const results = []
  /** @type {{ placement: Placement, reference: string, workload: string, error: string }[]} */
  const failures = []
  for (const placement of placements) {
    for (const peers of comparisons) {
      const [reference] = peers
      console.log(`\n${PLACEMENT_TITLES[placement]}\n${tableHead(reference)}`)
      for (const workload of workloads) {
        try {
          const runs = await runInterleaved({ peers, workload, placement, folder, ...settings })
          for (const result of summarize(peers, runs, workload, placement)) {
            results.push(result)
            console.log(tableLine(result))
          }
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error)
          failures.push({ placement, reference, workload: workload.id, error: reason })
          console.log(`${workload.id.padEnd(9)} failed: ${reason.split('\n')[0]}`)
          process.exitCode = 1
        }
      }
    }
  }
  console.log(`\n${LEGEND}`)
  if (flags.json !== undefined) {
    const report = { date: new Date().toISOString(), host, settings, results, failures }
    await writeFile(flags.json, `${JSON.stringify(report, undefined, 2)}\n`)
    console.log(`figures: ${flags.json}`)
  }
}

/**
 * The peers one after the other, again and again, and the reference once more at the end.
 * @param {{ peers: string[], workload: Workload, placement: Placement, folder: string,
 *   peersFolder?: string, rounds: number, warmUpMs: number, measureMs: number }} options
 * @returns {Promise<Run[][]>} by the peer's index
 */
async function runInterleaved({ peers, rounds, ...options }) {
  /** @type {Run[][]} */
  const runs = peers.map(() => [])
  for (let round = 0; round < rounds; round++) {
    for (const [index, peer] of peers.entries()) runs[index].push(await runPair({ peer, ...options }))
  }
  if (peers.length > 1) runs[0].push(await runPair({ peer: peers[0], ...options }))
  return runs
}

/**
 * @param {string[]} peers
 * @param {Run[][]} runs
 * @param {Workload} workload
 * @param {Placement} placement
 * @returns {Result[]} one for each peer but the reference; or the reference alone
 */
function summarize(peers, runs, workload, placement) {
  const messageMegabytes = (workload.bytes ?? 0) / 1e6
  const alone = peers.length === 1
  const reference = alone ? undefined : runs[0]

  return peers.slice(alone ? 0 : 1).map((peer, index) => {
    const own = runs[alone ? index : index + 1]
    const rate = (/** @type {Run} */ run) => run.perSecond * (messageMegabytes || 1)
    const middle = (/** @type {(run: Run) => number} */ figure) => ({
      reference: reference && median(reference.map(figure)),
      peer: median(own.map(figure)),
    })
    const rates = middle(rate)
    const measuresLatency = own[0].latency !== undefined
    return {
      placement,
      workload: workload.id,
      title: workload.title,
      reference: peers[0],
      peer,
      unit: messageMegabytes > 0 ? 'MB/s' : 'per second',
      rate: rates.peer,
      referenceRate: rates.reference,
      share: reference && share(reference.map(rate), own.map(rate)),
      cpuMicros: middle((run) => run.cpuMicrosPerOperation),
      rssMegabytes: middle((run) => run.rssBytesMax / 1e6),
      p50Micros: measuresLatency ? middle((run) => run.latency?.p50Micros ?? NaN) : undefined,
      p99Micros: measuresLatency ? middle((run) => run.latency?.p99Micros ?? NaN) : undefined,
      runs: own,
      referenceRuns: reference,
    }
  })
}

/**
 * What encryption adds to the CPU time of both processes, against what one record per write adds to the reference.
 * @param {string} folder
 */
async function cost(folder) {
  const settings = chosenSettings()
  const placement = whyNotPinned() === undefined ? 'one' : 'free'
  const host = describeHost()
  console.log(`${host.cpu}, ${host.cores} cores, Node ${host.node}; ${settings.rounds} rounds, interleaved`)
  console.log(`${PLACEMENT_TITLES[placement]}\n${COST_HEAD}`)
  const lines = []
  for (const workload of chosenWorkloads(COST_WORKLOADS)) {
    const runs = await runInterleaved({ peers: COST_PEERS, workload, placement, folder, ...settings })
    const rounds = Array.from({ length: settings.rounds }, (_, round) =>
      runs.map((of) => of[round].cpuMicrosPerOperation),
    )
    const medians = COST_PEERS.map((_, peer) => median(rounds.map((round) => round[peer])))
    const ratio = median(rounds.map(([raw, rawSealed, open, sealed]) => (sealed - open) / (rawSealed - raw)))
    lines.push({ workload: workload.id, peers: COST_PEERS, medians, ratio, ofMedians: ratioOf(medians), rounds })
    console.log(costLine(workload, medians, ratio, ratioOf(medians)))
  }
  console.log(`\n${COST_LEGEND}`)
  if (flags.json !== undefined)
    await writeFile(flags.json, `${JSON.stringify({ host, settings, lines }, undefined, 2)}\n`)
}

/** @param {number[]} cpuMicros in the order of `COST_PEERS` */
function ratioOf([raw, rawSealed, open, sealed]) {
  return (sealed - open) / (rawSealed - raw)
}

/**
 * What a session that can be resumed costs: the peer as it is, against one that keeps nothing and acknowledges nothing.
 * @param {string} folder
 */
async function retention(folder) {
  const settings = chosenSettings()
  settings.warmUpMs *= RETENTION_LONGER
  settings.measureMs *= RETENTION_LONGER
  const placements = chosenPlacements()
  const workloads = chosenWorkloads(RETENTION_WORKLOADS)
  const strange = workloads.find(({ workload }) => !RETENTION_WORKLOADS.includes(workload))
  if (strange !== undefined) throw new Error(`--retention is for ${RETENTION_WORKLOADS.join(' and ')} only`)
  await buildVariants(folder)
  const host = describeHost()
  console.log(`${host.cpu}, ${host.cores} cores, Node ${host.node}; ${settings.rounds} rounds, interleaved`)
  const lines = []
  /** @type {[without: Run[], withIt: Run[]]} */
  const all = [[], []]
  for (const placement of placements) {
    console.log(`\n${PLACEMENT_TITLES[placement]}\n${RETENTION_HEAD}`)
    for (const workload of workloads) {
      /** @type {Run[][][]} by round */
      const rounds = []
      for (let round = 0; round < settings.rounds; round++) {
        const options = { workload, placement, folder, peersFolder: folder, ...settings }
        const pairs = [WITHOUT, WITH].map((peer) => ({ peer, ...options }))
        rounds.push(await runInTurns(pairs, RETENTION_TURNS))
      }
      rounds.forEach((runs) => runs.forEach((of, index) => all[index].push(...of)))
      const figures = {
        'CPU µs': (/** @type {Run} */ run) => run.cpuMicrosPerOperation,
        'wall µs': (/** @type {Run} */ run) => 1e6 / run.perSecond,
      }
      for (const [name, figure] of Object.entries(figures)) {
        const ratios = rounds.map(([without, withIt]) =>
          median(without.map((run, turn) => figure(withIt[turn]) / figure(run))),
        )
        const medians = [0, 1].map((index) => median(rounds.flatMap((runs) => runs[index].map(figure))))
        const line = { placement, workload: workload.id, figure: name, medians, ratio: spread(ratios) }
        lines.push(line)
        console.log(retentionLine(workload, line))
      }
    }
  }
  console.log(`\n${RETENTION_LEGEND}\n${checkVariants(...all)}`)
  if (flags.json !== undefined)
    await writeFile(flags.json, `${JSON.stringify({ host, settings, lines }, undefined, 2)}\n`)
}

function chosenSettings() {
  const settings = { ...(flags.quick ? QUICK : FULL) }
  if (flags.rounds !== undefined) settings.rounds = Number(flags.rounds)
  if (!Number.isInteger(settings.rounds) || settings.rounds < 1) throw new Error('--rounds takes a number from 1')
  return settings
}

/** @param {string} folder */
async function profile(folder) {
  const profileFolder = path.resolve(flags['profile-to'] ?? path.join(os.tmpdir(), `bench-profiles-${process.pid}`))
  await mkdir(profileFolder, { recursive: true })
  const { warmUpMs, measureMs } = flags.quick ? QUICK : FULL
  for (const peer of (flags.peers ?? 'pairlink').split(',')) {
    for (const placement of chosenPlacements()) {
      for (const workload of chosenWorkloads()) {
        const run = await runPair({ peer, workload, placement, folder, warmUpMs, measureMs, profileFolder })
        const rate = Math.round(run.perSecond).toLocaleString('en')
        const title = `${workload.id} (${workload.title}), ${peer}, ${PLACEMENT_TITLES[placement]}`
        console.log(`\n${title}: ${rate}/s, profiled`)
        for (const file of run.profiles) console.log(`${file}\n${(await hottest(file, HOTTEST_COUNT)).join('\n')}`)
      }
    }
  }
  console.log(`\nprofiles, to be opened in a browser's developer tools: ${profileFolder}`)
}

/** @returns {Placement[]} */
function chosenPlacements() {
  if (!['one', 'free', 'both'].includes(flags.pin)) throw new Error('--pin takes one, free or both')
  const whyNot = flags.pin === 'free' ? undefined : whyNotPinned()
  if (whyNot !== undefined) console.log(`not pinned to one core: ${whyNot}`)
  if (whyNot !== undefined && flags.pin === 'one') throw new Error('--pin one cannot be done here')
  if (flags.pin === 'both') return whyNot === undefined ? ['one', 'free'] : ['free']
  return [/** @type {Placement} */ (flags.pin)]
}

/**
 * @param {string[]} [defaults]
 * @returns {Workload[]}
 */
function chosenWorkloads(defaults) {
  const only = flags.only?.split(',') ?? defaults
  for (const id of only ?? []) {
    const known = WORKLOADS.map((workload) => workload.id)
    if (!known.includes(id)) throw new Error(`--only: there is no ${id}, only ${known.join(', ')}`)
  }
  return WORKLOADS.filter(({ id, workload, onlyWithAll }) => {
    if (only?.includes(id)) return true
    return (flags.all || !onlyWithAll) && (only === undefined || only.includes(workload))
  })
}

function describeHost() {
  return { cpu: os.cpus()[0]?.model ?? 'unknown CPU', cores: os.availableParallelism(), node: process.versions.node }
}
