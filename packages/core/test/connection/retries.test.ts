import { describe, expect, test } from 'vitest'
import { PairlinkError } from '../../src/index.js'
import { encodePreamble } from '../../src/protocol/preamble.js'
import { dialTimes, failure, history, mortal, occupy, takePipe, World, type Options } from './world.js'

const echo = { onQuery: (query: unknown) => query }
const RECONNECT = { maxRetries: 0, delayMs: 1000, growth: 1, jitter: false }

interface Look {
  readonly code: string | undefined
  readonly retryInMs: number | undefined
}

/** A dialer that has lost its listener and only dials; nobody is there. */
async function alone(world: World, options: Options) {
  const life = mortal(world)
  const dialer = dialTimes(world, world.address.transport())
  const a = world.make({ ...echo, transport: life.transport })
  const b = world.make({ ...echo, transport: dialer.transport, failover: false, ...options })
  await a.connect({ until: 'started' })
  await b.connect()
  const looks: Look[] = []
  b.on('apart', ({ error, retryInMs }) => looks.push({ code: error?.code, retryInMs }))
  life.stop()
  world.address.accept = undefined
  dialer.times.length = 0
  const lostAt = world.clock.now()
  world.pipe[0].destroy()
  await world.clock.settle()
  return { a, b, looks, times: dialer.times, lostAt }
}

const gaps = (times: readonly number[]): number[] => times.slice(1).map((time, at) => time - (times[at] ?? 0))

