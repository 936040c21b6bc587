import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Connection, Transport } from '../../src/index.js'
import { deferred, failure, heldHandler, takePipe, World } from './world.js'

const echo = { onQuery: (query: unknown) => query }
const unhandled: unknown[] = []
const note = (reason: unknown): void => {
  unhandled.push(reason)
}

beforeAll(() => {
  process.on('unhandledRejection', note)
})
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve))
  expect(unhandled).toEqual([])
})
afterAll(() => {
  process.off('unhandledRejection', note)
})

/** Brings a connection into each state; `closing` and `closed` are `close` called twice. */
const states: [string, (world: World) => Promise<Connection>][] = [
  ['idle', (world) => Promise.resolve(world.make())],
  [
    'meeting as dialer',
    async (world) => {
      world.address.accept = (pipe) => void takePipe(pipe as never)
      const a = world.make()
      a.connect().catch(() => undefined)
      await world.clock.settle()
      world.address.accept = undefined
      return a
    },
  ],
  [
    'meeting as listener',
    async (world) => {
      const a = world.make()
      await a.connect({ until: 'started' })
      return a
    },
  ],
  [
    'meeting with a failed try behind it',
    async (world) => {
      world.address.accept = (pipe) => {
        pipe.destroy()
      }
      const a = world.make()
      a.connect().catch(() => undefined)
      await world.clock.settle()
      world.address.accept = undefined
      return a
    },
  ],
  ['paired as listener', async (world) => (await world.pair(echo))[0]],
  ['paired as dialer', async (world) => (await world.pair(echo))[1]],
  [
    'apart',
    async (world) => {
      const [a, b] = await world.pair({ reconnect: { maxRetries: 5 } })
      await world.finish(b.close())
      await world.clock.settle()
      expect(a.state).toBe('apart')
      return a
    },
  ],
  [
    'idle after a failure',
    async (world) => {
      await world.make({ secret: 'one' }).connect({ until: 'started' })
      const a = world.make({ secret: 'two' })
      await a.connect().catch(() => undefined)
      return a
    },
  ],
  [
    'idle after giving up',
    async (world) => {
      const a = world.make()
      const waiting = a.connect({ timeoutMs: 10 }).catch(() => undefined)
      await world.clock.advance(11)
      await waiting
      return a
    },
  ],
]

