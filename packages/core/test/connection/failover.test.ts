import { describe, expect, test } from 'vitest'
import { dialTimes, history, mortal, World, type Options } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** A dialer whose listener has just died, its address free. */
async function orphan(world: World, options: Options) {
  const life = mortal(world)
  const dialer = dialTimes(world, world.address.transport())
  const a = world.make({ ...echo, transport: life.transport })
  const b = world.make({ ...echo, transport: dialer.transport, ...options })
  await a.connect({ until: 'started' })
  await b.connect()
  const seen = history(b)
  const looks: { code: string | undefined; retryInMs: number | undefined; at: number }[] = []
  b.on('apart', ({ error, retryInMs }) => looks.push({ code: error?.code, retryInMs, at: world.clock.now() }))
  life.stop()
  world.address.accept = undefined
  dialer.times.length = 0
  world.pipe[0].destroy()
  await world.clock.settle()
  return { a, b, life, seen, looks, times: dialer.times }
}

describe('failover', () => {
  test.each([{}, { failover: true }])(
    '%o: the survivor of a dead listener takes the place at once',
    async (options) => {
      const world = new World()
      const { a, b, seen, looks } = await orphan(world, options)
      await world.clock.advance(100)
      expect([b.state, b.role, world.address.listenCount]).toEqual(['apart', 'listener', 2])
      expect(seen).toEqual(['apart', 'apart PEER_LOST', 'listening'])
      expect(looks.map(({ retryInMs }) => retryInMs)).toEqual([0])
      const c = world.make(echo)
      await world.finish(c.connect())
      expect([c.role, b.role, b.state]).toEqual(['dialer', 'listener', 'paired'])
      expect(await Promise.all([b.query(1), c.query(2)])).toEqual([1, 2])
      await a.close()
      await world.end()
    },
  )

  test('false: it only dials, and each look that found nobody is told with the time of the next', async () => {
    const world = new World()
    const { b, looks, times } = await orphan(world, { failover: false })
    await world.clock.advance(60_000)
    expect([b.state, b.role, world.address.listenCount]).toEqual(['apart', undefined, 1])
    expect(looks.length).toBeGreaterThan(30)
    expect(looks[0]).toMatchObject({ code: 'PEER_LOST', retryInMs: 0 })
    for (const [at, look] of looks.entries()) {
      if (at === 0) continue
      expect(look.code).toBe('PEER_LOST')
      // Told at the moment of the dial that found nobody; the next one follows as was said.
      expect(look.at).toBe(times[at - 1])
      if (times[at] !== undefined) expect(times[at] - look.at).toBeCloseTo(look.retryInMs ?? Infinity, 6)
    }
    await world.end()
  })

  test('false: it pairs with whoever listens next', async () => {
    const world = new World()
    const { b, seen } = await orphan(world, { failover: false })
    await world.clock.advance(10_000)
    const c = world.make(echo)
    await c.connect({ until: 'started' })
    await world.finish(c.connect())
    expect([b.role, c.role]).toEqual(['dialer', 'listener'])
    expect(seen.slice(-2)).toEqual(['paired', 'paired dialer new'])
    await world.end()
  })

  test('false: after a goodbye of the listener it only dials too', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, failover: false })
    await world.finish(a.close())
    await world.clock.advance(10_000)
    expect([b.state, b.role, world.address.accept]).toEqual(['apart', undefined, undefined])
    await world.end()
  })

  test('false: the first connect may listen, and who listened then still listens after a loss', async () => {
    const world = new World()
    const a = world.make({ ...echo, failover: false })
    await a.connect({ until: 'started' })
    expect(a.role).toBe('listener')
    const b = world.make({ ...echo, failover: false })
    await b.connect()
    const looks: (number | undefined)[] = []
    a.on('apart', ({ retryInMs }) => looks.push(retryInMs))
    world.pipe[0].destroy()
    await world.clock.settle()
    await world.finish(Promise.all([a.paired(), b.paired()]), 200)
    expect([a.role, b.role, world.address.listenCount]).toEqual(['listener', 'dialer', 1])
    expect(looks).toEqual([undefined])
    await world.end()
  })

  test('false: it looks in the log of people once, then only in the debug log', async () => {
    const world = new World()
    await orphan(world, { failover: false })
    await world.clock.advance(30_000)
    const told = world.logs.filter((entry) => entry.message.startsWith('Nobody listens'))
    expect(told.filter((entry) => entry.level === 'info')).toHaveLength(1)
    expect(told.filter((entry) => entry.level === 'debug').length).toBeGreaterThan(10)
    expect(told.filter((entry) => !['info', 'debug'].includes(entry.level))).toEqual([])
    await world.end()
  })

  test('true: where this process cannot listen it dials on', async () => {
    const world = new World()
    const { b, looks, times } = await orphan(world, { failover: true })
    world.address.onListen = () => Promise.resolve('cannot')
    await world.clock.advance(10_000)
    expect([b.state, b.role]).toEqual(['apart', undefined])
    expect(looks.length).toBeGreaterThan(5)
    expect(times.length).toBe(looks.length - 1)
    await world.end()
  })
})

test("a process that cannot listen dials until somebody does, in its first connect too: 'cannot' is no failure", async () => {
  const world = new World()
  const dialer = dialTimes(world, world.address.transport())
  const b = world.make({
    ...echo,
    transport: { ...dialer.transport, listen: () => Promise.resolve('cannot') },
  })
  const connected = b.connect()
  await world.clock.advance(20_000)
  expect([b.state, b.role]).toEqual(['meeting', undefined])
  expect(dialer.times.length).toBeGreaterThan(10)
  expect(dialer.times.length).toBeLessThan(45)
  const a = world.make(echo)
  await a.connect({ until: 'started' })
  await world.finish(connected)
  expect([b.role, a.role]).toEqual(['dialer', 'listener'])
  await world.end()
})

test('a transport that opens a pipe where it was to listen is handshaken with', async () => {
  const world = new World()
  const a = world.make(echo)
  await a.connect({ until: 'started' })
  const transport = world.address.transport()
  const b = world.make({
    ...echo,
    transport: {
      ...transport,
      dial: () => Promise.resolve('absent'),
      listen: () => Promise.resolve(world.address.connect()),
    },
  })
  await world.finish(b.connect(), 100)
  expect([b.role, a.state, await b.query(1)]).toEqual(['dialer', 'paired', 1])
  await world.end()
})
