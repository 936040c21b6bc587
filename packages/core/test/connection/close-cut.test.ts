/** The link is cut while one side closes: a listener that closes still shakes hands, and finishes what was accepted. */
import { expect, test } from 'vitest'
import type { Connection } from '../../src/index.js'
import { failure, heldHandler, World, type Options } from './world.js'

const DRAIN_MS = 5000
const resuming: Options = { resumeWindowMs: 60_000, drainMs: DRAIN_MS, queryTimeoutMs: Infinity }

/** Both ends are gone, and with them what was on its way. */
function cut(world: World): void {
  for (const end of world.pipe) end.stalled = true
  for (const end of [...world.pipe]) end.vanish()
}

/** The events by which a peer learns how the other one went. */
function ends(connection: Connection): string[] {
  const seen: string[] = []
  connection.on('apart', ({ error }) => seen.push(`apart ${error?.code ?? 'in order'}`))
  connection.on('paired', ({ resumed }) => seen.push(resumed ? 'resumed' : 'paired'))
  connection.on('reset', () => seen.push('reset'))
  return seen
}

/** A pair whose dialer is handling what the listener asked. */
async function asking() {
  const world = new World()
  const [listener, dialer] = await world.pair({ ...resuming, onQuery: heldHandler().handler })
  const asked = failure(listener.query('slow'))
  await world.clock.advance(50)
  return { world, listener, dialer, asked }
}

/** A pair whose listener closes while it is handling what the dialer asked. */
async function closing() {
  const world = new World()
  const { handler, calls } = heldHandler()
  const [listener, dialer] = await world.pair({ ...resuming, onQuery: handler })
  const asked = dialer.query('slow')
  await world.clock.settle()
  return { world, asked, calls, closed: listener.close() }
}

test('what both have in flight is finished on the next link, and the peer reads the goodbye', async () => {
  const world = new World()
  const held = heldHandler()
  const [listener, dialer] = await world.pair({ ...resuming, onQuery: held.handler })
  const seen = ends(dialer)
  const asked = [listener.query('of the listener'), dialer.query('of the dialer')]
  await world.clock.settle()
  const closed = listener.close()
  cut(world)
  await world.clock.advance(500)
  expect(listener.state).toBe('closing')
  for (const call of held.calls) call.resolve('done')
  expect(await world.finish(Promise.all(asked))).toEqual(['done', 'done'])
  await world.finish(closed)
  expect(held.calls).toHaveLength(2)
  expect(seen).toEqual(['apart PEER_LOST', 'resumed', 'apart in order'])
  await world.end()
})

test('a goodbye and notifications that were lost with the link are written again', async () => {
  const world = new World()
  const heard: unknown[] = []
  const [listener, dialer] = await world.pair({ ...resuming, onNotify: (message) => void heard.push(message) })
  const seen = ends(dialer)
  for (const end of world.pipe) end.stalled = true
  for (let count = 0; count < 3; count++) await listener.notify(count)
  const closed = listener.close()
  await world.clock.settle()
  cut(world)
  await world.finish(closed)
  expect(heard).toEqual([0, 1, 2])
  expect(seen.at(-1)).toBe('apart in order')
  await world.end()
})

test('a link that is half open when the peer dials again makes room for the new one', async () => {
  const { world, asked, calls, closed } = await closing()
  world.pipe[0].vanish()
  await world.clock.advance(500)
  calls[0]?.resolve('done')
  expect(await world.finish(asked)).toBe('done')
  await world.finish(closed)
  await world.end()
})

test('nobody is waited for when there is nothing left to finish', async () => {
  const world = new World()
  const [listener] = await world.pair(resuming)
  await world.clock.advance(100)
  const before = world.clock.now()
  world.address.onDial = () => 'again'
  world.pipe[1].stalled = true
  const closed = listener.close()
  await world.clock.settle()
  cut(world)
  await world.finish(closed)
  expect(world.clock.now() - before).toBeLessThan(50)
  world.address.onDial = undefined
  await world.end()
})

test('a peer that does not come back is waited for until the drain time is over', async () => {
  const { world, listener, dialer, asked } = await asking()
  world.address.onDial = () => 'again'
  const before = world.clock.now()
  const closed = listener.close()
  cut(world)
  await world.finish(closed)
  expect(world.clock.now() - before).toBeGreaterThanOrEqual(DRAIN_MS)
  expect(world.clock.now() - before).toBeLessThan(DRAIN_MS + 50)
  expect(await asked).toMatchObject({ code: 'CLOSED', delivery: 'delivered' })
  world.address.onDial = undefined
  await world.finish(dialer.close())
  await world.end()
})

test('another process is told that it is busy, and the peer still finds the place kept', async () => {
  const { world, asked, calls, closed } = await closing()
  world.address.onDial = () => 'again'
  cut(world)
  await world.clock.advance(100)
  world.address.onDial = undefined
  const third = world.make(resuming)
  const refused = failure(third.connect({ timeoutMs: 20 }))
  await world.clock.advance(30)
  expect(['TIMEOUT', 'PAIR_BUSY']).toContain((await refused).code)
  await world.clock.advance(2000)
  calls[0]?.resolve('done')
  expect(await world.finish(asked)).toBe('done')
  await world.finish(closed)
  await world.end()
})

test('the peer`s instance that has forgotten the session ends the close at once', async () => {
  const world = new World()
  const [listener] = await world.pair(
    { ...resuming, onQuery: () => new Promise(() => undefined) },
    {
      ...resuming,
      resumeWindowMs: 0,
      onQuery: () => new Promise(() => undefined),
    },
  )
  const asked = failure(listener.query('slow'))
  await world.clock.advance(50)
  const before = world.clock.now()
  const closed = listener.close()
  cut(world)
  await world.finish(closed)
  expect(world.clock.now() - before).toBeLessThan(1000)
  expect(await asked).toMatchObject({ code: 'CLOSED', delivery: 'delivered' })
  await world.end()
})

test('a peer that had read the goodbye is not waited for', async () => {
  const { world, listener, dialer, asked } = await asking()
  const closed = listener.close()
  await world.clock.settle()
  expect(dialer.state).toBe('apart')
  const before = world.clock.now()
  cut(world)
  await world.finish(closed)
  expect(world.clock.now() - before).toBeLessThan(1000)
  expect(await asked).toMatchObject({ code: 'CLOSED', delivery: 'delivered' })
  await world.end()
})
