import { describe, expect, test } from 'vitest'
import type { Connection } from '../../src/index.js'
import { failure, heldHandler, World } from './world.js'

const echo = { onQuery: (query: unknown) => query }

describe('without a peer', () => {
  test('a call fails at once with NOT_CONNECTED, not-sent: before, while meeting, and after a loss', async () => {
    const world = new World()
    const a = world.make(echo)
    const attempts = (connection: Connection) => [connection.query(1), connection.call('x', 1), connection.notify(1)]
    const expectNotConnected = async (): Promise<void> => {
      for (const attempt of attempts(a)) {
        const error = await failure(attempt)
        expect([error.code, error.delivery]).toEqual(['NOT_CONNECTED', 'not-sent'])
        expect(error.message).toContain('memory:test')
      }
    }
    await expectNotConnected()
    await a.connect({ until: 'started' })
    await expectNotConnected()
    const b = world.make(echo)
    await b.connect()
    await b.close()
    await world.clock.settle()
    expect(a.state).toBe('apart')
    const timersBefore = world.clock.pending
    await expectNotConnected()
    expect(world.clock.pending).toBe(timersBefore)
    await world.end()
  })

  test.each(['as option', 'per call'])("whenApart 'wait' %s waits for the pair", async (where) => {
    const world = new World()
    const perCall = where === 'per call' ? { whenApart: 'wait' as const } : {}
    const got: unknown[] = []
    const options = {
      ...echo,
      handlers: { add: (n: unknown) => (n as number) + 1 },
      onNotify: (m: unknown) => void got.push(m),
    }
    const a = world.make({ ...options, whenApart: where === 'as option' ? 'wait' : 'reject' })
    const asked = Promise.all([a.query('q', perCall), a.call('add', 1, perCall), a.notify('n', perCall)])
    await a.connect({ until: 'started' })
    await world.make(options).connect()
    expect(await asked).toEqual(['q', 2, undefined])
    expect(got).toEqual(['n'])
    await world.end()
  })

  test("'reject' per call wins over 'wait' as option", async () => {
    const world = new World()
    expect((await failure(world.make({ whenApart: 'wait' }).query(1, { whenApart: 'reject' }))).code).toBe(
      'NOT_CONNECTED',
    )
    await world.end()
  })

  test('waiting ends with the time of the call, not-sent, and leaves no timer', async () => {
    const world = new World()
    const a = world.make({ whenApart: 'wait', queryTimeoutMs: 300 })
    const asked = [failure(a.query(1)), failure(a.notify(1, { timeoutMs: 100 }))]
    await world.clock.advance(101)
    const first = await asked[1]
    expect([first?.code, first?.delivery]).toEqual(['TIMEOUT', 'not-sent'])
    await world.clock.advance(200)
    const second = await asked[0]
    expect([second?.code, second?.delivery]).toEqual(['TIMEOUT', 'not-sent'])
    expect(world.clock.pending).toBe(0)
    await world.end()
  })

  test('the time spent waiting counts', async () => {
    const world = new World()
    const a = world.make({ ...echo, whenApart: 'wait' })
    const asked = a.query(1, { timeoutMs: 1000 })
    await world.clock.advance(400)
    let remaining = 0
    const b = world.make({
      onQuery: (_, context) => {
        remaining = context.remainingMs
      },
    })
    await world.finish(Promise.all([a.connect(), b.connect()]))
    await asked
    expect(remaining).toBeLessThanOrEqual(600)
    expect(remaining).toBeGreaterThan(500)
    await world.end()
  })

  test('waiting ends with the signal, not-sent', async () => {
    const world = new World()
    const a = world.make({ whenApart: 'wait' })
    const stop = new AbortController()
    const asked = failure(a.query(1, { signal: stop.signal, timeoutMs: Infinity }))
    const reason = new Error('enough')
    stop.abort(reason)
    const error = await asked
    expect([error.code, error.delivery, error.cause]).toEqual(['CANCELLED', 'not-sent', reason])
    expect(world.clock.pending).toBe(0)
    await world.end()
  })

  test('waiting ends with close, CLOSED and not-sent', async () => {
    const world = new World()
    const a = world.make({ whenApart: 'wait' })
    const asked = failure(a.query(1))
    await a.close()
    const error = await asked
    expect([error.code, error.delivery]).toEqual(['CLOSED', 'not-sent'])
    await world.end()
  })
})

