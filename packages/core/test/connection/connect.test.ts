import { describe, expect, test } from 'vitest'
import { PairlinkError, type Connection, type Transport } from '../../src/index.js'
import { encodePreamble } from '../../src/protocol/preamble.js'
import { clearTest } from './encryption.js'
import { failure, takePipe, World, type Stranger } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** Puts somebody of our own in the listener's place. */
function occupy(world: World, greet: (stranger: Stranger) => void = () => undefined): Stranger[] {
  const strangers: Stranger[] = []
  world.address.accept = (pipe) => {
    const stranger = takePipe(pipe as Stranger['pipe'])
    strangers.push(stranger)
    greet(stranger)
  }
  return strangers
}

const refusals = (connection: Connection): string[] => {
  const reasons: string[] = []
  connection.on('refused', ({ reason }) => reasons.push(reason))
  return reasons
}

describe('two at once', () => {
  test('pair, and the roles are one listener and one dialer', async () => {
    for (let round = 0; round < 30; round++) {
      const world = new World()
      const [a, b] = [world.make(echo), world.make(echo)]
      const both = Promise.all([a.connect(), b.connect()])
      if (round % 2 === 1) for (let at = 0; at < round; at++) await Promise.resolve()
      await world.finish(both)
      expect([a.role, b.role].sort()).toEqual(['dialer', 'listener'])
      expect(await Promise.all([a.query('a'), b.query('b')])).toEqual(['a', 'b'])
      expect(a.peer?.instance).not.toBe(b.peer?.instance)
      await world.end()
    }
  })

  test('connect twice is one meeting, and both promises resolve', async () => {
    const world = new World()
    const [a, b] = [world.make(echo), world.make(echo)]
    await world.finish(Promise.all([a.connect(), a.connect(), b.connect(), a.connect({ until: 'started' })]))
    await a.connect()
    await a.connect({ until: 'started' })
    await a.paired()
    expect(world.address.pipes.length).toBeLessThanOrEqual(2)
    await world.end()
  })
})

describe("until 'started'", () => {
  test('resolves when this process listens, and the meeting goes on', async () => {
    const world = new World()
    const a = world.make(echo)
    await a.connect({ until: 'started' })
    expect([a.state, a.role]).toEqual(['meeting', 'listener'])
    await a.connect({ until: 'started' })
    const b = world.make(echo)
    await b.connect({ until: 'started' })
    expect(b.state).toBe('paired')
    await world.end()
  })

  test('rejects for the same errors', async () => {
    const world = new World()
    await world.make({ secret: 'one' }).connect({ until: 'started' })
    expect((await failure(world.make({ secret: 'two' }).connect({ until: 'started' }))).code).toBe('SECRET_MISMATCH')
    await world.end()
  })

  test('once it has resolved, another one that gives up does not end the meeting', async () => {
    const world = new World()
    const a = world.make(echo)
    await a.connect({ until: 'started' })
    const late = failure(a.connect({ timeoutMs: 100 }))
    await world.clock.advance(101)
    expect((await late).code).toBe('TIMEOUT')
    expect(a.state).toBe('meeting')
    await world.make(echo).connect()
    expect(a.state).toBe('paired')
    await world.end()
  })
})

