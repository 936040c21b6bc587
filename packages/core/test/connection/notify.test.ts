import { describe, expect, test } from 'vitest'
import { deferred, failure, World } from './world.js'

test('notifications arrive in order, one at a time, also with an async handler that takes its time', async () => {
  const world = new World()
  const got: unknown[] = []
  let running = 0
  const [a, b] = await world.pair({
    onNotify: async (message) => {
      expect(++running).toBe(1)
      got.push(message)
      if ((message as number) % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
      running--
    },
  })
  const sent = Array.from({ length: 100 }, (_, at) => at)
  await Promise.all(sent.map((at) => b.notify(at)))
  while (got.length < 100) await world.clock.settle()
  expect(got).toEqual(sent)
  expect(a.stats().inboxWaiting).toBe(0)
  await world.end()
})

test('large ones keep their place among small ones', async () => {
  const world = new World()
  const got: unknown[] = []
  const [, b] = await world.pair({
    onNotify: (message) => void got.push(message instanceof Uint8Array ? message.length : message),
  })
  const messages = ['before', new Uint8Array(500_000), 'between', new Uint8Array(200_000), 'after']
  await Promise.all(messages.map((message) => b.notify(message)))
  await world.clock.advance(100)
  expect(got).toEqual(['before', 500_000, 'between', 200_000, 'after'])
  await world.end()
})

test.each([
  [
    'at once',
    () => {
      throw new Error('broken')
    },
  ],
  ['later', () => Promise.reject(new Error('broken'))],
  [
    'with something that is no error',
    () => {
      throw undefined
    },
  ],
])('a handler that throws %s is logged, and the next one is handled', async (_, fail) => {
  const world = new World()
  const got: unknown[] = []
  const [, b] = await world.pair({ onNotify: (message) => (message === 'bad' ? fail() : got.push(message)) })
  await Promise.all([b.notify('bad'), b.notify('good'), b.notify('bad'), b.notify('better')])
  await world.clock.advance(100)
  expect(got).toEqual(['good', 'better'])
  expect(world.errors().map((entry) => entry.message)).toEqual(['onNotify threw', 'onNotify threw'])
  await world.end()
})

test('without onNotify they are ignored, and the room is given back', async () => {
  const world = new World()
  const [a, b] = await world.pair({ limits: { inboxBytesMax: 300, sendBytesMax: 300 } })
  for (let at = 0; at < 50; at++) await world.finish(b.notify(at))
  await world.clock.advance(100)
  expect(a.stats().session?.inboxBytes).toBe(0)
  expect(world.errors()).toEqual([])
  await world.end()
})

test('the option method arrives as context.method, and is empty without', async () => {
  const world = new World()
  const got: unknown[] = []
  const [, b] = await world.pair({ onNotify: (message, { method }) => void got.push([method, message]) })
  await b.notify(1)
  await b.notify(undefined, { method: 'tick' })
  await b.notify(new Uint8Array(100_000), { method: 'tock' })
  await world.clock.advance(50)
  expect(got).toEqual([
    ['', 1],
    ['tick', undefined],
    ['tock', new Uint8Array(100_000)],
  ])
  await world.end()
})

describe('back-pressure', () => {
  const limits = { inboxBytesMax: 300, sendBytesMax: 400 }

  test('a slow handler makes notify wait, nothing is lost, and the order is kept', async () => {
    const world = new World()
    const gate = deferred()
    const got: unknown[] = []
    const [a, b] = await world.pair({
      limits,
      onNotify: async (message) => {
        await gate.promise
        got.push(message)
      },
    })
    let taken = 0
    const sent = Array.from({ length: 40 }, (_, at) => b.notify(at).then(() => taken++))
    await world.clock.advance(1000)
    const takenThen = taken
    expect(takenThen).toBeGreaterThan(2)
    expect(takenThen).toBeLessThan(20)
    expect(a.stats().session?.inboxBytes).toBeLessThanOrEqual(limits.inboxBytesMax)
    gate.resolve(undefined)
    await world.finish(Promise.all(sent))
    await world.clock.advance(1000)
    expect(got).toEqual(Array.from({ length: 40 }, (_, at) => at))
    await world.end()
  })

  test('does not keep queries from being answered', async () => {
    const world = new World()
    const gate = deferred()
    const [a, b] = await world.pair({ limits, onNotify: () => gate.promise, onQuery: (query) => query })
    const sent = Array.from({ length: 20 }, (_, at) => b.notify(at))
    await world.clock.advance(100)
    expect(await Promise.all([b.query(1), a.query(2)])).toEqual([1, 2])
    gate.resolve(undefined)
    await world.finish(Promise.all(sent))
    await world.end()
  })

  test('one that waits for room ends with its time, its signal, the link or close, each not-sent', async () => {
    for (const [how, code] of [
      ['time', 'TIMEOUT'],
      ['signal', 'CANCELLED'],
      ['link', 'PEER_LOST'],
      ['close', 'CLOSED'],
    ] as const) {
      const world = new World()
      const gate = deferred()
      const [, b] = await world.pair({ limits, drainMs: 200, resumeWindowMs: 0, onNotify: () => gate.promise })
      const first = Promise.allSettled(Array.from({ length: 30 }, (_, at) => b.notify(at)))
      await world.clock.advance(50)
      const stop = new AbortController()
      const last = failure(b.notify('last', { timeoutMs: how === 'time' ? 100 : Infinity, signal: stop.signal }))
      await world.clock.advance(10)
      if (how === 'signal') stop.abort()
      if (how === 'link') world.pipe[0].destroy()
      if (how === 'close') void b.close()
      const error = await world.finish(last)
      expect([error.code, error.delivery], how).toEqual([code, 'not-sent'])
      gate.resolve(undefined)
      await world.finish(first)
      await world.end()
    }
  })
})

describe('borrow', () => {
  test.each([10, 10_000, 500_000])(
    'with %d bytes settles when the peer has them, and then they are free',
    async (length) => {
      const world = new World()
      const got: Uint8Array[] = []
      const [, b] = await world.pair({ onNotify: (message) => void got.push(message as Uint8Array) })
      const bytes = new Uint8Array(length).fill(7)
      let settled = false
      const sent = b.notify(bytes, { borrow: true }).then(() => {
        settled = true
      })
      await Promise.resolve()
      expect(settled).toBe(false)
      await world.finish(sent)
      bytes.fill(0)
      await world.clock.advance(50)
      expect(got).toHaveLength(1)
      expect(got[0]?.every((byte) => byte === 7)).toBe(true)
      await world.end()
    },
  )

  test('does not settle while the peer reads nothing', async () => {
    const world = new World()
    const [, b] = await world.pair({})
    world.pipe[1].stalled = true
    let settled = false
    const sent = b.notify(new Uint8Array(5000), { borrow: true }).then(() => {
      settled = true
    })
    await world.clock.advance(1000)
    expect(settled).toBe(false)
    world.pipe[1].release()
    await world.clock.advance(100)
    await sent
    await world.end()
  })

  test('is unknown or not-sent when the link is cut and no session outlives it', async () => {
    const world = new World()
    const [, b] = await world.pair({ resumeWindowMs: 0 })
    const written = failure(b.notify(new Uint8Array(5000), { borrow: true }))
    await world.clock.settle()
    const queued = failure(b.notify(new Uint8Array(5000), { borrow: true }))
    world.pipe[0].destroy()
    expect([(await written).delivery, (await queued).delivery]).toEqual(['unknown', 'not-sent'])
    await world.end()
  })
})

test('one at a time holds across sessions: the next starts when the last has returned', async () => {
  const world = new World()
  const gate = deferred()
  const got: unknown[] = []
  const [a, b] = await world.pair({
    onNotify: async (message) => {
      got.push(message)
      await gate.promise
    },
  })
  await b.notify('old session')
  await world.clock.settle()
  world.pipe[0].destroy()
  await world.finish(Promise.all([a.paired(), b.paired()]))
  await world.finish(
    Promise.all([a.state === 'paired' ? undefined : a.paired(), b.state === 'paired' ? undefined : b.paired()]),
  )
  while (b.state !== 'paired' || a.state !== 'paired') await world.clock.advance(10)
  await b.notify('new session')
  await world.clock.advance(100)
  expect(got).toEqual(['old session'])
  gate.resolve(undefined)
  await world.clock.settle()
  expect(got).toEqual(['old session', 'new session'])
  await world.end()
})
