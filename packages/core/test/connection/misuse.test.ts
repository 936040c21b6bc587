/** What applications do by mistake, or because nothing forbids it: each was a fault once, or could be one. */
import { describe, expect, test } from 'vitest'
import type { Connection, PairlinkError } from '../../src/index.js'
import { deferred, failure, heldHandler, mortal, World, type Options } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** Bytes whose ArrayBuffer was given away. */
function detached(length = 100): Uint8Array {
  const bytes = new Uint8Array(length)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}
/** Hands bytes to a worker as it were. Where they share an ArrayBuffer, Node transfers a copy, or refuses. */
const transferred = (bytes: Uint8Array): void => {
  try {
    transfer(bytes)
  } catch (error) {
    if ((error as Error).name !== 'DataCloneError') throw error
  }
}
const transfer = (bytes: Uint8Array): void => {
  structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] })
}
const rejected = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => ({ value }),
    (error: unknown) => error,
  )

describe('a handler that answers with a detached Uint8Array', () => {
  test.each([
    ['at once', () => detached()],
    ['later', () => Promise.resolve(detached())],
    [
      'as a view',
      () => {
        const view = new Uint8Array(100).subarray(10, 20)
        transfer(view)
        return view
      },
    ],
  ])('%s fails that call alone', async (_, answer) => {
    const world = new World()
    const [a, b] = await world.pair({ onQuery: (query) => (query === 'bad' ? answer() : query) })
    const results = await Promise.all([b.query(1), rejected(b.query('bad')), b.query(2), a.query(3)])
    expect(results).toEqual([1, expect.objectContaining({ code: 'REMOTE', remoteCode: 'TypeError' }), 2, 3])
    expect(world.errors().map((entry) => entry.message)).toEqual(['a handler threw'])
    expect([a.state, b.state]).toEqual(['paired', 'paired'])
    expect(await b.query(4)).toBe(4)
    await world.end()
  })

  test.each([100, 100_000])('that it detaches after it returned %d of them later, the link lives', async (length) => {
    const world = new World()
    const kept: Uint8Array[] = []
    const [a, b] = await world.pair({
      onQuery: (query) => {
        if (query !== 'bytes') return query
        const bytes = new Uint8Array(length).fill(5)
        kept.push(bytes)
        return bytes
      },
    })
    expect(await b.query('bytes')).toEqual(new Uint8Array(length).fill(5))
    await world.clock.advance(1000) // acknowledged
    for (const bytes of kept) transfer(bytes)
    expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
    await world.end()
  })
})

describe('a detached payload', () => {
  const payloads: [string, () => unknown][] = [
    ['Uint8Array', () => detached()],
    [
      'Buffer',
      () => {
        const buffer = Buffer.from(new ArrayBuffer(100), 10, 20)
        transfer(buffer)
        return buffer
      },
    ],
    [
      'ArrayBuffer',
      () => {
        const buffer = new ArrayBuffer(100)
        structuredClone(buffer, { transfer: [buffer] })
        return buffer
      },
    ],
  ]
  test.each(payloads)('%s is a TypeError in every form, and the link lives', async (_, make) => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const all = [
      a.query(make()),
      a.call('x', make()),
      a.notify(make()),
      a.query(make(), { borrow: true }),
      a.notify(make(), { borrow: true }),
    ]
    for (const error of await Promise.all(all.map(rejected))) expect(error).toBeInstanceOf(TypeError)
    expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
    expect(a.stats().callsOpen).toBe(0)
    await world.end()
  })

  test('is one before there is a peer too, and an empty one that is whole is sent', async () => {
    const world = new World()
    const a = world.make({ ...echo, whenApart: 'wait' })
    expect(await rejected(a.query(detached()))).toBeInstanceOf(TypeError)
    expect(await rejected(a.notify(detached()))).toBeInstanceOf(TypeError)
    const sent = [a.query(new Uint8Array(0)), a.query(new ArrayBuffer(0)), a.query(new Uint8Array(5).subarray(2, 2))]
    await world.finish(Promise.all([a.connect(), world.make(echo).connect()]))
    for (const answer of await world.finish(Promise.all(sent))) expect(answer).toEqual(new Uint8Array(0))
    await world.end()
  })
})

