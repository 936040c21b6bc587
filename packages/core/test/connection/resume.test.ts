/** A session that outlives its link: what the application sees of it. */
import { describe, expect, test } from 'vitest'
import type { Connection, PairlinkError } from '../../src/index.js'
import { failure, heldHandler, mortal, seededRandom, World, type Options } from './world.js'

const WINDOW_MS = 60_000
const resuming: Options = { resumeWindowMs: WINDOW_MS, onQuery: (query) => query }

/** The link breaks, as both sides see. */
async function cut(world: World): Promise<void> {
  world.pipe[0].destroy()
  await world.clock.settle()
}

/** What the application is told, in order. */
function told(connection: Connection): string[] {
  const seen: string[] = []
  connection.on('apart', ({ error }) => seen.push(`apart ${error?.code ?? 'in order'}`))
  connection.on('paired', ({ resumed, peer }) => seen.push(`paired ${resumed ? 'resumed' : 'anew'} ${peer}`))
  connection.on('reset', ({ notificationsUnknown }) => seen.push(`reset ${notificationsUnknown}`))
  return seen
}

describe.each([0, 1])('a call of side %d', (which) => {
  const sides = (pair: [Connection, Connection]): [Connection, Connection] => (which === 0 ? pair : [pair[1], pair[0]])

  test('whose handler runs while the link is cut is answered after the resume, and handled once', async () => {
    const world = new World()
    const held = heldHandler()
    const [asker, answerer] = sides(await world.pair({ ...resuming, onQuery: held.handler }))
    const seen = [told(asker), told(answerer)]
    const answer = asker.query('slow')
    await world.clock.settle()
    await cut(world)
    expect([asker.state, answerer.state]).toEqual(['apart', 'apart'])
    held.calls[0]?.resolve('done')
    expect(await world.finish(answer)).toBe('done')
    expect(held.calls).toHaveLength(1)
    expect(seen).toEqual([
      ['apart PEER_LOST', 'paired resumed same'],
      ['apart PEER_LOST', 'paired resumed same'],
    ])
    await world.end()
  })

  test('that was lost on the way is handled once after the resume', async () => {
    const world = new World()
    const queries: unknown[] = []
    const onQuery = (query: unknown): unknown => {
      queries.push(query)
      return query
    }
    const [asker] = sides(await world.pair({ ...resuming, onQuery }))
    world.pipe[0].stalled = world.pipe[1].stalled = true
    const answer = asker.query('lost')
    await world.clock.settle()
    world.pipe[0].vanish()
    world.pipe[1].vanish()
    expect(await world.finish(answer)).toBe('lost')
    expect(queries).toEqual(['lost'])
    await world.end()
  })

  test('whose time is up while apart settles then, and its handler never runs', async () => {
    const world = new World()
    const queries: unknown[] = []
    const onQuery = (query: unknown): unknown => queries.push(query)
    const [asker] = sides(await world.pair({ ...resuming, onQuery, failover: false }))
    world.pipe[0].stalled = world.pipe[1].stalled = true
    const late = failure(asker.query('late', { timeoutMs: 500 }))
    await world.clock.settle()
    world.address.onDial = () => 'again'
    world.pipe[0].vanish()
    world.pipe[1].vanish()
    await world.clock.advance(499)
    expect(asker.stats().callsOpen).toBe(1)
    await world.clock.advance(1)
    expect(await late).toMatchObject({ code: 'TIMEOUT', delivery: 'unknown' })
    world.address.onDial = undefined
    await world.clock.advance(2000)
    expect(asker.state).toBe('paired')
    expect(queries).toEqual([])
    await world.end()
  })

  test('that is cancelled while apart reaches its handler after the resume', async () => {
    const world = new World()
    const reasons: unknown[] = []
    const onQuery = (_query: unknown, { signal }: { signal: AbortSignal }): Promise<unknown> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reasons.push((signal.reason as PairlinkError).code)
          reject(signal.reason as Error)
        })
      })
    const [asker] = sides(await world.pair({ ...resuming, onQuery }))
    const stop = new AbortController()
    const asked = failure(asker.query('slow', { signal: stop.signal }))
    await world.clock.advance(30)
    await cut(world)
    stop.abort()
    expect(await asked).toMatchObject({ code: 'CANCELLED', delivery: 'delivered' })
    expect(reasons).toEqual([])
    await world.clock.advance(500)
    expect(reasons).toEqual(['CANCELLED'])
    await world.end()
  })
})

test('a large message that was cut goes on where it stopped', async () => {
  const world = new World()
  const large = new Uint8Array(5_000_000).map((_, at) => at * 31)
  const [a] = await world.pair(resuming)
  let cuts = 0
  const asked = a.query(large, { timeoutMs: 60_000 })
  while (cuts < 8) {
    world.pipe[cuts % 2]?.destroy()
    cuts++
    await world.clock.advance(150)
  }
  expect(Buffer.compare((await world.finish(asked)) as Uint8Array, large)).toBe(0)
  await world.end()
})

