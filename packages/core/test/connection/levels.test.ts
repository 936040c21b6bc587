/**
 * What `stats()` shows of each buffer: it rises and keeps its bound, stands still while the link is lost, and is zero again
 * when everything is done.
 */
import { describe, expect, test } from 'vitest'
import type { Connection, ConnectionStats, Context } from '../../src/index.js'
import { NarrowPipe } from './narrow.js'
import { deferred, failure, heldHandler, mortal, World, type Deferred, type Mortal, type Options } from './world.js'

const LIMITS = {
  fragmentBytes: 4096,
  messageBytesMax: 500_000,
  reassemblyBytesMax: 900_000,
  sendBytesMax: 100_000,
  replayBytesMax: 150_000,
  inboxBytesMax: 10_000,
  handlersMax: 8,
}
const SLAB_BYTES = 65_536
const SLOTS = 16 * LIMITS.handlersMax

interface Scene {
  readonly world: World
  /** Listens; most of what comes is read, handled and kept here. */
  readonly a: Connection
  /** Dials; asks and notifies. */
  readonly b: Connection
  /** The process of `b`, which can be kept from coming back. */
  readonly life: Mortal
  /** Handlers of `held` at `a`, in their order. */
  readonly held: Deferred[]
  /** Lets the handler of notifications at `a` return. */
  readonly gate: Deferred
  /** What `b` waits for; never rejects. */
  readonly results: Promise<unknown>[]
}

async function scene(more: Options = {}): Promise<Scene> {
  const world = new World()
  const life = mortal(world)
  const { calls, handler } = heldHandler()
  const gate = deferred()
  const options: Options = {
    limits: LIMITS,
    queryTimeoutMs: Infinity,
    handlers: { held: handler, large: () => new Uint8Array(300_000), echo: (input) => input },
    onNotify: () => gate.promise,
    ...more,
  }
  const a = world.make(options)
  const b = world.make({ ...options, transport: life.transport })
  await a.connect({ until: 'started' })
  await b.connect()
  await world.clock.settle()
  return { world, a, b, life, held: calls, gate, results: [] }
}

/** The link breaks, as both sides see, and `b` cannot come back before `life.goOn()`. */
function cut({ world, life }: Scene): void {
  life.stop()
  for (const pipe of world.pipe) pipe.destroy()
}

/** Makes calls and waits until all that can happen without time has happened. */
async function run({ world, results }: Scene, count: number, make: (at: number) => Promise<unknown>): Promise<void> {
  results.push(...Array.from({ length: count }, (_, at) => make(at)))
  await world.clock.settle()
}

/** Everything that can fill up, by name: the numbers of `stats()` that do not only rise. */
function levels(connection: Connection): Record<string, number> {
  const { session, ...own } = connection.stats()
  const numbers = Object.entries({ ...own, ...session }).filter(
    (entry): entry is [string, number] => typeof entry[1] === 'number' && !/^(sent|received)Frames$/.test(entry[0]),
  )
  return Object.fromEntries(numbers)
}

function expectEmpty(...connections: Connection[]): void {
  for (const connection of connections) {
    expect(connection.stats().session, 'a session').toBeDefined()
    expect(Object.entries(levels(connection)).filter(([, level]) => level !== 0)).toEqual([])
  }
}

type Level = Exclude<keyof ConnectionStats, 'state' | 'role' | 'session'> | SessionLevel
type SessionLevel = Exclude<keyof NonNullable<ConnectionStats['session']>, 'sentFrames' | 'receivedFrames'>

interface Row {
  readonly level: Level
  readonly of: 'a' | 'b'
  /** How far `fill` brings it, and its bound. */
  readonly least: number
  readonly most: number
  readonly what: string
  readonly fill: (scene: Scene) => Promise<void>
}

