import { getEventListeners } from 'node:events'
import { inspect } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import { isPairlinkError, QueryError, type Context } from '../../src/index.js'
import { deferred, failure, heldHandler, World, type Options } from './world.js'

/** What a caller gets from a handler, the connection being alive afterwards. */
async function ask(onQuery: (query: unknown, context: Context) => unknown, options: Options = {}) {
  const world = new World()
  const [, b] = await world.pair({
    ...options,
    onQuery: (query, context) => (query === 'alive' ? 'yes' : onQuery(query, context)),
  })
  const outcome = await world.finish(
    b.query('x').then(
      (value) => ({ value, error: undefined }),
      (error: unknown) => ({ value: undefined, error }),
    ),
  )
  expect(await b.query('alive')).toBe('yes')
  await world.end()
  const { value, error } = outcome
  if (error !== undefined && !isPairlinkError(error)) throw error
  return { value, error, errors: world.errors() }
}

describe('what a handler gives', () => {
  test('at once is the answer', async () => {
    expect((await ask(() => ({ a: 1 }))).value).toEqual({ a: 1 })
  })
  test('as a promise is the answer', async () => {
    expect((await ask(async () => Promise.resolve('later'))).value).toBe('later')
  })
  test.each([
    ['at once', () => undefined],
    ['as a promise', () => Promise.resolve(undefined)],
  ])('undefined %s is an empty answer', async (_, handler) => {
    const { value, error } = await ask(handler)
    expect([value, error]).toEqual([undefined, undefined])
  })
  test('a thenable of another kind is waited for', async () => {
    const thenable = { then: (resolve: (value: string) => void) => void queueMicrotask(() => resolve('foreign')) }
    expect((await ask(() => thenable)).value).toBe('foreign')
  })
  test('a thenable that settles twice and then throws counts once', async () => {
    const world = new World()
    const thenable = {
      then: (resolve: (value: string) => void) => {
        resolve('first')
        resolve('second')
        throw new Error('third')
      },
    }
    const [a, b] = await world.pair({ onQuery: (query) => (query === 'odd' ? thenable : query) })
    expect(await b.query('odd')).toBe('first')
    expect(await b.query('alive')).toBe('alive')
    expect(a.stats().session?.handlersRunning).toBe(0)
    await world.end()
  })
  test('a getter `then` that throws is a failure of the handler', async () => {
    const odd = Object.defineProperty({}, 'then', {
      get: () => {
        throw new Error('then')
      },
    })
    const { error, errors } = await ask(() => odd)
    expect(error?.code).toBe('REMOTE')
    expect(errors).toHaveLength(1)
  })
  test('answers of many calls find their callers in any order', async () => {
    const world = new World()
    const held = heldHandler()
    const [, b] = await world.pair({ onQuery: held.handler })
    const asked = Promise.all([b.query(0), b.query(1), b.query(2)])
    await world.clock.settle()
    for (const at of [2, 0, 1]) held.calls[at]?.resolve(`answer ${at}`)
    expect(await asked).toEqual(['answer 0', 'answer 1', 'answer 2'])
    await world.end()
  })
})

