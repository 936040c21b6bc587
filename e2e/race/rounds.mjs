// Races real processes for one address, round after round, and judges each round: exactly one listens, exactly two are
// paired and agree on each other, every other one is told so, nobody hangs, and nothing is left behind. The processes live
// for many rounds, released at the same instant; in some rounds they are started afresh. Stale addresses are real: they were
// left by processes that were killed.
import { fork } from 'node:child_process'
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * @import { Address, Go } from './racer.mjs'
 *
 * @typedef {object} RaceOptions
 * @property {number} rounds
 * @property {number} processes
 * @property {'stale' | 'clean' | 'mixed'} state whether a killed process left the address; mixed is drawn for each round
 * @property {'unix' | 'tcp'} address
 * @property {boolean} [isAbstract] lock by a name instead of `flock`
 * @property {{ pauseMs: number }} [recipe] race the usual recipe instead of pairlink; it pauses for about that long
 *   between its steps, differently in each process, for in step they would do no harm
 * @property {number} [seed]
 * @property {number} [deviationsMax] ends after so many deviating rounds
 * @property {(line: string) => void} [onDeviation] gets the line of each deviating round at once
 *
 * @typedef {object} RaceResult
 * @property {number} seed
 * @property {number} rounds how many were played
 * @property {number} listenedOnce in how many exactly one listened
 * @property {number} pairedOnce in how many there was exactly one pair
 * @property {number} told how many of the others learned that two are paired
 * @property {number} others
 * @property {number} errors
 * @property {number} slowestMs from the last one's start until all know where they stand
 * @property {number} spreadMs how far apart the first and the last began, where released together; the median
 * @property {string[]} deviations
 * @property {string} line the counts
 *
 * @typedef {object} Plan
 * @property {number} round
 * @property {boolean} isStale
 * @property {boolean} hasLeftover a killed process left a temporary name, too
 * @property {boolean} isFresh the processes are started for this round
 * @property {boolean} isTogether they are released at one instant; else each begins as soon as it is loaded
 *
 * @typedef {Record<string, any> & { event: string, at: number }} Report
 *
 * @typedef {object} Seen what one process did in a round
 * @property {number} id
 * @property {Report[]} reports
 * @property {string | undefined} exit
 */

const racerFile = fileURLToPath(new URL('./racer.mjs', import.meta.url))
const FRESH_EVERY = 20
/** What makes a path a temporary name; `temporaryName` of transport-net/src/publish.ts makes such ones. */
const LEFTOVER = '.0a1b2c~'
/** Stale addresses that one killed process leaves. */
const LITTER_MAX = 50
/** From the order until the release, so that everybody has it: at least, and for each process. */
const LEAD_MS = 10
const LEAD_EACH_MS = 2
const START_MS_MAX = 30_000
const HANG_MS = 10_000
/** Steps of the recipe between which it pauses. */
const PAUSES = 3
/** Once it is known that a round went wrong, what else there is to see comes soon. */
const DOOMED_MS = 300
/** How long a process may take to end after the round, when nothing keeps it any more. */
const END_MS = 8000
const STDERR_MAX = 600

/** Plays the rounds. @param {RaceOptions} options @returns {Promise<RaceResult>} */
export async function race(options) {
  const { deviationsMax = Infinity } = options
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32)
  const plans = plan(options, seeded(seed))
  const folder = mkdtempSync('/tmp/plr-')
  const addresses = new Addresses(folder, plans, options)
  const pool = new Pool(options.processes)
  const totals = { rounds: 0, listenedOnce: 0, pairedOnce: 0, told: 0, others: 0, errors: 0, slowestMs: 0 }
  /** @type {number[]} */
  const spreads = []
  /** @type {string[]} */
  const deviations = []
  try {
    for (const current of plans) {
      const address = await addresses.of(current)
      const { seen, settledMs, late } = await play(current, address, pool, { ...options, seed })
      const leftovers = addresses.leftovers(current)
      const verdict = judge(seen, options.processes)
      const faults = [...verdict.faults, ...late, ...leftovers.map((name) => `'${name}' was left behind`)]
      totals.rounds++
      if (verdict.isListenedOnce) totals.listenedOnce++
      if (verdict.isPairedOnce) totals.pairedOnce++
      totals.told += verdict.told
      totals.others += options.processes - 2
      totals.errors += verdict.errors
      totals.slowestMs = Math.max(totals.slowestMs, settledMs)
      if (current.isTogether) spreads.push(spread(seen))
      if (faults.length === 0) continue
      const line = describe(seed, current, faults, seen)
      deviations.push(line)
      options.onDeviation?.(line)
      await pool.end() // what happened in this round shall not reach into the next
      if (deviations.length >= deviationsMax) break
    }
    await pool.end()
  } finally {
    await Worker.killAll(pool.workers)
    rmSync(folder, { recursive: true, force: true })
  }
  spreads.sort((a, b) => a - b)
  const spreadMs = spreads[Math.floor(spreads.length / 2)] ?? 0
  return { seed, ...totals, spreadMs, deviations, line: countsOf(totals) }
}

