// One half of a pair of which one gives a large answer to the other. While it is under way both ask, answer, notify and cancel
// all the time, and report how long each took at most.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Connection } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'

const { path, bytes, takes } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const large = takes ? undefined : pattern(bytes)
const sha256OfLarge = large && createHash('sha256').update(large).digest('hex')
let heard = 0
const told = new Map()

const connection = new Connection({
  transport: unix(path),
  secret: 'super-secret',
  queryTimeoutMs: 60_000,
  limits: { messageBytesMax: bytes },
  // Far shorter than what the large answer takes where the two share a slow processor.
  keepaliveMs: 100,
  silenceMs: 1000,
  resumeWindowMs: 0,
  handlers: {
    large: () => large,
    sha256: () => sha256OfLarge,
    echo: (input) => input,
    slowEcho: async (input) => {
      await pause(5)
      return input
    },
    /** Ends when it is told to, and lets `told` know. */
    untilCancelled: (id, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          told.get(id)?.()
          told.set(id, true)
          reject(signal.reason)
        })
      }),
    told: (id) => told.get(id) === true || new Promise((resolve) => told.set(id, () => resolve(true))),
    heard: () => heard,
    over: async () => {
      isOver = true
      await Promise.all(measured)
    },
  },
  onNotify: () => void heard++,
})
connection.on('apart', ({ error }) => report({ event: 'apart', error: error?.code }))
await connection.connect()
report({ event: 'paired' })

let isOver = false
const times = { query: [], answer: [], cancel: [], notification: [] }
async function measure(kind, once) {
  for (let id = 0; !isOver; id++) {
    const startedAt = performance.now()
    await once(id)
    times[kind].push(performance.now() - startedAt)
    await pause(1)
  }
}
const measured = [
  measure('query', async (id) => assert.equal(await connection.call('echo', id), id)),
  measure('answer', async (id) => assert.equal(await connection.call('slowEcho', id), id)),
  measure('cancel', async (id) => {
    const stop = new AbortController()
    const cancelled = connection.call('untilCancelled', id, { signal: stop.signal })
    // An answer behind it says that it has arrived.
    await connection.call('echo')
    stop.abort()
    await assert.rejects(cancelled, { code: 'CANCELLED' })
    assert.equal(await connection.call('told', id), true)
  }),
  measure('notification', async (id) => {
    await connection.notify(id)
    assert.ok((await connection.call('heard')) > id)
  }),
]

let seconds
if (takes) {
  const startedAt = performance.now()
  const answer = await connection.call('large')
  seconds = (performance.now() - startedAt) / 1000
  isOver = true
  await Promise.all([connection.call('over'), ...measured])
  // Not before all is measured: it takes long, and nothing is answered meanwhile.
  assert.equal(answer.length, bytes)
  assert.equal(createHash('sha256').update(answer).digest('hex'), await connection.call('sha256'))
}
await Promise.all(measured)
const kinds = Object.entries(times).map(([kind, all]) => [kind, { count: all.length, mostMs: Math.max(...all) }])
report({ event: 'done', seconds, ...Object.fromEntries(kinds) })

process.stdin.once('end', () => connection.close()).resume()

function pattern(length) {
  const words = new Uint32Array(length / 4)
  for (let at = 0, x = 1; at < words.length; at++) words[at] = x = (Math.imul(x, 1664525) + 1013904223) | 0
  return new Uint8Array(words.buffer)
}