describe('a handler that throws', () => {
  for (const [how, handler] of [
    [
      'at once',
      () => {
        throw new RangeError('too far')
      },
    ],
    [
      'later',
      async () => {
        await Promise.resolve()
        throw new RangeError('too far')
      },
    ],
  ] as const) {
    test(`${how} is REMOTE with name and message, never the stack, and logged once with it`, async () => {
      const { error, errors } = await ask(handler)
      expect(error?.code).toBe('REMOTE')
      expect(error?.remoteCode).toBe('RangeError')
      expect(error?.message).toContain('too far')
      expect(error?.delivery).toBe('delivered')
      expect(error?.data).toBeUndefined()
      expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain('handlers.test.ts')
      expect(errors).toHaveLength(1)
      expect((errors[0]?.fields['error'] as Error).stack).toContain('handlers.test.ts')
    })
    test(`${how} with exposeErrors false tells neither name nor message, and is logged`, async () => {
      const { error, errors } = await ask(handler, { exposeErrors: false })
      expect(error?.code).toBe('REMOTE')
      expect(error?.remoteCode).toBeUndefined()
      expect(inspect(error, { depth: Infinity })).not.toMatch(/too far|RangeError/)
      expect(errors).toHaveLength(1)
    })
  }

  const hostile = Object.defineProperties(new Error('x'), {
    message: {
      get: () => {
        throw new Error('message')
      },
    },
    name: {
      get: () => {
        throw new Error('name')
      },
    },
  })
  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a string', 'just text'],
    ['a symbol', Symbol('s')],
    ['an object without prototype', Object.create(null)],
    ['an error whose message is a symbol', Object.assign(new Error('x'), { message: Symbol('s') })],
    [
      'an error whose message and name are objects',
      Object.assign(new Error('x'), { message: {}, name: Object.create(null) }),
    ],
    ['an error whose message and name throw', hostile],
    [
      'a revoked proxy',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {})
        revoke()
        return proxy
      })(),
    ],
    ['a QueryError whose code is no string', Object.assign(new QueryError('c', 'm'), { code: Object.create(null) })],
    ['a QueryError whose message is a symbol', Object.assign(new QueryError('c', 'm'), { message: Symbol('m') })],
  ])('%s is REMOTE all the same, at once and later', async (_, thrown: unknown) => {
    const now = await ask(() => {
      throw thrown
    })
    const later = await ask(() => Promise.reject(thrown as Error))
    expect([now.error?.code, later.error?.code]).toEqual(['REMOTE', 'REMOTE'])
  })

  test('a message that is too long is cut between characters', async () => {
    const { error } = await ask(() => {
      throw new Error('ä'.repeat(5000))
    })
    expect(error?.message).toContain('ä'.repeat(512))
    expect(error?.message).not.toContain('ä'.repeat(513))
  })
  test('text that is no proper Unicode does not end the link', async () => {
    const { error } = await ask(() => {
      throw new QueryError('\ud800', 'bad \udfff')
    })
    expect(error?.code).toBe('REMOTE')
  })
})

describe('a QueryError', () => {
  test.each([[{ field: 'age' }], ['text'], [new Uint8Array([1, 2])], [undefined], [null]])(
    'with data %o crosses whole and is not logged',
    async (data) => {
      const { error, errors } = await ask(() => {
        throw new QueryError('BAD_INPUT', 'no such age', data)
      })
      expect(error?.code).toBe('REMOTE')
      expect(error?.remoteCode).toBe('BAD_INPUT')
      expect(error?.message).toContain('no such age')
      expect(error?.data).toStrictEqual(data)
      expect(errors).toHaveLength(0)
    },
  )
  test('crosses also with exposeErrors false, since it was written for the caller', async () => {
    const { error } = await ask(
      () => {
        throw new QueryError('BAD', 'text', 1)
      },
      { exposeErrors: false },
    )
    expect([error?.remoteCode, error?.data]).toEqual(['BAD', 1])
  })
  test('with large data crosses whole', async () => {
    const data = { text: 'x'.repeat(300_000) }
    expect((await ask(() => Promise.reject(new QueryError('BAD', 'text', data)))).error?.data).toEqual(data)
  })
  test('with data that cannot be encoded crosses without, and that is logged', async () => {
    const { error, errors } = await ask(() => {
      throw new QueryError('BAD', 'text', new Map())
    })
    expect([error?.remoteCode, error?.data]).toEqual(['BAD', undefined])
    expect(errors).toHaveLength(1)
    expect(String(errors[0]?.fields['error'])).toContain('data: Map inside JSON')
  })
})

test.each([
  ['at once', () => ({ m: new Map() })],
  ['later', () => Promise.resolve({ m: new Map() })],
])('an answer that cannot be encoded, given %s, is REMOTE, and logged', async (_, handler) => {
  const { error, errors } = await ask(handler)
  expect(error?.code).toBe('REMOTE')
  expect(error?.message).toContain('answer.m: Map inside JSON')
  expect(errors).toHaveLength(1)
})