describe('what only looks like bytes', () => {
  const fakes: [string, unknown][] = [
    ['an object with the tag', { [Symbol.toStringTag]: 'Uint8Array' }],
    ['an object with tag and length', { [Symbol.toStringTag]: 'Uint8Array', length: 3, 0: 1, 1: 2, 2: 3 }],
    [
      'an object of a class with the tag',
      new (class {
        length = 2
        get [Symbol.toStringTag](): string {
          return 'Uint8Array'
        }
      })(),
    ],
    ['an Int8Array', new Int8Array(4)],
    ['a Uint8ClampedArray', new Uint8ClampedArray(4)],
    ['a DataView', new DataView(new ArrayBuffer(4))],
  ]
  test.each(fakes)('%s is a TypeError, also as an answer, and the link lives', async (_, fake) => {
    const world = new World()
    const [a, b] = await world.pair({ onQuery: (query) => (query === 'fake' ? fake : query) })
    for (const promise of [a.query(fake), a.notify(fake), a.query(fake, { borrow: true }), a.query([fake])]) {
      expect(await rejected(promise)).toBeInstanceOf(TypeError)
    }
    expect(await rejected(a.query('fake'))).toMatchObject({ code: 'REMOTE', remoteCode: 'TypeError' })
    expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
    await world.end()
  })

  test.each([
    ['a DataView', () => new DataView(new ArrayBuffer(4))],
    ['a Float64Array', () => new Float64Array(4)],
  ])('%s with a tag of its own is a TypeError', async (_, make) => {
    const world = new World()
    const [a] = await world.pair(echo)
    const fake = Object.defineProperty(make(), Symbol.toStringTag, { value: 'Uint8Array' })
    expect(await world.finish(rejected(a.query(fake)), 10_000)).toBeInstanceOf(TypeError)
  })
})

describe.each([true, false])(
  'received bytes (transient: %s): who transfers them takes those of nobody else',
  (transient) => {
    async function pairOf(first: Options, second: Options = first): Promise<[World, Connection, Connection]> {
      const world = new World()
      const [a, b] = await world.pair(first, second)
      for (const end of world.pipe) end.transient = transient
      return [world, a, b]
    }
    const sizes = [1, 100, 3000, 70_000, 300_000]

    test('those of a query may be transferred in the handler', async () => {
      const [world, a, b] = await pairOf({
        onQuery: (query) => {
          const bytes = query as Uint8Array
          const answer = bytes.length + (bytes[0] ?? 0)
          transferred(bytes)
          return answer
        },
      })
      const all = [...sizes, ...sizes].map((size, at) => b.query(new Uint8Array(size).fill(at)))
      expect(await world.finish(Promise.all(all))).toEqual([...sizes, ...sizes].map((size, at) => size + at))
      expect(await a.query(new Uint8Array([7]))).toBe(8)
      expect(world.errors()).toEqual([])
      await world.end()
    })

    test('those of an answer may be transferred by the asker', async () => {
      const [world, a, b] = await pairOf(echo)
      for (let round = 0; round < 3; round++) {
        const answers = await world.finish(
          Promise.all(
            sizes.map(async (size, at) => {
              const bytes = (await b.query(new Uint8Array(size).fill(at + 1))) as Uint8Array
              expect(bytes.every((byte) => byte === at + 1)).toBe(true)
              transferred(bytes)
              return size
            }),
          ),
        )
        expect(answers).toEqual(sizes)
      }
      expect(await a.query(1)).toBe(1)
      await world.end()
    })

    test('those of a notification may be transferred while others wait behind it', async () => {
      const heard: number[] = []
      const [world, a] = await pairOf({
        onNotify: async (message) => {
          const bytes = message as Uint8Array
          heard.push(bytes[0] ?? -1)
          transferred(bytes)
          await Promise.resolve()
        },
      })
      for (let at = 0; at < 20; at++) await a.notify(new Uint8Array(50).fill(at))
      await world.clock.settle()
      expect(heard).toEqual([...Array(20).keys()])
      await world.end()
    })

    test('those that come in may be given back as the answer, and as a query', async () => {
      const [world, a, b] = await pairOf(
        { onQuery: async (query, context) => [(await context.query(query)) as Uint8Array, query][0] },
        { onQuery: (query) => query },
      )
      const all = sizes.map((size) => b.query(new Uint8Array(size).fill(9)))
      expect((await world.finish(Promise.all(all))).map((answer) => (answer as Uint8Array).length)).toEqual(sizes)
      expect(a.state).toBe('paired')
      await world.end()
    })
  },
)

