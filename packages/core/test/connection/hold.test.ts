import { describe, expect, test } from 'vitest'
import type { Connection } from '../../src/index.js'
import { failure, history, mortal, World, type Mortal, type Options } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** A pair whose dialer has just died without a goodbye. */
async function lost(world: World, options: Options = {}): Promise<{ a: Connection; b: Connection; life: Mortal }> {
  const life = mortal(world)
  const a = world.make({ ...echo, ...options })
  const b = world.make({ ...echo, transport: life.transport })
  await a.connect({ until: 'started' })
  await b.connect()
  life.stop()
  world.pipe[0].destroy()
  await world.clock.settle()
  expect([a.state, b.state]).toEqual(['apart', 'apart'])
  return { a, b, life }
}

describe('after a loss without a goodbye', () => {
  test('a newcomer that proves itself waits without an answer, and is welcomed after holdMs', async () => {
    const world = new World()
    const { a } = await lost(world)
    const seen = history(a)
    const c = world.make(echo)
    const connected = c.connect()
    await world.clock.advance(10)
    const [near, far] = world.pipe
    far.written = []
    await world.clock.advance(980)
    expect(far.written).toEqual([])
    expect([near.isClosed, c.state, a.state, a.stats().strangers]).toEqual([false, 'meeting', 'apart', 0])
    await world.clock.advance(11)
    await connected
    expect(seen).toEqual(['paired', 'paired listener new'])
    expect(await Promise.all([a.query(1), c.query(2)])).toEqual([1, 2])
    await world.end()
  })

  test('the lost peer that comes back in time is welcomed at once, and who waited is told busy', async () => {
    const world = new World()
    const { a, b, life } = await lost(world)
    const seen = history(a)
    const third = failure(world.make(echo).connect())
    await world.clock.advance(200)
    life.goOn()
    await world.clock.advance(100)
    expect(b.state).toBe('paired')
    expect(seen.slice(0, 2)).toEqual(['paired', 'paired listener same'])
    expect((await world.finish(third, 500)).code).toBe('PAIR_BUSY')
    expect(seen.slice(2).filter((entry) => entry !== 'refused busy')).toEqual([])
    expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
    await world.end()
  })

  test('of several newcomers the first is welcomed, the others are told busy', async () => {
    const world = new World()
    const { a } = await lost(world, { about: 'a' })
    const outcomes: string[] = []
    const connections: Connection[] = []
    for (const name of ['first', 'second', 'third']) {
      const connection = world.make({ ...echo, about: name })
      connections.push(connection)
      void connection.connect().then(
        () => outcomes.push(`${name} paired`),
        (error: { code: string }) => outcomes.push(`${name} ${error.code}`),
      )
      await world.clock.advance(100)
    }
    expect(outcomes).toEqual([])
    await world.clock.advance(701)
    expect(outcomes).toEqual(['first paired'])
    expect(a.peer?.about).toBe('first')
    await world.clock.advance(1000)
    expect(outcomes.sort()).toEqual(['first paired', 'second PAIR_BUSY', 'third PAIR_BUSY'])
    await world.end()
  })

  test('the lost peer is a newcomer like any other once holdMs is over', async () => {
    const world = new World()
    const { a, b, life } = await lost(world)
    const seen = history(a)
    const c = world.make(echo)
    const connected = c.connect()
    await world.clock.advance(1001)
    await connected
    life.goOn()
    await world.clock.advance(3000)
    expect([a.peer?.instance === c.peer?.instance, b.state, a.state]).toEqual([false, 'apart', 'paired'])
    expect(seen.slice(0, 2)).toEqual(['paired', 'paired listener new'])
    await world.finish(c.close())
    await world.finish(b.paired())
    await world.end()
  })

  test('a loss by silence keeps the place as well', async () => {
    const world = new World()
    const life = mortal(world)
    const a = world.make({ ...echo, keepaliveMs: 1000, silenceMs: 5000 })
    const b = world.make({ ...echo, transport: life.transport })
    await a.connect({ until: 'started' })
    await b.connect()
    life.stop()
    world.pipe[0].vanish()
    for (let ms = 0; a.state === 'paired'; ms += 10) {
      expect(ms).toBeLessThan(10_000)
      await world.clock.advance(10)
    }
    const c = world.make(echo)
    const connected = c.connect()
    await world.clock.advance(900)
    expect([a.state, c.state]).toEqual(['apart', 'meeting'])
    await world.clock.advance(101)
    await connected
    await world.end()
  })

  test('each loss keeps the place anew', async () => {
    const world = new World()
    const { a, b, life } = await lost(world)
    await world.clock.advance(900)
    life.goOn()
    await world.finish(b.paired())
    life.stop()
    world.pipe[0].destroy()
    const c = world.make(echo)
    const connected = c.connect()
    await world.clock.advance(990)
    expect([a.state, c.state]).toEqual(['apart', 'meeting'])
    await world.clock.advance(11)
    await connected
    await world.end()
  })

  test('a newcomer is kept longer than its handshake may take, and gets in all the same', async () => {
    const world = new World()
    const { a } = await lost(world, { holdMs: 12_000 })
    const c = world.make(echo)
    const connected = c.connect()
    await world.clock.advance(11_900)
    expect([a.state, c.state]).toEqual(['apart', 'meeting'])
    await world.finish(connected, 5000)
    expect(await a.query(1)).toBe(1)
    await world.end()
  })
})