test('an answer larger than the caller takes is TOO_LARGE at the caller', async () => {
  const world = new World()
  const [, b] = await world.pair({ onQuery: () => 'x'.repeat(2000) }, { limits: { messageBytesMax: 1000 } })
  const error = await failure(b.query(1))
  expect([error.code, error.delivery]).toEqual(['TOO_LARGE', 'delivered'])
  await world.end()
})

describe('a handler that never returns', () => {
  test('is TIMEOUT at the caller, is told by its signal, and is given up and logged after drainMs', async () => {
    const world = new World()
    let context: Context | undefined
    const [a, b] = await world.pair({
      drainMs: 1000,
      onQuery: (query, given) => {
        if (query === 'alive') return 'yes'
        context = given
        return new Promise(() => undefined)
      },
    })
    const asked = failure(b.query('x', { timeoutMs: 100 }))
    await world.clock.advance(50)
    expect(context?.signal.aborted).toBe(false)
    expect(context?.remainingMs).toBeCloseTo(50)
    await world.clock.advance(51)
    const error = await asked
    expect([error.code, error.delivery]).toEqual(['TIMEOUT', 'delivered'])
    expect(context?.signal.aborted).toBe(true)
    expect(isPairlinkError(context?.signal.reason)).toBe(true)
    expect(context?.remainingMs).toBe(0)
    await world.clock.advance(900)
    expect(world.errors()).toHaveLength(0)
    await world.clock.advance(200)
    expect(world.errors().map((entry) => entry.message)).toEqual([
      expect.stringContaining('a handler goes on long after'),
    ])
    expect(await b.query('alive')).toBe('yes')
    expect(a.stats().session?.handlersRunning).toBe(1)
    await world.end()
  })
  test('does not keep others from being answered, and its late result is dropped', async () => {
    const world = new World()
    const held = heldHandler()
    const [a, b] = await world.pair({ drainMs: 1000, onQuery: (query) => (query === 'held' ? held.handler() : query) })
    const asked = failure(b.query('held', { timeoutMs: 100 }))
    await world.clock.advance(2000)
    await asked
    held.calls[0]?.resolve('too late')
    await world.clock.advance(100)
    for (let at = 0; at < 10; at++) expect(await b.query(at)).toBe(at)
    expect(a.stats().session?.handlersRunning).toBe(0)
    await world.end()
  })
})

test('a handler that answers after the cancel changes nothing and logs nothing', async () => {
  const world = new World()
  const held = heldHandler()
  const contexts: Context[] = []
  const [a, b] = await world.pair({
    onQuery: (query, context) => {
      if (query !== 'held') return query
      contexts.push(context)
      return held.handler()
    },
  })
  const stop = [new AbortController(), new AbortController()]
  const asked = stop.map((controller) => failure(b.query('held', { signal: controller.signal })))
  await world.clock.settle()
  for (const controller of stop) controller.abort(new Error('enough'))
  await world.clock.settle()
  expect((await Promise.all(asked)).map((error) => error.code)).toEqual(['CANCELLED', 'CANCELLED'])
  expect(contexts.map((context) => context.signal.aborted)).toEqual([true, true])
  held.calls[0]?.resolve('late')
  held.calls[1]?.reject(contexts[1]?.signal.reason)
  await world.clock.settle()
  expect(await b.query('alive')).toBe('alive')
  expect(a.stats().session?.handlersRunning).toBe(0)
  await world.end()
  expect(world.errors()).toEqual([])
})

test('a signal that is asked for after the cancel has fired already', async () => {
  const world = new World()
  let context: Context | undefined
  const held = heldHandler()
  const [, b] = await world.pair({
    onQuery: (_, given) => {
      context = given
      return held.handler()
    },
  })
  const stop = new AbortController()
  const asked = failure(b.query(1, { signal: stop.signal }))
  await world.clock.settle()
  stop.abort()
  await asked
  await world.clock.settle()
  expect(context?.signal.aborted).toBe(true)
  held.calls[0]?.resolve(1)
  await world.end()
})

