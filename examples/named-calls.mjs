// named-calls.mjs: run it twice. Each process offers the same methods, and calls those of the other.
import assert from 'node:assert/strict'
import { Connection, isPairlinkError, QueryError } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

let finished
const otherIsDone = new Promise((resolve) => {
  finished = resolve
})

const connection = new Connection({
  transport: local(process.argv[2] ?? 'named-calls'),
  secret: 'super-secret',
  handlers: {
    add: ({ a, b }) => a + b,
    // A handler may be asynchronous, and may ask its caller something before it answers.
    greet: async (greeting, context) => `${greeting}, process ${await context.call('pid')}`,
    pid: () => process.pid,
    // A QueryError reaches the caller whole. Any other error is logged here, and the caller learns its name and message.
    withdraw: ({ amount }) => {
      throw new QueryError('NO_FUNDS', 'There is not enough in the account', { missing: amount - 10 })
    },
    done: () => finished(),
  },
})

await connection.connect()

assert.equal(await connection.call('add', { a: 1, b: 2 }), 3)
assert.equal(await connection.call('greet', 'Hello'), `Hello, process ${process.pid}`)

try {
  await connection.call('withdraw', { amount: 25 })
  assert.fail('it should have thrown')
} catch (error) {
  if (!isPairlinkError(error, 'REMOTE')) throw error
  assert.equal(error.remoteCode, 'NO_FUNDS')
  assert.deepEqual(error.data, { missing: 15 })
}

// Whoever closes asks and is asked nothing more, so each waits for the other.
await Promise.all([connection.call('done'), otherIsDone])
await connection.close()
console.log('done')
