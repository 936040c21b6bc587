/** What the cases do not ask, because they do not know the folder. */
import assert from 'node:assert/strict'
import { chmodSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Transport } from '@pairlink/core'
import { files } from '../src/index.js'
import { newOwner } from '../src/owner.js'
import { place } from './place.js'

const never = new AbortController().signal

function fresh(test: TestContext) {
  const made = place()
  test.after(() => made.dispose?.())
  return made
}

async function listening(transport: Transport) {
  const listener = await transport.listen((pipe) => pipe.destroy(), never)
  assert(typeof listener === 'object' && 'close' in listener)
  return listener
}

test('what killed processes have left is taken over, and removed', async (test) => {
  const { folder } = fresh(test)
  const gone = newOwner().replace(/-\d+-/, `-${2 ** 22 + 1}-`) // no pid is so large
  symlinkSync(gone, join(folder, 'holder'))
  symlinkSync(gone, join(folder, `holder~${gone}`)) // killed while it took over from itself
  writeFileSync(join(folder, `x+${gone}.dial`), '')
  writeFileSync(join(folder, 'x+y.accept'), '')
  assert.equal(await files(folder).dial(never), 'absent')
  const listener = await listening(files(folder))
  while (readdirSync(folder).length > 1) await setTimeout(5)
  await listener.close()
  assert.deepEqual(readdirSync(folder), [])
})

test('a listener that is stopped is full, and a dial that is given up leaves nothing', async (test) => {
  const { folder, spawn } = fresh(test)
  const peer = await spawn?.('listener')
  test.after(() => peer?.kill('SIGKILL'))
  while (readdirSync(folder).length === 0) await setTimeout(5)
  peer?.kill('SIGSTOP')
  assert.equal(await files(folder).dial(never), 'full')
  await assert.rejects(files(folder).dial(AbortSignal.timeout(50)))
  assert.deepEqual(readdirSync(folder), ['holder'])
  peer?.kill('SIGCONT')
  const pipe = await files(folder).dial(never)
  assert(typeof pipe === 'object')
  pipe.destroy()
})

test('a folder that others can enter is refused', async (test) => {
  const { folder } = fresh(test)
  chmodSync(folder, 0o755)
  await assert.rejects(listening(files(folder)), { code: 'ADDRESS_INVALID', message: /mode 700/ })
  assert.throws(() => files(''), TypeError)
})
