/**
 * Lets two processes ask each other without a pause, kills and stops them at random moments, and judges: they must be a pair
 * again in time, and every call must have ended as its caller was told. What both have written down is joined at the end.
 */
import { spawn } from 'node:child_process'
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as after } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const WORKER = fileURLToPath(new URL('./worker.mjs', import.meta.url))
/** From the last restart or SIGCONT to a pair that answers both ways. */
const PAIR_MS_MAX = 5000
const STOP_MS_MAX = 3000
const RESTART_MS_MAX = 1000
/** How far apart the two processes may be hit in one round. */
const SPREAD_MS_MAX = 500
const LOAD_MS_MAX = 1500
/** Calls that are open at the end settle, and both close: a query's time and the drain's, and room for a slow machine. */
const END_MS_MAX = 20_000
const DEVIATIONS_MAX = 20

/**
 * @typedef {object} Result
 * @property {string[]} deviations what went wrong, empty when all is well
 * @property {string} line the counts
 */

/**
 * @param {{ minutes: number, seed: number, address: 'unix' | 'tcp', outstanding?: number, print?: (line: string) => void }} options
 * @returns {Promise<Result>}
 */
export async function chaos({ minutes, seed, address: kind, outstanding = 16, print = console.log }) {
  const place = mkdtempSync('/tmp/plk-chaos-')
  const logs = mkdtempSync('/tmp/plk-chaos-logs-')
  const random = seeded(seed)
  const address = kind === 'unix' ? { path: join(place, 's') } : { port: await freePort(random) }
  const run = new Run(address, logs, outstanding)
  const startedAt = performance.now()
  const clock = () => `+${((performance.now() - startedAt) / 1000).toFixed(1)} s`.padStart(9)
  const pairMs = []
  const counts = { SIGKILL: 0, SIGSTOP: 0 }
  print(`chaos on ${kind}: seed ${seed}, ${minutes} min, logs in ${logs}`)
  try {
    const sides = ['a', 'b']
    for (const side of sides) run.start(side)
    await run.pairs(performance.now())
    while (performance.now() - startedAt < minutes * 60_000 && run.deviations.length === 0) {
      await after(random() < 0.2 ? 0 : random() * LOAD_MS_MAX)
      const plans = roundOf(random, sides)
      print(`${clock()}  ${plans.map((plan) => plan.text(run)).join('; ')}`)
      for (const { signal } of plans) counts[signal]++
      await Promise.all(plans.map((plan) => run.carryOut(plan)))
      const tookMs = await run.pairs(performance.now())
      if (tookMs === undefined) break
      pairMs.push(tookMs)
      print(`${clock()}  a pair after ${Math.round(tookMs)} ms`)
    }
    await run.finish()
    const tally = await joined(run)
    if (run.hasFinished) checkLeft(run, place, kind)
    const deviations = [...run.deviations, ...tally.deviations]
    pairMs.sort((x, y) => x - y)
    const at = (share) => Math.round(pairMs[Math.floor(share * (pairMs.length - 1))] ?? 0)
    const outcomes = [...tally.outcomes].sort(([, x], [, y]) => y - x).map(([name, count]) => `${name} ${count}`)
    const line = [
      `${kind}, seed ${seed}: ${counts.SIGKILL} SIGKILL, ${counts.SIGSTOP} SIGSTOP in ${pairMs.length} rounds`,
      `a pair again after ${at(0.5)} ms (half), ${at(0.99)} (99 of 100), ${at(1)} (the longest)`,
      `${tally.handled} handled, ${tally.open} open when their process was killed`,
      outcomes.join(', '),
      `${deviations.length} deviations`,
    ].join('; ')
    if (deviations.length === 0) rmSync(logs, { recursive: true, force: true })
    else deviations.push(`seed ${seed}, logs in ${logs}`)
    return { deviations, line }
  } finally {
    run.killAll()
    rmSync(place, { recursive: true, force: true })
  }
}

/** Who is hit how and when; drawn before anything happens, so that a seed repeats it. */
function roundOf(random, sides) {
  const hit = random()
  const victims = hit < 0.35 ? ['a'] : hit < 0.7 ? ['b'] : sides
  return victims.map((side) => {
    const signal = random() < 0.55 ? 'SIGKILL' : 'SIGSTOP'
    const atMs = victims.length === 1 ? 0 : random() * SPREAD_MS_MAX
    const most = signal === 'SIGKILL' ? RESTART_MS_MAX : STOP_MS_MAX
    const forMs = signal === 'SIGKILL' && random() < 0.3 ? 0 : random() * most
    const text = (run) => {
      const { name, role } = run.at(side)
      return `${name} (${role ?? 'not met'}) ${signal} in ${Math.round(atMs)} ms for ${Math.round(forMs)} ms`
    }
    return { side, signal, atMs, forMs, text }
  })
}

/** One process, of which the supervisor knows what it has said. */
class Worker {
  role
  /** `SIGKILL` when we have sent it. */
  killed = false
  asked
  stderr = ''
  reports = []
  #probes = new Map()