test('under load and many cuts no call fails, each is handled once, and notifications keep their order', async () => {
  const world = new World()
  const random = seededRandom(7)
  const handled = [new Map<unknown, number>(), new Map<unknown, number>()]
  const heard: unknown[][] = [[], []]
  const side = (at: number): Options => ({
    ...resuming,
    queryTimeoutMs: 600_000,
    onQuery: async (query) => {
      handled[at]?.set(query, (handled[at].get(query) ?? 0) + 1)
      if (random.fraction() < 0.5)
        await new Promise<void>((resolve) => world.clock.after(random.fraction() * 50, resolve))
      return query
    },
    onNotify: (message) => void heard[at]?.push(message),
  })
  const pair = await world.pair(side(0), side(1))
  const calls: Promise<unknown>[] = []
  let notified = 0
  for (let round = 0; round < 100; round++) {
    for (const connection of pair) {
      for (let count = 0; count < 5 && connection.state === 'paired'; count++) {
        const query = `${calls.length} ${'x'.repeat(random.fraction() < 0.1 ? 100_000 : 10)}`
        calls.push(connection.query(query).then((answer) => answer === query))
      }
    }
    if (pair[0].state === 'paired') void pair[0].notify(notified++)
    await world.clock.advance(random.fraction() * 30)
    if (random.fraction() < 0.6) world.pipe[random.fraction() < 0.5 ? 0 : 1]?.destroy()
    await world.clock.advance(random.fraction() * 60)
  }
  const answers = await world.finish(Promise.all(calls))
  expect(answers.length).toBeGreaterThan(200)
  expect(answers.every(Boolean)).toBe(true)
  const counts = handled.flatMap((of) => [...of.values()])
  expect(counts.length).toBe(calls.length)
  expect(counts.every((count) => count === 1)).toBe(true)
  await world.clock.advance(1000)
  expect(heard[1]).toEqual(Array.from({ length: notified }, (_, at) => at))
  await world.end()
})

describe('a session is over, and what was in flight settles as lost,', () => {
  async function lost(world: World, options: Options = {}) {
    const held = heldHandler()
    const [a, b] = await world.pair({ ...resuming, ...options, onQuery: held.handler })
    const asked = failure(b.query('slow', { timeoutMs: 300_000 }))
    const reasons: unknown[] = []
    await world.clock.advance(50)
    return { a, b, held, asked, reasons, seen: told(b) }
  }

  test('when the window is over', async () => {
    const world = new World()
    const { b, asked, seen } = await lost(world, { failover: false })
    world.address.onDial = () => 'again'
    await cut(world)
    await world.clock.advance(WINDOW_MS - 1)
    expect(seen.filter((entry) => entry.startsWith('reset'))).toEqual([])
    await world.clock.advance(1)
    expect(await asked).toMatchObject({ code: 'PEER_LOST', delivery: 'delivered' })
    expect(seen.at(-1)).toBe('reset 0')
    expect(b.state).toBe('apart')
    world.address.onDial = undefined
    await world.clock.advance(3000)
    expect(seen.at(-1)).toBe('paired anew same')
    await world.end()
  })

  test('when the process of the listener has ended for sure', async () => {
    const world = new World()
    world.address.holder = 'inode 1'
    const { b, asked, seen } = await lost(world)
    world.address.accept = undefined
    world.address.refusedBy = 'inode 1'
    await cut(world)
    await world.clock.advance(150)
    expect(await asked).toMatchObject({ code: 'PEER_LOST', delivery: 'delivered' })
    expect(seen.slice(0, 2)).toEqual(['apart PEER_LOST', 'reset 0'])
    expect([b.state, b.role]).toEqual(['apart', 'listener'])
    for (const connection of world.connections) void connection.close()
    await world.clock.advance(10_000)
  })

  test('not when somebody else has refused', async () => {
    const world = new World()
    world.address.holder = 'inode 1'
    const { asked, seen, held } = await lost(world)
    const { accept } = world.address
    world.address.accept = undefined
    world.address.onListen = () => Promise.resolve('taken')
    world.address.refusedBy = 'inode 2'
    await cut(world)
    await world.clock.advance(150)
    expect(seen).toEqual(['apart PEER_LOST'])
    world.address.accept = accept
    world.address.onListen = undefined
    await world.clock.advance(3000)
    held.calls[0]?.resolve('done')
    await expect(world.finish(asked)).rejects.toThrow('done')
    await world.end()
  })

  test('when another process comes, and handlers are told to stop', async () => {
    const world = new World()
    let signal: AbortSignal | undefined
    const onQuery = (_query: unknown, context: { signal: AbortSignal }): Promise<unknown> => {
      signal = context.signal
      return new Promise(() => undefined)
    }
    const [a, b] = await world.pair({ ...resuming, holdMs: 1000, onQuery })
    const seen = told(a)
    const incoming = failure(b.query('never'))
    await world.clock.advance(50)
    const outgoing = failure(a.query('never', { timeoutMs: 300_000 }))
    await world.clock.advance(50)
    world.address.onDial = () => 'again'
    await cut(world)
    await world.clock.settle()
    world.address.onDial = undefined
    const c = world.make({ ...resuming })
    void b.close()
    await world.clock.settle()
    expect((await incoming).code).toBe('CLOSED')
    await world.finish(c.connect())
    expect(await outgoing).toMatchObject({ code: 'PEER_LOST', delivery: 'delivered' })
    expect((signal?.reason as PairlinkError).code).toBe('PEER_LOST')
    expect(seen).toEqual(['apart PEER_LOST', 'reset 0', 'paired anew new'])
    await world.end()
  })

  test('with the count of notifications of which nobody knows whether they were handled', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...resuming, resumeWindowMs: 100, onNotify: () => new Promise(() => undefined) })
    const seen = told(a)
    for (let count = 0; count < 7; count++) await a.notify(count)
    await world.clock.advance(50)
    world.address.onDial = () => 'again'
    await cut(world)
    await world.clock.advance(100)
    expect(seen).toEqual(['apart PEER_LOST', 'reset 7'])
    world.address.onDial = undefined
    await world.finish(Promise.all([a.close(), b.close()]))
  })
})