describe('in every state', () => {
  for (const [name, reach] of states) {
    test(`${name}: resolves, also twice and again, and leaves nothing`, async () => {
      const world = new World()
      const a = await reach(world)
      const before = a.state
      const first = a.close()
      const second = a.close()
      expect(a.state).toBe(before === 'closed' ? 'closed' : 'closing')
      await world.finish(Promise.all([first, second]))
      expect(a.state).toBe('closed')
      await a.close()
      expect(await a.closed).toBeUndefined()
      expect([a.peer, a.role]).toEqual([undefined, undefined])
      await world.end()
    })

    test(`${name}: afterwards connect, paired, calls and notifications are CLOSED`, async () => {
      const world = new World()
      const a = await reach(world)
      const attempts = () =>
        [a.connect(), a.paired(), a.query(1), a.call('x'), a.notify(1), a.query(1, { whenApart: 'wait' })].map(failure)
      const closing = a.close()
      const during = attempts()
      await world.finish(closing)
      for (const error of await Promise.all([...during, ...attempts()])) expect(error.code).toBe('CLOSED')
      await world.end()
    })
  }

  test('at any moment of a start, of one or both, leaves nothing', async () => {
    for (let ticks = 0; ticks < 60; ticks++) {
      const world = new World()
      const [a, b] = [world.make(echo), world.make(echo)]
      const starts = [a.connect(), b.connect()].map((promise) => promise.catch((error: unknown) => error))
      for (let at = 0; at < ticks % 30; at++) await Promise.resolve()
      const closes = [a.close()]
      if (ticks >= 30) closes.push(b.close())
      await world.finish(Promise.all(closes))
      if (ticks >= 30) await world.finish(Promise.all(starts))
      await world.clock.settle()
      expect(a.state).toBe('closed')
      await world.end()
    }
  })

  test('while the address is still being given up waits for that', async () => {
    const world = new World()
    const transport = world.address.transport()
    const gate = deferred()
    const listen: Transport['listen'] = async (accept, signal) => {
      const listener = await transport.listen(accept, signal)
      if (typeof listener === 'string' || 'start' in listener) return listener
      return {
        ...listener,
        close: async () => {
          await gate.promise
          await listener.close()
        },
      }
    }
    const a = world.make({ transport: { ...transport, listen } })
    const waiting = failure(a.connect({ timeoutMs: 10 }))
    await world.clock.advance(11)
    await waiting
    let closed = false
    const closing = a.close().then(() => {
      closed = true
    })
    await world.clock.settle()
    expect(closed).toBe(false)
    gate.resolve(undefined)
    await closing
    await world.end()
  })

  test('with a transport that fails to give its address up: it is logged, and close resolves all the same', async () => {
    const world = new World()
    const transport = world.address.transport()
    const listen: Transport['listen'] = async (accept, signal) => {
      const listener = await transport.listen(accept, signal)
      return typeof listener === 'string' || 'start' in listener
        ? listener
        : {
            ...listener,
            close: () => {
              world.address.accept = undefined
              return Promise.reject(new Error('stuck'))
            },
          }
    }
    const a = world.make({ transport: { ...transport, listen } })
    const waiting = failure(a.connect({ timeoutMs: 10 }))
    await world.clock.advance(11)
    expect((await waiting).code).toBe('TIMEOUT')
    await world.clock.settle()
    expect(a.state).toBe('idle')
    await a.connect({ until: 'started' })
    await a.close()
    expect(world.errors().length).toBeGreaterThan(0)
    await world.end()
  })

  test('with strangers at the door, silent and refused', async () => {
    const world = new World()
    const [a] = await world.pair(echo)
    for (let at = 0; at < 5; at++) takePipe(world.address.connect())
    await world
      .make({ secret: 'wrong' })
      .connect()
      .catch(() => undefined)
    await world.finish(a.close())
    await world.clock.settle()
    await world.end()
  })

  test('with a stranger that was refused and holds its end open, within a second', async () => {
    const world = new World()
    const a = world.make(echo)
    await a.connect({ until: 'started' })
    const pipe = world.address.connect()
    pipe.start({ bytes: () => undefined, drained: () => undefined, ended: () => undefined, closed: () => undefined })
    pipe.write([new Uint8Array([0x50, 0x4c, 0x4e, 0x4b, 9, 0, 0, 100])])
    await world.clock.settle()
    await world.finish(a.close(), 1100)
    await world.clock.settle()
    expect(world.clock.pending).toBe(0)
    pipe.destroy()
    await world.clock.settle()
    world.expectNothingLeft()
  })
})

