import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Connection } from '../../src/index.js'
import { World } from './world.js'

const echo = { onQuery: (query: unknown) => query }
const states = (connection: Connection): string[] => {
  const seen: string[] = []
  connection.on('state', ({ now, before }) => seen.push(`${before} > ${now}`))
  return seen
}

afterEach(() => {
  vi.restoreAllMocks()
})

test('states follow one another without a gap', async () => {
  const world = new World()
  const a = world.make(echo)
  const b = world.make(echo)
  const seen = states(a)
  expect(a.state).toBe('idle')
  await a.connect({ until: 'started' })
  await b.connect()
  await world.finish(b.close())
  await world.make(echo).connect()
  await world.finish(a.close())
  expect(seen).toEqual([
    'idle > meeting',
    'meeting > paired',
    'paired > apart',
    'apart > paired',
    'paired > closing',
    'closing > closed',
  ])
  await world.end()
})

test('the state is the new one when its event is told, and the pair is there at paired', async () => {
  const world = new World()
  const a = world.make(echo)
  const b = world.make(echo)
  const seen: unknown[] = []
  b.on('state', ({ now }) => seen.push(b.state === now))
  b.on('paired', ({ role }) => seen.push(b.role === role, b.peer !== undefined, b.query('at once')))
  b.on('apart', () => seen.push(b.peer, b.role))
  b.on('closed', () => seen.push(b.state))
  await a.connect({ until: 'started' })
  await b.connect()
  expect(await seen[4]).toBe('at once')
  expect(seen.slice(0, 4)).toEqual([true, true, true, true])
  await world.end()
  expect(seen.at(-1)).toBe('closed')
})

test('listening tells the address, once', async () => {
  const world = new World()
  const a = world.make()
  const seen: unknown[] = []
  a.on('listening', (event) => seen.push(event))
  await a.connect({ until: 'started' })
  expect(seen).toEqual([{ address: 'memory:test' }])
  await world.end()
})

test('on returns what removes the listener; the same one twice is called twice; removing twice is harmless', async () => {
  const world = new World()
  const a = world.make()
  let count = 0
  const listener = (): void => {
    count++
  }
  const remove = [a.on('state', listener), a.on('state', listener)]
  void a.connect().catch(() => undefined)
  expect(count).toBe(2)
  remove[0]?.()
  remove[0]?.()
  await a.close()
  expect(count).toBe(4)
  remove[1]?.()
  await world.end()
})

test('a listener that is removed by another one before its turn is not called', async () => {
  const world = new World()
  const a = world.make()
  let called = false
  const removers: (() => void)[] = []
  a.on('listening', () => {
    removers[0]?.()
  })
  removers.push(
    a.on('listening', () => {
      called = true
    }),
  )
  await a.connect({ until: 'started' })
  expect(called).toBe(false)
  await world.end()
})

test('a listener that adds itself anew each time is called once for each event', async () => {
  const world = new World()
  const a = world.make()
  const seen: string[] = []
  const again = (): void => {
    const remove = a.on('state', ({ now }) => {
      seen.push(now)
      remove()
      // Where it is called for ever, the test ends nevertheless.
      if (seen.length < 100) again()
    })
  }
  again()
  await a.connect({ until: 'started' })
  await world.end()
  expect(seen).toEqual(['meeting', 'closing', 'closed'])
})

describe('a listener that closes the connection', () => {
  type Told = 'state paired' | 'paired' | 'state apart' | 'apart' | 'reset'
  const PAIRED: Told[] = ['state paired', 'paired']
  const LOST: Told[] = [...PAIRED, 'state apart', 'apart']
  /** What is told when the link is cut: with the session held, and without. */
  const cases: [Told, number, Told[]][] = [
    ['state paired', 1000, PAIRED],
    ['paired', 1000, PAIRED],
    ['state apart', 1000, LOST],
    ['apart', 1000, LOST],
    ['state apart', 0, [...LOST, 'reset']],
    ['apart', 0, [...LOST, 'reset']],
    ['reset', 0, [...LOST, 'reset']],
  ]

  test.each(cases)(
    'at %s with resumeWindowMs %d: all are told everything, in one order',
    async (at, resumeWindowMs, before) => {
      const world = new World()
      const a = world.make({ ...echo, resumeWindowMs })
      const seen: string[][] = [[], []]
      const tell = (what: string): void => {
        seen[0]?.push(what)
        if (what === at) void a.close()
      }
      for (const note of [tell, (what: string) => seen[1]?.push(what)]) {
        a.on('state', ({ now }) => void note(`state ${now}`))
        for (const name of ['paired', 'apart', 'reset', 'closed'] as const) a.on(name, () => void note(name))
      }
      await a.connect({ until: 'started' })
      const b = world.make(echo)
      await b.connect()
      await world.clock.settle()
      world.pipe[0].destroy()
      await world.clock.advance(10_000)
      const all = ['state meeting', ...before, 'state closing', 'state closed', 'closed']
      expect(seen).toEqual([all, all])
      await world.end()
    },
  )
})

