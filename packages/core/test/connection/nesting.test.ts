/** Queries within handlers of queries, at the limits of both sides: they are answered or refused, and never wait for each other. */
import { describe, expect, test } from 'vitest'
import type { Connection, Context } from '../../src/index.js'
import { deferred, World } from './world.js'

const HANDLERS_MAX = 3
const SLOTS = 16 * HANDLERS_MAX

/** Answers with how deep it is, after a query of its own for each step. */
async function dig(depth: unknown, context: Context): Promise<number> {
  return depth === 0 ? 0 : 1 + (await context.query<number>((depth as number) - 1))
}

/** The handlers of the first queries wait until so many run on each side. */
function fullHouse(first: number): (depth: unknown, context: Context) => Promise<number> {
  let running = 0
  const isFull = deferred()
  return async (depth, context) => {
    if (depth === first && ++running === 2 * HANDLERS_MAX) isFull.resolve(undefined)
    if (depth === first) await isFull.promise
    return dig(depth, context)
  }
}

const limits = { handlersMax: HANDLERS_MAX }

function expectNothingLeft(...connections: Connection[]): void {
  for (const connection of connections) {
    expect(connection.stats().callsOpen).toBe(0)
    expect(connection.stats().session).toMatchObject({ queriesInFlight: 0, callsWaiting: 0, handlersRunning: 0 })
  }
}

describe('with handlersMax queries of each side running, nested ones', () => {
  // A asks, B's handler asks A, whose handler asks B, whose handler asks A.
  const depth = 3

  test('are answered without time passing, and then those that waited', async () => {
    const world = new World()
    const [a, b] = await world.pair({ limits, onQuery: fullHouse(depth), queryTimeoutMs: Infinity })
    const asked = [a, b].flatMap((side) => Array.from({ length: 2 * HANDLERS_MAX }, () => side.query(depth)))
    expect(await Promise.all(asked)).toEqual(asked.map(() => depth))
    expectNothingLeft(a, b)
    await world.end()
  })

  test('are answered also when their bytes fill the send queue and the window', async () => {
    const world = new World()
    const bytes = new Uint8Array(20_000)
    const [a, b] = await world.pair({
      limits: { ...limits, sendBytesMax: 1, replayBytesMax: 1, inboxBytesMax: 1 },
      queryTimeoutMs: Infinity,
      onQuery: async (query, context) => {
        const left = (query as Uint8Array).length - 1
        if (left > bytes.length - depth - 1) await context.query(bytes.subarray(0, left))
        return bytes
      },
    })
    const asked = [a, b].flatMap((side) => Array.from({ length: 2 * HANDLERS_MAX }, () => side.query(bytes)))
    expect(await world.finish(Promise.all(asked))).toEqual(asked.map(() => bytes))
    await world.clock.advance(100)
    expectNothingLeft(a, b)
    await world.end()
  })

  test.each([0, 10, 40])('are answered across cuts, each %d ms after the link was there', async (linkedMs) => {
    const world = new World()
    const handled: unknown[] = []
    const full = fullHouse(depth)
    const [a, b] = await world.pair({
      limits,
      queryTimeoutMs: Infinity,
      onQuery: async (query, context) => {
        handled.push(query)
        await new Promise<void>((resolve) => world.clock.after(30, resolve))
        return full(query, context)
      },
    })
    const asked = [a, b].flatMap((side) => Array.from({ length: 2 * HANDLERS_MAX }, () => side.query(depth)))
    let isOver = false
    const all = Promise.all(asked).finally(() => (isOver = true))
    let cuts = 0
    // The last ones are answered without a further cut, if it takes so many.
    while (!isOver && cuts < 50) {
      await world.clock.advance(linkedMs)
      for (const pipe of world.pipe) pipe.destroy()
      cuts++
      await world.clock.settle()
      await world.finish(Promise.all([a.paired(), b.paired()]))
    }
    expect(await world.finish(all)).toEqual(asked.map(() => depth))
    expect(cuts).toBeGreaterThan(2)
    // Each once, at each of its depths.
    expect(handled).toHaveLength(asked.length * (depth + 1))
    expectNothingLeft(a, b)
    await world.end()
  })

  test('are answered when all of them are made while there is no link', async () => {
    const world = new World()
    let running = 0
    const goOn = deferred()
    const [a, b] = await world.pair({
      limits,
      queryTimeoutMs: Infinity,
      onQuery: async (query, context) => {
        if (query === depth && ++running > 0) await goOn.promise
        return dig(query, context)
      },
    })
    const asked = [a, b].flatMap((side) => Array.from({ length: HANDLERS_MAX }, () => side.query(depth)))
    await world.clock.settle()
    expect(running).toBe(asked.length)
    for (const pipe of world.pipe) pipe.destroy()
    await Promise.resolve()
    await Promise.resolve()
    goOn.resolve(undefined)
    expect(await world.finish(Promise.all(asked))).toEqual(asked.map(() => depth))
    expectNothingLeft(a, b)
    await world.end()
  })
})

test('deeper than there are slots, each chain is answered or fails with QUEUE_FULL, and nothing is left', async () => {
  const world = new World()
  const codes: unknown[] = []
  const [a, b] = await world.pair({
    limits,
    queryTimeoutMs: Infinity,
    logger: { error: () => undefined },
    onQuery: async (depth, context) => {
      try {
        return await dig(depth, context)
      } catch (error) {
        codes.push((error as { code: string }).code)
        throw error
      }
    },
  })
  const depth = 2 * SLOTS
  const asked = [a, b].flatMap((side) =>
    Array.from({ length: HANDLERS_MAX }, () =>
      side.query(depth).then(
        () => 'answered',
        () => 'failed',
      ),
    ),
  )
  const outcomes = await Promise.all(asked)
  expect(outcomes).toContain('failed')
  // Where a chain ends it is told so, and further up it is a failure of the handler that was asked.
  expect(new Set(codes)).toEqual(new Set(['QUEUE_FULL', 'REMOTE']))
  expectNothingLeft(a, b)
  expect(await Promise.all([a.query(3), b.query(3)])).toEqual([3, 3])
  await world.end()
})
