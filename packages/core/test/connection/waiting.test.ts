import { describe, expect, test } from 'vitest'
import { PairlinkError, type Connection } from '../../src/index.js'
import { dialTimes, mortal, occupy, World } from './world.js'

const echo = { onQuery: (query: unknown) => query }

function waits(connection: Connection): { code: string | undefined; address: string }[] {
  const seen: { code: string | undefined; address: string }[] = []
  connection.on('waiting', ({ error, address }) => seen.push({ code: error?.code, address }))
  return seen
}
const told = (world: World, level: string) =>
  world.logs.filter((entry) => entry.level === level && entry.message.startsWith('waiting at'))

const alone = { code: undefined, address: 'memory:test' }

test('alone for three seconds: one event without an error, and one line in the log of people', async () => {
  const world = new World()
  const a = world.make(echo)
  const seen = waits(a)
  await a.connect({ until: 'started' })
  await world.clock.advance(2999)
  expect([seen, told(world, 'info')]).toEqual([[], []])
  await world.clock.advance(1)
  expect(seen).toEqual([alone])
  expect(told(world, 'info').map((entry) => entry.message)).toEqual(['waiting at memory:test'])
  await world.clock.advance(600_000)
  expect(seen).toEqual([alone])
  expect(told(world, 'info')).toHaveLength(1)
  expect(told(world, 'warn')).toEqual([])
  await world.end()
})

test('paired before: nothing, and nothing later', async () => {
  const world = new World()
  const a = world.make(echo)
  const b = world.make(echo)
  const seen = [waits(a), waits(b)]
  await a.connect({ until: 'started' })
  await world.clock.advance(2900)
  await b.connect()
  await world.clock.advance(60_000)
  expect(seen).toEqual([[], []])
  expect([...told(world, 'info'), ...told(world, 'warn')]).toEqual([])
  await world.end()
})

test('paired at the end of holdMs with one that waited: nothing', async () => {
  const world = new World()
  const life = mortal(world)
  const a = world.make({ ...echo, holdMs: 2500 })
  const b = world.make({ ...echo, transport: life.transport })
  await a.connect({ until: 'started' })
  await b.connect()
  life.stop()
  world.pipe[0].destroy()
  const seen = waits(a)
  await world.finish(world.make(echo).connect())
  await world.clock.advance(10_000)
  expect(seen).toEqual([])
  await world.end()
})

test('a pair that was made at the end of holdMs and said goodbye since: not before three seconds without it', async () => {
  const world = new World()
  const life = mortal(world)
  const a = world.make({ onQuery: () => new Promise(() => undefined), drainMs: 60_000 })
  const b = world.make({ ...echo, transport: life.transport })
  await a.connect({ until: 'started' })
  await b.connect()
  life.stop()
  world.pipe[0].destroy()
  const seen = waits(a)
  const c = world.make({ ...echo, drainMs: 60_000 })
  await world.finish(c.connect())
  void c.query('for ever', { timeoutMs: Infinity }).catch(() => undefined)
  await world.clock.settle()
  await world.clock.advance(1500)
  void c.close()
  await world.clock.advance(1000) // more than three seconds after the loss of b, one after the goodbye of c
  expect([a.state, seen]).toEqual(['apart', []])
})

test('given up or closed before: nothing, and no timer', async () => {
  const world = new World()
  const a = world.make(echo)
  const seen = waits(a)
  const given = a.connect({ timeoutMs: 1000 }).catch(() => undefined)
  await world.clock.advance(1000)
  await given
  expect([a.state, world.clock.pending]).toEqual(['idle', 0])
  void a.connect().catch(() => undefined)
  await world.clock.advance(1000)
  await a.close()
  await world.clock.advance(10_000)
  expect(seen).toEqual([])
  world.expectNothingLeft()
})

test('the time counts from each connect anew', async () => {
  const world = new World()
  const a = world.make(echo)
  const seen = waits(a)
  const given = a.connect({ timeoutMs: 2000 }).catch(() => undefined)
  await world.clock.advance(2000)
  await given
  void a.connect().catch(() => undefined)
  await world.clock.advance(2990)
  expect(seen).toEqual([])
  await world.clock.advance(20)
  expect(seen).toEqual([alone])
  await world.end()
})

test('its timer does not keep the process alive', async () => {
  const world = new World()
  await world.make(echo).connect({ until: 'started' })
  expect([world.clock.pending, world.clock.held]).toEqual([1, 0])
  await world.end()
})

describe('after a loss', () => {
  test('it is told again, three seconds later and once', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const seen = waits(a)
    await world.clock.advance(10_000)
    await b.close()
    await world.clock.advance(2990)
    expect(seen).toEqual([])
    await world.clock.advance(20)
    expect(seen).toEqual([alone])
    await world.clock.advance(60_000)
    expect(seen).toEqual([alone])
    expect(told(world, 'info')).toHaveLength(1)
    await world.make(echo).connect()
    world.pipe[0].destroy()
    await world.clock.advance(100)
    expect(a.state).toBe('paired')
    await world.clock.advance(10_000)
    expect(seen).toEqual([alone])
    await world.end()
  })

  test('who only dials is told why', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, failover: false })
    const seen = waits(b)
    await world.finish(a.close())
    await world.clock.advance(3100)
    expect(seen).toEqual([{ code: 'PEER_LOST', address: 'memory:test' }])
    await world.end()
  })
})

