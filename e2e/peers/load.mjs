// One half of a pair under load; both halves run this file and do the same at the same time. It reports one line of JSON for
// each step, and waits for one on standard input before it begins the next.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Connection } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'

const { path, queries, outstanding, bytes } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const go = () => input.next()

const connection = new Connection({
  transport: unix(path),
  secret: 'super-secret',
  queryTimeoutMs: 60_000,
  limits: { messageBytesMax: 256 * 2 ** 20, reassemblyBytesMax: 512 * 2 ** 20 },
  handlers: {
    square: (n) => n * n,
    ping: () => 'pong',
    // What arrived, for the sender to compare with what it sent.
    measure: async (received) => ({ length: received.length, sha256: await sha256(received) }),
  },
})
connection.on('apart', ({ error }) => report({ event: 'apart', error: error?.code }))
await connection.connect()
report({ event: 'paired', pid: process.pid })
const before = memory('VmRSS')

await go()
{
  let next = 0
  let right = 0
  const startedAt = performance.now()
  const lane = async () => {
    while (next < queries) {
      const n = next++
      assert.equal(await connection.call('square', n), n * n)
      right++
    }
  }
  await Promise.all(Array.from({ length: outstanding }, lane))
  report({ event: 'asked', right, seconds: (performance.now() - startedAt) / 1000 })
}

await go()
{
  const sent = pattern(bytes, process.pid)
  const expected = await sha256(sent)
  let finished = false
  const times = []
  const pinging = (async () => {
    while (!finished) {
      const startedAt = performance.now()
      assert.equal(await connection.call('ping'), 'pong')
      times.push(performance.now() - startedAt)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })()
  const startedAt = performance.now()
  const measured = await connection.call('measure', sent, { borrow: true })
  const seconds = (performance.now() - startedAt) / 1000
  finished = true
  await pinging
  assert.deepEqual(measured, { length: bytes, sha256: expected })
  times.sort((a, b) => a - b)
  const at = (share) => times[Math.floor(share * (times.length - 1))]
  report({
    event: 'carried',
    seconds,
    grown: memory('VmHWM') - before,
    pings: times.length,
    p50: at(0.5),
    p99: at(0.99),
  })
}

await go()
await connection.close()
process.stdin.destroy()

/** Bytes that repeat after 16 MiB and some, differently for each seed. */
function pattern(length, seed) {
  const words = new Uint32Array(length / 4)
  for (let at = 0, x = seed; at < words.length; at++) words[at] = x = (Math.imul(x, 1664525) + 1013904223) | 0
  return new Uint8Array(words.buffer)
}

/** In steps, so that the process goes on answering meanwhile. */
async function sha256(data) {
  const hash = createHash('sha256')
  for (let at = 0; at < data.length; at += 2 ** 18) {
    hash.update(data.subarray(at, at + 2 ** 18))
    await new Promise((resolve) => setImmediate(resolve))
  }
  return hash.digest('hex')
}

/** Bytes of resident memory: now (`VmRSS`), or the most there ever was (`VmHWM`). */
function memory(field) {
  try {
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
  } catch {
    return field === 'VmRSS' ? process.memoryUsage().rss : process.resourceUsage().maxRSS * 1024
  }
}
