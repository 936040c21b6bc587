import { getEventListeners, setMaxListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { PairlinkError, type Connection } from '../../src/index.js'
import { failure, World, type Options } from './world.js'

const wait = { whenApart: 'wait' } as const
const text = (value: unknown): string => (value instanceof Uint8Array ? `bytes ${value.join(' ')}` : String(value))

/** One whose calls wait, and one that writes down what comes, in its order. */
function parkedWorld(options: Options = {}) {
  const world = new World()
  const heard: string[] = []
  const a = world.make({ ...wait, ...options })
  const b = world.make({
    onQuery: (query) => {
      heard.push(`query ${text(query)}`)
      return query
    },
    handlers: {
      name: (input) => {
        heard.push(`call ${text(input)}`)
        return input
      },
    },
    onNotify: (message) => void heard.push(`notify ${text(message)}`),
  })
  const meet = async (): Promise<void> => {
    await Promise.all([a.connect(), world.finish(b.connect())])
    await world.clock.settle()
  }
  return { world, heard, a, b, meet }
}

describe('order', () => {
  test('queries, calls and notifications arrive as they were made, before all that listeners of the pair send', async () => {
    const { world, heard, a, meet } = parkedWorld()
    const results = [a.query(1), a.notify(2), a.call('name', 3), a.query(4), a.notify(5), a.notify(6), a.query(7)]
    a.on('state', ({ now }) => {
      if (now === 'paired') void a.notify('in state')
    })
    a.on('paired', () => void a.query('in paired'))
    void a.paired().then(() => a.notify('after paired()'))
    expect(a.stats().callsParked).toBe(7)
    await meet()
    expect(heard).toEqual([
      'query 1',
      'notify 2',
      'call 3',
      'query 4',
      'notify 5',
      'notify 6',
      'query 7',
      'notify in state',
      'query in paired',
      'notify after paired()',
    ])
    expect(await Promise.all(results)).toEqual([1, undefined, 3, 4, undefined, undefined, 7])
    expect(a.stats()).toMatchObject({ callsParked: 0, callsOpen: 0 })
    await world.end()
  })

  test('a call in a listener of the state apart waits too, and goes to the next peer', async () => {
    const { world, heard, a, b, meet } = parkedWorld()
    await meet()
    const late: Promise<unknown>[] = []
    a.on('apart', () => late.push(a.query('in apart')))
    await world.finish(b.close())
    const after = a.query('after')
    const c = world.make({ onQuery: (query) => `c: ${text(query)}` })
    await world.finish(c.connect())
    expect(await world.finish(Promise.all([...late, after]))).toEqual(['c: in apart', 'c: after'])
    expect(heard).toEqual([])
    await world.end()
  })

  test('large and small keep their order', async () => {
    const { world, heard, a, meet } = parkedWorld()
    const sizes = [10, 300_000, 5, 70_000, 1]
    const sent = sizes.map((size) => a.notify('x'.repeat(size)))
    await meet()
    await world.finish(Promise.all(sent))
    await world.clock.settle()
    expect(heard.map((entry) => entry.length - 'notify '.length)).toEqual(sizes)
    await world.end()
  })
})

describe('ends that are not-sent', () => {
  const forms: [string, (a: Connection, options: object) => Promise<unknown>][] = [
    ['query', (a, options) => a.query('x', options)],
    ['call', (a, options) => a.call('name', 'x', options)],
    ['notify', (a, options) => a.notify('x', options)],
  ]
  describe.each(forms)('%s', (_, send) => {
    test('its time, to the millisecond, and it never arrives', async () => {
      const { world, heard, a, meet } = parkedWorld()
      let error: PairlinkError | undefined
      void failure(send(a, { timeoutMs: 300 })).then((given) => (error = given))
      const stays = send(a, { timeoutMs: 10_000 })
      await world.clock.advance(299)
      expect(error).toBeUndefined()
      await world.clock.advance(1)
      expect(error).toMatchObject({ code: 'TIMEOUT', delivery: 'not-sent' })
      expect(a.stats().callsParked).toBe(1)
      await meet()
      await stays
      expect(heard).toHaveLength(1)
      await world.end()
    })

    test('its signal, with the reason as cause', async () => {
      const { world, heard, a, meet } = parkedWorld()
      const stop = new AbortController()
      const failed = failure(send(a, { signal: stop.signal }))
      const reason = new Error('enough')
      stop.abort(reason)
      expect(await failed).toMatchObject({ code: 'CANCELLED', delivery: 'not-sent', cause: reason })
      expect(await failure(send(a, { signal: stop.signal }))).toMatchObject({
        code: 'CANCELLED',
        delivery: 'not-sent',
        cause: reason,
      })
      expect(a.stats().callsParked).toBe(0)
      expect(world.clock.pending).toBe(0)
      await meet()
      expect(heard).toEqual([])
      await world.end()
    })

    test('close(), and the end after too many retries', async () => {
      const { world, a } = parkedWorld()
      const failed = failure(send(a, {}))
      await a.close()
      expect(await failed).toMatchObject({ code: 'CLOSED', delivery: 'not-sent' })
      expect(await failure(send(a, {}))).toMatchObject({ code: 'CLOSED', delivery: 'not-sent' })
      await world.end()
      const second = parkedWorld({ reconnect: { maxRetries: 1, delayMs: 100 } })
      await second.meet()
      await second.world.finish(second.b.close())
      const open = failure(send(second.a, { timeoutMs: Infinity }))
      expect(await second.world.finish(open)).toMatchObject({ code: 'CLOSED', delivery: 'not-sent' })
      await second.world.end()
    })
  })

  test('after the signal has fired the pair does not notice, and no listener stays on it', async () => {
    const { world, heard, a, meet } = parkedWorld()
    const stop = new AbortController()
    const sent = a.query('kept', { signal: stop.signal })
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1)
    await meet()
    expect(await sent).toBe('kept')
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0)
    stop.abort()
    await world.clock.settle()
    expect(heard).toEqual(['query kept'])
    await world.end()
  })

  test('Infinity waits without a timer', async () => {
    const { world, a, meet } = parkedWorld()
    const sent = a.query('x', { timeoutMs: Infinity })
    expect(world.clock.pending).toBe(0)
    await world.clock.advance(1_000_000)
    await meet()
    expect(await sent).toBe('x')
    await world.end()
  })

  test('one that is too large for the peer fails alone, when the peer is there', async () => {
    const world = new World()
    const a = world.make(wait)
    const results = [failure(a.query('x'.repeat(5000))), a.query('small')]
    const b = world.make({ limits: { messageBytesMax: 4096 }, onQuery: (query) => query })
    await Promise.all([a.connect(), world.finish(b.connect())])
    expect(await results[0]).toMatchObject({ code: 'TOO_LARGE', delivery: 'not-sent' })
    expect(await results[1]).toBe('small')
    await world.end()
  })
})