const rows: readonly Row[] = [
  {
    what: 'queries behind a full pipe',
    level: 'queuedBytes',
    of: 'b',
    least: LIMITS.sendBytesMax,
    most: LIMITS.sendBytesMax + 2 * 30_000,
    fill: async (scene) => {
      scene.world.pipe[1].stalled = true
      await run(scene, 1, () => scene.b.call('echo', 'fills the pipe'))
      await run(scene, 20, () => scene.b.call('echo', new Uint8Array(30_000)))
    },
  },
  {
    what: 'queries and notifications that find no room',
    level: 'callsWaiting',
    of: 'b',
    least: 30,
    most: SLOTS,
    fill: async (scene) => {
      scene.world.pipe[1].stalled = true
      await run(scene, 20, () => scene.b.call('echo', new Uint8Array(60_000)))
      await run(scene, 40, () => scene.b.notify(new Uint8Array(5000)))
    },
  },
  {
    what: 'what no acknowledgement comes back for',
    level: 'unacknowledgedBytes',
    of: 'b',
    least: LIMITS.replayBytesMax - SLAB_BYTES,
    most: LIMITS.replayBytesMax + SLAB_BYTES,
    fill: async (scene) => {
      scene.world.pipe[0].stalled = true
      await run(scene, 8, () => scene.b.call('echo', new Uint8Array(30_000)))
    },
  },
  {
    what: 'a query that is half read',
    level: 'reassemblyBytes',
    of: 'a',
    least: 800_000,
    most: LIMITS.reassemblyBytesMax,
    fill: async (scene) => {
      const [near, far] = scene.world.pipe
      const pipe = new NarrowPipe(scene.world, near, far)
      await run(scene, 3, () => scene.b.call('echo', new Uint8Array(400_000)))
      await pipe.step()
    },
  },
  {
    what: 'notifications whose handler has not returned',
    level: 'inboxBytes',
    of: 'a',
    least: LIMITS.inboxBytesMax - 200,
    most: LIMITS.inboxBytesMax,
    fill: async (scene) => run(scene, 300, () => scene.b.notify(new Uint8Array(100))),
  },
  {
    what: 'notifications whose handler was not started',
    level: 'inboxWaiting',
    of: 'a',
    least: 50,
    most: LIMITS.inboxBytesMax / 64,
    fill: async (scene) => run(scene, 300, () => scene.b.notify(new Uint8Array(100))),
  },
  {
    what: 'what they cost',
    level: 'inboxWaitingBytes',
    of: 'a',
    least: 50 * 164,
    most: LIMITS.inboxBytesMax,
    fill: async (scene) => run(scene, 300, () => scene.b.notify(new Uint8Array(100))),
  },
  {
    what: 'notifications that are not known to be consumed',
    level: 'unconsumedBytes',
    of: 'b',
    least: LIMITS.inboxBytesMax + LIMITS.sendBytesMax - 2000,
    most: LIMITS.inboxBytesMax + LIMITS.sendBytesMax + 1064,
    fill: async (scene) => run(scene, 120, () => scene.b.notify(new Uint8Array(1000))),
  },
  {
    what: 'queries without an answer',
    level: 'queriesInFlight',
    of: 'b',
    least: LIMITS.handlersMax,
    most: LIMITS.handlersMax,
    fill: async (scene) => run(scene, 100, () => scene.b.call('held')),
  },
  {
    what: 'handlers',
    level: 'handlersRunning',
    of: 'a',
    least: LIMITS.handlersMax,
    most: LIMITS.handlersMax,
    fill: async (scene) => run(scene, 100, () => scene.b.call('held')),
  },
  {
    what: 'queries that wait while answers do not leave',
    level: 'queriesWaiting',
    of: 'a',
    least: 5,
    most: LIMITS.handlersMax,
    fill: async (scene) => {
      scene.world.pipe[0].stalled = true
      await run(scene, 3, () => scene.b.call('large'))
      await run(scene, 5, () => scene.b.call('echo', 1))
    },
  },
  {
    what: 'calls without an answer',
    level: 'callsOpen',
    of: 'b',
    least: SLOTS,
    most: SLOTS,
    fill: async (scene) => {
      await run(scene, SLOTS, () => scene.b.call('held'))
      expect(await failure(scene.b.call('held'))).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
    },
  },
]

describe.each(rows)('$level: $what', ({ level, of, least, most, fill }) => {
  const expectFull = (scene: Scene): void => {
    const now = levels(scene[of])[level]
    expect(now).toBeGreaterThanOrEqual(least)
    expect(now).toBeLessThanOrEqual(most)
  }

  /** Lets everything end that was begun, and expects it to have. */
  const empty = async (scene: Scene): Promise<void> => {
    const { world, a, b, held, gate, results } = scene
    gate.resolve(undefined)
    let roundsLeft = 2000
    void Promise.all(results).then(() => (roundsLeft = 50))
    while (roundsLeft-- > 0) {
      for (const call of held.splice(0)) call.resolve(undefined)
      for (const pipe of world.pipe) pipe.release()
      await world.clock.advance(10)
    }
    expectEmpty(a, b)
    await world.end()
  }

  test('rises, and is zero when all is done', async () => {
    const made = await scene()
    expectEmpty(made.a, made.b)
    await fill(made)
    expectFull(made)
    await empty(made)
  })

  test('is shown while the link is lost, and is zero when all is done after the resume', async () => {
    const made = await scene()
    await fill(made)
    cut(made)
    await made.world.clock.advance(1000)
    expect([made.a.state, made.b.state]).toEqual(['apart', 'apart'])
    expectFull(made)
    made.life.goOn()
    await made.world.clock.advance(2000)
    expect([made.a.state, made.b.state]).toEqual(['paired', 'paired'])
    await empty(made)
  })

  test('is zero for the next peer when this one is lost for good', async () => {
    const made = await scene()
    await fill(made)
    // What waits here settles as lost.
    for (const result of made.results) result.catch(() => undefined)
    cut(made)
    await made.world.clock.advance(61_000)
    expect(made[of].stats().session).toBeUndefined()
    await Promise.allSettled(made.results)
    made.gate.resolve(undefined)
    for (const call of made.held) call.resolve(undefined)
    made.life.goOn()
    await made.world.clock.advance(2000)
    expect([made.a.state, made.b.state]).toEqual(['paired', 'paired'])
    expectEmpty(made.a, made.b)
    await made.world.end()
  })
})