/**
 * What a round is compared with what it should be.
 * @param {Seen[]} seen
 * @param {number} processes
 */
function judge(seen, processes) {
  /** @type {string[]} */
  const faults = []
  let errors = 0
  const listened = seen.flatMap(({ id, reports }) => {
    const from = reports.find(({ event }) => event === 'listening')?.at
    // Whoever is rejected has given the address up.
    return from === undefined ? [] : [{ id, from, to: lastOf(reports, 'rejected')?.at ?? Infinity }]
  })
  const together = listened.filter((one) =>
    listened.some((other) => other !== one && other.from < one.to && one.from < other.to),
  )
  if (listened.length === 0) faults.push('nobody listened')
  if (together.length > 0) faults.push(`${together.length} listened at once: ${namesOf(together)}`)

  const paired = seen.flatMap(({ id, reports }) => {
    const report = lastOf(reports, 'paired')
    return report === undefined ? [] : [{ id, ...report }]
  })
  const [one, other] = paired
  const isPairedOnce =
    paired.length === 2 &&
    paired.every(({ about, other }) => about === other) &&
    one?.other === other?.id &&
    other?.other === one?.id &&
    paired.filter(({ role }) => role === 'dialer').length === 1 &&
    paired.some(({ id, role }) => role === 'listener' && listened.some((listener) => listener.id === id))
  if (!isPairedOnce) {
    const who = paired.map(({ id, role, other }) => `${id} as ${role} with ${other}`)
    faults.push(`not exactly one pair: ${who.join(', ') || 'none'}`)
  }

  let told = 0
  for (const { id, reports, exit } of seen) {
    const rejected = lastOf(reports, 'rejected')
    if (rejected?.code === 'PAIR_BUSY' && rejected.isOwn) told++
    else if (rejected !== undefined) {
      errors++
      faults.push(`${id} failed with ${rejected.isOwn ? '' : 'the raw error '}${rejected.code}: ${rejected.message}`)
    }
    for (const { event, message, code } of reports) {
      if (event === 'apart') faults.push(`${id} lost its peer (${code})`)
      if (event !== 'log') continue
      errors++
      faults.push(`${id} logged: ${message}`)
    }
    if (exit !== undefined) {
      errors++
      faults.push(`${id} ended: ${exit}`)
    } else if (!isSettled(reports)) faults.push(`${id} does not know where it stands`)
  }
  if (told !== processes - 2) faults.push(`${told} of ${processes - 2} others were told`)
  return { faults, errors, told, isListenedOnce: listened.length > 0 && together.length === 0, isPairedOnce }
}

