// One of the processes that race for an address, all of them this file. It is told by IPC when and where: it lives for many
// rounds and runs one fresh connection in each, or is given its only round as an argument and begins as soon as it is loaded.
// Everything that happens is reported with the time. It decides nothing; see rounds.mjs for what is expected.
import { createServer } from 'node:net'
import { Connection, isPairlinkError } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'
import { Recipe } from './recipe.mjs'

/**
 * @typedef {{ path: string, lock?: 'abstract' } | { port: number }} Address
 *
 * @typedef {object} Go
 * @property {'go'} command
 * @property {number} round
 * @property {number} id this process among those of the round
 * @property {Address} address
 * @property {number} [at] when to begin, by `now()`; at once where it is missing
 * @property {number[]} [pausesMs] race without pairlink, by the recipe with these pauses between its steps
 *
 * @typedef {(event: string, fields?: Record<string, unknown>) => void} Report
 */

/** How long before the time of release a timer, which is late by a millisecond or more, gives way to exact waiting. */
const EXACT_MS = 4
/** How long it may take to end once nobody tells it anything any more. */
const END_MS = 3000

/** @type {PairlinkRacer | Recipe | undefined} */
let racer
const nothing = new Int32Array(new SharedArrayBuffer(4))

process.on('message', (/** @type {any} */ message) => {
  if (message.command === 'go') void race(message)
  else if (message.command === 'close') void close(message.round)
  else void litter(message.addresses)
})
process.on('disconnect', () => {
  void racer?.close()
  // It is to end by itself; this is for a parent that was killed.
  setTimeout(() => process.exit(3), END_MS).unref()
})
/** One connection of pairlink: asks the other who it is. */
class PairlinkRacer {
  #connection

  /** @param {Go} go @param {Report} report */
  constructor({ id, address }, report) {
    this.#connection = new Connection({
      transport: 'port' in address ? tcp(address) : unix(address.path, address.lock ? { lock: address.lock } : {}),
      secret: 'super-secret',
      about: { id },
      handlers: { who: () => id },
      logger: {
        error: (fields, message) =>
          report('log', { message: `${message} ${String(fields.error ?? fields.code ?? '')}` }),
      },
    })
    this.#connection.on('listening', () => report('listening'))
    this.#connection.on('apart', ({ error }) => report('apart', { code: error?.code }))
  }

  /** Resolves when it is paired and has an answer from the other. */
  async run() {
    await this.#connection.connect()
    const { role, peer } = this.#connection
    const other = await this.#connection.call('who')
    return { role, other, about: peer?.about?.id }
  }

  close() {
    return this.#connection.close()
  }
}

/** @param {Go} go */
async function race(go) {
  const report = (/** @type {string} */ event, /** @type {Record<string, unknown>} */ fields = {}) =>
    send({ event, round: go.round, at: now(), ...fields })
  const mine = go.pausesMs === undefined ? new PairlinkRacer(go, report) : new Recipe(go, report)
  racer = mine
  if (go.at !== undefined) await until(go.at)
  const startedAt = now()
  const running = mine.run() // before anything is reported, which takes its time
  report('started', { at: startedAt })
  try {
    report('paired', await running)
  } catch (error) {
    const { code, message, syscall } = /** @type {NodeJS.ErrnoException} */ (error)
    const isOwn = isPairlinkError(error) || (go.pausesMs !== undefined && code === 'PAIR_BUSY')
    report('rejected', { code: code ?? String(error), message, syscall, isOwn })
  }
}

async function close(/** @type {number} */ round) {
  try {
    await racer?.close()
    racer = undefined
    send({ event: 'closed', round, at: now() })
  } catch (error) {
    send({ event: 'log', round, at: now(), message: `close() failed: ${String(error)}` })
  }
}

/**
 * Listens at all of them, without pairlink, until it is killed.
 * @param {({ path: string } | { port: number })[]} addresses port 0 is any free one
 */
async function litter(addresses) {
  const bound = []
  for (const address of addresses) {
    const server = createServer()
    const where = 'port' in address ? { port: address.port, host: '127.0.0.1' } : address
    await new Promise((resolve) => server.listen(where, () => resolve(undefined)))
    bound.push(server.address())
  }
  send({ event: 'littered', bound })
}

/** Waits for that moment to within some microseconds, and without using a processor that the others need. */
async function until(/** @type {number} */ at) {
  const ms = at - now() - EXACT_MS
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
  const rest = at - now()
  if (rest > 0) Atomics.wait(nothing, 0, 0, rest)
}

/** Milliseconds of the system's monotonic clock, which all processes share. */
function now() {
  return Number(process.hrtime.bigint()) / 1e6
}

function send(/** @type {Record<string, unknown>} */ report) {
  if (process.connected) process.send?.(report)
}

if (process.argv[2] === undefined) send({ event: 'ready' })
else void race(JSON.parse(process.argv[2]))
