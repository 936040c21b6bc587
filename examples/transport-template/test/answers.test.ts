/** True answers about an address. The cases ask for all of it, too: delete this file once they pass. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Pipe } from '@pairlink/core'
import { port } from '../src/index.js'
import { unusedPort } from './unused-port.js'

test('dial and listen give true answers', async () => {
  const number = await unusedPort()
  const [one, two] = [port(number), port(number)] // as in two processes
  const never = new AbortController().signal

  assert.equal(await two.dial(never), 'absent') // nobody is there
  const listener = await one.listen((pipe) => void started(pipe), never)
  assert(typeof listener === 'object' && 'close' in listener)
  assert.equal(await two.listen(() => undefined, never), 'taken')
  const pipe = await two.dial(never)
  assert(typeof pipe === 'object')
  const closed = started(pipe)

  const closing = listener.close()
  assert.equal(listener.close(), closing)
  await closing
  assert.equal(await two.dial(never), 'absent') // the address is free
  pipe.end()
  await closed // the pipe has lived on: it ends without an error

  await assert.rejects(two.dial(AbortSignal.abort(new Error('given up'))), /given up/)
})

/** Starts one end, which ends when the other one does. Resolves once it is closed. */
function started(pipe: Pipe): Promise<void> {
  return new Promise((resolve, reject) => {
    pipe.start({
      bytes: () => undefined,
      drained: () => undefined,
      ended: () => pipe.end(),
      closed: (error) => (error === undefined ? resolve() : reject(error)),
    })
  })
}
