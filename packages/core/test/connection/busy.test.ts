import { describe, expect, test } from 'vitest'
import { deferred, dialTimes, failure, heldHandler, history, mortal, World } from './world.js'

const echo = { onQuery: (query: unknown) => query }

describe("whenBusy 'wait'", () => {
  test('stands by where two are paired: until started resolves, now and again, and connect goes on waiting', async () => {
    const world = new World()
    const [, b] = await world.pair(echo)
    const c = world.make({ ...echo, whenBusy: 'wait' })
    const seen = history(c)
    let isPaired = false
    const paired = c.connect().then(() => (isPaired = true))
    await world.finish(c.connect({ until: 'started' }))
    expect(c.state).toBe('standby')
    await world.finish(c.connect({ until: 'started' }), 0)
    await world.clock.advance(30_000)
    expect(isPaired).toBe(false)
    expect(seen.slice(0, 2)).toEqual(['meeting', 'standby'])
    expect(seen.filter((entry) => entry === 'standby')).toHaveLength(1)
    expect((await failure(c.query(1))).code).toBe('NOT_CONNECTED')
    await world.finish(b.close())
    await world.finish(paired)
    await world.end()
  })

  test('dials again about every 500 ms, each time after another pause', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const { transport, times } = dialTimes(world, world.address.transport())
    const c = world.make({ ...echo, transport, whenBusy: 'wait' })
    await world.finish(c.connect({ until: 'started' }))
    await world.clock.advance(60_000)
    const gaps = times.slice(1).map((time, at) => time - (times[at] ?? 0))
    expect(gaps.length).toBeGreaterThan(90)
    expect(gaps.length).toBeLessThan(150)
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(375)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(625)
    expect(new Set(gaps).size).toBeGreaterThan(50)
    expect([a.state, b.state]).toEqual(['paired', 'paired'])
    await world.end()
  })

  test.each(['listener', 'dialer'] as const)('gets in when the %s says goodbye', async (who) => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const c = world.make({ ...echo, whenBusy: 'wait' })
    await world.finish(c.connect({ until: 'started' }))
    const [gone, stays] = who === 'listener' ? [a, b] : [b, a]
    const leftAt = world.clock.now()
    await world.finish(gone.close())
    await world.finish(Promise.all([c.connect(), stays.paired()]))
    expect(world.clock.now() - leftAt).toBeLessThan(1000)
    expect(await Promise.all([c.query(1), stays.query(2)])).toEqual([1, 2])
    await world.end()
  })

  test.each(['listener', 'dialer'] as const)('gets in when the %s dies', async (who) => {
    const world = new World()
    const lives = [mortal(world), mortal(world)] as const
    const a = world.make({ ...echo, transport: lives[0].transport })
    const b = world.make({ ...echo, transport: lives[1].transport })
    await a.connect({ until: 'started' })
    await b.connect()
    const c = world.make({ ...echo, whenBusy: 'wait' })
    await world.finish(c.connect({ until: 'started' }))
    lives[who === 'listener' ? 0 : 1].stop()
    if (who === 'listener') world.address.accept = undefined
    world.pipe[0].destroy()
    for (const [near] of world.address.pipes) near.destroy()
    const stays = who === 'listener' ? b : a
    await world.finish(Promise.all([c.connect(), stays.paired()]))
    expect(await Promise.all([c.query(1), stays.query(2)])).toEqual([1, 2])
    await world.end()
  })

  test('whose place is empty listens, and is meeting again', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const c = world.make({ ...echo, whenBusy: 'wait' })
    const seen = history(c)
    await world.finish(c.connect({ until: 'started' }))
    await world.finish(Promise.all([a.close(), b.close()]))
    await world.clock.advance(1000)
    expect(seen).toEqual(['meeting', 'standby', 'meeting', 'listening'])
    const d = world.make(echo)
    await world.finish(Promise.all([d.connect(), c.connect()]))
    await world.end()
  })

  test('applies after a loss too: apart, standby, and paired again when there is room', async () => {
    const world = new World()
    const life = mortal(world)
    const { transport, times } = dialTimes(world, life.transport)
    const a = world.make(echo)
    const b = world.make({ ...echo, transport, whenBusy: 'wait' })
    await a.connect({ until: 'started' })
    await b.connect()
    const seen = history(b)
    life.stop()
    world.pipe[0].destroy()
    const c = world.make(echo)
    await world.finish(c.connect())
    life.goOn()
    times.length = 0
    await world.clock.advance(10_000)
    expect(times.length).toBeGreaterThan(14) // as often as in a first meeting
    expect(times.length).toBeLessThan(28)
    expect(b.state).toBe('standby')
    await world.finish(b.connect({ until: 'started' }), 0)
    await world.finish(c.close())
    await world.finish(b.connect())
    expect(seen).toEqual(['apart', 'apart PEER_LOST', 'standby', 'paired', 'paired dialer same'])
    await world.end()
  })

  test('a connect that gives up while standing by leaves idle, and nothing behind', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const before = world.clock.pending
    const c = world.make({ ...echo, whenBusy: 'wait' })
    const waiting = failure(c.connect({ timeoutMs: 2000 }))
    await world.clock.advance(1000)
    expect(c.state).toBe('standby')
    await world.clock.advance(1001)
    expect((await waiting).code).toBe('TIMEOUT')
    expect(c.state).toBe('idle')
    expect(world.clock.pending).toBe(before)
    expect([a.state, b.state]).toEqual(['paired', 'paired'])
    await world.end()
  })

  test('close() while standing by leaves nothing behind', async () => {
    const world = new World()
    await world.pair(echo)
    const before = world.clock.pending
    const c = world.make({ ...echo, whenBusy: 'wait' })
    await world.finish(c.connect({ until: 'started' }))
    await world.finish(c.close(), 10)
    expect(c.state).toBe('closed')
    expect(world.clock.pending).toBe(before)
    await world.end()
  })
})