describe('what the transport says is in the way', () => {
  test('is told as ADDRESS_IN_USE, with its sentence, in the event and one warning', async () => {
    const world = new World()
    world.address.onDial = () => 'again'
    world.address.obstacle = 'the lock /run/x.lock is held by process 17'
    const a = world.make(echo)
    const errors: unknown[] = []
    a.on('waiting', ({ error }) => errors.push(error))
    void a.connect().catch(() => undefined)
    await world.clock.advance(2999)
    expect(errors).toEqual([])
    await world.clock.advance(2)
    expect(errors).toEqual([expect.objectContaining({ code: 'ADDRESS_IN_USE' })])
    expect((errors[0] as Error).message).toContain('the lock /run/x.lock is held by process 17')
    expect((errors[0] as Error).message).toContain('memory:test')
    expect(told(world, 'warn')).toHaveLength(1)
    expect(told(world, 'info')).toEqual([])
    await world.end()
  })

  test.each(['absent', 'again'] as const)('is told as the error that it is, where a dial is %s', async (outcome) => {
    const world = new World()
    world.address.onDial = () => outcome
    world.address.onListen = () => Promise.resolve('cannot')
    world.address.obstacle = new PairlinkError('PEER_LOST', 'a word of its own')
    const a = world.make(echo)
    const errors: unknown[] = []
    a.on('waiting', ({ error }) => errors.push(error))
    void a.connect().catch(() => undefined)
    await world.clock.advance(3001)
    expect(errors).toEqual([world.address.obstacle])
    expect(told(world, 'warn')).toHaveLength(1)
    await world.end()
  })

  test('as an error is what a look after a loss has found', async () => {
    const world = new World()
    const [a, b] = [world.make({ ...echo, failover: false }), world.make({ ...echo, failover: false })]
    await world.finish(Promise.all([a.connect(), b.connect()]), 1000)
    const dialer = a.role === 'dialer' ? a : b
    const apart: unknown[] = []
    dialer.on('apart', ({ error }) => apart.push(error))
    world.address.onDial = () => 'absent'
    world.address.onListen = () => Promise.resolve('cannot')
    world.address.obstacle = new PairlinkError('PEER_LOST', 'a word of its own')
    for (const [near, far] of world.address.pipes) {
      near.destroy()
      far.destroy()
    }
    await world.clock.advance(2000)
    expect(apart.length).toBeGreaterThan(1)
    expect(apart.slice(1)).toEqual(apart.slice(1).map(() => world.address.obstacle))
    await world.end()
  })

  test('does not end connect, which goes on and succeeds', async () => {
    const world = new World()
    world.address.onDial = () => 'again'
    world.address.obstacle = 'in the way'
    const [a, b] = [world.make(echo), world.make(echo)]
    const both = Promise.all([a.connect(), b.connect()])
    await world.clock.advance(10_000)
    expect([a.state, b.state]).toEqual(['meeting', 'meeting'])
    world.address.onDial = undefined
    await world.finish(both, 1000)
    await world.end()
  })

  test('is not told by one who holds the address', async () => {
    const world = new World()
    const a = world.make(echo)
    const seen = waits(a)
    await a.connect({ until: 'started' })
    world.address.obstacle = 'an old one'
    await world.clock.advance(3000)
    expect(seen).toEqual([alone])
    await world.end()
  })
})

describe('a peer that accepts and says nothing', () => {
  test('is retried in the first connect; after two handshakes one event with PEER_SILENT and one warning', async () => {
    const world = new World()
    const strangers = occupy(world)
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    const errors: unknown[] = []
    a.on('waiting', ({ error }) => error !== undefined && errors.push(error))
    let outcome: unknown = 'waits'
    const connected = a.connect().then(
      () => (outcome = 'paired'),
      (error: unknown) => (outcome = error),
    )
    await world.clock.advance(9990)
    expect([strangers.length, errors]).toEqual([2, []])
    await world.clock.advance(1600)
    expect(errors).toEqual([expect.objectContaining({ code: 'PEER_SILENT' })])
    expect(told(world, 'warn')).toHaveLength(1)
    await world.clock.advance(60_000)
    expect(errors).toHaveLength(1)
    expect(told(world, 'warn')).toHaveLength(1)
    expect([outcome, a.state]).toEqual(['waits', 'meeting'])
    expect(times.length).toBeGreaterThan(8)
    // It wakes up, and is another one by then.
    world.address.accept = undefined
    for (const { pipe } of strangers) pipe.destroy()
    const b = world.make(echo)
    await world.finish(Promise.all([connected, b.connect()]))
    expect(outcome).toBe('paired')
    await world.end()
  })

  test('after a loss is told with each look, and once as a warning', async () => {
    const world = new World()
    const life = mortal(world)
    const a = world.make({ ...echo, transport: life.transport })
    const b = world.make(echo)
    await a.connect({ until: 'started' })
    await b.connect()
    const seen = waits(b)
    const apart: (string | undefined)[] = []
    b.on('apart', ({ error }) => apart.push(error?.code))
    life.stop()
    const strangers = occupy(world)
    world.pipe[0].destroy()
    await world.clock.advance(30_000)
    expect(b.state).toBe('apart')
    expect(apart[0]).toBe('PEER_LOST')
    expect(apart.length).toBeGreaterThan(4)
    expect(new Set(apart.slice(1))).toEqual(new Set(['PEER_SILENT']))
    expect(seen.filter(({ code }) => code === 'PEER_SILENT')).toHaveLength(1)
    expect(told(world, 'warn')).toHaveLength(1)
    world.address.accept = undefined
    for (const { pipe } of strangers) pipe.destroy()
    await world.end()
  })
})
