/** What is left of one session when the next begins, and of a query that had to wait: counts and times that go on. */
import { describe, expect, test } from 'vitest'
import type { Context } from '../../src/index.js'
import { deferred, failure, heldHandler, mortal, World } from './world.js'

test('handlers that outlive their sessions count towards 16 x handlersMax: the next peer is told, and not for ever', async () => {
  const world = new World()
  const held = heldHandler()
  const limits = { handlersMax: 2 }
  const a = world.make({ limits, onQuery: held.handler })
  await a.connect({ until: 'started' })
  // Sixteen peers, each gone before its two handlers have ended.
  for (let peers = 0; peers < 16; peers++) {
    const b = world.make({ limits })
    await world.finish(b.connect())
    const lost = [failure(b.query(1)), failure(b.query(2))]
    await world.clock.settle()
    await world.finish(b.close({ drainMs: 0 }))
    await Promise.all(lost)
    await world.clock.advance(2000)
  }
  expect(held.calls).toHaveLength(32)
  const last = world.make({ limits })
  await world.finish(last.connect())
  expect(await world.finish(failure(last.query(3)))).toMatchObject({ code: 'QUEUE_FULL', delivery: 'delivered' })
  expect(held.calls).toHaveLength(32)
  held.calls[0]?.resolve(undefined)
  await world.clock.settle()
  const answer = last.query(4)
  await world.clock.settle()
  held.calls[32]?.resolve('there is room again')
  expect(await world.finish(answer)).toBe('there is room again')
  for (const call of held.calls) call.resolve(undefined)
  await world.end()
})

describe('the time of a query that waited until answers before it were written is what is left', () => {
  test.each(['with a link that takes nothing', 'while the link is lost'])('%s', async (where) => {
    const world = new World()
    const life = mortal(world)
    const gate = deferred()
    const remaining: number[] = []
    const options = {
      limits: { sendBytesMax: 1000, fragmentBytes: 4096 },
      queryTimeoutMs: 10_000,
      handlers: {
        // Its own query is what lets the others start.
        asks: async (_: unknown, context: Context) => {
          await gate.promise
          return context.call('echo', 1)
        },
        large: () => new Uint8Array(3000),
        waits: (_: unknown, context: Context) => remaining.push(context.remainingMs),
        echo: (input: unknown) => input,
      },
    }
    const a = world.make(options)
    const b = world.make({ ...options, transport: life.transport })
    await a.connect({ until: 'started' })
    await b.connect()
    const calls: Promise<unknown>[] = [b.call('asks')]
    await world.clock.settle()
    const pipes = world.pipe
    pipes[0].stalled = true
    for (const method of ['large', 'large', 'large', 'waits']) calls.push(b.call(method))
    await world.clock.settle()
    expect(a.stats().session?.queriesWaiting).toBeGreaterThan(0)
    if (where === 'while the link is lost') {
      life.stop()
      for (const pipe of pipes) pipe.destroy()
    }
    await world.clock.advance(4000)
    expect(remaining).toEqual([])
    gate.resolve(undefined)
    await world.clock.settle()
    expect(remaining).toEqual([6000])
    life.goOn()
    pipes[0].release()
    await world.finish(Promise.all(calls))
    await world.end()
  })
})
