// One half of a pair in which both produce 100 times faster than the other side consumes. Three parts: notifications, each
// awaited; queries of which so many are kept outstanding; queries without a bound. It waits for a line on standard input before
// each part and reports one line of JSON behind it, with what memory is in use. All that is counted is allocated before.
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Connection } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'

const { path, seconds, outstanding, consumeMs, unboundedPerSecond } = JSON.parse(process.argv[2])
const MESSAGE_BYTES = 1000
const UNBOUNDED_TIMEOUT_MS = 1000
const SAMPLES = 12

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')
const report = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** A message with a number in it. */
function message(number) {
  const bytes = new Uint8Array(MESSAGE_BYTES)
  new DataView(bytes.buffer).setUint32(0, number)
  return bytes
}
const numberOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)

// ---- the consumer: it takes one thing at a time, each for so long, until the time of the part is over

let slowUntil = 0
let consumed = 0
async function consume() {
  if (performance.now() < slowUntil) {
    await pause(consumeMs)
    consumed++
  }
}
/** Handlers run beside each other; here each waits for its turn. */
let turn = Promise.resolve()
function inTurn(signal) {
  turn = turn.then(() => (signal.aborted ? undefined : consume()))
  return turn
}

let heard = 0
let outOfOrder = 0
/** By the number of a query: how often its handler was started. */
const handled = { bounded: new Uint8Array(2 ** 22), unbounded: new Uint8Array(2 ** 22) }

const connection = new Connection({
  transport: unix(path),
  secret: 'super-secret',
  // Room for those that are outstanding, and little more, since what waits here for longer than its time is never answered.
  limits: { handlersMax: Math.ceil(outstanding / 16) },
  onNotify: async (bytes) => {
    if (numberOf(bytes) !== heard++) outOfOrder++
    await consume()
  },
  handlers: {
    bounded: async (bytes, { signal }) => {
      handled.bounded[numberOf(bytes)]++
      await inTurn(signal)
      return numberOf(bytes)
    },
    unbounded: async (bytes, { signal }) => {
      handled.unbounded[numberOf(bytes)]++
      await inTurn(signal)
      signal.throwIfAborted()
      return numberOf(bytes)
    },
    handled: (kind) => handled[kind].slice(),
    heard: () => ({ heard, outOfOrder }),
  },
})
connection.on('apart', ({ error }) => report({ event: 'apart', error: error?.code }))
await connection.connect()
report({ event: 'paired' })

/** Begins a part when it is told to: both sides are then slow for the same time. */
async function begin() {
  const isTold = !(await input.next()).done
  consumed = 0
  slowUntil = performance.now() + seconds * 1000
  return isTold
}
const isOn = () => performance.now() < slowUntil

/** What is alive, looked at as long as the part is on. */
async function watchMemory() {
  const samples = []
  let rss = 0
  while (isOn()) {
    await pause((seconds * 1000) / SAMPLES)
    collectGarbage()
    const usage = process.memoryUsage()
    samples.push({ heap: usage.heapUsed, external: usage.external })
    rss = Math.max(rss, usage.rss)
  }
  return { samples, rss, consumed }
}

await begin()
{
  const memory = watchMemory()
  let number = 0
  let [burst, burstMs] = [0, 0]
  const startedAt = performance.now()
  while (isOn()) {
    const before = performance.now()
    await connection.notify(message(number++), { timeoutMs: Infinity })
    // Until the first one has to wait it is as fast as it can be.
    if (burst === 0 && performance.now() - before > consumeMs)
      [burst, burstMs] = [number, performance.now() - startedAt]
  }
  const told = await memory
  while ((await connection.call('heard', undefined, { timeoutMs: Infinity })).heard < number) await pause(10)
  const { outOfOrder } = await connection.call('heard')
  report({ event: 'notified', sent: number, outOfOrder, producedPerSecond: (1000 * burst) / burstMs, ...told })
}

await begin()
{
  const memory = watchMemory()
  let number = 0
  let answered = 0
  const lane = async () => {
    while (isOn()) {
      const mine = number++
      assert.equal(await connection.call('bounded', message(mine), { timeoutMs: Infinity }), mine)
      answered++
    }
  }
  await Promise.all(Array.from({ length: outstanding }, lane))
  const counts = await connection.call('handled', 'bounded')
  const handledOnce = counts.filter((count) => count === 1).length
  const handledOften = counts.filter((count) => count > 1).length
  report({ event: 'bounded', sent: number, answered, handledOnce, handledOften, ...(await memory) })
}

await begin()
{
  const OUTCOMES = ['open', 'answered', 'QUEUE_FULL', 'TIMEOUT', 'another']
  const outcomes = new Uint8Array(2 ** 22)
  const isNotSent = new Uint8Array(2 ** 22)
  const memory = watchMemory()
  let number = 0
  let open = 0
  const startedAt = performance.now()
  while (isOn() && number < outcomes.length) {
    const due = Math.min(outcomes.length, ((performance.now() - startedAt) / 1000) * unboundedPerSecond)
    for (let at = 0; at < 100 && number < due; at++) {
      const mine = number++
      open++
      connection
        .call('unbounded', message(mine), { timeoutMs: UNBOUNDED_TIMEOUT_MS })
        .then(
          (answer) => (outcomes[mine] = answer === mine ? 1 : 4),
          ({ code, delivery }) => {
            outcomes[mine] = Math.max(0, OUTCOMES.indexOf(code)) || 4
            isNotSent[mine] = delivery === 'not-sent' ? 1 : 0
          },
        )
        .finally(() => open--)
    }
    await pause(0)
  }
  const ranMs = performance.now() - startedAt
  const told = await memory
  while (open > 0) await pause(10)
  const counts = await connection.call('handled', 'unbounded', { timeoutMs: 10_000 })
  const settled = OUTCOMES.map((name, code) => [
    name,
    outcomes.subarray(0, number).filter((one) => one === code).length,
  ])
  report({
    event: 'unbounded',
    sent: number,
    producedPerSecond: (1000 * number) / ranMs,
    settled: Object.fromEntries(settled),
    notSent: isNotSent.filter((one) => one === 1).length,
    notSentButHandled: isNotSent.filter((one, at) => one === 1 && counts[at] > 0).length,
    answeredNotOnce: outcomes.filter((one, at) => one === 1 && counts[at] !== 1).length,
    handledOften: counts.filter((count) => count > 1).length,
    stats: connection.stats(),
    ...told,
  })
}

await begin()
await connection.close()
process.stdin.destroy()
