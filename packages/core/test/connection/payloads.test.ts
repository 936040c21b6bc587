import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { failure, World } from './world.js'

const echo = { onQuery: (query: unknown) => query, handlers: { echo: (input: unknown) => input } }

async function roundTrip(value: unknown): Promise<{ arrived: unknown; back: unknown }> {
  const world = new World()
  let arrived: unknown
  const [, b] = await world.pair({
    onQuery: (query: unknown) => {
      arrived = query
      return query
    },
  })
  const back = await b.query(value)
  await world.end()
  return { arrived, back }
}

describe('arrives as it was sent', () => {
  const own: unknown = JSON.parse('{"__proto__": {"polluted": true}, "a": 1}')
  const values: unknown[] = [
    '',
    'text',
    'ä𝄞\0\ufeff',
    '\ud800',
    'lone \udfff inside',
    'x'.repeat(200_000),
    new Uint8Array(0),
    new Uint8Array([0, 255, 1]),
    undefined,
    null,
    true,
    false,
    0,
    -1.5,
    Number.MAX_VALUE,
    Number.MIN_VALUE,
    [],
    {},
    [1, 'a', null, [true, { b: [] }]],
    { a: { b: { c: [1, 2, { d: 'ä\ud800' }] } }, '\ud800': 1, '': 2 },
    { constructor: 'mine', hasOwnProperty: 1, then: 'not a promise' },
    { toString: 1, valueOf: null },
    own,
  ]
  for (const value of values) {
    test(inspect(value, { maxStringLength: 20, breakLength: Infinity }), async () => {
      const { arrived, back } = await roundTrip(value)
      expect(arrived).toStrictEqual(value)
      expect(back).toStrictEqual(value)
    })
  }

  test('a key __proto__ stays a key of its own and pollutes nothing', async () => {
    const { back } = await roundTrip(own)
    expect(Object.keys(back as object)).toEqual(['__proto__', 'a'])
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  test('an object without prototype arrives as a plain one', async () => {
    const value = Object.assign(Object.create(null) as object, { a: 1 })
    expect((await roundTrip(value)).back).toEqual({ a: 1 })
  })

  test('the same object at two places is no circle', async () => {
    const shared = { x: 1 }
    expect((await roundTrip([shared, shared])).back).toEqual([{ x: 1 }, { x: 1 }])
  })

  test('nesting of exactly the limit', async () => {
    let value: unknown = 1
    for (let depth = 0; depth < 1000; depth++) value = [value]
    expect(JSON.stringify((await roundTrip(value)).back)).toBe(JSON.stringify(value))
  })

  test.each([
    ['Buffer', Buffer.from([1, 2, 3])],
    ['ArrayBuffer', new Uint8Array([1, 2, 3]).buffer],
    ['a part of a larger buffer', new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4)],
  ])('%s as Uint8Array', async (_, value) => {
    const { arrived, back } = await roundTrip(value)
    for (const got of [arrived, back]) {
      expect(Object.getPrototypeOf(got)).toBe(Uint8Array.prototype)
      expect([...(got as Uint8Array)]).toEqual([1, 2, 3])
    }
  })

  test('megabytes, joined, split and byte by byte', async () => {
    for (const [chunkBytes, length] of [
      [Infinity, 3_000_000],
      [1000, 300_000],
      [1, 20_000],
    ] as const) {
      const world = new World()
      world.address.chunkBytes = chunkBytes
      const [a] = await world.pair(echo)
      const bytes = new Uint8Array(length).map((_, at) => at * 7)
      expect(Buffer.compare((await a.query(bytes)) as Uint8Array, bytes)).toBe(0)
      await world.end()
    }
  })
})

describe('what JSON would change is a TypeError with its path', () => {
  class Point {
    x = 1
  }
  const circle: unknown[] = []
  circle.push({ circle })
  let deep: unknown = 1
  for (let depth = 0; depth < 1001; depth++) deep = [deep]
  let veryDeep: unknown = 1
  for (let depth = 0; depth < 200_000; depth++) veryDeep = { a: veryDeep }

  const holes = [1, , 3]
  const named = Object.assign([1, 2], { name: 'x' })
  const hiddenHole = Object.assign([1, , 3], { name: 'x' })
  const cases: [string, unknown, string][] = [
    ['NaN', Number.NaN, 'payload'],
    ['Infinity', { a: Infinity }, 'payload.a'],
    ['-0', [-0], 'payload[0]'],
    ['undefined in an object', { a: undefined }, 'payload.a'],
    ['undefined in an array', [undefined], 'payload[0]'],
    ['Date', { at: new Date(0) }, 'payload.at'],
    ['an invalid Date', new Date(Number.NaN), 'payload'],
    ['Map', { list: [0, new Map()] }, 'payload.list[1]'],
    ['Set', new Set(), 'payload'],
    ['RegExp', /x/, 'payload'],
    ['Error', new Error('x'), 'payload'],
    ['bytes inside JSON', { image: new Uint8Array(1) }, 'payload.image: Uint8Array inside JSON'],
    ['Buffer inside JSON', { image: Buffer.alloc(1) }, 'payload.image: Buffer inside JSON'],
    ['ArrayBuffer inside JSON', [new ArrayBuffer(1)], 'payload[0]'],
    ['Float64Array', new Float64Array(1), 'payload'],
    ['DataView', new DataView(new ArrayBuffer(1)), 'payload'],
    ['a class instance', { p: new Point() }, 'payload.p: Point inside JSON'],
    ['a boxed string', [new String('x')], 'payload[0]'],
    ['toJSON', { a: { toJSON: () => 1 } }, 'payload.a'],
    ['a symbol as key', { a: { [Symbol('s')]: 1 } }, 'payload.a'],
    ['a symbol as key of an array', Object.assign([1], { [Symbol('s')]: 1 }), 'payload'],
    ['a symbol', [Symbol('s')], 'payload[0]: symbol inside JSON'],
    ['an array with holes', { a: holes }, 'payload.a'],
    ['an array with names', named, 'payload'],
    ['an array with as many names as holes', hiddenHole, 'payload'],
    ['a circle', circle, 'payload'],
    ['1,001 levels', deep, 'payload: nested more than 1000 deep'],
    ['200,000 levels', veryDeep, 'payload: nested more than 1000 deep'],
    ['bigint', { n: 1n }, 'payload.n: bigint inside JSON'],
    ['a function', () => 1, 'payload: function inside JSON'],
    ['a promise', { a: Promise.resolve(1) }, 'payload.a: Promise inside JSON'],
  ]
  for (const [name, value, path] of cases) {
    test(name, async () => {
      const world = new World()
      const [a] = await world.pair(echo)
      for (const attempt of [() => a.query(value), () => a.call('echo', value), () => a.notify(value)]) {
        const error: unknown = await failure(attempt())
        expect(error).toBeInstanceOf(TypeError)
        expect((error as Error).message.replace(/^message/, 'payload')).toContain(path)
      }
      expect(await a.query('still')).toBe('still')
      await world.end()
    })
  }

  test('also before there is a peer', async () => {
    const world = new World()
    expect(await failure(world.make().query(1n, { whenApart: 'wait' }))).toBeInstanceOf(TypeError)
    await world.end()
  })

  test('a getter that throws, as it threw', async () => {
    const world = new World()
    const [a] = await world.pair(echo)
    const fault = new Error('getter')
    const value = {
      get x(): number {
        throw fault
      },
    }
    expect(await failure(a.query(value))).toBe(fault)
    await world.end()
  })
})

describe('the bytes of the caller', () => {
  test.each([1, 100, 10_000, 1_000_000])('%d of them may be changed right after the call', async (length) => {
    const world = new World()
    const [a] = await world.pair(echo)
    const bytes = new Uint8Array(length).fill(7)
    const view = bytes.slice()
    const asked = a.query(bytes)
    const called = a.call('echo', bytes.buffer)
    bytes.fill(0)
    expect(Buffer.compare((await asked) as Uint8Array, view)).toBe(0)
    expect(Buffer.compare((await called) as Uint8Array, view)).toBe(0)
    await world.end()
  })

  test('may be changed while the call waits for a peer', async () => {
    const world = new World()
    const a = world.make(echo)
    const b = world.make(echo)
    const bytes = new Uint8Array(10).fill(7)
    const asked = a.query(bytes, { whenApart: 'wait' })
    bytes.fill(0)
    await world.finish(Promise.all([a.connect(), b.connect()]))
    expect(await asked).toEqual(new Uint8Array(10).fill(7))
    await world.end()
  })

  const kinds: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ['a Uint8Array', (bytes) => bytes.slice()],
    ['a Buffer, whose slice does not copy', (bytes) => Buffer.from(bytes)],
    ['a part of a Buffer', (bytes) => Buffer.concat([bytes, bytes]).subarray(0, bytes.length)],
    ['bytes of a class with a slice of its own', (bytes) => Object.assign(bytes.slice(), { slice: () => bytes })],
  ]

  test.each(kinds)('may be changed while the call waits for room: %s', async (_, make) => {
    const world = new World()
    const heard: unknown[] = []
    const limits = { sendBytesMax: 100_000 }
    const [, b] = await world.pair({ ...echo, limits, onNotify: (message: unknown) => void heard.push(message) })
    world.pipe[1].stalled = true
    const results: Promise<unknown>[] = []
    const sizes = [60_000, 60_000, 60_000, 500_000, 10, 500]
    for (const [at, size] of sizes.entries()) {
      const bytes = make(new Uint8Array(size).fill(at + 1))
      results.push(b.query(bytes), b.notify(bytes))
      bytes.fill(0)
      await world.clock.settle()
    }
    expect(b.stats().session?.callsWaiting).toBeGreaterThan(0)
    world.pipe[1].release()
    const answers = await world.finish(Promise.all(results))
    const sums = (values: unknown[]): number[][] => values.map((value) => [...new Set(value as Uint8Array)])
    expect(sums(answers.filter((answer) => answer !== undefined))).toEqual(sizes.map((_size, at) => [at + 1]))
    expect(sums(heard)).toEqual(sizes.map((_size, at) => [at + 1]))
    await world.end()
  })

  test.each(kinds)('that were lent and taken back are sent again as they were: %s', async (_, make) => {
    const world = new World()
    const heard: unknown[] = []
    const [, b] = await world.pair({ ...echo, onNotify: (message: unknown) => void heard.push(message) })
    const [pipe] = world.pipe
    world.pipe[1].stalled = true
    const stop = new AbortController()
    const taken = [5000, 50_000].map(async (size) => {
      const bytes = make(new Uint8Array(size).fill(7))
      const { code } = await failure(b.notify(bytes, { borrow: true, signal: stop.signal }))
      bytes.fill(0)
      return code
    })
    await world.clock.settle()
    stop.abort()
    pipe.destroy()
    expect(await world.finish(Promise.all(taken))).toEqual(['CANCELLED', 'CANCELLED'])
    await world.clock.advance(1000)
    expect(b.state).toBe('paired')
    expect(heard.map((bytes) => [(bytes as Uint8Array).length, ...new Set(bytes as Uint8Array)])).toEqual([
      [5000, 7],
      [50_000, 7],
    ])
    await world.end()
  })

  test('are free again once a borrowing call has settled', async () => {
    const world = new World()
    const [a] = await world.pair(echo)
    const bytes = new Uint8Array(500_000).fill(7)
    const answer = (await a.query(bytes, { borrow: true })) as Uint8Array
    bytes.fill(0)
    expect(answer.every((byte) => byte === 7)).toBe(true)
    await world.end()
  })

  test('that a handler gets are its own, also when what follows is read into the same buffer', async () => {
    const world = new World()
    const kept: Uint8Array[] = []
    const [a] = await world.pair({ onQuery: (query: unknown) => void kept.push(query as Uint8Array) })
    for (let at = 0; at < 50; at++) await a.query(new Uint8Array(20).fill(at))
    expect(kept.map((bytes) => [...new Set(bytes)])).toEqual(Array.from({ length: 50 }, (_, at) => [at]))
    await world.end()
  })
})