describe('bytes', () => {
  test('beyond limits.sendBytesMax are QUEUE_FULL, not-sent, and there is room again when others have gone', async () => {
    const { world, heard, a, meet } = parkedWorld({ limits: { sendBytesMax: 1000 + 2 * 64 } })
    const stop = new AbortController()
    const first = failure(a.query(new Uint8Array(600), { signal: stop.signal }))
    const second = a.notify(new Uint8Array(400))
    expect(await failure(a.query(new Uint8Array(1)))).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
    expect(await failure(a.notify('x'))).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
    expect(a.stats()).toMatchObject({ callsParked: 2, parkedBytes: 1000 + 2 * 64 })
    stop.abort()
    await first
    const third = a.query('y'.repeat(600))
    expect(await failure(a.query('z'))).toMatchObject({ code: 'QUEUE_FULL' })
    await meet()
    await Promise.all([second, third])
    expect(heard).toHaveLength(2)
    await world.end()
  })

  test('are 64 more than those of the payload, so that empty calls are bounded too', async () => {
    const { world, heard, a, meet } = parkedWorld({ limits: { sendBytesMax: 640 } })
    const sent = Array.from({ length: 10 }, () => a.query(undefined))
    expect(a.stats()).toMatchObject({ callsParked: 10, parkedBytes: 640 })
    expect(await failure(a.query(undefined))).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
    expect(await failure(a.notify(undefined))).toMatchObject({ code: 'QUEUE_FULL', delivery: 'not-sent' })
    await meet()
    await Promise.all(sent)
    expect(heard).toHaveLength(10)
    expect(a.stats()).toMatchObject({ callsParked: 0, parkedBytes: 0 })
    await world.end()
  })

  test('of one message alone may be more than that', async () => {
    const { world, a, meet } = parkedWorld({ limits: { sendBytesMax: 1000 } })
    const sent = a.query(new Uint8Array(5000).fill(7))
    expect(await failure(a.query('x'))).toMatchObject({ code: 'QUEUE_FULL' })
    await meet()
    expect(await world.finish(sent)).toEqual(new Uint8Array(5000).fill(7))
    await world.end()
  })

  test.each([3, 5000])('%d of them are copied at the call: the caller may change them at once', async (length) => {
    const { world, a, b, meet } = parkedWorld()
    const bytes = new Uint8Array(length).fill(1)
    const view = new Uint8Array(new ArrayBuffer(length + 20), 7, length).fill(2)
    const buffer = new ArrayBuffer(length)
    const sent = [a.query(bytes), a.query(view), a.query(buffer), a.query(Buffer.from(bytes))]
    bytes.fill(9)
    view.fill(9)
    structuredClone(buffer, { transfer: [buffer] })
    await meet()
    const expected = [1, 2, 0, 1].map((value) => new Uint8Array(length).fill(value))
    expect((await world.finish(Promise.all(sent))).map((answer) => new Uint8Array(answer as Uint8Array))).toEqual(
      expected,
    )
    expect(b.state).toBe('paired')
    await world.end()
  })

  test('that are lent are not copied', async () => {
    const { world, heard, a, meet } = parkedWorld()
    const bytes = new Uint8Array([1, 2, 3])
    const sent = a.notify(bytes, { borrow: true })
    bytes[0] = 9
    await meet()
    await world.finish(sent)
    expect(heard).toEqual(['notify bytes 9 2 3'])
    await world.end()
  })
})