test('every level that stats() has is in the tables of this file', async () => {
  const { world, a } = await scene()
  const elsewhere: Level[] = ['callsParked', 'parkedBytes', 'strangers', 'newcomers', 'leaving']
  expect(Object.keys(levels(a)).sort()).toEqual([...rows.map(({ level }) => level), ...elsewhere].sort())
  await world.end()
})

describe('while there is no peer', () => {
  test('callsParked and parkedBytes: what waits for one, and they are zero when one came', async () => {
    const made = await scene({ whenApart: 'wait' })
    const { world, a, b, life, gate } = made
    gate.resolve(undefined)
    cut(made)
    await world.clock.settle()
    const calls = Array.from({ length: 80 }, () => b.call('echo', new Uint8Array(1000)))
    const notes = Array.from({ length: 10 }, () => b.notify(new Uint8Array(1000)))
    expect(b.stats()).toMatchObject({ callsParked: 90, parkedBytes: 90 * 1064 })
    // Three more fit.
    calls.push(...Array.from({ length: 3 }, () => b.call('echo', new Uint8Array(1000))))
    for (let at = 0; at < 10; at++) {
      const more = b.call('echo', new Uint8Array(1000))
      expect(await failure(more)).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
    }
    expect(b.stats()).toMatchObject({ callsParked: 93, parkedBytes: 93 * 1064 })
    life.goOn()
    await world.finish(Promise.all([...calls, ...notes]))
    await world.clock.advance(100)
    expectEmpty(a, b)
    await world.end()
  })

  test('newcomers: those that wait while the place is kept, at most 16', async () => {
    const made = await scene()
    const { world, a, b } = made
    cut(made)
    await world.clock.settle()
    const others = Array.from({ length: 20 }, () => world.make())
    const outcomes = others.map((other) => other.connect().catch(() => undefined))
    await world.clock.advance(500)
    expect(a.stats()).toMatchObject({ newcomers: 16, strangers: 0 })
    await world.clock.advance(1000)
    expect(a.stats()).toMatchObject({ newcomers: 0, state: 'paired' })
    await Promise.all([b, ...others].map((other) => world.finish(other.close())))
    await Promise.all(outcomes)
    await world.end()
  })

  test('leaving: those that have said goodbye and are finished with, at most 16; the others are told that they are not', async () => {
    const made = await scene()
    const { world, a, b, held } = made
    await world.finish(b.close())
    const outcomes: Promise<unknown>[] = []
    const closes: Promise<void>[] = []
    for (let at = 0; at < 20; at++) {
      const peer = world.make()
      await world.finish(peer.connect())
      outcomes.push(peer.call('held', at, { timeoutMs: Infinity }).catch((error: unknown) => (error as Error).message))
      await world.clock.settle()
      closes.push(peer.close({ drainMs: 1e6 }))
      await world.clock.advance(100)
      expect(a.state).toBe('apart')
    }
    expect(a.stats().leaving).toBe(16)
    for (const call of held) call.resolve('done')
    await world.finish(Promise.all(closes))
    const settled = await Promise.all(outcomes)
    expect(settled.slice(0, 4).every((outcome) => outcome !== 'done')).toBe(true)
    expect(settled.slice(4)).toEqual(Array(16).fill('done'))
    expect(a.stats()).toMatchObject({ leaving: 0, callsOpen: 0 })
    await world.end()
  })

  test('inboxWaitingBytes: what lost sessions have left waits up to as much again, and then the oldest is dropped', async () => {
    const heard: unknown[] = []
    const gate = deferred()
    const world = new World()
    const options: Options = { limits: LIMITS, resumeWindowMs: 0 }
    const onNotify = async (message: unknown): Promise<void> => {
      heard.push(message)
      await gate.promise
    }
    const a = world.make({ ...options, holdMs: 0, onNotify })
    await a.connect({ until: 'started' })
    for (let round = 0; round < 6; round++) {
      const b = world.make({ ...options, reconnect: false })
      await world.finish(b.connect())
      for (let at = 0; at < 50; at++) b.notify(`${round} ${at}`.padEnd(100)).catch(() => undefined)
      await world.clock.settle()
      world.pipe[0].destroy()
      await world.clock.advance(100)
      expect(a.stats().inboxWaitingBytes).toBeLessThanOrEqual(2 * LIMITS.inboxBytesMax + 164)
    }
    const waiting = a.stats().inboxWaiting
    expect(waiting).toBeGreaterThan(100)
    gate.resolve(undefined)
    await world.clock.settle()
    const rounds = heard.slice(1).map((message) => Number((message as string)[0]))
    expect(rounds).toHaveLength(waiting)
    expect(rounds).toEqual(rounds.toSorted())
    expect(rounds.at(-1)).toBe(5)
    expect(world.logs.filter(({ message }) => message.includes('dropped'))).toHaveLength(6 * 50 - 1 - waiting)
    expect(a.stats()).toMatchObject({ inboxWaiting: 0, inboxWaitingBytes: 0 })
    await world.end()
  })

  test('what handlers send to the lost peer is bounded as ever, and what was taken arrives in order after the resume', async () => {
    const heard: unknown[] = []
    const outcomes: string[] = []
    let taken = 0
    const begin = deferred()
    const fill = async (_: unknown, context: Context): Promise<void> => {
      await begin.promise
      for (let at = 0; at < 1000; at++) {
        const sent = await context.notify(`${at} ${'x'.repeat(1000)}`).then(
          () => undefined,
          (error: unknown) => error,
        )
        if (sent !== undefined) {
          expect(sent).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
          break
        }
        taken++
      }
      await Promise.all(
        Array.from({ length: 200 }, (_, at) =>
          context.call('echo', at).then(
            (value) => outcomes.push(value === at ? 'answered' : 'another answer'),
            (error: unknown) => outcomes.push(`${(error as { code: string }).code}`),
          ),
        ),
      )
    }
    const made = await scene({
      handlers: { fill, echo: (input) => input },
      onNotify: (message) => void heard.push(Number((message as string).split(' ')[0])),
    })
    const { world, a, b, life } = made
    const asked = b.call('fill')
    await world.clock.settle()
    cut(made)
    await world.clock.settle()
    begin.resolve(undefined)
    await world.clock.advance(1000)
    const { session } = a.stats()
    expect(taken).toBeGreaterThan(80)
    expect(session?.unconsumedBytes).toBeLessThanOrEqual(LIMITS.inboxBytesMax + LIMITS.sendBytesMax + 2000)
    expect(session?.queriesInFlight).toBe(SLOTS)
    expect(outcomes).toEqual(Array.from({ length: 200 - SLOTS }, () => 'QUEUE_FULL'))
    life.goOn()
    await world.finish(asked)
    await world.clock.advance(100)
    expect(heard).toEqual([...Array(taken).keys()])
    expect(outcomes.filter((outcome) => outcome === 'answered')).toHaveLength(SLOTS)
    expectEmpty(a, b)
    await world.end()
  })
})

test('who cannot write goes on reading: all that the other side may send is taken over', async () => {
  const made = await scene()
  const { world, a, b, gate } = made
  gate.resolve(undefined)
  const [near] = world.pipe
  near.stalled = true
  for (let round = 0; round < 20; round++) {
    await run(made, 3, () => b.call('large'))
    await run(made, 3, () => b.call('echo', new Uint8Array(3000)))
    await run(made, 3, () => b.notify(new Uint8Array(100)))
    // An acknowledgement cannot come back either: what has left must all have been read nevertheless.
    expect(a.stats().session?.receivedFrames).toBe(b.stats().session?.sentFrames)
    const { queuedBytes = 0, queriesWaiting = 0, handlersRunning = 0 } = a.stats().session ?? {}
    expect(queuedBytes).toBeLessThanOrEqual(3 * 300_000 + LIMITS.sendBytesMax)
    expect(queriesWaiting + handlersRunning).toBeLessThanOrEqual(SLOTS)
  }
  expect(a.stats().session?.queriesWaiting).toBeGreaterThan(0)
  near.release()
  await world.finish(Promise.all(made.results))
  await world.clock.advance(100)
  expectEmpty(a, b)
  await world.end()
})
