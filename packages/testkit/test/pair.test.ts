/** Two that are paired in memory, and what can be done to them. */
import type { Connection, ConnectionEvents } from '@pairlink/core'
import { expect, onTestFinished, test } from 'vitest'
import { connectedPair, memory, type ConnectedPairOptions } from '../src/index.js'

interface Sums {
  add(input: { a: number; b: number }): number
}
interface Echoes {
  echo(text: string): string
}

async function paired(options: ConnectedPairOptions<Sums, Echoes> = {}) {
  const made = await connectedPair<Sums, Echoes>(options)
  onTestFinished(async () => {
    await Promise.all([made.one.close({ drainMs: 0 }), made.two.close({ drainMs: 0 })])
  })
  return made
}

function next<Name extends keyof ConnectionEvents>(
  of: Pick<Connection, 'on'>,
  name: Name,
): Promise<ConnectionEvents[Name]> {
  return new Promise((resolve) => {
    const stop = of.on(name, (event) => {
      stop()
      resolve(event)
    })
  })
}

test('each calls what the other answers, by the contracts of both', async () => {
  const { one, two } = await paired({
    one: { handlers: { add: ({ a, b }) => a + b } },
    two: { handlers: { echo: (text) => text } },
    both: { onQuery: () => 'of both' },
  })
  expect(await one.call('echo', 'hello')).toBe('hello')
  expect(await two.call('add', { a: 1, b: 2 })).toBe(3)
  expect(await one.query('?')).toBe('of both')
  expect([one.role, two.role]).toEqual(['listener', 'dialer'])
})

test('dispose closes both and leaves nothing, also for the second time', async () => {
  const pair = await connectedPair({ one: { onQuery: () => 1 } })
  expect(pair.place.handles).toBeGreaterThan(0)
  await pair[Symbol.asyncDispose]()
  await pair.dispose()
  expect([pair.one.state, pair.two.state, pair.place.handles]).toEqual(['closed', 'closed', 0])
})

test('two that cannot pair leave nothing', async () => {
  const place = memory()
  const options = { place, two: { secret: 'another one, which the first one does not hold' } }
  await expect(connectedPair(options)).rejects.toMatchObject({ code: 'SECRET_MISMATCH' })
  await expect.poll(() => place.handles).toBe(0)
})

test('options that a Connection does not take are a TypeError', async () => {
  await expect(connectedPair({ both: { queryTimeoutMs: 0 } })).rejects.toThrow(TypeError)
})

test('a cut is told to both, and the session goes on', async () => {
  const { one, two, place } = await paired({ two: { handlers: { echo: (text) => text } } })
  place.stall()
  const call = one.call('echo', 'kept')
  const lost = [next(one, 'apart'), next(two, 'apart')]
  place.cut()
  await Promise.all(lost)
  const back = [next(one, 'paired'), next(two, 'paired')]
  place.flow()
  expect((await Promise.all(back)).map(({ resumed }) => resumed)).toEqual([true, true])
  expect(await call).toBe('kept')
})

test('a half-open pipe takes everything and delivers nothing', async () => {
  const { one, place } = await paired({ two: { handlers: { echo: (text) => text } } })
  place.silence()
  await expect(one.call('echo', 'lost', { timeoutMs: 20 })).rejects.toMatchObject({ code: 'TIMEOUT' })
})

test('where nobody can be dialled a lost peer stays away, until it can', async () => {
  const { one, two, place } = await paired({ both: { reconnect: { delayMs: 1 } } })
  place.isReachable = false
  const apart = next(one, 'apart')
  place.cut()
  await apart
  for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve))
  expect(one.state).toBe('apart')
  const back = [next(one, 'paired'), next(two, 'paired')]
  place.isReachable = true
  await Promise.all(back)
})

test('an address that was removed is noticed by who held it, which meets anew', async () => {
  const { one, two, place } = await paired({ both: { keepaliveMs: 20, reconnect: { delayMs: 1 } } })
  const listens = [next(one, 'listening'), next(two, 'listening')]
  place.removeAddress()
  await Promise.race(listens)
})

test('a place takes no options that make no sense', () => {
  expect(() => memory({ chunkBytes: 0 })).toThrow(TypeError)
  expect(() => memory({ capacityBytes: Number.NaN })).toThrow(TypeError)
})