describe('who is not there', () => {
  test('no onQuery is NO_HANDLER', async () => {
    const world = new World()
    const [a, b] = await world.pair({ handlers: { add: () => 1 } })
    expect((await failure(b.query(1))).code).toBe('NO_HANDLER')
    expect((await failure(a.query(1))).delivery).toBe('delivered')
    expect(await b.call('add')).toBe(1)
    await world.end()
  })
  test.each(['none', 'toString', '__proto__', 'constructor', 'hasOwnProperty', 'valueOf', 'get', 'size'])(
    '%s is NO_METHOD',
    async (name) => {
      const world = new World()
      const [, b] = await world.pair({ onQuery: () => 'nameless', handlers: { add: () => 1 } })
      const error = await failure(b.call(name, 1))
      expect(error.code).toBe('NO_METHOD')
      expect(error.message).toContain(name)
      await world.end()
    },
  )
  test('handlers of an object keep their `this`, and only its own names count', async () => {
    const world = new World()
    class Service {
      readonly base = 40
      inherited(): number {
        return this.base
      }
    }
    const table = {
      base: () => 40,
      sum(this: { base(): number }, n: unknown) {
        return this.base() + (n as number)
      },
    }
    const [, b] = await world.pair({ handlers: table as never })
    expect(await b.call('sum', 2)).toBe(42)
    expect(() => world.make({ handlers: new Service() as never })).toThrow(/base must be a function/)
    await world.end()
  })
  test('a handler that is named __proto__ by its own key is called', async () => {
    const world = new World()
    const table: unknown = Object.defineProperty({}, '__proto__', { value: () => 'mine', enumerable: true })
    const [, b] = await world.pair({ handlers: table as never })
    expect(await b.call('__proto__')).toBe('mine')
    await world.end()
  })
})

