// apart.mjs: what a process sees when the other one is killed and started again. It starts the other process itself.
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Connection, isPairlinkError } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

const name = process.argv[2] ?? 'apart'
const isOther = process.argv[3] === 'other'

const connection = new Connection({
  transport: local(name),
  secret: 'super-secret',
  reconnect: { delayMs: 200 },
  handlers: {
    pid: () => process.pid,
    never: () => new Promise(() => undefined),
  },
})

if (isOther) {
  await connection.connect()
  connection.on('apart', () => void connection.close()) // this side ends together with the other one
} else {
  const startOther = () => fork(fileURLToPath(import.meta.url), [name, 'other'])
  const states = []
  connection.on('state', ({ now }) => states.push(now))

  await connection.connect({ until: 'started' }) // does not wait for the other process, only until it can come
  const first = startOther()
  await connection.paired()
  assert.equal(await connection.call('pid'), first.pid)

  // A call is in flight when the other process dies. It waits, since the same process may be back in a moment.
  const call = connection.call('never', undefined, { timeoutMs: Infinity })
  await connection.call('pid')
  const apart = new Promise((resolve) => connection.on('apart', resolve))
  first.kill('SIGKILL')
  await apart

  // Now there is no peer. A new call fails at once, or waits for the next one within its timeout.
  await assert.rejects(
    connection.call('pid'),
    (error) => isPairlinkError(error, 'NOT_CONNECTED') && error.delivery === 'not-sent',
  )
  const waiting = connection.call('pid', undefined, { whenApart: 'wait' })
  const second = startOther()

  // Another process comes instead. The call settles, and says whether the other side may have got it.
  await assert.rejects(call, (error) => isPairlinkError(error, 'PEER_LOST') && error.delivery !== 'not-sent')
  assert.equal(await waiting, second.pid)

  await connection.close()
  assert.deepEqual(states, ['meeting', 'paired', 'apart', 'paired', 'closing', 'closed'])
  console.log('done')
}