describe('one AbortSignal on 50 calls', () => {
  test.each(['parked', 'in flight'])('%s: one listener on it, no warning, and it ends them all', async (where) => {
    const warnings: string[] = []
    const warned = (warning: Error): void => void warnings.push(warning.name)
    process.on('warning', warned)
    const world = new World()
    const a = world.make(wait)
    const b = world.make({ onQuery: () => new Promise(() => undefined) })
    if (where === 'in flight') await Promise.all([a.connect(), world.finish(b.connect())])
    const stop = new AbortController()
    setMaxListeners(10, stop.signal)
    const failed = Array.from({ length: 50 }, () => failure(a.query('x', { signal: stop.signal })))
    await world.clock.settle()
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1)
    expect(a.stats()).toMatchObject(where === 'parked' ? { callsParked: 50 } : { callsOpen: 50 })
    stop.abort()
    expect((await Promise.all(failed)).map((error) => error.code)).toEqual(Array(50).fill('CANCELLED'))
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0)
    expect(a.stats()).toMatchObject({ callsParked: 0, callsOpen: 0 })
    await world.clock.settle()
    process.off('warning', warned)
    expect(warnings).toEqual([])
    await world.end()
  })

  test('one of them that is answered first leaves the others on it', async () => {
    const { world, a, meet } = parkedWorld()
    const stop = new AbortController()
    const first = a.query(1, { signal: stop.signal })
    await meet()
    await first
    await world.finish(world.connections[1]?.close() ?? Promise.resolve())
    const failed = [failure(a.query(2, { signal: stop.signal })), failure(a.query(3, { signal: stop.signal }))]
    stop.abort()
    expect((await Promise.all(failed)).map((error) => error.code)).toEqual(['CANCELLED', 'CANCELLED'])
    await world.end()
  })
})

test('timers of waiting calls do not hold the process of an unref`d connection', async () => {
  const { world, a } = parkedWorld()
  const sent = failure(a.query(1))
  expect(world.clock.held).toBe(1)
  a.unref()
  const second = failure(a.query(2))
  expect([world.clock.pending, world.clock.held]).toEqual([2, 0])
  a.ref()
  expect(world.clock.held).toBe(2)
  await world.clock.advance(5000)
  expect([(await sent).code, (await second).code]).toEqual(['TIMEOUT', 'TIMEOUT'])
  await world.end()
})

test('a notification that waited for a peer and then waits for room has one time for both', async () => {
  const world = new World()
  const never = (): Promise<never> => new Promise(() => undefined)
  const [, b] = await world.pair({ limits: { inboxBytesMax: 100, sendBytesMax: 100 }, onNotify: never })
  for (const text of ['is handled for ever', 'waits for its credit', 'fills the send queue']) await b.notify(text)
  world.address.onDial = () => 'again'
  world.pipe[0].destroy()
  await world.clock.settle()
  const startedAt = world.clock.now()
  const late = failure(b.notify('finds no room', { whenApart: 'wait', timeoutMs: 500 }))
  expect(b.stats().callsParked).toBe(1)
  await world.clock.advance(300)
  world.address.onDial = undefined
  await world.clock.advance(150)
  expect([b.state, b.stats().callsParked, b.stats().callsOpen]).toEqual(['paired', 0, 1])
  expect(await world.finish(late)).toMatchObject({ code: 'TIMEOUT', delivery: 'not-sent' })
  expect(world.clock.now() - startedAt).toBeLessThanOrEqual(510)
  await world.finish(Promise.all(world.connections.map((connection) => connection.close({ drainMs: 0 }))))
})