describe('lent bytes', () => {
  /** A pair whose dialer's pipe is full of something that nobody has read. */
  async function full(second: Options = {}) {
    const world = new World()
    const heard: unknown[] = []
    const [a, b] = await world.pair({
      onQuery: (query) => {
        heard.push(query)
        return 'answer'
      },
      onNotify: (message) => void heard.push(message),
      ...second,
    })
    const [, far] = world.pipe
    far.stalled = true
    const first = b.query('in the pipe', { timeoutMs: Infinity })
    await world.clock.settle()
    return { world, a, b, far, heard, first }
  }

  test('a notification that timed out before it was written goes out all the same, and so is not not-sent', async () => {
    const { world, b, far, heard, first } = await full()
    const bytes = new Uint8Array(10_000).fill(3)
    const failed = failure(b.notify(bytes, { borrow: true, timeoutMs: 100 }))
    await world.clock.advance(200)
    far.release()
    const error = await world.finish(failed)
    expect(error.code).toBe('TIMEOUT')
    await world.finish(first)
    await world.clock.advance(1000)
    const came = heard.some((message) => message instanceof Uint8Array)
    // What is not-sent must not arrive, whichever of both it is.
    expect(error.delivery === 'not-sent' && came).toBe(false)
    expect([error.delivery, came]).toEqual(['unknown', true])
    await world.end()
  })

  test('a notification that was cancelled before it was written: the same', async () => {
    const { world, b, far, heard, first } = await full()
    const stop = new AbortController()
    const failed = failure(b.notify(new Uint8Array(10_000), { borrow: true, signal: stop.signal }))
    await world.clock.settle()
    stop.abort()
    await world.clock.settle()
    far.release()
    expect(await world.finish(failed)).toMatchObject({ code: 'CANCELLED', delivery: 'unknown' })
    await world.finish(first)
    await world.clock.advance(1000)
    expect(heard).toHaveLength(2)
    await world.end()
  })

  test.each([
    ['query, time', (b: Connection, bytes: Uint8Array) => b.query(bytes, { borrow: true, timeoutMs: 100 })],
    ['notify, time', (b: Connection, bytes: Uint8Array) => b.notify(bytes, { borrow: true, timeoutMs: 100 })],
    [
      'query, signal',
      (b: Connection, bytes: Uint8Array, signal: AbortSignal) => b.query(bytes, { borrow: true, signal }),
    ],
    [
      'notify, signal',
      (b: Connection, bytes: Uint8Array, signal: AbortSignal) => b.notify(bytes, { borrow: true, signal }),
    ],
  ])('%s: settles only when the full pipe has drained, and what arrives is whole', async (_, send) => {
    const { world, a, b, far, heard, first } = await full()
    const bytes = new Uint8Array(100_000).fill(4)
    const stop = new AbortController()
    let settled = false
    const failed = failure(send(b, bytes, stop.signal)).then((error: PairlinkError) => {
      settled = true
      bytes.fill(0xee) // ours again
      return error
    })
    await world.clock.advance(90)
    stop.abort()
    await world.clock.advance(4000)
    expect(settled).toBe(false)
    far.release()
    const error = await world.finish(failed)
    expect(error.code).toMatch(/TIMEOUT|CANCELLED/)
    await world.finish(first)
    await world.clock.advance(1000)
    for (const message of heard)
      if (message instanceof Uint8Array) expect(message.every((byte) => byte === 4)).toBe(true)
    expect([a.state, b.state, b.stats().callsOpen]).toEqual(['paired', 'paired', 0])
    await world.end()
  })

  test('settles when the pipe is gone before it drained', async () => {
    const { world, b, far, first } = await full({ resumeWindowMs: 0 })
    const lost = failure(first)
    const failed = failure(b.query(new Uint8Array(100_000), { borrow: true, timeoutMs: 100 }))
    await world.clock.advance(500)
    far.vanish()
    world.pipe[0].destroy()
    expect((await world.finish(failed)).code).toMatch(/TIMEOUT|PEER_LOST/)
    await world.finish(lost)
    await world.end()
  })

  test('a call that is not lent settles at its time, drained or not', async () => {
    const { world, b, far, first } = await full()
    const failed = failure(b.query(new Uint8Array(100_000), { timeoutMs: 100 }))
    await world.clock.advance(101)
    expect((await world.finish(failed, 0)).code).toBe('TIMEOUT')
    far.release()
    await world.finish(first)
    await world.end()
  })
})