test('close() while apart waits for nobody: calls settle at once, with what is known of them', async () => {
  const world = new World()
  const held = heldHandler()
  const [a, b] = await world.pair({ ...resuming, onQuery: held.handler, failover: false })
  const asked = failure(b.query('slow'))
  await world.clock.advance(50)
  world.address.onDial = () => 'again'
  await cut(world)
  const before = world.clock.now()
  await world.finish(b.close())
  expect(world.clock.now() - before).toBeLessThan(20)
  expect(await asked).toMatchObject({ code: 'CLOSED', delivery: 'delivered' })
  held.calls[0]?.resolve('late')
  await world.finish(a.close())
  await world.end()
})

test('a listener that did not notice the loss goes on with the new link, and its application sees nothing', async () => {
  const world = new World()
  const [a, b] = await world.pair(resuming)
  const seen = told(a)
  const old = world.pipe
  old[0].vanish()
  await world.clock.advance(200)
  expect([a.state, b.state]).toEqual(['paired', 'paired'])
  expect(world.pipe).not.toBe(old)
  expect(await world.finish(Promise.all([a.query(1), b.query(2)]))).toEqual([1, 2])
  expect(seen).toEqual([])
  expect(old[1].isClosed).toBe(true)
  await world.end()
})

test.each(['before', 'after'])(
  'calls that wait for a resume do not hold a process that was unref`d %s pairing',
  async (when) => {
    const world = new World()
    const [a, b] = [world.make({ ...resuming, onQuery: () => new Promise(() => undefined) }), world.make(resuming)]
    if (when === 'before') for (const connection of [a, b]) connection.unref()
    await a.connect({ until: 'started' })
    await b.connect()
    if (when === 'after') for (const connection of [a, b]) connection.unref()
    const asked = failure(b.query('slow'))
    await world.clock.settle()
    world.address.onDial = () => 'again'
    await cut(world)
    expect([b.state, b.stats().callsOpen]).toEqual(['apart', 1])
    expect(world.clock.held).toBe(0)
    await world.finish(Promise.all([a.close(), b.close()]))
    expect((await asked).code).toBe('CLOSED')
  },
)

test('roles may change with the link', async () => {
  const world = new World()
  world.address.canBeLost = true
  const held = heldHandler()
  const slow = mortal(world)
  const options = { ...resuming, onQuery: held.handler, keepaliveMs: 100, queryTimeoutMs: 60_000 }
  const [a, b] = await world.pair({ ...options, transport: slow.transport }, options)
  expect([a.role, b.role]).toEqual(['listener', 'dialer'])
  const answers = [a.query('of a'), b.query('of b')]
  await world.clock.settle()
  // The address is taken from its listener, and the other one is there first.
  slow.stop()
  world.address.accept = undefined
  await world.clock.advance(1000)
  slow.goOn()
  await world.clock.advance(1000)
  expect([a.role, b.role]).toEqual(['dialer', 'listener'])
  for (const call of held.calls) call.resolve('done')
  expect(await world.finish(Promise.all(answers))).toEqual(['done', 'done'])
  expect(held.calls).toHaveLength(2)
  // And again: the new listener knows the attempts of the one that dials it now.
  await cut(world)
  await world.clock.advance(1000)
  const again = b.query('again')
  await world.clock.settle()
  held.calls[2]?.resolve('done')
  expect(await world.finish(again)).toBe('done')
  await world.end()
})

test('a link that is lost in the middle of the first WELCOME costs nothing', async () => {
  const world = new World()
  const a = world.make(resuming)
  const b = world.make(resuming)
  await a.connect({ until: 'started' })
  const connecting = b.connect()
  let cuts = 0
  for (let step = 0; step < 200 && b.state !== 'paired'; step++) {
    await Promise.resolve()
    const [, far] = world.address.pipes.at(-1) ?? []
    if (a.state === 'paired' && cuts === 0) {
      cuts++
      far?.vanish()
      world.pipe[0].vanish()
    }
  }
  await world.finish(connecting)
  expect(cuts).toBe(1)
  expect(await world.finish(Promise.all([a.query(1), b.query(2)]))).toEqual([1, 2])
  await world.end()
})
