// cancel.mjs: run it twice. Each process starts something slow at the other, and then changes its mind.
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, isPairlinkError } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

let started
const hasStarted = new Promise((resolve) => {
  started = resolve
})
let finished
const otherIsDone = new Promise((resolve) => {
  finished = resolve
})
let stopped
const hasStopped = new Promise((resolve) => {
  stopped = resolve
})

const connection = new Connection({
  transport: local(process.argv[2] ?? 'cancel'),
  secret: 'super-secret',
  handlers: {
    // Passing the signal on is all it takes: the sleep rejects when the caller cancels.
    slow: async (_input, { signal }) => {
      started()
      try {
        await sleep(60_000, undefined, { signal })
      } finally {
        stopped()
      }
    },
    hasStarted: () => hasStarted,
    done: () => finished(),
  },
})

await connection.connect()

const abort = new AbortController()
const call = connection.call('slow', undefined, { signal: abort.signal, timeoutMs: Infinity })
await connection.call('hasStarted')
abort.abort()
await assert.rejects(call, (error) => isPairlinkError(error, 'CANCELLED') && error.delivery !== 'not-sent')

// A time limit works in the same way: the caller gets TIMEOUT, and the handler is told to stop.
await assert.rejects(connection.call('slow', undefined, { timeoutMs: 20 }), (error) =>
  isPairlinkError(error, 'TIMEOUT'),
)

await hasStopped
await Promise.all([connection.call('done'), otherIsDone])
await connection.close()
console.log('done')