describe('a peer that has said goodbye', () => {
  test('gets its answers at once when the handler ends, not with the next keepalive', async () => {
    const world = new World()
    const held = heldHandler()
    const [, b] = await world.pair({
      onQuery: held.handler,
      keepaliveMs: 10_000,
      queryTimeoutMs: Infinity,
      drainMs: 60_000,
    })
    const asked = [b.query(1), b.query(2)]
    await world.clock.settle()
    const closing = b.close()
    await world.clock.advance(1234)
    const before = world.clock.now()
    held.calls[0]?.resolve('first')
    expect(await world.finish(asked[0] ?? Promise.reject(new Error()), 0)).toBe('first')
    held.calls[1]?.reject(new Error('second'))
    expect(await world.finish(failure(asked[1] ?? Promise.resolve()), 0)).toMatchObject({ code: 'REMOTE' })
    await world.finish(closing, 0)
    expect(world.clock.now()).toBe(before)
    await world.end()
  })

  test('gets them also when another peer has come meanwhile', async () => {
    const world = new World()
    const held = heldHandler()
    const [a, b] = await world.pair({
      onQuery: held.handler,
      keepaliveMs: 10_000,
      drainMs: 60_000,
      queryTimeoutMs: Infinity,
    })
    const asked = b.query(1)
    await world.clock.settle()
    const closing = b.close()
    await world.clock.settle()
    const c = world.make(echo)
    await c.connect()
    expect([a.state, a.peer?.instance]).toEqual(['paired', expect.any(String)])
    held.calls[0]?.resolve('late')
    expect(await world.finish(asked, 0)).toBe('late')
    await world.finish(closing, 0)
    expect(await a.query('c')).toBe('c')
    await world.end()
  })

  test.each(['reject', 'wait'] as const)(
    "what its handler asks (whenApart '%s') never reaches the next peer: NOT_CONNECTED, not-sent",
    async (whenApart) => {
      const world = new World()
      const gate = deferred()
      const outcomes: unknown[] = []
      const heard: unknown[] = []
      const [a, b] = await world.pair({
        whenApart,
        drainMs: 60_000,
        queryTimeoutMs: 50_000,
        onQuery: async (_, context) => {
          await gate.promise
          for (const promise of [context.query('q'), context.call('name', 'c'), context.notify('n')]) {
            outcomes.push(await rejected(promise))
          }
          return 'done'
        },
      })
      const asked = b.query(1)
      await world.clock.settle()
      const closing = b.close()
      await world.clock.settle()
      const hear = (message: unknown): void => void heard.push(message)
      const c = world.make({ onQuery: hear, onNotify: hear, handlers: { name: hear } })
      await c.connect()
      expect(a.state).toBe('paired')
      gate.resolve(undefined)
      expect(await world.finish(asked)).toBe('done')
      await world.finish(closing)
      const gone = expect.objectContaining({ code: 'NOT_CONNECTED', delivery: 'not-sent' })
      expect(outcomes).toEqual([gone, gone, gone])
      await world.clock.advance(10_000)
      expect(heard).toEqual([])
      await world.end()
    },
  )

  test.each(['lost', 'closed'])('the same while there is no next peer (%s), whatever whenApart says', async (how) => {
    const world = new World()
    const gate = deferred()
    const outcomes: unknown[] = []
    const life = mortal(world)
    const a = world.make({
      whenApart: 'wait',
      resumeWindowMs: 0,
      drainMs: 60_000,
      onQuery: async (_, context) => {
        await gate.promise
        outcomes.push(await rejected(context.query('q', { whenApart: 'wait' })))
      },
    })
    const b = world.make({ transport: life.transport })
    await a.connect({ until: 'started' })
    await b.connect()
    const asked = rejected(b.query(1))
    await world.clock.settle()
    life.stop()
    if (how === 'lost') world.pipe[0].destroy()
    else void b.close()
    await world.clock.settle()
    expect(a.state).toBe('apart')
    gate.resolve(undefined)
    await world.clock.settle()
    expect(outcomes).toEqual([expect.objectContaining({ code: 'NOT_CONNECTED', delivery: 'not-sent' })])
    expect(a.stats().callsParked).toBe(0)
    await world.finish(asked)
    await world.end()
  })
})