describe('with calls in flight', () => {
  test('what was accepted is sent, what was asked is answered, on both sides', async () => {
    const world = new World()
    const held = [heldHandler(), heldHandler()] as const
    const got: unknown[] = []
    const onNotify = (message: unknown): void => void got.push(message)
    const [a, b] = await world.pair({ onQuery: held[0].handler, onNotify }, { onQuery: held[1].handler, onNotify })
    const asked = [b.query('to a'), a.query('to b')]
    const told = [a.notify('note to b'), b.notify(new Uint8Array(300_000))]
    const closing = a.close()
    await world.clock.settle()
    expect(a.state).toBe('closing')
    held[0].calls[0]?.resolve('from a')
    held[1].calls[0]?.resolve('from b')
    await world.finish(Promise.all([...told, closing]))
    expect(await Promise.all(asked)).toEqual(['from a', 'from b'])
    expect(got).toHaveLength(2)
    await world.end()
  })

  test('the peer that was left asks nothing more: NOT_CONNECTED, not-sent, until there is another', async () => {
    const world = new World()
    const held = heldHandler()
    const [a, b] = await world.pair({ onQuery: held.handler })
    const asked = b.query(1)
    await world.clock.settle()
    const closing = a.close()
    await world.clock.settle()
    const error = await failure(b.query(2))
    expect([error.code, error.delivery]).toEqual(['NOT_CONNECTED', 'not-sent'])
    held.calls[0]?.resolve('last')
    expect(await asked).toBe('last')
    await world.finish(closing)
    await world.end()
  })

  test('a handler that is still running may ask its caller, who is closing', async () => {
    const world = new World()
    const gate = deferred()
    const [, b] = await world.pair(
      {
        onQuery: async (_, context) => {
          await gate.promise
          return context.query('back')
        },
      },
      { onQuery: () => 'answered while closing' },
    )
    const asked = b.query(1)
    await world.clock.settle()
    const closing = b.close()
    gate.resolve(undefined)
    const outcome = await world.finish(asked.catch((error: unknown) => error))
    await world.finish(closing)
    // The asker said that it asks nothing more, not that it answers nothing more.
    expect(['answered while closing', expect.objectContaining({ code: 'REMOTE' })]).toContainEqual(outcome)
    await world.end()
  })

  test('crossing: both close at once, both settle everything', async () => {
    for (let ticks = 0; ticks < 20; ticks++) {
      const world = new World()
      const [a, b] = await world.pair({
        onQuery: async (query) => {
          await Promise.resolve()
          return query
        },
      })
      const asked = Promise.all([a.query(1), b.query(2), a.query(3), b.query(4)])
      const first = a.close()
      for (let at = 0; at < ticks; at++) await Promise.resolve()
      const second = b.close()
      await world.finish(Promise.all([first, second]), 100)
      expect(await asked).toEqual([1, 2, 3, 4])
      expect(await Promise.all([a.closed, b.closed])).toEqual([undefined, undefined])
      await world.end()
    }
  })

  test('a handler that never ends: after drainMs its caller gets CLOSED, and close resolves', async () => {
    for (const closer of ['asker', 'answerer'] as const) {
      const world = new World()
      let signal: AbortSignal | undefined
      const [a, b] = await world.pair({
        drainMs: 1000,
        queryTimeoutMs: Infinity,
        reconnect: false,
        onQuery: (_, context) => {
          signal = context.signal
          return new Promise(() => undefined)
        },
      })
      const asked = failure(b.query(1))
      await world.clock.advance(50)
      const closing = (closer === 'asker' ? b : a).close()
      await world.clock.advance(900)
      expect((closer === 'asker' ? b : a).state).toBe('closing')
      await world.clock.advance(200)
      await closing
      const error = await asked
      expect([error.code, error.delivery], closer).toEqual(['CLOSED', 'delivered'])
      expect(signal?.aborted).toBe(true)
      await world.end()
    }
  })

  test('drainMs of close wins, and 0 ends at once', async () => {
    const world = new World()
    const [, b] = await world.pair({ onQuery: () => new Promise(() => undefined), queryTimeoutMs: Infinity })
    const asked = failure(b.query(1))
    await world.clock.settle()
    await world.finish(b.close({ drainMs: 0 }), 10)
    expect((await asked).code).toBe('CLOSED')
    await world.end()
  })

  test('a peer that has stopped reading does not hold it longer than drainMs', async () => {
    const world = new World()
    const [, b] = await world.pair({ ...echo, drainMs: 500 })
    const [near, far] = world.pipe
    far.stalled = true
    const asked = failure(b.query(new Uint8Array(100_000)))
    await world.finish(b.close(), 600)
    expect((await asked).code).toBe('CLOSED')
    far.release()
    near.release()
    await world.end()
  })

  test('a link that breaks while closing settles it at once', async () => {
    const world = new World()
    const [, b] = await world.pair({ onQuery: () => new Promise(() => undefined) })
    const asked = failure(b.query(1))
    await world.clock.settle()
    const closing = b.close()
    await world.clock.settle()
    world.pipe[0].destroy()
    await world.finish(closing, 10)
    expect(['CLOSED', 'PEER_LOST']).toContain((await asked).code)
    await world.end()
  })
})

