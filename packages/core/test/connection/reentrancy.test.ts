import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Connection, ConnectionEvents, ConnectionState, Logger } from '../../src/index.js'
import { dialTimes, failure, mortal, takePipe, World } from './world.js'

const echo = { onQuery: (query: unknown) => query }

const unhandled: unknown[] = []
const onUnhandled = (error: unknown): void => void unhandled.push(error)
beforeEach(() => {
  unhandled.length = 0
  process.on('unhandledRejection', onUnhandled)
})
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', onUnhandled)
  expect(unhandled).toEqual([])
})

/** Takes one through all events and states that there are: standing by instead of waiting alone with 'second'. */
async function live(
  world: World,
  prepare: (a: Connection) => void,
  which: 'first' | 'second' = 'first',
): Promise<Connection> {
  const quiet = (promise: Promise<unknown>): void => void promise.catch(() => undefined)
  const wrong = world.make({ secret: 'wrong' })
  quiet(wrong.connect({ until: 'started' }))
  await world.clock.settle()
  const life = mortal(world)
  const a = world.make({ ...echo, whenBusy: 'wait', transport: life.transport })
  prepare(a)
  quiet(a.connect()) // meets one of another secret: meeting, idle
  await world.clock.settle()
  await world.finish(wrong.close())
  if (which === 'second') {
    const [b, c] = [world.make(echo), world.make(echo)]
    await b.connect({ until: 'started' })
    await c.connect()
    quiet(a.connect()) // standby
    await world.clock.advance(1000)
    await world.finish(Promise.all([b.close(), c.close()]))
    await world.clock.advance(1000)
  } else {
    quiet(a.connect()) // listening
  }
  await world.clock.advance(4000) // waiting
  if (world.address.accept !== undefined) takePipe(world.address.connect()).pipe.write([new Uint8Array([1, 2, 3])]) // refused
  await world.clock.settle()
  const d = world.make({ ...echo, reconnect: false })
  quiet(d.connect({ timeoutMs: 100 })) // paired
  await world.clock.advance(200)
  world.address.pipes.at(-1)?.[0].destroy() // apart
  await world.clock.advance(200)
  return a
}

type EventName = keyof ConnectionEvents
const EVENTS: EventName[] = ['state', 'listening', 'waiting', 'paired', 'apart', 'refused', 'closed']
const STATES: ConnectionState[] = ['idle', 'meeting', 'standby', 'paired', 'apart', 'closing', 'closed']

describe('close() inside an event', () => {
  test.each([...EVENTS.map((name) => [name, undefined] as const), ...STATES.map((now) => ['state', now] as const)])(
    '%s %s: settles, closed is told once, nothing is left',
    async (name, state) => {
      const world = new World()
      let calls = 0
      let closed = 0
      const promises: Promise<void>[] = []
      const after: string[] = []
      const a = await live(
        world,
        (connection) => {
          connection.on('closed', () => closed++)
          connection.on(name, (event: object) => {
            if (state !== undefined && (event as ConnectionEvents['state']).now !== state) return
            calls++
            promises.push(connection.close())
          })
          connection.on('state', ({ now }) => after.push(now))
        },
        state === 'standby' ? 'second' : 'first',
      )
      if (name === 'closed' || state === 'closing' || state === 'closed') promises.push(a.close())
      await world.finish(a.closed)
      expect(calls).toBeGreaterThan(0)
      await world.finish(Promise.all(promises))
      expect(await a.closed).toBeUndefined()
      expect([a.state, closed, a.peer, a.role]).toEqual(['closed', 1, undefined, undefined])
      expect(after.filter((now) => now === 'closing' || now === 'closed').sort()).toEqual(['closed', 'closing'])
      expect(after.slice(-1)).toEqual(['closed'])
      await world.end()
      expect(closed).toBe(1)
    },
  )

  test('of the end after a loss, with reconnect false: closed keeps its error, once', async () => {
    for (const name of ['state', 'apart', 'closed'] as const) {
      const world = new World()
      const [a] = await world.pair({ ...echo, reconnect: false })
      let closed = 0
      a.on('closed', () => closed++)
      a.on(name, () => void a.close())
      world.pipe[1].destroy()
      await world.finish(a.closed)
      await world.clock.settle()
      expect(closed).toBe(1)
      await world.end()
    }
  })

  test('in a rejected call, a resolved connect, and a handler that is told to stop, while the pair is lost', async () => {
    const world = new World()
    const [a, b] = await world.pair({
      resumeWindowMs: 0,
      onQuery: (_, context) =>
        new Promise((_resolve, reject) => {
          context.signal.addEventListener('abort', () => {
            void a.close()
            reject(context.signal.reason as Error)
          })
        }),
    })
    const failed = failure(b.query(1))
    await world.clock.settle()
    world.pipe[1].destroy()
    expect((await world.finish(failed)).code).toBe('PEER_LOST')
    await world.finish(a.closed)
    expect(a.state).toBe('closed')
    await world.end()
  })
})