describe('undefined means the default', () => {
  test('for options of a call', async () => {
    const world = new World()
    const a = world.make({ ...echo, whenApart: 'wait' })
    const options = { timeoutMs: undefined, signal: undefined, whenApart: undefined, borrow: undefined } as object
    const parked = [
      a.query(1, options),
      a.call('name', 2, options),
      a.notify(3, { ...options, method: undefined } as object),
    ]
    expect(a.stats().callsParked).toBe(3)
    const b = world.make({ ...echo, handlers: { name: (input) => input } })
    await world.finish(Promise.all([a.connect(), b.connect()]))
    expect(await Promise.all(parked)).toEqual([1, 2, undefined])
    await world.end()
    const other = new World().make(echo)
    expect(await rejected(other.query(1, options))).toMatchObject({ code: 'NOT_CONNECTED' })
  })

  test('for limits, reconnect, and every other option', async () => {
    const world = new World()
    const limits = Object.fromEntries(
      [
        ...['messageBytesMax', 'fragmentBytes', 'sendBytesMax', 'replayBytesMax', 'inboxBytesMax'],
        ...['reassemblyBytesMax', 'handlersMax', 'strangersMax'],
      ].map((name) => [name, undefined]),
    )
    const others = [
      ...['handlers', 'onNotify', 'queryTimeoutMs', 'keepaliveMs', 'silenceMs', 'handshakeTimeoutMs', 'drainMs'],
      ...['holdMs', 'failover', 'whenBusy', 'whenApart', 'about', 'exposeErrors', 'logQueries', 'logKeepalives'],
    ]
    const reconnect = { maxRetries: undefined, delayMs: undefined, growth: undefined, jitter: undefined }
    const options = {
      ...Object.fromEntries(others.map((name) => [name, undefined])),
      limits,
      reconnect,
    } as object as Options
    const [a, b] = await world.pair({ ...options, ...echo })
    const all = Array.from({ length: 2000 }, (_, at) => a.query(at))
    expect(await world.finish(Promise.all(all))).toHaveLength(2000)
    expect(await b.query(new Uint8Array(200_000))).toHaveLength(200_000)
    world.pipe[0].destroy()
    await world.clock.settle()
    await world.finish(Promise.all([a.paired(), b.paired()]))
    await world.end()
  })

  test('for connect, paired and close', async () => {
    const world = new World()
    const [a, b] = [world.make(echo), world.make(echo)]
    const options = { until: undefined, signal: undefined, timeoutMs: undefined } as object
    await world.finish(Promise.all([a.connect(options), b.connect(options)]))
    await a.paired({ signal: undefined, timeoutMs: undefined } as object)
    await world.finish(a.close({ drainMs: undefined } as object))
    await a.close(undefined)
    await world.end()
  })
})

describe('wrong names', () => {
  test.each(['nonsense', 'Paired', '', 'toString', '__proto__', 'constructor'])("on('%s') is a TypeError", (name) => {
    const a = new World().make()
    expect(() => a.on(name as 'paired', () => undefined)).toThrow(TypeError)
  })

  test.each([undefined, null, 'text', {}])("on('paired', %s) is a TypeError", (listener) => {
    const a = new World().make()
    expect(() => a.on('paired', listener as never)).toThrow(TypeError)
  })

  test("call('') and context.call('') are TypeErrors, as rejections", async () => {
    const world = new World()
    const outcomes: unknown[] = []
    const [a, b] = await world.pair({
      onQuery: async (_, context) => {
        outcomes.push(await rejected(context.call('')), await rejected(context.call('', 1, { timeoutMs: 5 })))
      },
    })
    outcomes.push(await rejected(a.call('')))
    await b.query(1)
    expect(outcomes).toHaveLength(3)
    for (const outcome of outcomes) expect(outcome).toBeInstanceOf(TypeError)
    await world.end()
  })
})