test('after a goodbye the place is kept for nobody', async () => {
  const world = new World()
  const [a, b] = await world.pair(echo)
  await b.close()
  const c = world.make(echo)
  const before = world.clock.now()
  await c.connect()
  expect(world.clock.now()).toBe(before)
  expect(a.state).toBe('paired')
  await world.end()
})

test('holdMs 0 keeps it for nobody either', async () => {
  const world = new World()
  const { a } = await lost(world, { holdMs: 0 })
  const c = world.make(echo)
  const connected = c.connect()
  await world.clock.advance(1)
  await connected
  expect(a.state).toBe('paired')
  await world.end()
})

test('a newcomer that leaves meanwhile is forgotten: the next one is welcomed, and nothing is told of it', async () => {
  const world = new World()
  const { a } = await lost(world)
  const seen = history(a)
  const first = world.make({ ...echo, about: 'first' })
  const gone = failure(first.connect())
  await world.clock.advance(100)
  const second = world.make({ ...echo, about: 'second' })
  const connected = second.connect()
  await world.clock.advance(100)
  await world.finish(first.close(), 100)
  expect((await gone).code).toBe('CLOSED')
  await world.clock.advance(900)
  await connected
  expect(a.peer?.about).toBe('second')
  expect(seen).toEqual(['paired', 'paired listener new'])
  await world.end()
})

test('when all newcomers have left, the place is free for the next', async () => {
  const world = new World()
  const { a } = await lost(world)
  const first = world.make(echo)
  void first.connect().catch(() => undefined)
  await world.clock.advance(100)
  await world.finish(first.close(), 100)
  await world.clock.advance(2000)
  expect(a.state).toBe('apart')
  const before = world.clock.now()
  await world.make(echo).connect()
  expect(world.clock.now()).toBe(before)
  await world.end()
})

test('close() while newcomers wait: it ends at once, and they pair with each other', async () => {
  const world = new World()
  const { a, b } = await lost(world)
  const seen = history(a)
  const newcomers = [world.make(echo), world.make(echo)]
  const connected = Promise.all(newcomers.map((newcomer) => newcomer.connect()))
  await world.clock.advance(200)
  await world.finish(a.close(), 1100)
  expect(seen).toEqual(expect.arrayContaining(['closing', 'closed', 'closed in order']))
  expect(seen.filter((entry) => entry.startsWith('paired'))).toEqual([])
  await world.finish(connected)
  expect(newcomers.map((newcomer) => newcomer.state)).toEqual(['paired', 'paired'])
  await b.close()
  await world.end()
})

test('close() in the paired event of the lost peer turns those who waited away without PAIR_BUSY', async () => {
  const world = new World()
  const { a, b, life } = await lost(world)
  a.on('paired', () => void a.close())
  const c = world.make(echo)
  const connected = c.connect()
  await world.clock.advance(200)
  life.goOn()
  await world.finish(a.closed)
  await world.finish(connected) // with the other survivor
  expect([b.state, c.state]).toEqual(['paired', 'paired'])
  await world.end()
})