describe("whenBusy 'reject'", () => {
  test('is PAIR_BUSY only after the present peer has given a sign of life', async () => {
    const world = new World()
    await world.pair({ ...echo, keepaliveMs: 5000, logKeepalives: true })
    const [near, far] = world.pipe
    near.stalled = true // the listener's question does not reach its peer
    const c = world.make(echo)
    let error: unknown
    const failed = failure(c.connect()).then((given) => (error = given))
    await world.clock.advance(4000)
    expect([error, c.state]).toEqual([undefined, 'meeting'])
    expect(world.logs.filter((entry) => entry.fields['kind'] === 'pong')).toHaveLength(0)
    near.release()
    far.release()
    await world.clock.advance(300)
    await failed
    expect(error).toMatchObject({ code: 'PAIR_BUSY' })
    expect(world.logs.filter((entry) => entry.fields['kind'] === 'pong').length).toBeGreaterThan(0)
    expect(c.state).toBe('idle')
    await world.end()
  })

  test('a living pair is told within half a second, without a waiting event', async () => {
    const world = new World()
    await world.pair(echo)
    const c = world.make(echo)
    const seen = history(c)
    const failed = failure(c.connect())
    await world.clock.advance(500)
    expect((await failed).code).toBe('PAIR_BUSY')
    expect(seen).toEqual(['meeting', 'idle'])
    await world.end()
  })

  test('ten at once are all told so, and the pair is asked for a sign of life about once a second', async () => {
    const world = new World()
    await world.pair({ ...echo, logKeepalives: true })
    const all = Array.from({ length: 10 }, () => failure(world.make(echo).connect()))
    await world.clock.advance(500)
    expect((await Promise.all(all)).map((error) => error.code)).toEqual(Array(10).fill('PAIR_BUSY'))
    expect(world.logs.filter((entry) => entry.fields['kind'] === 'pong').length).toBeLessThan(3)
    await world.end()
  })

  test.each([20_000, 9000])(
    "a half-open peer's successor retries in its first connect while silence may last (%d ms), and gets in then",
    async (silenceMs) => {
      const world = new World()
      const life = mortal(world)
      const a = world.make({ ...echo, silenceMs })
      const b = world.make({ ...echo, transport: life.transport })
      await a.connect({ until: 'started' })
      await b.connect()
      const lostAt = world.clock.now()
      life.stop()
      world.pipe[0].vanish() // the listener is not told
      const seen = history(a)
      const successor = world.make(echo)
      await world.finish(successor.connect())
      const tookMs = world.clock.now() - lostAt
      expect(tookMs).toBeGreaterThan(silenceMs)
      expect(tookMs).toBeLessThan(silenceMs + 1000 + 500) // silence, holdMs and a pause
      expect(seen.filter((entry) => !entry.startsWith('refused'))).toEqual([
        'apart',
        'apart PEER_SILENT',
        'paired',
        'paired listener new',
      ])
      expect(await successor.query(1)).toBe(1)
      await world.end()
    },
  )
})

describe('a listener that is closing', () => {
  test('makes a newcomer come again, not fail: it takes the place that becomes free', async () => {
    const world = new World()
    const held = heldHandler()
    const [a, b] = await world.pair({ onQuery: held.handler })
    const asked = b.query(1)
    await world.clock.settle()
    const closing = a.close()
    const c = world.make(echo)
    let outcome: unknown = 'waits'
    const connected = c.connect().then(
      () => (outcome = 'paired'),
      (error: unknown) => (outcome = error),
    )
    await world.clock.advance(3000)
    expect([a.state, outcome]).toEqual(['closing', 'waits'])
    held.calls[0]?.resolve('done')
    expect(await asked).toBe('done')
    await world.finish(closing)
    await world.finish(connected)
    expect(outcome).toBe('paired')
    expect(b.state).toBe('paired') // with the newcomer
    await world.end()
  })

  test.each([0, 50, 1000, 5000])('also when its time runs out after %d ms', async (drainMs) => {
    const world = new World()
    const never = deferred()
    const [a, b] = await world.pair({ onQuery: () => never.promise, queryTimeoutMs: Infinity })
    const asked = failure(b.query(1))
    await world.clock.settle()
    const closing = a.close({ drainMs })
    const c = world.make(echo)
    await world.finish(Promise.all([c.connect(), closing]))
    expect((await asked).code).toMatch(/CLOSED|PEER_LOST/)
    expect(c.state).toBe('paired')
    await world.end()
  })
})