describe('reconnect', () => {
  test('the first dial after a loss follows within 100 ms, at another moment in each process', async () => {
    const delays: number[] = []
    for (let round = 0; round < 20; round++) {
      const world = new World()
      for (let at = 0; at < round; at++) world.environment()
      const { lostAt, times } = await alone(world, {})
      await world.clock.advance(100)
      expect(times).toHaveLength(1)
      delays.push((times[0] ?? Infinity) - lostAt)
      await world.end()
    }
    expect(Math.max(...delays)).toBeLessThan(100)
    expect(new Set(delays).size).toBeGreaterThan(15)
  })

  test.each([200, 1000, 5000])('delayMs %d is the time between two looks', async (delayMs) => {
    const world = new World()
    const { looks, times } = await alone(world, { reconnect: { delayMs, jitter: false } })
    await world.clock.advance(20 * delayMs + 100)
    for (const gap of gaps(times)) expect(gap).toBeCloseTo(delayMs, 6)
    expect(times.length).toBeGreaterThanOrEqual(20)
    expect(looks.slice(1).every(({ retryInMs }) => retryInMs === delayMs)).toBe(true)
    await world.end()
  })

  test('growth multiplies each pause, up to a minute', async () => {
    const world = new World()
    const { looks, times } = await alone(world, { reconnect: { delayMs: 1000, growth: 2, jitter: false } })
    await world.clock.advance(400_000)
    const expected = [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
    expect(looks.slice(1, 10).map(({ retryInMs }) => retryInMs)).toEqual(expected)
    for (const [at, gap] of gaps(times).slice(0, 9).entries()) expect(gap).toBeCloseTo(expected[at] ?? NaN, 6)
    await world.end()
  })

  test('a delayMs above a minute stays what it is, with growth too', async () => {
    const world = new World()
    const { looks } = await alone(world, { reconnect: { delayMs: 90_000, growth: 3, jitter: false } })
    await world.clock.advance(400_000)
    expect(looks.slice(1).map(({ retryInMs }) => retryInMs)).toEqual(Array(5).fill(90_000))
    await world.end()
  })

  test('growth begins anew after each pair', async () => {
    const world = new World()
    const { b, looks } = await alone(world, { reconnect: { delayMs: 1000, growth: 2, jitter: false } })
    await world.clock.advance(20_000)
    const c = world.make(echo)
    await c.connect({ until: 'started' })
    await world.finish(b.connect())
    await world.finish(c.close())
    looks.length = 0
    await world.clock.advance(4000)
    const grown = looks.filter(({ code }) => code === 'PEER_LOST').map(({ retryInMs }) => retryInMs)
    expect(grown).toEqual([1000, 2000, 4000])
    await world.end()
  })

  test.each([{ delayMs: 1000 }, { delayMs: 1000, jitter: true }, undefined])(
    'jitter: with %o pauses lie between half and one and a half, spread out',
    async (reconnect) => {
      const world = new World()
      const { looks, times } = await alone(world, reconnect === undefined ? {} : { reconnect })
      await world.clock.advance(200_000)
      const all = gaps(times)
      expect(all.length).toBeGreaterThan(150)
      expect(Math.min(...all)).toBeGreaterThanOrEqual(500)
      expect(Math.max(...all)).toBeLessThan(1500 + 1e-6)
      expect(Math.min(...all)).toBeLessThan(600)
      expect(Math.max(...all)).toBeGreaterThan(1400)
      for (const [at, gap] of all.entries()) expect(gap).toBeCloseTo(looks[at + 1]?.retryInMs ?? NaN, 6)
      await world.end()
    },
  )

  test('does not apply to the first connect, which looks about once a second for as long as somebody waits', async () => {
    const world = new World()
    const { transport, times } = dialTimes(world, world.address.transport())
    world.address.onListen = () => Promise.resolve('cannot')
    const a = world.make({ transport, reconnect: { maxRetries: 1, delayMs: 10, growth: 10 } })
    void a.connect().catch(() => undefined)
    await world.clock.advance(60_000)
    expect(a.state).toBe('meeting')
    expect(times.length).toBeGreaterThan(40)
    expect(times.length).toBeLessThan(120)
    await world.end()
  })
})

describe('maxRetries', () => {
  test.each([1, 2, 5])(
    '%d looks of a dialer, then RETRIES_EXHAUSTED, and no dial and no timer afterwards',
    async (maxRetries) => {
      const world = new World()
      const { b, looks, times, a } = await alone(world, { reconnect: { ...RECONNECT, maxRetries, delayMs: 300 } })
      const seen = history(b)
      const waiting = failure(b.paired())
      await world.clock.advance(100 + 300 * maxRetries)
      expect(times).toHaveLength(maxRetries)
      expect(looks).toHaveLength(maxRetries) // the loss, and all looks but the last
      const error = await b.closed
      expect(error).toMatchObject({ code: 'RETRIES_EXHAUSTED', cause: expect.objectContaining({ code: 'PEER_LOST' }) })
      expect((await waiting).code).toBe('RETRIES_EXHAUSTED')
      expect(seen.slice(-2)).toEqual(['closed', 'closed RETRIES_EXHAUSTED'])
      await a.close()
      expect(world.clock.pending).toBe(0)
      await world.clock.advance(600_000)
      expect(times).toHaveLength(maxRetries)
      await world.end()
    },
  )

  test.each([1, 3])(
    '%d for a listener: it waits as long as that many looks would take, then ends',
    async (maxRetries) => {
      const world = new World()
      const life = mortal(world)
      const a = world.make({ ...echo, reconnect: { ...RECONNECT, maxRetries, delayMs: 700 } })
      const b = world.make({ ...echo, transport: life.transport })
      await a.connect({ until: 'started' })
      await b.connect()
      life.stop()
      world.pipe[0].destroy()
      // The first look comes within 100 ms.
      await world.clock.advance(100 + 700 * maxRetries - 10)
      expect([a.state, a.role]).toEqual(['apart', 'listener'])
      await world.clock.advance(20)
      expect((await a.closed)?.code).toBe('RETRIES_EXHAUSTED')
      expect(world.address.accept).toBeUndefined()
      await b.close()
      expect(world.clock.pending).toBe(0)
      await world.end()
    },
  )

  test('a listener whose peer looks once and at once is found, however short its pauses are', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, reconnect: { maxRetries: 1, delayMs: 1, jitter: false } })
    for (let cut = 0; cut < 20; cut++) {
      world.pipe[0].destroy()
      await world.clock.advance(200)
      expect([a.state, b.state]).toEqual(['paired', 'paired'])
    }
    await world.end()
  })

  test('a listener lets one that has come in time finish its handshake', async () => {
    const world = new World()
    const life = mortal(world)
    const a = world.make({ ...echo, reconnect: { ...RECONNECT, maxRetries: 1, delayMs: 500 } })
    const b = world.make({ ...echo, transport: life.transport })
    await a.connect({ until: 'started' })
    await b.connect()
    life.stop()
    world.pipe[0].destroy()
    await world.clock.advance(590)
    const late = takePipe(world.address.connect())
    await world.clock.advance(1000)
    expect(a.state).toBe('apart')
    await world.clock.advance(5000)
    expect(late.ended).toBe(true)
    expect((await a.closed)?.code).toBe('RETRIES_EXHAUSTED')
    await b.close()
    await world.end()
  })

  test('numbers that no sum can reach cost nothing', async () => {
    for (const reconnect of [{ maxRetries: Number.MAX_SAFE_INTEGER }, { maxRetries: 1e15, delayMs: 1, growth: 1.01 }]) {
      const world = new World()
      const [a, b] = await world.pair({ ...echo, reconnect })
      await world.finish(b.close())
      await world.clock.advance(1000)
      expect([a.state, a.role]).toEqual(['apart', 'listener'])
      await world.end()
    }
  })

  test('for a survivor that takes the place: the look that made it listener and the waiting both end', async () => {
    const world = new World()
    const { b } = await alone(world, { failover: true, reconnect: { ...RECONNECT, maxRetries: 2, delayMs: 500 } })
    await world.clock.advance(900)
    expect([b.state, b.role]).toEqual(['apart', 'listener'])
    await world.clock.advance(300)
    expect((await b.closed)?.code).toBe('RETRIES_EXHAUSTED')
    expect(world.address.accept).toBeUndefined()
    await world.end()
  })

  test.each([
    ['that hangs up', (world: World) => occupy(world, ({ pipe }) => pipe.destroy())],
    ['that says nothing', (world: World) => occupy(world)],
    [
      'that is no pairlink',
      (world: World) => occupy(world, ({ pipe }) => pipe.write([new TextEncoder().encode('HTTP/1.1 400')])),
    ],
  ])('ends at a holder %s too, without spinning', async (_, put) => {
    const world = new World()
    const { b, times } = await alone(world, { reconnect: { ...RECONNECT, maxRetries: 3 } })
    const strangers = put(world)
    expect((await world.finish(b.closed))?.code).toBe('RETRIES_EXHAUSTED')
    expect(times.length).toBeLessThanOrEqual(15)
    for (const { pipe } of strangers) pipe.destroy()
    const { length } = times
    await world.clock.advance(60_000)
    expect(times).toHaveLength(length)
    world.address.accept = undefined
    await world.end()
  })

  test.each(['again', 'full', 'taken'] as const)(
    "trouble that passes ('%s') counts as one look for each second that it lasts, and does not spin",
    async (trouble) => {
      const world = new World()
      const { b, times } = await alone(world, {
        failover: true,
        reconnect: { ...RECONNECT, maxRetries: 2, delayMs: 500 },
      })
      const seen = history(b)
      if (trouble === 'taken') world.address.onListen = () => Promise.resolve('taken')
      else world.address.onDial = () => trouble
      await world.clock.advance(1000)
      expect([b.state, seen]).toEqual(['apart', []])
      await world.clock.advance(1000)
      expect([b.state, seen]).toEqual(['apart', ['apart PEER_LOST']])
      await world.clock.advance(1000)
      expect((await b.closed)?.code).toBe('RETRIES_EXHAUSTED')
      expect(times.length).toBeLessThan(120)
      await world.end()
    },
  )
})