  constructor(side, incarnation, { address, logs, outstanding, deviate }) {
    this.name = `${side}${incarnation}`
    this.log = join(logs, this.name)
    const config = JSON.stringify({ name: this.name, address, log: this.log, outstanding })
    this.child = spawn(process.execPath, [WORKER, config], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdin.on('error', () => undefined) // it may have been killed
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text))
    createInterface({ input: this.child.stdout }).on('line', (line) => this.#take(JSON.parse(line)))
    this.finished = new Promise((resolve) => (this.settleFinished = resolve))
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        if (!this.killed && code !== 0) {
          deviate(`${this.name} ended with ${signal ?? `code ${code}`}: ${this.stderr.slice(-2000)}`)
        } else if (this.stderr !== '') {
          deviate(`${this.name} wrote to stderr: ${this.stderr.slice(-2000)}`)
        }
        this.hasEnded = true
        this.settleFinished()
        resolve()
      })
    })
  }

  send(command) {
    this.child.stdin.write(JSON.stringify(command) + '\n')
  }

  /** Resolves to the name of the peer, once it has answered. */
  probe(number) {
    return new Promise((resolve) => {
      this.#probes.set(number, resolve)
      this.send({ command: 'probe', number })
    })
  }

  #take(report) {
    this.reports.push({ at: Math.round(performance.now()), ...report })
    if (this.reports.length > 30) this.reports.shift()
    if (report.event === 'paired') this.role = report.role
    if (report.event === 'probed') this.#probes.get(report.number)?.(report.peer)
    if (report.event === 'log' || (report.event === 'closed' && report.code !== undefined)) this.complaint ??= report
    if (report.event === 'finished') {
      this.asked = report.asked
      this.settleFinished()
    }
  }

  seen() {
    const said = this.reports.map((report) => JSON.stringify(report)).join(' ')
    return `${this.name} (process ${this.child.pid}, ${stateOf(this.child.pid)}): ${said} ${this.stderr.slice(-2000)}`
  }
}

/** What the system says of a process: whether it runs, waits or is stopped, and for how long it has worked. */
function stateOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return `state ${fields[0]}, ${fields[11]} ticks of work`
  } catch {
    return 'state unknown'
  }
}

class Run {
  /** Every process there ever was, by name. */
  workers = new Map()
  deviations = []
  hasFinished = false
  #present = new Map()
  #incarnations = new Map()
  #settings
  #probe = 0

  constructor(address, logs, outstanding) {
    this.#settings = { address, logs, outstanding, deviate: (text) => this.deviations.push(text) }
  }

  at(side) {
    return this.#present.get(side)
  }