describe('unref()', () => {
  test.each(['before', 'after'])('%s connect({ timeoutMs }) leaves no timer that holds the process', async (when) => {
    const world = new World()
    const a = world.make(echo)
    if (when === 'before') a.unref()
    const waiting = [failure(a.connect({ timeoutMs: 5000 })), failure(a.paired({ timeoutMs: 5000 }))]
    if (when === 'after') {
      expect(world.clock.held).toBeGreaterThan(0)
      a.unref()
    }
    expect(world.clock.held).toBe(0)
    await world.clock.settle()
    expect(world.clock.held).toBe(0)
    await world.clock.advance(4000)
    expect(world.clock.held).toBe(0)
    a.ref()
    expect(world.clock.held).toBe(2)
    await world.clock.advance(1000)
    expect((await Promise.all(waiting)).map((error) => error.code)).toEqual(['TIMEOUT', 'TIMEOUT'])
    await world.end()
  })

  test.each(['standby', 'apart and dialling', 'apart and listening', 'meeting a silent one'])(
    '%s: nor there',
    async (where) => {
      const world = new World()
      const life = mortal(world)
      const a = world.make({ ...echo, transport: life.transport, holdMs: 5000, reconnect: { maxRetries: 9 } })
      const b = world.make({ ...echo, failover: false, holdMs: 5000, reconnect: { maxRetries: 9 } })
      for (const connection of [a, b]) connection.unref()
      await a.connect({ until: 'started' })
      await b.connect()
      let c: Connection | undefined
      if (where === 'standby') {
        c = world.make({ ...echo, whenBusy: 'wait' })
        c.unref()
        void c.connect().catch(() => undefined)
      } else {
        if (where !== 'apart and listening') {
          life.stop()
          world.address.accept = where === 'meeting a silent one' ? (pipe) => pipe.start(nobody) : undefined
        }
        world.pipe[0].destroy()
      }
      for (let ms = 0; ms < 4000; ms += 50) {
        await world.clock.advance(50)
        expect(world.clock.held).toBe(0)
      }
      expect(world.clock.pending).toBeGreaterThan(0)
      world.address.accept = undefined
      for (const pipes of world.address.pipes) for (const end of pipes) end.destroy()
      await world.end()
    },
  )
})
const nobody = { bytes: () => undefined, drained: () => undefined, ended: () => undefined, closed: () => undefined }

describe('600 ms of work between two calls of one turn', () => {
  type Send = (a: Connection) => Promise<unknown>

  /** Notifies a peer whose handler never ends, until the next notification has to wait. */
  async function fill(world: World, a: Connection): Promise<void> {
    for (let at = 0; a.stats().callsOpen === 0; at++) {
      expect(at).toBeLessThan(10)
      void rejected(a.notify('room', { timeoutMs: 100 }))
      await world.clock.settle()
    }
    await world.clock.advance(100)
    expect(a.stats().callsOpen).toBe(0)
  }

  /** Makes a call, works, makes another with 500 ms that finds no answer; how long that one lasted. */
  async function lastedMs(send: Send, isInboxFull: boolean): Promise<number> {
    const world = new World()
    const never = new Promise(() => undefined)
    const options = { onQuery: () => never, onNotify: () => never, handlers: { name: () => never } }
    const [a] = await world.pair({ ...options, limits: { inboxBytesMax: 1, sendBytesMax: 1 } })
    if (isInboxFull) await fill(world, a)
    const first = failure(a.query('first', { timeoutMs: 5000 }))
    const jumped = world.clock.jump(600)
    const calledAt = world.clock.now()
    let endedAt = NaN
    const second = failure(send(a)).then((error) => {
      endedAt = world.clock.now()
      return error
    })
    await jumped
    await world.clock.advance(6000)
    expect((await second).code).toBe('TIMEOUT')
    expect((await first).code).toBe('TIMEOUT')
    await world.end()
    return endedAt - calledAt
  }

  test.each<[string, Send]>([
    ['query', (a) => a.query('second', { timeoutMs: 500 })],
    ['call', (a) => a.call('name', 'second', { timeoutMs: 500 })],
    ['lent query', (a) => a.query(new Uint8Array(5000), { timeoutMs: 500, borrow: true })],
  ])('do not shorten the time of the second: %s', async (_, send) => {
    expect(await lastedMs(send, false)).toBeCloseTo(500, 0)
  })

  test.each<[string, Send]>([
    ['notify that waits for room', (a) => a.notify('x'.repeat(1000), { timeoutMs: 500 })],
    ['lent notify', (a) => a.notify(new Uint8Array(5000), { timeoutMs: 500, borrow: true })],
  ])('do not shorten the time of the second: %s', async (_, send) => {
    expect(await lastedMs(send, true)).toBeCloseTo(500, 0)
  })

  test('the same notifications without the work end at their time', async () => {
    const world = new World()
    const never = new Promise(() => undefined)
    const [a] = await world.pair({ onNotify: () => never, limits: { inboxBytesMax: 1, sendBytesMax: 1 } })
    await fill(world, a)
    const waiting = [
      failure(a.notify('x'.repeat(1000), { timeoutMs: 500 })),
      failure(a.notify(new Uint8Array(5000), { timeoutMs: 500, borrow: true })),
    ]
    await world.clock.advance(490)
    expect(a.stats().callsOpen).toBe(waiting.length)
    await world.clock.advance(20)
    expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual(['TIMEOUT', 'TIMEOUT'])
    await world.end()
  })

  test('nor that of a call that waits for a peer', async () => {
    const world = new World()
    const a = world.make({ ...echo, whenApart: 'wait' })
    const first = failure(a.query(1, { timeoutMs: 5000 }))
    const jumped = world.clock.jump(600)
    const second = a.query(2, { timeoutMs: 500 })
    const notified = a.notify(3, { timeoutMs: 500 })
    await jumped
    await world.clock.advance(400)
    const b = world.make({ onQuery: (query) => (query === 1 ? new Promise(() => undefined) : query) })
    await world.finish(Promise.all([a.connect(), b.connect()]))
    expect(await world.finish(second)).toBe(2)
    await notified
    await world.finish(first)
    await world.end()
  })
})