describe('reconnect: false', () => {
  test.each([0, 1])('ends with the loss: nobody dials or listens again (%d)', async (which) => {
    const world = new World()
    const dialer = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, reconnect: which === 0 ? false : {} })
    const b = world.make({ ...echo, transport: dialer.transport, ...(which === 1 ? { reconnect: false } : {}) })
    await a.connect({ until: 'started' })
    await b.connect()
    const ending = which === 0 ? a : b
    const retries: unknown[] = []
    ending.on('apart', ({ retryInMs }) => retries.push(retryInMs))
    const seen = history(ending)
    const { length } = dialer.times
    world.pipe[0].destroy()
    expect((await ending.closed)?.code).toBe('PEER_LOST')
    expect(retries).toEqual([undefined])
    expect(seen.filter((entry) => entry.startsWith('closed'))).toEqual(['closed', 'closed PEER_LOST'])
    await world.clock.advance(60_000)
    expect(ending.state).toBe('closed')
    if (which === 1) expect(dialer.times).toHaveLength(length)
    await world.end()
  })
})

describe('what accepts and hangs up without a byte', () => {
  test('is NOT_PAIRLINK in the first connect, after five tries within two seconds', async () => {
    const world = new World()
    const strangers = occupy(world, ({ pipe }) => pipe.destroy())
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    const startedAt = world.clock.now()
    expect((await world.finish(failure(a.connect()))).code).toBe('NOT_PAIRLINK')
    expect([strangers.length, times.length]).toEqual([5, 5])
    const tookMs = world.clock.now() - startedAt
    expect(tookMs).toBeGreaterThan(500)
    expect(tookMs).toBeLessThan(2000)
    world.address.accept = undefined
    await world.end()
  })

  test('fewer times than that, and connect pairs', async () => {
    const world = new World()
    const strangers = occupy(world, ({ pipe }) => {
      pipe.destroy()
      if (strangers.length >= 4) world.address.accept = undefined
    })
    const a = world.make(echo)
    await world.finish(a.connect({ until: 'started' }))
    expect([strangers.length, a.role]).toEqual([4, 'listener'])
    await world.end()
  })

  test('is retried after a loss, told in the events, and left when it goes', async () => {
    const world = new World()
    const { b, looks } = await alone(world, {})
    const strangers = occupy(world, ({ pipe }) => pipe.destroy())
    await world.clock.advance(10_000)
    expect(b.state).toBe('apart')
    expect(strangers.length).toBeGreaterThan(10)
    expect(strangers.length).toBeLessThan(60)
    expect(new Set(looks.slice(1).map(({ code }) => code))).toEqual(new Set(['NOT_PAIRLINK']))
    world.address.accept = undefined
    const c = world.make(echo)
    await c.connect({ until: 'started' })
    await world.finish(b.connect())
    await world.end()
  })
})

