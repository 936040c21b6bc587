// own-transport.mjs: a thread and its worker, paired over a transport of our own.
import assert from 'node:assert/strict'
import { parentPort, Worker } from 'node:worker_threads'
import { Connection } from '@pairlink/core'
import { dialsOver, listensOver } from './port-transport.mjs'

// #region use
const isWorker = parentPort !== null
const connection = new Connection({
  transport: isWorker ? dialsOver(parentPort) : listensOver(new Worker(new URL(import.meta.url))),
  secret: 'super-secret',
  handlers: { double: (bytes) => new Uint8Array([...bytes, ...bytes]) },
})
await connection.connect()
assert.deepEqual(await connection.call('double', new Uint8Array([1, 2])), new Uint8Array([1, 2, 1, 2]))
const megabytes = new Uint8Array(2_000_000).fill(7)
assert.equal((await connection.call('double', megabytes)).length, 4_000_000)
await connection.close()
if (!isWorker) console.log('done')
// #endregion use