describe('queries from within a handler', () => {
  const nested = async (query: unknown, context: Context): Promise<number> =>
    query === 0 ? 0 : 1 + (await context.query<number>((query as number) - 1))

  test('go back and forth 50 deep, with one handler at a time', async () => {
    const world = new World()
    const onQuery = nested
    const [a, b] = await world.pair({ onQuery, limits: { handlersMax: 1 } }, { onQuery, limits: { handlersMax: 4 } })
    expect(await world.finish(b.query(15))).toBe(15)
    await world.end()
    const wide = new World()
    const [c, d] = await wide.pair({ onQuery })
    expect(await Promise.all([c.query(50), d.query(50), c.query(49)])).toEqual([50, 50, 49])
    await wide.end()
    expect([a.state, b.state]).toEqual(['closed', 'closed'])
  })

  test('have what is left of the time, and no more when they ask for more', async () => {
    const world = new World()
    const seen: number[] = []
    const held = heldHandler()
    const [, b] = await world.pair(
      {
        onQuery: async (query, context) => {
          seen.push(context.remainingMs)
          await held.handler()
          return Promise.all([
            context.query(query),
            context.query(query, { timeoutMs: 5000 }),
            context.call('inner', query, { timeoutMs: 10 }),
          ])
        },
      },
      {
        onQuery: (_, { remainingMs }) => remainingMs,
        handlers: { inner: (_, { remainingMs, method }) => [method, remainingMs] },
      },
    )
    const asked = b.query(1, { timeoutMs: 1000 })
    await world.clock.advance(300)
    held.calls[0]?.resolve(undefined)
    expect(await asked).toEqual([700, 700, ['inner', 10]])
    expect(seen).toEqual([1000])
    await world.end()
  })

  test('have no limit where the caller has none', async () => {
    const world = new World()
    const [, b] = await world.pair(
      { onQuery: (_, context) => context.query('inner') },
      { onQuery: (_, { remainingMs }) => String(remainingMs) },
    )
    expect(await b.query(1, { timeoutMs: Infinity })).toBe('Infinity')
    await world.end()
  })

  test('are cancelled together with the outer one, all the way', async () => {
    const world = new World()
    const signals: AbortSignal[] = []
    const inner = deferred<unknown>()
    const [, b] = await world.pair(
      {
        onQuery: (query, context) => {
          signals.push(context.signal)
          const asked = context.query(query)
          asked.catch(inner.resolve)
          return asked
        },
      },
      {
        onQuery: (_, { signal }) => {
          signals.push(signal)
          return new Promise(() => undefined)
        },
        drainMs: 100,
      },
    )
    const stop = new AbortController()
    const asked = failure(b.query(1, { signal: stop.signal }))
    await world.clock.settle()
    expect(signals.map((signal) => signal.aborted)).toEqual([false, false])
    stop.abort()
    expect((await asked).code).toBe('CANCELLED')
    await world.clock.settle()
    expect(signals.map((signal) => signal.aborted)).toEqual([true, true])
    expect(isPairlinkError(await inner.promise, 'CANCELLED')).toBe(true)
    await world.end()
  })

  test.each(['the outer one', 'their own signal'])('with a signal of their own are cancelled by %s', async (by) => {
    const world = new World()
    const any = vi.spyOn(AbortSignal, 'any')
    const [outer, own] = [new AbortController(), new AbortController()]
    const held = heldHandler()
    const inner: unknown[] = []
    const [a] = await world.pair({
      handlers: {
        outer: (_, context) =>
          context.call('held', 1, { signal: own.signal }).catch((error: unknown) => {
            inner.push(error)
          }),
        held: held.handler,
        echo: (input) => input,
      },
    })
    const call = a.call('outer', 1, { signal: outer.signal }).catch((error: unknown) => error)
    await world.clock.settle()
    expect(held.calls).toHaveLength(1)
    const reason = new Error('enough')
    const controller = by === 'the outer one' ? outer : own
    controller.abort(reason)
    await world.clock.settle()
    expect(inner).toMatchObject([{ code: 'CANCELLED', cause: by === 'the outer one' ? { code: 'CANCELLED' } : reason }])
    // What Node.js 20 makes of several signals is remembered by each of them for as long as it lives.
    expect(any).not.toHaveBeenCalled()
    const lasting = by === 'the outer one' ? own.signal : outer.signal
    await call
    expect(getEventListeners(lasting, 'abort')).toEqual([])
    held.calls[0]?.resolve(undefined)
    any.mockRestore()
    await world.end()
  })

  test('run out of time together with the outer one', async () => {
    const world = new World()
    const [a, b] = await world.pair(
      { onQuery: (query, context) => context.query(query) },
      { onQuery: () => new Promise(() => undefined), drainMs: 100 },
    )
    const asked = failure(b.query(1, { timeoutMs: 200 }))
    await world.clock.advance(201)
    expect((await asked).code).toBe('TIMEOUT')
    await world.clock.advance(200)
    expect(a.stats().callsOpen).toBe(0)
    await world.end()
  })

  test('their failure reaches the outer caller as REMOTE', async () => {
    const world = new World()
    const [, b] = await world.pair(
      { onQuery: (query, context) => context.query(query) },
      {
        onQuery: () => {
          throw new QueryError('INNER', 'deep')
        },
      },
    )
    const error = await failure(b.query(1))
    expect(error.code).toBe('REMOTE')
    expect(error.message).toContain('deep')
    await world.end()
  })
})

test('context.notify does not wait: the queue takes it or it fails with QUEUE_FULL', async () => {
  const world = new World()
  const gate = deferred()
  const outcomes: string[] = []
  const got: unknown[] = []
  const [, b] = await world.pair(
    {
      limits: { sendBytesMax: 400 },
      onQuery: async (_, context) => {
        for (let at = 0; at < 20; at++) {
          await context.notify(at, { method: 'tick' }).then(
            () => outcomes.push('taken'),
            (error: unknown) => outcomes.push(isPairlinkError(error) ? `${error.code} ${error.delivery}` : 'wrong'),
          )
        }
        return 'done'
      },
    },
    {
      limits: { inboxBytesMax: 300 },
      onNotify: async (message, { method }) => {
        got.push([method, message])
        await gate.promise
      },
    },
  )
  expect(await b.query(1)).toBe('done')
  const taken = outcomes.filter((outcome) => outcome === 'taken').length
  expect(taken).toBeGreaterThan(3)
  expect(taken).toBeLessThan(20)
  expect(outcomes.slice(taken).every((outcome) => outcome === 'QUEUE_FULL not-sent')).toBe(true)
  gate.resolve(undefined)
  await world.clock.advance(1000)
  expect(got).toEqual(Array.from({ length: taken }, (_, at) => ['tick', at]))
  await world.end()
})