describe("connect() inside a 'state' listener on idle", () => {
  test('after an error: one meeting more, whose outcome its promise has', async () => {
    const world = new World()
    await world.make({ secret: 'wrong' }).connect({ until: 'started' })
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    const states: string[] = []
    let again: Promise<void> | undefined
    a.on('state', ({ now }) => {
      states.push(now)
      if (now !== 'idle' || again !== undefined) return
      world.address.accept = undefined // whoever was wrong has gone
      again = a.connect()
    })
    let isPaired = false
    expect((await failure(a.connect())).code).toBe('SECRET_MISMATCH')
    void again?.then(() => (isPaired = true))
    await world.clock.settle()
    expect([states, times.length, world.address.listenCount]).toEqual([['meeting', 'idle', 'meeting'], 2, 2])
    expect(isPaired).toBe(false)
    await world.clock.advance(2000)
    const b = world.make(echo)
    await b.connect()
    await again
    expect([isPaired, states, times.length]).toEqual([true, ['meeting', 'idle', 'meeting', 'paired'], 2])
    await world.end()
  })

  test('twice: still one meeting, and both fail with the error of that one', async () => {
    const world = new World()
    await world.make({ secret: 'wrong' }).connect({ until: 'started' })
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    const again: Promise<{ code: string }>[] = []
    a.on('state', ({ now }) => {
      if (now === 'idle' && again.length === 0)
        again.push(failure(a.connect()), failure(a.connect({ until: 'started' })))
    })
    expect((await failure(a.connect())).code).toBe('SECRET_MISMATCH')
    expect((await Promise.all(again)).map(({ code }) => code)).toEqual(['SECRET_MISMATCH', 'SECRET_MISMATCH'])
    expect([times.length, a.state]).toEqual([2, 'idle'])
    await world.clock.advance(10_000)
    expect(times.length).toBe(2)
    await world.end()
  })

  test('after a connect that gave up: one meeting more', async () => {
    const world = new World()
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    let again: Promise<void> | undefined
    a.on('state', ({ now }) => {
      if (now === 'idle') again ??= a.connect()
    })
    const given = failure(a.connect({ timeoutMs: 100 }))
    await world.clock.advance(101)
    expect((await given).code).toBe('TIMEOUT')
    expect([a.state, times.length, world.address.listenCount]).toEqual(['meeting', 2, 2])
    await world.make(echo).connect()
    await again
    await world.end()
  })

  test('in the rejection of the first one: one meeting more', async () => {
    const world = new World()
    await world.make({ secret: 'wrong' }).connect({ until: 'started' })
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    const second = await failure(a.connect().catch(() => a.connect()))
    expect([second.code, times.length, a.state]).toEqual(['SECRET_MISMATCH', 2, 'idle'])
    await world.end()
  })

  test('each time: it goes on as long as the application wants, one dial at a time', async () => {
    const world = new World()
    await world.make({ secret: 'wrong' }).connect({ until: 'started' })
    const { transport, times } = dialTimes(world, world.address.transport())
    const a = world.make({ ...echo, transport })
    let rounds = 0
    let last: Promise<unknown> = Promise.resolve()
    a.on('state', ({ now }) => {
      if (now === 'idle' && ++rounds < 50) last = failure(a.connect())
    })
    await failure(a.connect())
    while (rounds < 50) await world.clock.settle()
    await last
    expect(times.length).toBe(50)
    await world.end()
  })
})

describe('what an application gives that rejects', () => {
  test('an async listener of each event is logged, and changes nothing', async () => {
    const world = new World()
    const fault = new Error('a listener failed')
    const a = await live(world, (connection) => {
      for (const name of EVENTS) {
        connection.on(name, async () => {
          await Promise.resolve()
          throw fault
        })
      }
    })
    await world.finish(a.close())
    await world.end()
    const told = world.errors().filter((entry) => entry.message === 'a listener threw')
    expect(new Set(told.map((entry) => entry.fields['error']))).toEqual(new Set([fault]))
    expect(new Set(told.map((entry) => entry.fields['event']))).toEqual(new Set(EVENTS))
  })

  test('an async logger changes nothing, and is told once on the console', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const reject = async (): Promise<never> => {
      await Promise.resolve()
      throw new Error('the disk is full')
    }
    const logger: Logger = { error: reject, warn: reject, info: reject, debug: reject }
    const world = new World()
    const [a, b] = await world.pair({ ...echo, logger, logQueries: true, logKeepalives: true })
    expect(await a.query(1)).toBe(1)
    await world.clock.advance(10_000)
    expect([a.state, b.state]).toEqual(['paired', 'paired'])
    await world.end()
    expect(said).toHaveBeenCalledTimes(2) // once each
    said.mockRestore()
  })

  test('a listener that returns a thenable which throws is logged', async () => {
    const world = new World()
    const a = world.make(echo)
    a.on('listening', () => ({
      then: () => {
        throw new Error('a bad thenable')
      },
    }))
    await a.connect({ until: 'started' })
    await world.clock.settle()
    expect(world.errors().map((entry) => entry.message)).toEqual(['a listener threw'])
    await world.end()
  })
})
