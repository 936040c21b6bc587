/**
 * The two processes of a chaos run: started, hit, asked who their peer is, ended in order. What goes wrong on the way is a
 * deviation; what they have written down is judged elsewhere.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as after } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const WORKER = fileURLToPath(new URL('./worker.mjs', import.meta.url))
/** From the last restart, SIGCONT or cut to a pair that answers both ways: some 2 s, and room for a machine that is busy. */
const PAIR_MS_MAX = 10_000
/** Calls that are open at the end settle, and both close: a query's time and the drain's, and room for a slow machine. */
const END_MS_MAX = 25_000

/** One process, of which the supervisor knows what it has said. */
class Worker {
  role
  /** When we have sent it a SIGKILL, in milliseconds since 1970. */
  killedAt
  /** How many calls and notifications there were, once it has finished. */
  asked
  told
  /** How often it was told that the session goes on. */
  resumes = 0
  stderr = ''
  reports = []
  #probes = new Map()
  #paired

  constructor(side, incarnation, { logs, config: shared, deviate, paired }) {
    this.name = `${side}${incarnation}`
    this.log = join(logs, this.name)
    const config = JSON.stringify({ ...shared, name: this.name, log: this.log })
    this.child = spawn(process.execPath, [WORKER, config], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdin.on('error', () => undefined) // it may have been killed
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text))
    createInterface({ input: this.child.stdout }).on('line', (line) => this.#take(JSON.parse(line)))
    this.#paired = paired
    this.finished = new Promise((resolve) => (this.settleFinished = resolve))
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        if (!this.isKilled && code !== 0) {
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

  get isKilled() {
    return this.killedAt !== undefined
  }

  kill() {
    this.killedAt ??= Date.now()
    this.child.kill('SIGKILL')
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
    if (report.event === 'paired') {
      this.role = report.role
      if (report.resumed) this.resumes++
      this.#paired()
    }
    if (report.event === 'probed') this.#probes.get(report.number)?.(report.peer)
    if (report.event === 'log' || (report.event === 'closed' && report.code !== undefined)) this.complaint ??= report
    if (report.event === 'finished') {
      this.asked = report.asked
      this.told = report.told
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

export class Run {
  /** Every process there ever was, by name. */
  workers = new Map()
  deviations = []
  hasFinished = false
  #present = new Map()
  #incarnations = new Map()
  #settings
  #probe = 0
  /** When a process has told the last time that it is paired. */
  #pairedAt = -Infinity
  #waiter

  /** @param {object} config what both are told */
  constructor(config, logs) {
    const paired = () => {
      this.#pairedAt = performance.now()
      this.#waiter?.()
    }
    this.#settings = { config, logs, deviate: (text) => this.deviations.push(text), paired }
  }

  /** Resolves once a process has told that it is paired, later than that moment; or when it has not in time. */
  async pairedSince(moment, withinMs) {
    const limit = new AbortController()
    const late = after(withinMs, true, { signal: limit.signal }).catch(() => true)
    while (this.#pairedAt < moment) {
      if (await Promise.race([late, new Promise((resolve) => (this.#waiter = resolve))])) break
    }
    limit.abort()
  }

  get resumes() {
    return [...this.workers.values()].reduce((sum, { resumes }) => sum + resumes, 0)
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
    const worker = this.at(side)
    if (signal === 'SIGKILL') worker.kill()
    else worker.child.kill(signal)
    await after(forMs)
    if (signal === 'SIGKILL') this.start(side)
    else worker.child.kill('SIGCONT')
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
    for (const worker of this.workers.values()) if (worker.hasEnded !== true) worker.kill()
  }
}