describe('giving up', () => {
  test('the last waiter ends the meeting: state idle, nothing left, and it may be tried again', async () => {
    const world = new World()
    const a = world.make(echo)
    const stop = new AbortController()
    const waits = [failure(a.connect({ timeoutMs: 100 })), failure(a.connect({ signal: stop.signal }))]
    await world.clock.advance(101)
    expect((await waits[0])?.code).toBe('TIMEOUT')
    expect(a.state).toBe('meeting')
    const reason = new Error('enough')
    stop.abort(reason)
    const error = await waits[1]
    expect([error?.code, error?.cause]).toEqual(['CANCELLED', reason])
    await world.clock.settle()
    expect(a.state).toBe('idle')
    world.expectNothingLeft()
    const [again, b] = [a.connect(), world.make(echo).connect()]
    await world.finish(Promise.all([again, b]))
    await world.end()
  })

  test('a signal that has fired before starts nothing', async () => {
    const world = new World()
    const a = world.make()
    expect((await failure(a.connect({ signal: AbortSignal.abort() }))).code).toBe('CANCELLED')
    expect(a.state).toBe('idle')
    world.expectNothingLeft()
  })

  test('at any moment leaves nothing behind, and who comes meanwhile is not forgotten', async () => {
    for (let ticks = 0; ticks < 25; ticks++) {
      const world = new World()
      const a = world.make(echo)
      const b = world.make(echo)
      if (ticks % 2 === 0) await b.connect({ until: 'started' })
      const stop = new AbortController()
      const given = a.connect({ signal: stop.signal }).catch(() => undefined)
      for (let at = 0; at < ticks; at++) await Promise.resolve()
      stop.abort()
      const again = a.connect()
      if (ticks % 2 === 1) void b.connect()
      await world.finish(Promise.all([given, again]))
      expect(a.state).toBe('paired')
      await world.end()
    }
  })

  test('paired() that gives up changes nothing, and starts nothing', async () => {
    const world = new World()
    const a = world.make()
    const waiting = failure(a.paired({ timeoutMs: 50 }))
    await world.clock.advance(51)
    expect((await waiting).code).toBe('TIMEOUT')
    expect(a.state).toBe('idle')
    void a.connect({ until: 'started' })
    const second = failure(a.paired({ timeoutMs: 50 }))
    await world.clock.advance(60)
    expect((await second).code).toBe('TIMEOUT')
    expect(a.state).toBe('meeting')
    await world.end()
  })
})