test('a listener that throws changes nothing, is logged, and the others are called', async () => {
  const world = new World()
  const a = world.make(echo)
  const b = world.make(echo)
  const seen: string[] = []
  for (const name of ['state', 'listening', 'paired', 'apart', 'refused', 'closed'] as const) {
    a.on(name, () => {
      throw new Error(`in ${name}`)
    })
    a.on(name, () => seen.push(name))
  }
  await a.connect({ until: 'started' })
  await world
    .make({ secret: 'wrong' })
    .connect()
    .catch(() => undefined)
  await b.connect()
  expect(await a.query(1)).toBe(1)
  world.pipe[0].destroy()
  await world.clock.advance(100)
  expect(await a.query(2)).toBe(2)
  await world.end()
  expect(new Set(seen)).toEqual(new Set(['state', 'listening', 'paired', 'apart', 'refused', 'closed']))
  expect(world.errors().every((entry) => entry.message === 'a listener threw')).toBe(true)
  expect(world.errors()).toHaveLength(seen.length)
})

test('a logger that throws changes nothing, and is told once on the console', async () => {
  const told = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  const world = new World()
  const fail = (): never => {
    throw new Error('disk full')
  }
  const logger = { error: fail, warn: fail, info: fail, debug: fail }
  const [a, b] = await world.pair({
    ...echo,
    logger,
    logQueries: true,
    logKeepalives: true,
    handlers: {
      broken: () => {
        throw new Error('x')
      },
    },
    onNotify: () => {
      throw new Error('y')
    },
  })
  await b.call('broken').catch(() => undefined)
  await b.notify(1)
  await world.clock.advance(10_000)
  expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
  await world.end()
  expect(told).toHaveBeenCalledTimes(2) // each connection has its own
})

test('a logger may have no method but error', async () => {
  const world = new World()
  const lines: string[] = []
  const [a] = await world.pair({
    ...echo,
    logQueries: true,
    logger: { error: (_, message) => void lines.push(message) },
  })
  expect(await a.query(1)).toBe(1)
  await world.end()
  expect(lines).toEqual([])
})

test('a logger is called as a method, as pino needs it', async () => {
  const world = new World()
  class Log {
    readonly lines: string[] = []
    error(_: unknown, message: string): void {
      this.lines.push(message)
    }
  }
  const logger = new Log()
  const [a] = await world.pair({
    logger,
    onQuery: () => {
      throw new Error('x')
    },
  })
  await a.query(1).catch(() => undefined)
  await world.end()
  expect(logger.lines).toEqual(['a handler threw'])
})

test('both ends in one process are told so, once', async () => {
  const world = new World()
  const first = world.environment()
  Object.defineProperty(world, 'environment', {
    value: () => ({ ...world.constructor.prototype.environment.call(world), process: first.process }),
  })
  await world.pair(echo)
  world.pipe[0].destroy()
  await world.clock.settle()
  expect(world.logs.filter((entry) => entry.level === 'warn').map((entry) => entry.message)).toEqual([
    'both ends of the pair are in one process',
    'both ends of the pair are in one process',
  ])
  await world.end()
})

test('stats are a plain snapshot', async () => {
  const world = new World()
  const [a] = await world.pair(echo)
  const before = a.stats()
  await a.query(1)
  expect(structuredClone(before)).toEqual(before)
  expect(before.session?.sentFrames).toBe(0)
  expect(a.stats().session?.sentFrames).toBe(1)
  await world.end()
  expect(a.stats()).toMatchObject({ state: 'closed', callsOpen: 0, session: undefined, role: undefined })
})