// ---- what ends what

const say = (bytes: Uint8Array) => (world: World) => {
  occupy(world, ({ pipe }) => pipe.write([bytes]))
}
function ofVersion(version: number): Uint8Array {
  const preamble = encodePreamble('proof', 100)
  preamble[4] = version
  return preamble
}
const failing = (code: 'ADDRESS_INVALID' | 'ADDRESS_IN_USE') => (world: World) => {
  world.address.onDial = () => {
    throw new PairlinkError(code, 'as the transport says')
  }
}
async function pairElsewhere(world: World, options: Options): Promise<void> {
  const a = world.make(options)
  await a.connect({ until: 'started' })
  if (options.secret === undefined) await world.make(options).connect()
}

/** Who is there, what the first connect does (undefined: goes on), whether a look after a loss ends the connection. */
const TABLE: [string, (world: World) => unknown, string | undefined, 'closed' | 'event', string][] = [
  ['a pair', (world) => pairElsewhere(world, echo), 'PAIR_BUSY', 'event', 'PAIR_BUSY'],
  ['one that says nothing', (world) => occupy(world), undefined, 'event', 'PEER_SILENT'],
  ['one of other bytes', say(new TextEncoder().encode('SSH-2.0-OpenSSH')), 'NOT_PAIRLINK', 'event', 'NOT_PAIRLINK'],
  ['one that hangs up', (w) => occupy(w, ({ pipe }) => pipe.destroy()), 'NOT_PAIRLINK', 'event', 'NOT_PAIRLINK'],
  ['one with another secret', (w) => pairElsewhere(w, { secret: '?' }), 'SECRET_MISMATCH', 'event', 'SECRET_MISMATCH'],
  ['another version', say(ofVersion(2)), 'VERSION_MISMATCH', 'event', 'VERSION_MISMATCH'],
  ['an address that is invalid', failing('ADDRESS_INVALID'), 'ADDRESS_INVALID', 'closed', 'ADDRESS_INVALID'],
  ['an address in use', failing('ADDRESS_IN_USE'), 'ADDRESS_IN_USE', 'event', 'ADDRESS_IN_USE'],
]

