// `npm run sim`: simulated sessions of whole processes, each from a seed of its own; see packages/testkit/src/sim. A failure prints
// its seed, the commit, and the shortest schedule that was found to fail in the same way.
import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { root, setUp } from './setup.mjs'

const USAGE = `Usage: npm run sim -- [--seed N] [--count M] [options]

  --seed N      the first seed; drawn and printed when it is left out
  --count M     how many sessions, with seeds from N on; 1 by default
  --trace       prints what happens in each session
  --workers W   how many threads; as many as there are processors by default
  --kit FILE    what to run instead of the built packages: a module that exports what they do
  --built       everything is built already`

/** What one thread takes at a time. */
const BLOCK = 50
const FAILURES_SHOWN_MAX = 5
const KEY = new Uint8Array(32).fill(1)

if (isMainThread) await main()
else await work()

async function main() {
  const options = readOptions()
  if (options === undefined) return
  const { seed, count, isTracing, kit } = options
  if (!options.isBuilt) setUp('packages')
  if (isTracing) {
    const run = await runner(kit)
    for (let at = seed; at < seed + count; at++) {
      const { findings } = await run(at, console.log)
      if (findings.length > 0) process.exitCode = 1
    }
    return
  }
  const startedAt = performance.now()
  console.log(`seed ${seed}`)
  const total = { frames: 0, cuts: 0, resumes: 0, resets: 0, calls: 0, handled: 0 }
  let [sessions, failures, next] = [0, 0, seed]
  /** @type {Map<string, number>} */
  const rules = new Map()
  await Promise.all(
    Array.from({ length: Math.min(options.workers, Math.ceil(count / BLOCK)) }, async () => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { kit } })
      try {
        while (next < seed + count) {
          const from = next
          const to = (next = Math.min(from + BLOCK, seed + count))
          worker.postMessage({ from, to })
          const report = await new Promise((resolve, reject) => {
            worker.once('message', resolve)
            worker.once('error', reject)
          })
          worker.removeAllListeners('error')
          sessions += to - from
          for (const name of /** @type {(keyof typeof total)[]} */ (Object.keys(total)))
            total[name] += report.counts[name]
          for (const failure of report.failures) {
            rules.set(failure.rule, (rules.get(failure.rule) ?? 0) + 1)
            if (++failures <= FAILURES_SHOWN_MAX) console.error(describe(failure))
          }
          if (options.isStopping && failures > 0) next = seed + count
        }
      } finally {
        await worker.terminate()
      }
    }),
  )
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
  if (failures > 0)
    console.error(`failures by rule: ${[...rules].map(([rule, times]) => `${rule} ${times}`).join(', ')}`)
  const counted = Object.entries({ sessions, ...total }).map(([name, value]) => `${name} ${value}`)
  console.log([...counted, `failures ${failures}`, `seconds ${seconds}`, `seed ${seed}`].join(' · '))
  if (failures > 0) process.exitCode = 1
}

/** A thread: sessions by the block, and for the first failure of a block the shortest schedule. */
async function work() {
  const { kit } = /** @type {{ kit: string | undefined }} */ (workerData)
  const run = await runner(kit)
  parentPort?.on('message', async ({ from, to }) => {
    /** @type {Record<string, number>} */
    const counts = {}
    const failures = []
    for (let seed = from; seed < to; seed++) {
      const report = await run(seed)
      for (const [name, value] of Object.entries(report.counts)) counts[name] = (counts[name] ?? 0) + value
      const [finding] = report.findings
      if (finding === undefined) continue
      const schedule = failures.length === 0 ? await run.shrink(seed, finding.rule) : undefined
      failures.push({ seed, ...finding, schedule })
    }
    parentPort?.postMessage({ counts, failures })
  })
}

async function runner(/** @type {string | undefined} */ kit) {
  // The places of errors would cost more than the sessions.
  Error.stackTraceLimit = 0
  const { aes256gcm, drawSchedule, runSession, shrink } =
    kit === undefined
      ? { ...(await import('@pairlink/testkit')), ...(await import('@pairlink/crypto')) }
      : await import(kit)
  const { naiveCipher } = await import('../e2e/fuzz/ciphers.mjs')
  const encryptions = { sealed: aes256gcm(KEY), custom: naiveCipher }
  const run = (/** @type {number} */ seed, /** @type {((line: string) => void) | undefined} */ trace) =>
    runSession(drawSchedule(seed), { encryptions, trace })
  run.shrink = (/** @type {number} */ seed, /** @type {string} */ rule) =>
    shrink(drawSchedule(seed), rule, { encryptions })
  return run
}

function describe(/** @type {any} */ { seed, rule, text, atMs, schedule }) {
  const lines = [
    `FAILED ${rule} at ${atMs.toFixed(1)} ms: ${text}`,
    `  seed ${seed}, commit ${commit()}; npm run sim -- --seed ${seed} --trace`,
  ]
  if (schedule !== undefined) {
    const { steps, ...rest } = schedule
    lines.push(
      `  the shortest schedule found: ${JSON.stringify(rest)}`,
      ...steps.map((/** @type {unknown} */ step) => `    ${JSON.stringify(step)}`),
    )
  }
  return lines.join('\n')
}

function commit() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
        count: { type: 'string', default: '1' },
        workers: { type: 'string', default: String(availableParallelism()) },
        trace: { type: 'boolean', default: false },
        kit: { type: 'string' },
        'stop-at-first': { type: 'boolean', default: false },
        built: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      return undefined
    }
    const [seed, count, workers] = [Number(values.seed), Number(values.count), Number(values.workers)]
    if (!Number.isSafeInteger(seed) || seed < 0) throw new Error('--seed takes a whole number from 0')
    if (!Number.isSafeInteger(count) || count < 1) throw new Error('--count takes a whole number from 1')
    if (!Number.isSafeInteger(workers) || workers < 1) throw new Error('--workers takes a whole number from 1')
    const { trace: isTracing, kit, built: isBuilt } = values
    return {
      seed,
      count,
      workers,
      isTracing,
      kit,
      isBuilt: isBuilt || kit !== undefined,
      isStopping: values['stop-at-first'],
    }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    process.exitCode = 2
    return undefined
  }
}
