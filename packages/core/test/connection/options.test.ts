import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { Connection } from '../../src/index.js'
import { failure, World } from './world.js'

const transport = new World().address.transport()
const make = (options: object): unknown => new Connection({ transport, secret: 's', ...options } as never)

describe('a wrong option is a TypeError that names it', () => {
  const cases: [object, RegExp][] = [
    [{ transport: undefined }, /^transport is required/],
    [{ transport: null }, /^transport is required/],
    [{ transport: { dial: () => undefined } }, /^transport is required/],
    [{ secret: undefined }, /^secret is required/],
    [{ secret: '' }, /^secret is required/],
    [{ secret: new Uint8Array(0) }, /^secret is required/],
    [{ secret: 7 }, /^secret is required/],
    [{ onQuery: 'no' }, /^onQuery must be a function/],
    [{ onQuery: null }, /^onQuery must be a function/],
    [{ onNotify: {} }, /^onNotify must be a function/],
    [{ handlers: 7 }, /^handlers must be an object/],
    [{ handlers: null }, /^handlers must be an object/],
    [{ handlers: { add: 7 } }, /add must be a function/],
    [{ handlers: { add: undefined } }, /add must be a function/],
    [{ handlers: { '': () => 1 } }, /^handlers/],
    [{ handlers: { ['x'.repeat(256)]: () => 1 } }, /^handlers/],
    [{ queryTimeoutMs: 0 }, /^queryTimeoutMs/],
    [{ queryTimeoutMs: -1 }, /^queryTimeoutMs/],
    [{ queryTimeoutMs: Number.NaN }, /^queryTimeoutMs/],
    [{ queryTimeoutMs: '5' }, /^queryTimeoutMs/],
    [{ keepaliveMs: Infinity }, /^keepaliveMs/],
    [{ silenceMs: 0 }, /^silenceMs/],
    [{ keepaliveMs: 1000, silenceMs: 2999 }, /^silenceMs \(2999\) .* keepaliveMs \(1000\)/],
    [{ handshakeTimeoutMs: 2 ** 31 }, /^handshakeTimeoutMs/],
    [{ drainMs: -1 }, /^drainMs/],
    [{ drainMs: Infinity }, /^drainMs/],
    [{ reconnect: true }, /^reconnect must be an object/],
    [{ reconnect: null }, /^reconnect must be an object/],
    [{ reconnect: { maxRetries: -1 } }, /^reconnect\.maxRetries/],
    [{ reconnect: { maxRetries: 1.5 } }, /^reconnect\.maxRetries/],
    [{ reconnect: { delayMs: 0 } }, /delayMs/],
    [{ reconnect: { delay: 5 } }, /^Unknown option of reconnect 'delay'; did you mean 'delayMs'\?/],
    [{ whenApart: 'maybe' }, /^whenApart must be 'reject' or 'wait'/],
    [{ about: 'x'.repeat(199) }, /^about takes 201 bytes/],
    [{ about: () => 1 }, /^about/],
    [{ about: 1n }, /^about/],
    [{ exposeErrors: 1 }, /^exposeErrors/],
    [{ logQueries: 'yes' }, /^logQueries/],
    [{ logKeepalives: 0 }, /^logKeepalives/],
    [{ logger: console.log }, /^logger must/],
    [{ logger: null }, /^logger must/],
    [{ logger: {} }, /^logger must/],
    [{ limits: 5 }, /^limits must be an object/],
    [{ limits: { handlersMax: 0 } }, /^limits\.handlersMax must be a whole number from 1 to 4096, not 0/],
    [{ limits: { fragmentBytes: 100 } }, /^limits\.fragmentBytes/],
    [{ limits: { messageBytesMax: 1.5 } }, /^limits\.messageBytesMax/],
    [
      { limits: { messageBytesMax: 1000, reassemblyBytesMax: 10 } },
      /^limits\.reassemblyBytesMax .*limits\.messageBytesMax/,
    ],
    [{ limits: { messageByteMax: 5 } }, /^Unknown limit 'messageByteMax'; did you mean 'messageBytesMax'\?/],
    [{ queryTimeout: 5 }, /^Unknown option 'queryTimeout'; did you mean 'queryTimeoutMs'\?/],
    [{ onquery: () => 1 }, /^Unknown option 'onquery'; did you mean 'onQuery'\?/],
    [{ zzzzzzzz: 1 }, /^Unknown option 'zzzzzzzz'$/],
  ]
  for (const [options, message] of cases) {
    test(inspect(options, { breakLength: Infinity, maxStringLength: 30 }), () => {
      expect(() => make(options)).toThrow(TypeError)
      expect(() => make(options)).toThrow(message)
    })
  }

  test.each([undefined, null, 5, 'unix:/x'])('options that are %s', (options) => {
    expect(() => new Connection(options as never)).toThrow(TypeError)
  })
})

test('the least and the most that options may be are taken', () => {
  make({ drainMs: 0, queryTimeoutMs: Infinity, reconnect: false, about: 'x'.repeat(198), secret: new Uint8Array(1) })
  make({ reconnect: {}, keepaliveMs: 1000, silenceMs: 3000, limits: { handlersMax: 4096, strangersMax: 1 } })
  make({ onQuery: undefined, handlers: undefined, limits: undefined, logger: undefined, reconnect: undefined })
  make({ handlers: { ['x'.repeat(255)]: () => 1 } })
})