/** Runs one round to its end, after which all have closed. */
async function play(
  /** @type {Plan} */ current,
  /** @type {Address} */ address,
  /** @type {Pool} */ pool,
  /** @type {RaceOptions & { seed: number }} */ { processes, recipe, seed },
) {
  const { round, isFresh, isTogether } = current
  const random = seeded(seed + round)
  const pausesMs = () => Array.from({ length: PAUSES }, () => 2 * random() * (recipe?.pauseMs ?? 0))
  /** @type {(id: number) => Go} */
  const go = (id) => ({ command: 'go', round, id, address, ...(recipe === undefined ? {} : { pausesMs: pausesMs() }) })
  /** @type {Worker[]} */
  let workers = []
  try {
    if (!isFresh) workers = await pool.ready()
    else if (isTogether) workers = await new Pool(processes).ready()
    else for (let id = 0; id < processes; id++) workers.push(new Worker([JSON.stringify(go(id))]))

    const settled = new Settling(workers, round)
    if (isTogether) {
      const at = now() + LEAD_MS + LEAD_EACH_MS * processes
      for (const [id, worker] of workers.entries()) worker.send({ ...go(id), at })
    }
    await settled.ended
    const seen = settled.seen()

    /** @type {string[]} */
    const late = []
    await Promise.all(
      workers.map(async (worker, id) => {
        if (worker.exit !== undefined) return
        worker.send({ command: 'close', round })
        const isClosed = worker.next((report) => report.event === 'closed' && report.round === round)
        if (!(await isWithin(HANG_MS, Promise.race([isClosed, worker.ended]))))
          late.push(`${id} did not close within ${HANG_MS} ms`)
        else if (worker.exit !== undefined) late.push(`${id} ended while it closed: ${worker.exit}`)
      }),
    )
    if (isFresh) late.push(...(await endAll(workers)))
    const starts = seen.flatMap(({ reports }) => lastOf(reports, 'started')?.at ?? [])
    const ends = seen.flatMap(({ reports }) => (lastOf(reports, 'paired') ?? lastOf(reports, 'rejected'))?.at ?? [])
    return { seen, late, settledMs: ends.length === 0 ? 0 : Math.max(0, Math.max(...ends) - Math.max(...starts)) }
  } finally {
    if (isFresh) await Worker.killAll(workers)
  }
}

/** Waits until everybody in a round is settled, or until waiting longer shows nothing more. */
class Settling {
  /** @type {Promise<void>} */
  ended
  /** @type {() => void} */
  #end = () => undefined
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  #workers
  #round
  #isStarted = false
  #isDoomed = false

  /** @param {Worker[]} workers @param {number} round */
  constructor(workers, round) {
    this.#workers = workers
    this.#round = round
    this.ended = new Promise((resolve) => {
      this.#end = () => {
        clearTimeout(this.#timer)
        for (const worker of workers) worker.onChange = () => undefined
        resolve()
      }
    })
    this.#endIn(START_MS_MAX)
    for (const worker of workers) worker.onChange = () => this.#look()
    this.#look()
  }

  seen() {
    return this.#workers.map((worker, id) => ({ id, reports: worker.of(this.#round), exit: worker.exit }))
  }

  #look() {
    const seen = this.seen()
    if (seen.every(({ reports, exit }) => exit !== undefined || isSettled(reports))) {
      this.#end()
      return
    }
    const listening = seen.filter(({ reports }) => lastOf(reports, 'listening') && !lastOf(reports, 'rejected'))
    if (listening.length > 1 && !this.#isDoomed) {
      this.#isDoomed = true
      this.#endIn(DOOMED_MS)
    }
    if (this.#isDoomed || this.#isStarted) return
    this.#isStarted = seen.every(({ reports, exit }) => exit !== undefined || lastOf(reports, 'started'))
    if (this.#isStarted) this.#endIn(HANG_MS)
  }

  #endIn(/** @type {number} */ ms) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#end(), ms)
  }
}

/** Processes that play round after round. */
class Pool {
  /** @type {Worker[]} */
  workers = []
  #size

  constructor(/** @type {number} */ size) {
    this.#size = size
  }

  /** Starts what is missing. */
  async ready() {
    while (this.workers.length < this.#size) this.workers.push(new Worker())
    for (const worker of this.workers) {
      if (await isWithin(START_MS_MAX, worker.ready)) continue
      throw new Error(`A process did not start: ${worker.exit ?? 'it says nothing'}`)
    }
    for (const worker of this.workers) worker.forget()
    return this.workers
  }

  async end() {
    await endAll(this.workers)
    await Worker.killAll(this.workers)
    this.workers = []
  }
}

/** A process, and what it reported. */
class Worker {
  /** Called for every report, and at the end. */
  onChange = () => undefined
  /** @type {string | undefined} */
  exit
  /** @type {Promise<void>} */
  ended
  /** @type {Promise<unknown>} */
  ready
  #child
  /** @type {Report[]} */
  #reports = []
  /** @type {Set<{ matches: (report: Report) => boolean, resolve: (report: Report) => void }>} */
  #waiters = new Set()
  #stderr = ''

