// errors.mjs: what a failed call tells. There is no other process here, so this call cannot succeed.
import assert from 'node:assert/strict'
import { Connection, isPairlinkError } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

const connection = new Connection({ transport: local(process.argv[2] ?? 'errors'), secret: 'super-secret' })

try {
  await connection.call('add', { a: 1, b: 2 })
  assert.fail('it should have failed')
} catch (error) {
  if (!isPairlinkError(error, 'NOT_CONNECTED')) throw error
  assert.equal(error.delivery, 'not-sent') // so it is safe to call again, once there is a peer
}

await connection.close()
console.log('done')