  start(side) {
    const incarnation = (this.#incarnations.get(side) ?? 0) + 1
    this.#incarnations.set(side, incarnation)
    const worker = new Worker(side, incarnation, this.#settings)
    this.#present.set(side, worker)
    this.workers.set(worker.name, worker)
  }

  /** Hits one process, and makes it run again. */
  async carryOut({ side, signal, atMs, forMs }) {
    await after(atMs)
    const { child } = this.at(side)
    if (signal === 'SIGKILL') this.at(side).killed = true
    child.kill(signal)
    await after(forMs)
    if (signal === 'SIGSTOP') child.kill('SIGCONT')
    else this.start(side)
  }

  /** Resolves to how long it took from `since` until both answer each other, or to undefined when it took too long. */
  async pairs(since) {
    const [a, b] = [this.at('a'), this.at('b')]
    const number = ++this.#probe
    const answers = Promise.all([a.probe(number), b.probe(number)])
    const limit = new AbortController()
    const tooLate = after(PAIR_MS_MAX, undefined, { signal: limit.signal }).catch(() => undefined)
    const ended = Promise.race([a.ended, b.ended]).then(() => undefined)
    const peers = await Promise.race([answers, tooLate, ended])
    limit.abort()
    const tookMs = performance.now() - since
    if (peers !== undefined && peers[0] === b.name && peers[1] === a.name && tookMs <= PAIR_MS_MAX) return tookMs
    const what = peers === undefined ? 'no pair' : `${a.name} has ${peers[0]} and ${b.name} has ${peers[1]}`
    this.deviations.push(`${what} after ${Math.round(tookMs)} ms\n  ${a.seen()}\n  ${b.seen()}`)
    return undefined
  }

  /** Ends both in order: no new calls, the open ones settle, and both close. */
  async finish() {
    const present = [...this.#present.values()]
    const limit = new AbortController()
    const step = async (what, promise) => {
      const late = after(END_MS_MAX, true, { signal: limit.signal }).catch(() => true)
      if ((await Promise.race([Promise.all(promise), late])) === true) {
        this.deviations.push(`${what} took more than ${END_MS_MAX} ms\n  ${present.map((w) => w.seen()).join('\n  ')}`)
        return false
      }
      return true
    }
    for (const worker of present) worker.send({ command: 'finish' })
    const areAllSettled = await step(
      'settling the last calls',
      present.map((worker) => worker.finished),
    )
    for (const worker of present) worker.send({ command: 'close' })
    this.hasFinished =
      areAllSettled &&
      (await step(
        'closing',
        present.map((worker) => worker.ended),
      ))
    limit.abort()
    this.killAll()
    await Promise.all([...this.workers.values()].map((worker) => worker.ended))
    for (const worker of this.workers.values()) {
      if (worker.complaint !== undefined) this.deviations.push(`${worker.name}: ${JSON.stringify(worker.complaint)}`)
    }
  }

  killAll() {
    for (const worker of this.workers.values()) {
      if (worker.hasEnded === true) continue
      worker.killed = true
      worker.child.kill('SIGKILL')
    }
  }
}

/**
 * Joins what callers and handlers have written down. By caller and number of the call; small integers in arrays, so that an
 * hour of calls fits in memory.
 */
async function joined(run) {
  const deviations = []
  let deviant = 0
  const deviate = (text) => {
    if (++deviant <= DEVIATIONS_MAX) deviations.push(text)
  }
  const names = []
  const outcomes = new Map()
  /** @type {Map<string, { handled: number[], answered: number[], settled: number[] }>} */
  const calls = new Map()
  for (const name of run.workers.keys()) calls.set(name, { handled: [], answered: [], settled: [] })
  let handled = 0
  for (const { name, log } of run.workers.values()) {
    for await (const line of linesOf(log)) {
      const [what, id, ...outcome] = line.split(' ')
      const [caller, number] = id.split('-')
      const call = calls.get(caller)
      const seq = Number(number)
      if (call === undefined || !['handled', 'answered', 'settled'].includes(what)) {
        deviate(`${name} wrote '${line}'`)
      } else if (what !== 'settled') {
        if (what === 'handled') handled++
        call[what][seq] = (call[what][seq] ?? 0) + 1
        if (call[what][seq] > 1) deviate(`${id} was ${what} twice, the last time by ${name}`)
        if (caller[0] === name[0]) deviate(`${id} was ${what} by ${name} itself`)
      } else {
        if (caller !== name) deviate(`${name} settled ${id}`)
        if (call.settled[seq] !== undefined) deviate(`${id} was settled twice, the last time with ${outcome.join(' ')}`)
        const key = outcome.join(' ')
        let index = names.indexOf(key)
        if (index < 0) index = names.push(key) - 1
        call.settled[seq] = index
      }
    }
  }
  let open = 0
  for (const [caller, { handled: started, answered, settled }] of calls) {
    const worker = run.workers.get(caller)
    const asked = Math.max(worker.asked ?? 0, started.length, settled.length)
    for (let seq = 0; seq < asked; seq++) {
      const id = `${caller}-${seq}`
      const times = started[seq] ?? 0
      const name = names[settled[seq]]
      if (name === undefined) {
        open++
        if (!worker.killed) deviate(`${id} was never settled, and ${caller} was not killed`)
        continue
      }
      const [code, delivery, peer] = name.split(' ')
      const outcome = code === 'ok' ? 'ok' : `${code} ${delivery}`
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      const deviates = (why) => deviate(`${id} settled with ${name}, and ${why}`)
      if (code === 'WRONG_ANSWER') deviates('that is not its answer')
      if (delivery === 'not-sent' && times > 0) deviates(`was handled ${times} times`)
      if ((code === 'ok' || code === 'REMOTE') && (times !== 1 || answered[seq] !== 1)) {
        deviates(`was handled ${times} times, answered ${answered[seq] ?? 0} times`)
      }
      if (!['not-sent', 'unknown', 'delivered'].includes(delivery)) deviates('that is no delivery')
      // What arrives when its time is up is taken over and answered without a handler.
      const mayHaveExpired = code === 'TIMEOUT'
      if (delivery === 'delivered' && times === 0 && !mayHaveExpired && run.workers.get(peer)?.killed !== true) {
        deviates(`no handler of ${peer} has started, which was not killed`)
      }
    }
  }
  if (deviant > DEVIATIONS_MAX) deviations.push(`and ${deviant - DEVIATIONS_MAX} more`)
  return { deviations, outcomes, handled, open }
}

async function* linesOf(file) {
  const stream = createReadStream(file)
  // A process that was killed at once has not even made its file.
  let missing = false
  stream.on('error', (error) => {
    if (error.code !== 'ENOENT') throw error
    missing = true
  })
  await new Promise((resolve) => {
    stream.once('open', resolve)
    stream.once('error', resolve)
  })
  if (!missing) yield* createInterface({ input: stream })
}

/** Nothing is left but the lock file. */
function checkLeft(run, place, kind) {
  const left = readdirSync(place).filter((name) => kind !== 'unix' || name !== 's.lock')
  if (left.length > 0) run.deviations.push(`files are left: ${left.join(', ')}`)
}

/** A port that is free now, below those that systems give to outgoing connections. */
async function freePort(random) {
  for (;;) {
    const port = 15_000 + Math.floor(random() * 15_000)
    const server = createServer()
    const isFree = await new Promise((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
function seeded(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
