// process.mjs: the one program of all processes of the demonstration. It does what the narrator asks, one line of JSON on
// standard input for each command, and reports one line of JSON on standard output for each thing that happens. It tells
// what it sees and judges nothing: that is the narrator's part.
import { createHash, randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Connection, QueryError } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'
import { cuttable } from './cuttable.mjs'
import { leaveStaleSockets, usualRecipe } from './usual-recipe.mjs'

/**
 * What each process offers to the other one.
 * @typedef {object} Api
 * @property {(input: { a: number, b: number }) => number} add
 * @property {() => number} pid
 * @property {() => Promise<string>} whoAsks answered with a question back to whoever asks
 * @property {(bytes: Uint8Array) => number} keep
 * @property {(size: number) => Uint8Array} give random bytes, and keep them
 * @property {() => string} checksum of the bytes that were kept
 * @property {(job: Job) => Promise<string>} work
 * @typedef {{ name: string, file: string, way: 'begin' | 'wait' | 'finish' | 'block', padding: string }} Job
 */

const report = (/** @type {object} */ line) => process.stdout.write(JSON.stringify(line) + '\n')
const told = (/** @type {any} */ error) =>
  error && { code: error.code, delivery: error.delivery, message: error.message }
const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)))
const sha256 = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex')

/** @type {Connection<Api> | undefined} */
let connection
/** @type {import('./cuttable.mjs').Cuttable | undefined} */
let transport
/** Ends what the usual recipe has opened. */
let endRecipe = () => {}
/** @type {Uint8Array} */
let kept = new Uint8Array(0)
let isAsking = false
let answers = 0
let slowestMs = 0
let release = () => {}
/** What jobs wait for that are to be answered. @type {Promise<void>} */
const released = new Promise((resolve) => (release = resolve))

/** @type {import('@pairlink/core').Handlers<Api>} */
const handlers = {
  add: ({ a, b }) => a + b,
  pid: () => process.pid,
  whoAsks: async (_input, context) => `a process with the id ${await context.call('pid')}`,
  keep(bytes) {
    kept = bytes
    return bytes.length
  },
  give: (size) => (kept = randomBytes(size)),
  checksum: () => sha256(kept),
  async work({ name, file, way }) {
    // Written before the next line runs, so that what a killed process has done can be read afterwards.
    appendFileSync(file, `${name} begun\n`)
    if (way === 'finish') appendFileSync(file, `${name} finished\n`)
    report({ event: 'at work', name })
    if (way === 'wait') {
      await released
      return name
    }
    // Blocks the whole process, so that it cannot even say that it has got this call. Not for ever, should nobody kill it.
    if (way === 'block') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000)
    await pause(60_000)
    throw new QueryError('SURVIVED', 'this process was to be killed')
  },
}

/** @param {{ path: string, secret: string, at?: number, timeoutMs?: number, until?: 'paired' | 'started', options?: object }} input */
async function meet({ path, secret, at = 0, timeoutMs = 5000, until = 'paired', options }) {
  transport = cuttable(unix(path))
  connection = new Connection({ transport, secret, handlers, ...options })
  connection.on('listening', () => report({ event: 'listening' }))
  connection.on('paired', ({ role, resumed }) => report({ event: 'paired', role, resumed }))
  connection.on('refused', ({ reason }) => report({ event: 'refused', reason }))
  connection.on('apart', ({ error }) => {
    report({ event: 'apart', error: told(error) })
    // The other one has said goodbye: this process has nothing left to do either.
    if (error === undefined) void leave()
  })
  await pause(at - Date.now())
  await connection.connect({ timeoutMs, until })
  return connection.role
}

async function leave() {
  endRecipe()
  await connection?.close()
}

/** One small call after the other, until told to stop. */
async function keepAsking() {
  for (isAsking = true, answers = 0, slowestMs = 0; isAsking; answers++) {
    const startedAt = performance.now()
    await connection?.call('add', { a: answers, b: 1 })
    slowestMs = Math.max(slowestMs, performance.now() - startedAt)
  }
}

/** Small calls one after the other while many bytes are on their way, counted until the large call is answered. */
async function overtake(/** @type {number} */ size) {
  const bytes = new Uint8Array(size).map((_, at) => (at * 31) >>> 3)
  const startedAt = performance.now()
  const large = connection?.call('keep', bytes).then((arrived) => {
    isAsking = false
    return { arrived, ms: performance.now() - startedAt, answers, slowestMs }
  })
  await keepAsking()
  return { ...(await large), sent: sha256(bytes), kept: await connection?.call('checksum') }
}

/** @type {Record<string, (input: any) => unknown>} */
const commands = {
  stale: ({ paths }) => leaveStaleSockets(paths),
  async recipe({ path, at }) {
    await pause(at - Date.now())
    const outcome = await usualRecipe(path)
    endRecipe = outcome.end
    return outcome.role
  },
  meet,
  leave,
  call: ({ method, input }) => connection?.call(method, input),
  overtake: ({ size }) => overtake(size),
  cutAfter: ({ bytes }) => transport?.cutAfter(bytes),
  async fetch({ size }) {
    const bytes = await connection?.call('give', size)
    return bytes && { arrived: bytes.length, sum: sha256(bytes) }
  },
  release: () => release(),
  /** Begins a call to `work` and reports how it ended, whenever that is. */
  begin({ name, file, way, paddingBytes }) {
    const job = { name, file, way, padding: ' '.repeat(paddingBytes) }
    connection?.call('work', job, { timeoutMs: 60_000 }).then(
      () => report({ event: 'settled', name, error: { code: 'answered' } }),
      (error) => report({ event: 'settled', name, error: told(error) }),
    )
  },
  ask() {
    keepAsking().catch((error) => report({ event: 'asking failed', error: told(error) }))
  },
  async stopAsking() {
    isAsking = false
    return { answers, slowestMs }
  },
  /** From now on only the connection keeps this process alive. */
  endByItself: () => process.stdin.unref(),
}

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const { id, command, input } = JSON.parse(line)
    try {
      report({ event: 'done', id, result: await commands[command]?.(input) })
    } catch (error) {
      report({ event: 'done', id, error: told(error) })
    }
  })
  // The narrator has gone, however that came: nobody is left to do anything for.
  .on('close', () => process.exit())
report({ event: 'ready' })