async function leave(world: World): Promise<void> {
  const open = Promise.all(world.connections.map((connection) => connection.close({ drainMs: 0 })))
  await world.finish(open)
  for (const [near, far] of world.address.pipes) {
    near.destroy()
    far.destroy()
  }
  world.address.accept = undefined
  await world.clock.settle()
  world.expectNothingLeft()
}

describe.each(TABLE)('%s at the address', (_, put, first, later, code) => {
  test(`${first === undefined ? 'does not end' : `ends with ${first}`} the first connect`, async () => {
    const world = new World()
    await put(world)
    const a = world.make(echo)
    const seen = history(a)
    let outcome: unknown = 'waits'
    void a.connect().then(
      () => (outcome = 'paired'),
      (error: unknown) => (outcome = error),
    )
    await world.clock.advance(20_000)
    if (first === undefined) expect([outcome, a.state]).toEqual(['waits', 'meeting'])
    else {
      expect(outcome).toMatchObject({ code: first })
      expect([a.state, seen]).toEqual(['idle', ['meeting', 'idle']])
    }
    await leave(world)
  })

  test(`after a loss ${later === 'closed' ? 'ends the connection' : 'is only told'}`, async () => {
    const world = new World()
    const { b, looks } = await alone(world, { failover: true })
    await put(world)
    let closed: unknown = 'lives'
    void b.closed.then((error) => (closed = error))
    await world.clock.advance(30_000)
    if (later === 'closed') {
      expect(closed).toMatchObject({ code })
      expect(b.state).toBe('closed')
    } else {
      expect([closed, b.state]).toEqual(['lives', 'apart'])
      expect(looks.length).toBeGreaterThan(4)
      expect(new Set(looks.slice(1).map((look) => look.code))).toEqual(new Set([code]))
      expect(looks.slice(1).every(({ retryInMs }) => retryInMs !== undefined && retryInMs >= 500)).toBe(true)
    }
    await leave(world)
  })
})

describe("an address of reach 'network' without encryption", () => {
  const far = (world: World): Options => ({
    transport: { ...world.address.transport(), reach: 'network' },
    encryption: undefined,
  })

  test('ends the first connect with NOT_LOCAL, each time, and nothing is dialled', async () => {
    const world = new World()
    let dials = 0
    world.address.onDial = () => {
      dials++
      return undefined
    }
    const a = world.make(far(world))
    const seen = history(a)
    for (let round = 0; round < 2; round++) {
      expect((await failure(a.connect())).code).toBe('NOT_LOCAL')
      await world.clock.settle()
      expect(a.state).toBe('idle')
    }
    expect([dials, seen]).toEqual([0, ['meeting', 'idle', 'meeting', 'idle']])
    await world.end()
  })

  test('is no matter where the transport encrypts', async () => {
    const world = new World()
    const transport = { ...world.address.transport(), reach: 'network' as const, encrypted: true }
    await world.pair({ ...echo, transport })
    await world.end()
  })
})

test('an ADDRESS_INVALID in listen after a loss ends the connection too, and every waiter is told why', async () => {
  const world = new World()
  const { b } = await alone(world, { failover: true })
  const waiting = [failure(b.connect()), failure(b.paired())]
  world.address.onListen = () => Promise.reject(new PairlinkError('ADDRESS_INVALID', 'the folder is gone'))
  expect((await world.finish(b.closed))?.code).toBe('ADDRESS_INVALID')
  expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual(['ADDRESS_INVALID', 'ADDRESS_INVALID'])
  await world.end()
})