describe('TIMEOUT', () => {
  test('after the time of the call, or of the option, and delivered when the peer had it', async () => {
    const world = new World()
    const [, b] = await world.pair({ onQuery: () => new Promise(() => undefined), drainMs: 100, queryTimeoutMs: 400 })
    const asked = [failure(b.query(1)), failure(b.query(1, { timeoutMs: 100 }))]
    await world.clock.advance(99)
    expect(b.stats().callsOpen).toBe(2)
    await world.clock.advance(2)
    expect(b.stats().callsOpen).toBe(1)
    const short = await asked[1]
    expect([short?.code, short?.delivery]).toEqual(['TIMEOUT', 'delivered'])
    await world.clock.advance(300)
    expect((await asked[0])?.code).toBe('TIMEOUT')
    expect(b.stats().callsOpen).toBe(0)
    await world.end()
  })

  test('unknown when nothing says that it arrived, and not-sent when it was held back', async () => {
    const world = new World()
    const [, b] = await world.pair({ ...echo, limits: { handlersMax: 1 } })
    world.pipe[1].stalled = true
    const asked = [failure(b.query('written', { timeoutMs: 50 })), failure(b.query('held back', { timeoutMs: 50 }))]
    await world.clock.advance(60)
    const errors = await Promise.all(asked)
    expect(errors.map((error) => [error.code, error.delivery])).toEqual([
      ['TIMEOUT', 'unknown'],
      ['TIMEOUT', 'not-sent'],
    ])
    world.pipe[1].release()
    await world.clock.advance(50)
    expect(await b.query('later')).toBe('later')
    await world.end()
  })

  test('Infinity never', async () => {
    const world = new World()
    const held = heldHandler()
    const [, b] = await world.pair({ onQuery: held.handler })
    const asked = b.query(1, { timeoutMs: Infinity })
    await world.clock.advance(10_000_000)
    held.calls[0]?.resolve('at last')
    expect(await asked).toBe('at last')
    await world.end()
  })

  test('0 is over at the end of the turn', async () => {
    const world = new World()
    const [, b] = await world.pair(echo)
    expect((await world.finish(failure(b.query(1, { timeoutMs: 0 })))).code).toBe('TIMEOUT')
    expect(await b.query(2)).toBe(2)
    await world.end()
  })
})

describe('a signal', () => {
  test('that has fired before the call is CANCELLED, and nothing is sent', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    for (const attempt of [
      b.query(1, { signal }),
      b.notify(1, { signal }),
      b.query(1, { signal, whenApart: 'wait' }),
    ]) {
      const error = await failure(attempt)
      expect([error.code, error.delivery, error.cause]).toEqual(['CANCELLED', 'not-sent', reason])
    }
    await world.clock.advance(100)
    expect(a.stats().session?.receivedFrames).toBe(0)
    await world.end()
  })

  test('that fires in the same turn keeps the query from the peer', async () => {
    const world = new World()
    let count = 0
    const [, b] = await world.pair({
      onQuery: () => {
        count++
      },
    })
    const stop = new AbortController()
    const asked = failure(b.query(1, { signal: stop.signal }))
    stop.abort()
    const error = await asked
    expect([error.code, error.delivery]).toEqual(['CANCELLED', 'not-sent'])
    await world.clock.advance(100)
    expect(count).toBe(0)
    expect(await b.query(2)).toBeUndefined()
    await world.end()
  })

  test('that fires meanwhile is CANCELLED, unknown or delivered', async () => {
    const world = new World()
    const [, b] = await world.pair({ onQuery: () => new Promise(() => undefined), drainMs: 100 })
    const stop = new AbortController()
    const first = failure(b.query(1, { signal: stop.signal }))
    await world.clock.advance(100)
    const second = failure(b.query(1, { signal: stop.signal }))
    await world.clock.settle()
    stop.abort()
    expect((await first).delivery).toBe('delivered')
    expect((await second).delivery).toBe('unknown')
    await world.end()
  })

  test('that fires afterwards changes nothing, and no listener stays on it', async () => {
    const world = new World()
    const [, b] = await world.pair(echo)
    const stop = new AbortController()
    let listeners = 0
    const { signal } = stop
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    for (let at = 0; at < 10; at++) expect(await b.query(at, { signal })).toBe(at)
    expect(listeners).toBe(0)
    stop.abort()
    expect(await b.query('on')).toBe('on')
    await world.end()
  })
})