test('a long keepalive moves the default of silence along', async () => {
  const world = new World()
  await world.pair({ keepaliveMs: 60_000 })
  await world.end()
})

test('wrong options of a call, of connect, of paired and of close are rejections with a TypeError', async () => {
  const world = new World()
  const [a] = await world.pair({ onQuery: () => 1 })
  const attempts: [() => Promise<unknown>, RegExp][] = [
    [() => a.query(1, { timeout: 5 } as never), /Unknown option of a call 'timeout'; did you mean 'timeoutMs'\?/],
    [() => a.query(1, { timeoutMs: -1 }), /timeoutMs/],
    [() => a.query(1, { timeoutMs: Number.NaN }), /timeoutMs/],
    [() => a.query(1, { signal: 5 } as never), /signal must be an AbortSignal/],
    [() => a.query(1, { borrow: 1 } as never), /borrow/],
    [() => a.query(1, { whenApart: 'maybe' } as never), /whenApart/],
    [() => a.query(1, null as never), /options of a call/],
    [() => a.query(1, { method: 'x' } as never), /Unknown option of a call 'method'/],
    [() => a.call(5 as never, 1), /method must be a string/],
    [() => a.call('x'.repeat(256), 1), /method name of 256 bytes/],
    [() => a.notify(1, { method: 5 } as never), /method must be a string/],
    [() => a.notify(1, { metod: 'x' } as never), /did you mean 'method'/],
    [() => a.connect({ until: 'never' } as never), /until/],
    [() => a.connect({ timeout: 1 } as never), /did you mean 'timeoutMs'/],
    [() => a.connect({ signal: {} } as never), /signal/],
    [() => a.connect(null as never), /options of connect/],
    [() => a.paired({ until: 'started' } as never), /Unknown option of paired 'until'/],
    [() => a.close({ drainMs: Infinity }), /drainMs/],
    [() => a.close({ drain: 5 } as never), /did you mean 'drainMs'/],
  ]
  for (const [attempt, message] of attempts) {
    const error: unknown = await failure(attempt())
    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).message).toMatch(message)
  }
  expect(a.state).toBe('paired')
  await world.end()
})

test('an empty method is a TypeError for call, since it would be a nameless query', async () => {
  const world = new World()
  const [a] = await world.pair({ onQuery: () => 'nameless' })
  expect(await failure(a.call('', 1))).toBeInstanceOf(TypeError)
  await world.end()
})

test('the secret is in no inspect, stats, error or log, also when the logger records everything', async () => {
  const secret = 'correct-horse-battery'
  const world = new World()
  const seen: unknown[] = []
  const options = {
    secret,
    logQueries: true,
    logKeepalives: true,
    onQuery: () => {
      throw new Error('broken')
    },
  }
  const [a, b] = await world.pair(options)
  const wrong = world.make({ ...options, secret: `${secret}-wrong` })
  seen.push(await failure(wrong.connect()), await failure(a.query('x')), await failure(b.call('none')))
  seen.push(await failure(a.query({ secret: Number.NaN })), await failure(wrong.query(1)))
  await world.clock.advance(10_000)
  for (const connection of [a, b, wrong]) {
    seen.push(
      inspect(connection, { depth: Infinity, showHidden: true, getters: true }),
      connection.stats(),
      connection.peer,
    )
  }
  try {
    new Connection({ transport, secret: [secret] as never })
  } catch (error) {
    seen.push(error)
  }
  try {
    new Connection({ transport, secret, onQuery: 5 as never })
  } catch (error) {
    seen.push(error)
  }
  await world.end()
  expect(world.logs.length).toBeGreaterThan(5)
  const text = inspect([seen, world.logs], {
    depth: Infinity,
    showHidden: true,
    maxArrayLength: Infinity,
    maxStringLength: Infinity,
  })
  expect(text).not.toContain('correct-horse')
  const bytes = [...Buffer.from(secret)].join(', ')
  expect(text).not.toContain(bytes)
})

test('the bytes of a secret may be changed after the constructor', async () => {
  const world = new World()
  const secret = new Uint8Array([1, 2, 3])
  const a = world.make({ secret })
  secret.fill(0)
  const b = world.make({ secret: new Uint8Array([1, 2, 3]) })
  await world.finish(Promise.all([a.connect(), b.connect()]))
  await world.end()
})

test('a secret as text and the same as its UTF-8 bytes are one', async () => {
  const world = new World()
  await world.pair({ secret: 'ä' }, { secret: new Uint8Array([0xc3, 0xa4]) })
  await world.end()
})

test('about reaches the peer, as JSON gives it', async () => {
  const world = new World()
  const [a, b] = await world.pair({ about: { version: '2.1' } }, {})
  expect(b.peer?.about).toEqual({ version: '2.1' })
  expect(a.peer?.about).toBeUndefined()
  expect(a.peer?.instance).toMatch(/^[0-9a-f]{32}$/)
  await world.end()
})
