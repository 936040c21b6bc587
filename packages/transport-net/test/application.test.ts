/** What an application may do to the world around a listener, and what must go on nevertheless. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Listener, Transport } from '@pairlink/core'
import { afterEach, expect, test, vi } from 'vitest'
import { tcp, unix } from '../src/index.js'
import { PLAIN } from '../src/pipe.js'
import { UnixTransport } from '../src/unix.js'
import { leaveStale } from './children.js'

const never = new AbortController().signal
const folders: string[] = []

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'plk-'))
  folders.push(made)
  return made
}

afterEach(() => {
  vi.useRealTimers()
  for (const made of folders.splice(0)) rmSync(made, { recursive: true, force: true })
})

async function listening(transport: Transport): Promise<Listener> {
  const listener = await transport.listen((pipe) => {
    pipe.destroy()
  }, never)
  if (typeof listener === 'string' || 'start' in listener) throw new Error('expected a listener')
  return listener
}

test.each([
  ['unix', () => unix(join(folder(), 's'))],
  ['tcp', () => tcp({ port: 28_417 })],
])('fake timers do not keep a listener of %s from closing', async (_, make) => {
  const transport = make()
  vi.useFakeTimers()
  const listener = await listening(transport)
  await listener.close()
})

test('a directory that the transport makes itself is made again when it was removed', async () => {
  const directory = join(folder(), 'own')
  const path = join(directory, 's')
  const transport = new UnixTransport({
    path,
    address: 'own',
    access: { mode: 0o600, gid: undefined },
    owner: undefined,
    locking: 'flock',
    layer: PLAIN,
    ownsDirectory: true,
    checkPlace: () => mkdirSync(directory, { recursive: true, mode: 0o700 }),
  })
  expect(await transport.dial(never)).toBe('absent')
  const first = await listening(transport)
  rmSync(directory, { recursive: true })
  expect(first.holds?.()).toBe(false)
  await first.close()
  const second = await listening(transport)
  expect(second.holds?.()).toBe(true)
  await second.close()
})

test('who has refused the last dial is known, while his socket lies there', async () => {
  const path = join(folder(), 's')
  const transport = unix(path)
  expect([await transport.dial(never), transport.refusedBy?.()]).toEqual(['absent', undefined])
  await leaveStale(path)
  expect([await transport.dial(never), transport.refusedBy?.()]).toEqual([
    'absent',
    expect.stringMatching(/^\d+:\d+:\d+$/),
  ])
  rmSync(path)
  expect([await transport.dial(never), transport.refusedBy?.()]).toEqual(['absent', undefined])
})
