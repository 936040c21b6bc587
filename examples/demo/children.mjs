// children.mjs: the processes of the demonstration as the narrator sees them: started, asked, listened to, killed. Each one
// that was started is known here, so that none outlives the narrator.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('process.mjs', import.meta.url))
/** How long a child may take for what takes milliseconds, before the narrator says that it does not happen. */
const PATIENCE_MS = 5000

/** @typedef {Record<string, any> & { event: string }} Report */
/** @typedef {{ matches: (report: Report) => boolean, resolve: (report: Report) => void, reject: (error: Error) => void }} Waiter */

/** @type {Set<Child>} */
const running = new Set()
let isOver = false

/** What the library told a child instead of a result. */
export class Told extends Error {
  constructor(/** @type {{ code?: string, message: string }} */ { code, message }) {
    super(message)
    this.code = code
  }
}

export class Child {
  /** @type {Report[]} */
  #reports = []
  /** @type {Set<Waiter>} */
  #waiters = new Set()
  #lastId = 0

  constructor(/** @type {string} */ name) {
    this.name = name
    this.errors = ''
    this.process = spawn(process.execPath, [program], { stdio: 'pipe' })
    running.add(this)
    createInterface({ input: this.process.stdout }).on('line', (line) => this.#take(JSON.parse(line)))
    this.process.stderr.setEncoding('utf8').on('data', (text) => (this.errors += text))
    this.process.stdin.on('error', () => {}) // it was killed, as the narrator wanted
    /** Resolves to the exit code, or the name of the signal. @type {Promise<number | string>} */
    this.ended = new Promise((resolve) => {
      const ended = (/** @type {number | string} */ how) => {
        running.delete(this)
        for (const { reject } of this.#waiters)
          reject(new Error(`${this.title} ended with ${how}.\n${this.errors}`.trim()))
        resolve(how)
      }
      this.process.once('error', (/** @type {NodeJS.ErrnoException} */ error) => ended(error.code ?? error.message))
      this.process.once('close', (code, signal) => ended(signal ?? code ?? 1))
    })
  }

  get title() {
    return `${this.name} (process ${this.process.pid})`
  }

  /** Sends a command. @returns {Promise<any>} its result @throws Told when the child was told an error */
  async run(/** @type {string} */ command, /** @type {object} */ input = {}, patienceMs = PATIENCE_MS) {
    const id = ++this.#lastId
    this.process.stdin.write(JSON.stringify({ id, command, input }) + '\n')
    const isEnd = (/** @type {Report} */ report) => report.event === 'done' && report['id'] === id
    const { result, error } = await this.#next(isEnd, `do '${command}'`, patienceMs)
    if (error !== undefined) throw new Told(error)
    return result
  }

  /** The next report of this event that was not taken yet. */
  next(/** @type {string} */ event, patienceMs = PATIENCE_MS) {
    return this.#next((report) => report.event === event, `report '${event}'`, patienceMs)
  }

  /** All reports of this event that were not taken yet. */
  all(/** @type {string} */ event) {
    const found = this.#reports.filter((report) => report.event === event)
    this.#reports = this.#reports.filter((report) => report.event !== event)
    return found
  }

  /** Drops the reports that nobody has taken: they belong to what is over. */
  forget() {
    this.#reports = []
  }

  /** The end that was asked for. @returns {Promise<number | string>} */
  end(patienceMs = PATIENCE_MS) {
    return this.#within(this.ended, 'end', patienceMs)
  }

  kill() {
    this.process.kill('SIGKILL')
  }

  /** @returns {Promise<Report>} */
  #next(/** @type {Waiter['matches']} */ matches, /** @type {string} */ what, /** @type {number} */ patienceMs) {
    const at = this.#reports.findIndex(matches)
    if (at >= 0) return Promise.resolve(/** @type {Report} */ (this.#reports.splice(at, 1)[0]))
    const report = new Promise((resolve, reject) => this.#waiters.add({ matches, resolve, reject }))
    return this.#within(report, what, patienceMs)
  }

  /** @template T @param {Promise<T>} promise @param {string} what @param {number} patienceMs @returns {Promise<T>} */
  async #within(promise, what, patienceMs) {
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.title} did not ${what} within ${patienceMs} ms.`)), patienceMs)
    })
    try {
      return /** @type {T} */ (await Promise.race([promise, late]))
    } finally {
      clearTimeout(timer)
    }
  }

  #take(/** @type {Report} */ report) {
    for (const waiter of this.#waiters) {
      if (!waiter.matches(report)) continue
      this.#waiters.delete(waiter)
      waiter.resolve(report)
      return
    }
    this.#reports.push(report)
  }
}

/** One of those that were started before and are free, or a new one. @returns {Promise<Child>} */
export async function take(/** @type {Child[]} */ waiting, /** @type {string} */ name) {
  const child = waiting.shift() ?? (await start(name))
  child.name = name
  return child
}

/** Starts a process. @returns {Promise<Child>} once it takes commands */
export async function start(/** @type {string} */ name) {
  if (isOver) throw new Error('Nothing more is started.')
  const child = new Child(name)
  await child.next('ready')
  return child
}

/** Kills what still runs, and waits until it is gone. @returns {Promise<string>} what those processes complained about */
export async function killAll() {
  isOver = true
  const children = [...running]
  for (const child of children) child.kill()
  await Promise.all(children.map((child) => child.ended))
  return children.flatMap((child) => (child.errors === '' ? [] : [`${child.title} wrote:\n${child.errors}`])).join('\n')
}