  /** @param {string[]} args */
  constructor(args = []) {
    this.#child = fork(racerFile, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.#child.stderr?.setEncoding('utf8').on('data', (text) => (this.#stderr += text))
    this.#child.on('error', () => undefined) // a message to one that has just ended
    this.#child.on('message', (report) => this.#take(/** @type {Report} */ (report)))
    // Not the event 'close', which some versions of Node never emit after `disconnect()`.
    const ended = new Promise((resolve) =>
      this.#child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`)),
    )
    const isRead = new Promise((resolve) => this.#child.stderr?.once('close', resolve))
    this.ended = Promise.all([ended, isRead]).then(([how]) => {
      const said = this.#stderr.trim().replaceAll(/\s*\n\s*/g, ' / ')
      this.exit = [how, said.slice(0, STDERR_MAX)].filter(Boolean).join(', ')
      this.onChange()
    })
    this.ready = this.next(({ event }) => event === 'ready')
    void this.ended.then(() => {
      for (const waiter of this.#waiters) waiter.resolve({ event: 'ended', at: now() })
    })
  }

  /** @param {Iterable<Worker>} workers */
  static async killAll(workers) {
    for (const worker of workers) worker.kill()
    await Promise.all([...workers].map((worker) => worker.ended))
  }

  send(/** @type {Record<string, unknown>} */ command) {
    if (this.#child.connected) this.#child.send(command)
  }

  /** Resolves to the next report that matches, or when the process has ended. @param {(report: Report) => boolean} matches */
  next(matches) {
    return new Promise((resolve) => this.#waiters.add({ matches, resolve }))
  }

  /** What it reported of a round. @param {number} round */
  of(round) {
    return this.#reports.filter((report) => report.round === round)
  }

  forget() {
    this.#reports = []
  }

  disconnect() {
    if (this.#child.connected) this.#child.disconnect()
  }

  kill() {
    if (this.exit === undefined) this.#child.kill('SIGKILL')
  }

  #take(/** @type {Report} */ report) {
    this.#reports.push(report)
    for (const waiter of this.#waiters) {
      if (!waiter.matches(report)) continue
      this.#waiters.delete(waiter)
      waiter.resolve(report)
    }
    this.onChange()
  }
}

/** Gives each round a fresh address, stale ones from processes that were killed. */
class Addresses {
  #folder
  #plans
  #options
  /** @type {Map<number, Address>} by round */
  #stale = new Map()

  /** @param {string} folder @param {Plan[]} plans @param {RaceOptions} options */
  constructor(folder, plans, options) {
    this.#folder = folder
    this.#plans = plans
    this.#options = options
  }

  /** @returns {Promise<Address>} */
  async of(/** @type {Plan} */ current) {
    if (current.isStale) {
      if (!this.#stale.has(current.round)) await this.#litter(current.round)
      const address = /** @type {Address} */ (this.#stale.get(current.round))
      if ('path' in address && !lstatSync(address.path).isSocket()) throw new Error(`${address.path} is not stale`)
      return address
    }
    if (this.#options.address === 'tcp') return { port: await freePort() }
    mkdirSync(this.#directory(current))
    return this.#at(current)
  }

  /** The names that should not be there after the round; the directory is removed. */
  leftovers(/** @type {Plan} */ current) {
    if (this.#options.address === 'tcp') return []
    const directory = this.#directory(current)
    const names = readdirSync(directory).filter((name) => name !== 's.lock')
    rmSync(directory, { recursive: true, force: true })
    return names
  }

  /** Makes the stale addresses of this round and of some after it. */
  async #litter(/** @type {number} */ from) {
    const plans = this.#plans.filter(({ round, isStale }) => round >= from && isStale).slice(0, LITTER_MAX)
    const isTcp = this.#options.address === 'tcp'
    if (!isTcp) for (const current of plans) mkdirSync(this.#directory(current))
    const places = plans.flatMap((current) => {
      if (isTcp) return { port: 0 }
      const { path } = this.#at(current)
      return current.hasLeftover ? [{ path }, { path: path + LEFTOVER }] : { path }
    })
    const worker = new Worker()
    try {
      await worker.ready
      const littered = worker.next(({ event }) => event === 'littered')
      worker.send({ command: 'litter', addresses: places })
      const { bound } = await littered
      if (bound === undefined) throw new Error(`The process that leaves stale addresses failed: ${worker.exit}`)
      for (const [index, current] of plans.entries())
        this.#stale.set(current.round, isTcp ? { port: bound[index].port } : this.#at(current))
    } finally {
      await Worker.killAll([worker])
    }
  }

  #directory(/** @type {Plan} */ { round }) {
    return join(this.#folder, String(round))
  }

  /** @returns {{ path: string, lock?: 'abstract' }} */
  #at(/** @type {Plan} */ current) {
    const path = join(this.#directory(current), 's')
    return this.#options.isAbstract ? { path, lock: 'abstract' } : { path }
  }
}

/** Lets them end by themselves. @returns {Promise<string[]>} what was wrong about it */
async function endAll(/** @type {Worker[]} */ workers) {
  /** @type {string[]} */
  const faults = []
  await Promise.all(
    workers.map(async (worker, id) => {
      if (worker.exit !== undefined) return
      worker.disconnect()
      if (!(await isWithin(END_MS, worker.ended))) faults.push(`${id} did not end`)
      else if (worker.exit !== 'code 0') faults.push(`${id} ended after the round: ${worker.exit}`)
    }),
  )
  return faults
}

/** Every round draws the same number of times, so that a seed gives the same plan for any number of rounds. */
function plan(/** @type {RaceOptions} */ { rounds, state, address, recipe }, /** @type {() => number} */ random) {
  return Array.from({ length: rounds }, (_, index) => {
    const [stale, leftover, together] = [random(), random(), random()]
    const isStale = state === 'stale' || (state === 'mixed' && stale < 0.5)
    const isFresh = index % FRESH_EVERY === 0
    return {
      round: index + 1,
      isStale,
      // The recipe knows nothing of temporary names.
      hasLeftover: isStale && address === 'unix' && recipe === undefined && leftover < 0.25,
      isFresh,
      isTogether: !isFresh || together < 0.5,
    }
  })
}

function describe(
  /** @type {number} */ seed,
  /** @type {Plan} */ { round, isStale, hasLeftover, isFresh, isTogether },
  /** @type {string[]} */ faults,
  /** @type {Seen[]} */ seen,
) {
  const kind = [isStale ? 'stale' : 'clean', isFresh ? 'fresh' : 'pooled']
  if (hasLeftover) kind.push('with a temporary name')
  if (!isTogether) kind.push('not released together')
  const from = Math.min(...seen.flatMap(({ reports }) => lastOf(reports, 'started')?.at ?? []))
  const said = seen.map(({ id, reports, exit }) => {
    const events = reports.map(({ event, at, code, role, other }) => {
      const more = [role, other === undefined ? undefined : `with ${other}`, code].filter(Boolean).join(' ')
      return `${event}${more && ` ${more}`} at ${(at - from).toFixed(1)}`
    })
    if (exit !== undefined) events.push(`ended: ${exit}`)
    return `${id}: ${events.join(', ') || 'nothing'}`
  })
  return `seed ${seed} round ${round} (${kind.join(', ')}): ${faults.join('; ')} | ${said.join(' | ')}`
}

function countsOf(/** @type {Omit<RaceResult, 'seed' | 'spreadMs' | 'deviations' | 'line'>} */ totals) {
  return [
    `rounds ${totals.rounds}`,
    `exactly one listener ${totals.listenedOnce}`,
    `exactly one pair ${totals.pairedOnce}`,
    `others told ${totals.told} of ${totals.others}`,
    `errors ${totals.errors}`,
    `slowest settle ${Math.ceil(totals.slowestMs)} ms`,
  ].join(' · ')
}

function isSettled(/** @type {Report[]} */ reports) {
  return reports.some(({ event }) => event === 'paired' || event === 'rejected')
}

/** @returns {Report | undefined} */
function lastOf(/** @type {Report[]} */ reports, /** @type {string} */ event) {
  return reports.findLast((report) => report.event === event)
}

function namesOf(/** @type {{ id: number }[]} */ some) {
  return some.map(({ id }) => id).join(' and ')
}

function spread(/** @type {Seen[]} */ seen) {
  const starts = seen.flatMap(({ reports }) => lastOf(reports, 'started')?.at ?? [])
  return starts.length === 0 ? 0 : Math.max(...starts) - Math.min(...starts)
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ port: 0, host: '127.0.0.1' }, () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
      server.close(() => resolve(port))
    })
  })
}

/** @param {number} ms @param {Promise<unknown>} promise */
async function isWithin(ms, promise) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const late = new Promise((resolve) => (timer = setTimeout(resolve, ms, false)))
  const inTime = promise.then(() => true)
  try {
    return /** @type {boolean} */ (await Promise.race([inTime, late]))
  } finally {
    clearTimeout(timer)
  }
}

/** Milliseconds of the system's monotonic clock, which all processes share. */
function now() {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
function seeded(/** @type {number} */ seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
