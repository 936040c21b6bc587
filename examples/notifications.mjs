// notifications.mjs: run it twice. Each process tells the other how far it is, and waits for no answer.
import assert from 'node:assert/strict'
import { Connection } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

const heard = []
let finished
const otherIsDone = new Promise((resolve) => {
  finished = resolve
})

const connection = new Connection({
  transport: local(process.argv[2] ?? 'notifications'),
  secret: 'super-secret',
  // One message at a time and in order: the next one waits until this function has returned.
  onNotify: async (message, { method }) => {
    if (method === 'progress') heard.push(message.percent)
    else if (method === 'done') finished()
  },
})

await connection.connect()

for (const percent of [0, 50, 100]) {
  // Resolves when the message is in the send queue. Awaiting it keeps a fast sender from filling that queue.
  await connection.notify({ percent }, { method: 'progress' })
}
await connection.notify(undefined, { method: 'done' })

await otherIsDone
assert.deepEqual(heard, [0, 50, 100])
await connection.close()
console.log('done')