describe('who does not fit', () => {
  test('another secret is SECRET_MISMATCH at the dialer, refused at the listener, which pairs with a right one then', async () => {
    const world = new World()
    const a = world.make(echo)
    const reasons = refusals(a)
    const waiting = a.connect()
    await world.clock.settle()
    const wrong = world.make({ secret: 'wrong' })
    const error = await failure(wrong.connect())
    expect(error.code).toBe('SECRET_MISMATCH')
    expect(wrong.state).toBe('idle')
    expect(reasons).toEqual(['secret'])
    expect(a.state).toBe('meeting')
    await world.make(echo).connect()
    await waiting
    expect(a.state).toBe('paired')
    expect((await failure(wrong.connect())).code).toBe('SECRET_MISMATCH')
    expect(await a.query('alive')).toBe('alive')
    await world.end()
  })

  test('a third is PAIR_BUSY, the pair does not notice, and when one goes it may come', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const reasons = refusals(a)
    const third = world.make(echo)
    expect((await world.finish(failure(third.connect()))).code).toBe('PAIR_BUSY')
    expect(third.state).toBe('idle')
    // Asked twice: before it is told for good, the present peer has given a sign of life.
    expect(reasons).toEqual(['busy', 'busy'])
    expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
    await world.finish(b.close())
    await world.finish(third.connect())
    expect(await a.query(3)).toBe(3)
    await world.end()
  })

  clearTest('oneself is SELF', async () => {
    const world = new World()
    const transport = world.address.transport()
    // The first dial is answered by an echo of its own bytes, as a looped address does.
    world.address.accept = (pipe) => {
      pipe.start({
        bytes: (chunk) => void pipe.write([chunk.slice()]),
        drained: () => undefined,
        ended: () => {
          pipe.end()
        },
        closed: () => undefined,
      })
    }
    const a = world.make({ transport })
    expect((await failure(a.connect())).code).toBe('SELF')
    expect(a.state).toBe('idle')
    world.address.accept = undefined
    await world.end()
  })

  clearTest('another version or mode at the listener is VERSION_MISMATCH or ENCRYPTION_MISMATCH', async () => {
    for (const [at, value, code] of [
      [4, 2, 'VERSION_MISMATCH'],
      [5, 1, 'ENCRYPTION_MISMATCH'],
      [5, 7, 'ENCRYPTION_MISMATCH'],
    ] as const) {
      const world = new World()
      occupy(world, ({ pipe }) => {
        const preamble = encodePreamble('proof', 100)
        preamble[at] = value
        pipe.write([preamble])
      })
      const a = world.make()
      const error = await world.finish(failure(a.connect()))
      expect(error.code).toBe(code)
      expect(a.state).toBe('idle')
      world.address.accept = undefined
      await world.clock.settle()
      await world.end()
    }
  })

  clearTest('a dialer of another version or mode is refused with the reason, and gets a REFUSE', async () => {
    for (const [at, value, reason] of [
      [4, 2, 'version'],
      [5, 1, 'mode'],
    ] as const) {
      const world = new World()
      const a = world.make()
      const reasons = refusals(a)
      await a.connect({ until: 'started' })
      const stranger = takePipe(world.address.connect())
      const preamble = encodePreamble('proof', 100)
      preamble[at] = value
      stranger.pipe.write([preamble])
      await world.clock.settle()
      expect(reasons).toEqual([reason])
      expect(String.fromCharCode(...stranger.bytes.subarray(0, 4))).toBe('PLNK')
      expect(stranger.closed).toBe(true)
      expect(a.state).toBe('meeting')
      await world.end()
    }
  })

  test('garbage from the listener is NOT_PAIRLINK', async () => {
    const world = new World()
    occupy(world, ({ pipe }) => pipe.write([new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\n')]))
    expect((await world.finish(failure(world.make().connect()))).code).toBe('NOT_PAIRLINK')
    world.address.accept = undefined
    await world.end()
  })

  test('one that accepts and hangs up without a word is NOT_PAIRLINK after a few tries', async () => {
    const world = new World()
    const strangers = occupy(world, ({ pipe }) => {
      pipe.destroy()
    })
    expect((await world.finish(failure(world.make().connect()))).code).toBe('NOT_PAIRLINK')
    expect(strangers).toHaveLength(5)
    world.address.accept = undefined
    await world.end()
  })

  test('garbage at the listener ends at its first wrong byte, with nothing sent', async () => {
    const world = new World()
    const a = world.make(echo)
    const reasons = refusals(a)
    await a.connect({ until: 'started' })
    for (const text of ['G', 'PX', 'PLNQ', 'GET / HTTP/1.1\r\n\r\n']) {
      const stranger = takePipe(world.address.connect())
      stranger.pipe.write([new TextEncoder().encode(text)])
      await world.clock.settle()
      expect([stranger.closed, stranger.bytes.length], text).toEqual([true, 0])
    }
    expect(reasons).toEqual(Array(4).fill('not-pairlink'))
    await world.make(echo).connect()
    expect(a.state).toBe('paired')
    await world.end()
  })

  test('one that accepts and says nothing is seen as silent, and does not fail the meeting before it ends', async () => {
    const world = new World()
    const strangers = occupy(world)
    const a = world.make()
    const waiting = failure(a.connect({ timeoutMs: 20_000 }))
    await world.clock.advance(6000)
    expect(strangers.length).toBeGreaterThan(0)
    expect(world.logs.some((entry) => entry.fields['code'] === 'PEER_SILENT')).toBe(true)
    await world.clock.advance(15_000)
    expect((await waiting).code).toBe('TIMEOUT')
    world.address.accept = undefined
    await world.end()
  })

  test('an announced length beyond the limit, and a handshake byte by byte that stops, end typed and bounded', async () => {
    const world = new World()
    const a = world.make(echo)
    const reasons = refusals(a)
    await a.connect({ until: 'started' })
    const long = takePipe(world.address.connect())
    long.pipe.write([encodePreamble('proof', 60_000), new Uint8Array(60_000)])
    const slow = takePipe(world.address.connect())
    const preamble = encodePreamble('proof', 200)
    for (let at = 0; at < preamble.length; at++) {
      slow.pipe.write([preamble.slice(at, at + 1)])
      await world.clock.advance(500)
    }
    await world.clock.advance(2000)
    expect([long.closed, slow.closed]).toEqual([true, true])
    expect(reasons).toHaveLength(2)
    await world.make(echo).connect()
    await world.end()
  })

  test('200 strangers that say nothing: at most 16 are held, the pair does not notice, and all are gone in time', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const reasons = refusals(a)
    const strangers: Stranger[] = []
    for (let at = 0; at < 200; at++) {
      strangers.push(takePipe(world.address.connect()))
      if (at % 10 === 0) {
        await world.clock.settle()
        expect(a.stats().strangers).toBeLessThanOrEqual(16)
        expect(await Promise.all([a.query(at), b.query(at)])).toEqual([at, at])
      }
    }
    await world.clock.settle()
    expect(a.stats().strangers).toBe(16)
    expect(strangers.filter((stranger) => stranger.closed)).toHaveLength(184)
    await world.clock.advance(6000)
    expect(a.stats().strangers).toBe(0)
    expect(reasons.filter((reason) => reason === 'crowd')).toHaveLength(184)
    expect(reasons.filter((reason) => reason === 'silent')).toHaveLength(16)
    expect([a.state, b.state]).toEqual(['paired', 'paired'])
    await world.end()
  })

  test('strangers at a listener that waits do not keep a right one out', async () => {
    const world = new World()
    const a = world.make({ ...echo, limits: { strangersMax: 2 } })
    await a.connect({ until: 'started' })
    for (let at = 0; at < 20; at++) takePipe(world.address.connect())
    await world.make(echo).connect()
    expect(a.state).toBe('paired')
    await world.end()
  })
})

describe('a transport that fails', () => {
  const transport = (parts: Partial<Transport>): Transport => ({
    address: 'odd:place',
    reach: 'user',
    encrypted: false,
    dial: () => Promise.resolve('absent'),
    listen: () => Promise.resolve('taken'),
    ...parts,
  })
  test.each([
    ['dial', { dial: () => Promise.reject(new PairlinkError('ADDRESS_INVALID', 'no such folder')) }],
    ['listen', { listen: () => Promise.reject(new PairlinkError('ADDRESS_INVALID', 'no such folder')) }],
    ['dial with any error', { dial: () => Promise.reject(new Error('no such folder')) }],
    [
      'listen by throwing',
      {
        listen: () => {
          throw new Error('no such folder')
        },
      },
    ],
  ])(
    'in %s rejects connect with ADDRESS_INVALID; idle, and it may be tried again',
    async (_, parts: Partial<Transport>) => {
      const world = new World()
      const a = world.make({ transport: transport(parts) })
      for (let round = 0; round < 2; round++) {
        const error = await failure(a.connect())
        expect(error.code).toBe('ADDRESS_INVALID')
        expect(error.message).toContain('no such folder')
        expect(a.state).toBe('idle')
      }
      await world.end()
    },
  )

  test("'again' and 'taken' for ever is no error, and ends with the time of connect", async () => {
    const world = new World()
    const a = world.make({ transport: transport({}) })
    const waiting = failure(a.connect({ timeoutMs: 1000 }))
    await world.clock.advance(1001)
    expect((await waiting).code).toBe('TIMEOUT')
    await world.end()
  })
})

test('after close connect and paired reject with CLOSED', async () => {
  const world = new World()
  const a = world.make()
  await a.close()
  expect((await failure(a.connect())).code).toBe('CLOSED')
  expect((await failure(a.connect({ until: 'started' }))).code).toBe('CLOSED')
  expect((await failure(a.paired())).code).toBe('CLOSED')
  expect(a.state).toBe('closed')
})