describe('a getter in a payload', () => {
  test('that itself asks disturbs neither call', async () => {
    const world = new World()
    const heard: unknown[] = []
    const [a, b] = await world.pair({ ...echo, onNotify: (message) => void heard.push(message) })
    const inner: Promise<unknown>[] = []
    const nested = (name: string): object => ({
      get x() {
        inner.push(a.query(`inner of ${name}`), a.query(new Uint8Array([1, 2])), a.notify('n'))
        return name
      },
    })
    const outer = await Promise.all([a.query(nested('one')), a.query('plain'), a.query([nested('two')])])
    expect(outer).toEqual([{ x: 'one' }, 'plain', [{ x: 'two' }]])
    await a.notify(nested('three'))
    await world.clock.settle()
    expect(heard.filter((message) => message !== 'n')).toEqual([{ x: 'three' }])
    const answers = await Promise.all(inner)
    expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(
      new Set(['"inner of one"', '"inner of two"', '"inner of three"', '{"0":1,"1":2}', undefined]),
    )
    expect(await b.query(1)).toBe(1)
    await world.end()
  })

  test('of an answer, or of the data of a failure, neither', async () => {
    const world = new World()
    const [a, b] = await world.pair({
      onQuery: (query, context) =>
        query === 'nested'
          ? {
              get x() {
                void context.query('back').catch(() => undefined)
                return 'answer'
              },
            }
          : query,
    })
    const all = [a.query(1), a.query('nested'), a.query(new Uint8Array([5])), b.query('nested'), b.query('text')]
    expect(await Promise.all(all)).toEqual([1, { x: 'answer' }, new Uint8Array([5]), { x: 'answer' }, 'text'])
    await world.end()
  })

  test.each(['close', 'cut'])(
    'that ends the connection (%s) fails its own call, and nothing else breaks',
    async (how) => {
      const world = new World()
      const [a, b] = await world.pair({ ...echo, resumeWindowMs: 0 })
      const outcome = rejected(
        a.query({
          get x() {
            if (how === 'close') void a.close()
            else world.pipe[0].destroy()
            return 1
          },
        }),
      )
      const error = await world.finish(outcome)
      expect(error).toMatchObject({ code: how === 'close' ? 'CLOSED' : 'PEER_LOST' })
      expect(b.state).toMatch(/apart|paired/)
      expect(world.errors()).toEqual([])
      await world.end()
    },
  )

  test('of an answer that closes the connection: the asker gets the answer or an error, and all ends', async () => {
    const world = new World()
    const [, b] = await world.pair({
      onQuery: () => ({
        get x() {
          void world.connections[0]?.close({ drainMs: 0 })
          return 1
        },
      }),
    })
    const outcome = await world.finish(rejected(b.query(1)))
    expect([
      { value: { x: 1 } },
      expect.objectContaining({ code: 'CLOSED' }),
      expect.objectContaining({ code: 'PEER_LOST' }),
    ]).toContainEqual(outcome)
    expect(world.errors()).toEqual([])
    await world.end()
  })
})
