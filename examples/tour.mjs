// tour.mjs: both processes of the demonstration run this file. One word on standard input lets a process ask; what it finds
// out goes to standard output as one line of JSON each. It asserts what it says, and exits non-zero when that fails.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Connection } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

const name = process.argv[2] ?? 'tour'
const report = (/** @type {object} */ line) => process.stdout.write(JSON.stringify(line) + '\n')
const sha256 = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex')

const connection = new Connection({
  transport: local(name),
  secret: 'super-secret',
  handlers: {
    add: ({ a, b }) => a + b,
    // Queries back while the caller waits: neither side is the server.
    describe: async (_input, context) => `a process that asked ${await context.call('whoAmI')}`,
    whoAmI: () => `process ${process.pid}`,
    measure: (bytes) => ({ bytes: bytes.length, sha256: sha256(bytes) }),
  },
})

await connection.connect()
report({ step: 'paired', pid: process.pid, role: connection.role })

process.stdin.once('data', async () => {
  const sum = await connection.call('add', { a: 1, b: 2 })
  assert.equal(sum, 3)
  report({ step: 'add', sum })

  const description = await connection.call('describe')
  assert.equal(description, `a process that asked process ${process.pid}`)
  report({ step: 'describe', description })

  const bytes = new Uint8Array(8_000_000).map((_, at) => (at * 31) >>> 3)
  const startedAt = performance.now()
  const measured = await connection.call('measure', bytes)
  const seconds = (performance.now() - startedAt) / 1000
  assert.deepEqual(measured, { bytes: bytes.length, sha256: sha256(bytes) })
  report({ step: 'bytes', ...measured, megabytesPerSecond: Math.round(bytes.length / 1e6 / seconds) })
  await connection.close()
})
// The other side's goodbye ends this process too.
connection.on('apart', () => void connection.close())
await connection.closed
process.stdin.destroy()
report({ step: 'closed' })