describe('a cut that no session outlives', () => {
  for (const who of ['dialer', 'listener'] as const) {
    test(`settles the ${who}'s calls with PEER_LOST and what is known of each`, async () => {
      const world = new World()
      const signals: AbortSignal[] = []
      const options = {
        onQuery: (_: unknown, { signal }: { signal: AbortSignal }) => {
          signals.push(signal)
          return new Promise(() => undefined)
        },
        resumeWindowMs: 0,
        limits: { handlersMax: 2 },
        queryTimeoutMs: Infinity,
      }
      const [a, b] = await world.pair(options)
      const asker = who === 'dialer' ? b : a
      const delivered = failure(asker.query(1))
      await world.clock.advance(50)
      const unknown = failure(asker.query(2))
      await world.clock.settle()
      const heldBack = failure(asker.query(3))
      world.pipe[0].destroy()
      await world.clock.settle()
      const errors = await Promise.all([delivered, unknown, heldBack])
      expect(errors.map((error) => [error.code, error.delivery])).toEqual([
        ['PEER_LOST', 'delivered'],
        ['PEER_LOST', 'unknown'],
        ['PEER_LOST', 'not-sent'],
      ])
      expect(signals.map((signal) => signal.aborted)).toEqual([true, true])
      expect(asker.stats().callsOpen).toBe(0)
      await world.end()
    })
  }

  test('in the very turn of the call is not-sent', async () => {
    const world = new World()
    const [, b] = await world.pair({ ...echo, resumeWindowMs: 0 })
    const asked = failure(b.query(1))
    world.pipe[0].destroy()
    const error = await asked
    expect([error.code, error.delivery]).toEqual(['PEER_LOST', 'not-sent'])
    await world.end()
  })

  test('in the middle of large messages settles both sides', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, resumeWindowMs: 0, limits: { replayBytesMax: 100_000 } })
    const bytes = new Uint8Array(3_000_000)
    const asked = [failure(a.query(bytes)), failure(b.query(bytes, { borrow: true }))]
    world.pipe[1].stalled = true
    await world.clock.settle()
    world.pipe[0].destroy()
    world.pipe[1].release()
    for (const error of await Promise.all(asked)) expect(error.code).toBe('PEER_LOST')
    await world.end()
  })
})

test('more than the other side takes is TOO_LARGE, not-sent, and the rest goes on', async () => {
  const world = new World()
  const [, b] = await world.pair({ ...echo, limits: { messageBytesMax: 1000 } }, {})
  const bytes = new Uint8Array(1001)
  for (const attempt of [() => b.query(bytes), () => b.notify(bytes), () => b.call('x', bytes)]) {
    const error = await failure(attempt())
    expect([error.code, error.delivery]).toEqual(['TOO_LARGE', 'not-sent'])
    expect(error.message).toContain('messageBytesMax')
  }
  expect(await b.query(new Uint8Array(1000))).toEqual(new Uint8Array(1000))
  await world.end()
})

test('20,000 calls at once, both ways, find their answers', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, limits: { handlersMax: 4096 } })
  const all = (connection: Connection) =>
    Promise.all(Array.from({ length: 20_000 }, (_, at) => connection.query(`q${at}`)))
  const [left, right] = await world.finish(Promise.all([all(a), all(b)]))
  expect(left).toEqual(right)
  expect(left[19_999]).toBe('q19999')
  expect([a.stats().callsOpen, b.stats().callsOpen]).toEqual([0, 0])
  await world.end()
})

test('beyond 16 times handlersMax a call is QUEUE_FULL, not-sent, and all others are answered', async () => {
  const world = new World()
  const [, b] = await world.pair({ ...echo, limits: { handlersMax: 2 } })
  const outcomes = await world.finish(Promise.allSettled(Array.from({ length: 40 }, (_, at) => b.query(at))))
  expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(32)
  for (const outcome of outcomes.slice(32))
    expect(outcome).toMatchObject({ reason: { code: 'QUEUE_FULL', delivery: 'not-sent' } })
  await world.end()
})

test('named and nameless calls do not mix, and each handler is told its method', async () => {
  const world = new World()
  const [a, b] = await world.pair({
    onQuery: (query, { method }) => [method, query],
    handlers: { add: (input, { method }) => [method, input], 'grüß dich': (input) => input },
  })
  expect(await b.query(1)).toEqual(['', 1])
  expect(await a.call('add', 2)).toEqual(['add', 2])
  expect(await a.call('grüß dich')).toBeUndefined()
  await world.end()
})
