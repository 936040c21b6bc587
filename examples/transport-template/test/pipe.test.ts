/** A pipe between two sockets of this process. The cases ask for all of it, too: delete this file once they pass. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { Pipe } from '@pairlink/core'
import { socketPipe } from '../src/index.js'
import { unusedPort } from './unused-port.js'

test('a pipe carries bytes both ways, and ends', async () => {
  const where = { host: '127.0.0.1', port: await unusedPort() }
  const server = createServer({ allowHalfOpen: true }).listen(where)
  await once(server, 'listening')
  const dialled = connect({ ...where, allowHalfOpen: true })
  const [[accepted]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(dialled, 'connect')])
  server.close()

  const [near, far] = [socketPipe(dialled), socketPipe(accepted)]
  const read = Promise.all([readAll(near), readAll(far)])
  near.write([Buffer.from('hel'), Buffer.from('lo')])
  far.write([Buffer.from('world')])
  near.end()
  assert.deepEqual(await read, ['world', 'hello'])
})

/** Starts one end, which ends when the other one does. Resolves once it is closed. */
function readAll(pipe: Pipe): Promise<string> {
  const chunks: Uint8Array[] = []
  return new Promise((resolve, reject) => {
    pipe.start({
      bytes: (chunk, transient) => void chunks.push(transient ? chunk.slice() : chunk),
      drained: () => undefined,
      ended: () => pipe.end(),
      closed: (error) => (error === undefined ? resolve(Buffer.concat(chunks).toString()) : reject(error)),
    })
  })
}