describe('called from within', () => {
  test('a handler: its answer still arrives', async () => {
    const world = new World()
    const a = world.make({
      onQuery: () => {
        void a.close()
        return 'goodbye'
      },
    })
    await a.connect({ until: 'started' })
    const b = world.make()
    await b.connect()
    expect(await b.query(1)).toBe('goodbye')
    await world.finish(a.closed)
    await world.end()
  })

  test('a handler that awaits it waits for itself, at most drainMs', async () => {
    const world = new World()
    const a = world.make({
      drainMs: 300,
      onQuery: async () => {
        await a.close()
        return 'too late'
      },
    })
    await a.connect({ until: 'started' })
    const b = world.make()
    await b.connect()
    const asked = failure(b.query(1))
    await world.finish(a.closed, 400)
    expect(['PEER_LOST', 'CLOSED']).toContain((await asked).code)
    await world.end()
  })

  test.each(['state', 'listening', 'paired', 'apart', 'refused', 'closed'] as const)(
    'a listener of %s',
    async (name) => {
      const world = new World()
      const [a, b] = [world.make(echo), world.make(echo)]
      let closing: Promise<void> | undefined
      a.on(name, () => {
        closing ??= a.close()
      })
      const started = a.connect({ until: 'started' }).catch(() => undefined)
      await world.clock.settle()
      if (name === 'refused')
        await world
          .make({ secret: 'wrong' })
          .connect()
          .catch(() => undefined)
      const meeting = b.connect().catch(() => undefined)
      await world.clock.settle()
      if (name === 'apart') world.pipe[0].destroy()
      if (name === 'closed') void a.close()
      await world.finish(a.closed)
      await closing
      await started
      expect(a.state).toBe('closed')
      await world.end()
      await meeting
    },
  )

  test('onNotify', async () => {
    const world = new World()
    const a = world.make({ onNotify: () => a.close() })
    await a.connect({ until: 'started' })
    const b = world.make()
    await b.connect()
    await b.notify(1)
    await world.finish(a.closed)
    await world.end()
  })
})

test('await using closes it', async () => {
  const world = new World()
  const [a, b] = await world.pair(echo)
  await world.finish(a[Symbol.asyncDispose]())
  expect(a.state).toBe('closed')
  await world.finish(b[Symbol.asyncDispose]())
  await world.end()
})

test('closed resolves for a connection that ends by itself, and never rejects', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, reconnect: false })
  const seen: unknown[] = []
  a.on('closed', (event) => seen.push(event))
  world.pipe[0].destroy()
  const error = await a.closed
  expect(error?.code).toBe('PEER_LOST')
  expect(seen).toEqual([{ error }])
  await a.close()
  expect(await a.closed).toBe(error)
  await b.closed
  world.expectNothingLeft()
})

test('nobody who listens to nothing gets an unhandled rejection', async () => {
  const world = new World()
  const [a, b] = await world.pair({
    onQuery: () => {
      throw new Error('x')
    },
    onNotify: () => Promise.reject(new Error('y')),
  })
  await b.notify(1)
  await b.query(1).catch(() => undefined)
  world.pipe[0].destroy()
  await world.clock.settle()
  await world.finish(Promise.all([a.close(), b.close()]))
  await world.end()
})

test('an unref`d connection holds no timer, in no state, and ref holds again', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, onQuery: () => new Promise(() => undefined), drainMs: 100 })
  a.unref()
  b.unref()
  expect(world.clock.held).toBe(0)
  const asked = failure(b.query(1))
  await world.clock.settle()
  expect(world.clock.held).toBe(0)
  b.ref()
  expect(world.clock.held).toBeGreaterThan(0)
  b.unref()
  const closing = b.close()
  expect(world.clock.held).toBe(0)
  await world.finish(closing)
  await asked
  await world.end()
})
