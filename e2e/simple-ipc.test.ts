/**
 * The faults that were seen in simple-ipc, the Go library that pairlink has grown from, one by one: each test is named after
 * the fault, and shows what pairlink does instead. The page "Coming from simple-ipc" names these tests.
 *
 * Most pairs live in this process, at a unix path; where something must crash there are processes. What simple-ipc itself
 * says comes from conversations that were recorded, in `fixtures/simple-ipc`.
 */
import { once } from 'node:events'
import { chmodSync, copyFileSync, existsSync, readFileSync, statSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import {
  Connection,
  type ConnectionEvents,
  type ConnectionOptions,
  type Context,
  type PairlinkError,
  type Transport,
} from '@pairlink/core'
import { aes256gcm, generateKey, loadKey, saveKey } from '@pairlink/crypto'
import { tcp, unix } from '@pairlink/transport-net'
import { afterEach, expect, test } from 'vitest'
import { pairAt, PairPeer } from './pair.js'
import { folder, Peer, repository, until } from './processes.js'
import { Wiretap } from './wiretap.js'
import { unusedPort } from './ports.js'

const SECRET = 'secret'
const fixtures = join(repository, 'e2e/fixtures/simple-ipc')
const quiet = { error: () => undefined }

type Options = Partial<ConnectionOptions>
const opened = new Set<Connection>()
const sockets = new Set<Socket>()

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await Promise.all([...opened].map((connection) => connection.close({ drainMs: 0 })))
  opened.clear()
  sockets.clear()
})

function connection(place: string | Transport, options: Options = {}): Connection {
  const transport = typeof place === 'string' ? unix(place) : place
  const made = new Connection({ secret: SECRET, logger: quiet, ...options, transport })
  opened.add(made)
  return made
}

async function listening(place: string | Transport, options: Options = {}): Promise<Connection> {
  const made = connection(place, options)
  await made.connect({ until: 'started' })
  return made
}

async function meets(one: Connection, other: Connection): Promise<void> {
  await Promise.all([one.paired({ timeoutMs: 10_000 }), other.connect({ timeoutMs: 10_000 })])
}

/** One that listens and one that has dialled it, at the same path or through a wiretap. */
async function pair(ofListener: Options = {}, ofDialer: Options = {}): Promise<[Connection, Connection, string]> {
  const path = join(folder(), 's')
  const listener = await listening(path, ofListener)
  const dialer = connection(path, ofDialer)
  await meets(listener, dialer)
  return [listener, dialer, path]
}

async function tappedPair(
  ofListener: Options = {},
  ofDialer: Options = {},
): Promise<[Connection, Connection, Wiretap, string]> {
  const path = join(folder(), 's')
  const listener = await listening(path, ofListener)
  const wiretap = await Wiretap.to(path)
  const dialer = connection(wiretap.path, ofDialer)
  await meets(listener, dialer)
  return [listener, dialer, wiretap, path]
}

function next<Name extends keyof ConnectionEvents>(of: Connection, name: Name): Promise<ConnectionEvents[Name]> {
  return new Promise((resolve) => {
    const stop = of.on(name, (event) => {
      stop()
      resolve(event)
    })
  })
}

/** What a promise fails with. @throws Error when it does not fail */
async function failure(promise: Promise<unknown>): Promise<PairlinkError> {
  const result = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('error' in result) return result.error as PairlinkError
  throw new Error(`It should have failed, and gave ${JSON.stringify(result.value)}`)
}

/** Writes bytes to the path and gives what comes back until the end. */
function stranger(path: string, bytes: Uint8Array): Promise<Buffer> {
  const socket = connect(path)
  sockets.add(socket)
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => undefined)
  const answer = new Promise<Buffer>((resolve) => {
    socket.once('close', () => {
      resolve(Buffer.concat(chunks))
    })
  })
  socket.write(bytes)
  return answer
}

/** What one side of simple-ipc wrote in a recorded conversation: lines of base64. */
function recorded(scenario: string, side: 'client' | 'server'): Buffer {
  const lines = readFileSync(join(fixtures, `${scenario}.jsonl`), 'utf8')
    .trim()
    .split('\n')
  const said = lines
    .map((line) => JSON.parse(line) as { from?: string; line?: string })
    .filter(({ from }) => from === side)
  if (said.length === 0) throw new Error(`${scenario}.jsonl has nothing that the ${side} said`)
  return Buffer.from(said.map(({ line }) => `${line}\n`).join(''))
}

/** A promise and what settles it, for handlers that last until the test says so. */
function latch(): { readonly opened: Promise<void>; open: () => void } {
  let open = (): void => undefined
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened: promise, open }
}

test('two messages that arrive in one read lose the second: both are handled', async () => {
  const handled: unknown[] = []
  const onQuery = (query: unknown): unknown => {
    handled.push(query)
    return query
  }
  const [, dialer, wiretap] = await tappedPair({ onQuery })
  wiretap.holdUntil((heard) => heard.includes('the first') && heard.includes('the second'))
  const answers = await Promise.all([dialer.query('the first'), dialer.query('the second')])
  expect(answers).toEqual(['the first', 'the second'])
  expect(handled).toEqual(['the first', 'the second'])
})

test('a handler that queries back deadlocks: both sides ask each other out of handlers, ten deep', async () => {
  const handlers = {
    down: async (depth: unknown, context: Context): Promise<number> =>
      depth === 0 ? 0 : 1 + ((await context.call('down', Number(depth) - 1)) as number),
  }
  // By the context of the handler, and as in simple-ipc by the connection itself.
  const [listener, dialer]: [Connection, Connection, string] = await pair(
    { handlers, onQuery: () => listener.call('down', 9) },
    { handlers, onQuery: () => dialer.call('down', 9) },
  )
  expect(await Promise.all([listener.call('down', 10), dialer.call('down', 10)])).toEqual([10, 10])
  expect(await Promise.all([listener.query('go'), dialer.query('go')])).toEqual([9, 9])
})

test('a slow handler starves keepalive and kills the link: signs of life go on, and others are answered', async () => {
  const enough = latch()
  const released = latch()
  let signs = 0
  const logger = {
    ...quiet,
    debug: (_: unknown, message: string) => {
      if (message === 'keepalive' && ++signs === 10) enough.open()
    },
  }
  // Ten signs, one each 50 ms at most, take longer than the silence that would end the link.
  const options: Options = {
    keepaliveMs: 50,
    silenceMs: 200,
    logKeepalives: true,
    handlers: {
      slow: async () => {
        await released.opened
        return 'done'
      },
      quick: () => 'at once',
    },
  }
  const [listener, dialer] = await pair({ ...options, logger }, options)
  const losses: unknown[] = []
  for (const one of [listener, dialer]) one.on('apart', (event) => losses.push(event))
  const startedAt = performance.now()
  const slow = dialer.call('slow')
  await enough.opened
  expect(performance.now() - startedAt).toBeGreaterThan(200)
  expect(await dialer.call('quick')).toBe('at once')
  released.open()
  expect(await slow).toBe('done')
  expect(losses).toEqual([])
})

test('an empty reply crashes the caller: it is an empty answer, and the next query is answered', async () => {
  const replies: Record<string, unknown> = { nothing: undefined, text: '', bytes: new Uint8Array(0), more: 'more' }
  const [listener, dialer] = await pair(
    { onQuery: (query) => replies[query as string] },
    { onQuery: (query) => replies[query as string] },
  )
  for (const asker of [listener, dialer]) {
    expect(await asker.query('nothing')).toBeUndefined()
    expect(await asker.query('text')).toBe('')
    expect(await asker.query('bytes')).toEqual(new Uint8Array(0))
    expect(await asker.query('more')).toBe('more')
  }
})

test('after the last retry the loop spins: the connection ends after the last look, and the process with it', async () => {
  const path = join(folder(), 's')
  const reconnect = { maxRetries: 3, delayMs: 20, jitter: false }
  const [listener, dialer] = await pairAt(path, { failover: false, reconnect })
  dialer.child.stdin?.end() // from here on the connection alone keeps it
  listener.kill()
  const closed = await dialer.next('closed')
  expect(closed['error']).toMatchObject({ code: 'RETRIES_EXHAUSTED' })
  // A loop that went on would keep the process alive.
  await dialer.endsWell()
  const looks = dialer.all('apart').length
  expect(looks).toBeGreaterThan(0)
  expect(looks).toBeLessThanOrEqual(1 + reconnect.maxRetries)
})

test('two processes that start together can both fail: they pair each time', async () => {
  for (let round = 0; round < 5; round++) {
    const path = join(folder(), 's')
    const peers = [new PairPeer(path, {}, 'one'), new PairPeer(path, {}, 'other')] as const
    await Promise.all(peers.map((peer) => peer.next('ready')))
    await Promise.all(peers.map((peer) => peer.result('connect', {}, 10_000)))
    const paired = await Promise.all(peers.map((peer) => peer.next('paired')))
    expect(paired.map((report) => report['role']).sort()).toEqual(['dialer', 'listener'])
    expect(await peers[0].result('call', { method: 'pid' })).toBe(peers[1].pid)
    await Promise.all(peers.map((peer) => peer.result('close')))
    await Promise.all(peers.map((peer) => peer.endsWell()))
  }
})

test('a socket file left by a killed process blocks the address for ever: the next one takes it over', async () => {
  const path = join(folder(), 's')
  const killed = new PairPeer(path, {}, 'killed')
  await killed.result('connect', { until: 'started' })
  killed.kill()
  await killed.ended
  expect(statSync(path).isSocket()).toBe(true)
  expect((await failure(once(connect(path), 'connect'))).code).toBe('ECONNREFUSED')
  const listener = await listening(path, { onQuery: () => 'world' })
  const dialer = connection(path)
  await meets(listener, dialer)
  expect(await dialer.query('hello')).toBe('world')
})

test('a third process hangs: it is told that two are paired', async () => {
  const [listener, dialer, path] = await pair({ onQuery: () => 'world' })
  const refused = next(listener, 'refused')
  const error = await failure(connection(path).connect({ timeoutMs: 5000 }))
  expect(error.code).toBe('PAIR_BUSY')
  expect((await refused).reason).toBe('busy')
  expect(await dialer.query('hello')).toBe('world')
})

test('a third process blocks everybody by saying nothing: two others meet meanwhile', async () => {
  const path = join(folder(), 's')
  const listener = await listening(path, { onQuery: () => 'world' })
  const silent = connect(path).on('error', () => undefined)
  sockets.add(silent)
  await once(silent, 'connect')
  await until(
    () => listener.stats().strangers === 1,
    'the listener has accepted the silent one',
    () => JSON.stringify(listener.stats()),
  )
  const dialer = connection(path)
  await meets(listener, dialer)
  expect(await dialer.query('hello')).toBe('world')
  expect(listener.stats().strangers).toBe(1) // it was there all the time
})

/** A secret that cannot be in random bytes by accident, in every form in which it might be written. */
const LONG_SECRET = 'a secret that is long enough to be found'
const forms = (text: string): (string | Buffer)[] => {
  const bytes = Buffer.from(text)
  return [bytes, ...(['hex', 'base64', 'base64url', 'utf16le'] as const).map((encoding) => bytes.toString(encoding))]
}

test('the secret goes in clear to whoever listens: not a byte of it is on the wire', async () => {
  const lines = recorded('plain', 'client').toString().split('\n')
  expect(lines.some((line) => Buffer.from(line, 'base64').includes(SECRET))).toBe(true) // so it was in simple-ipc

  const onQuery = (): string => 'world'
  const [, dialer, wiretap] = await tappedPair({ secret: LONG_SECRET, onQuery }, { secret: LONG_SECRET })
  expect(await dialer.query('hello')).toBe('world')
  const heard = Buffer.concat([...wiretap.fromDialer, ...wiretap.fromListener])
  expect(heard.includes('hello')).toBe(true) // without encryption the rest can be read
  for (const form of forms(LONG_SECRET)) expect(heard.includes(form)).toBe(false)
})

test('the secret goes in clear to whoever listens: a simple-ipc server at the address gets a greeting and no more', async () => {
  const path = join(folder(), 's')
  const heard: Buffer[] = []
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('data', (chunk: Buffer) => heard.push(chunk))
    socket.once('data', () => socket.write(recorded('plain', 'server')))
  }).listen(path)
  try {
    await once(server, 'listening')
    const error = await failure(connection(path, { secret: LONG_SECRET }).connect({ timeoutMs: 5000 }))
    expect(error.code).toBe('NOT_PAIRLINK')
    const bytes = Buffer.concat(heard)
    expect(bytes.subarray(0, 4)).toEqual(Buffer.from('PLNK'))
    for (const form of forms(LONG_SECRET)) expect(bytes.includes(form)).toBe(false)
  } finally {
    server.close()
  }
})

test('the secret is printed in the debug log: neither it nor a payload is logged, whatever is switched on', async () => {
  const logged: string[] = []
  const log = (fields: object, message: string): void => {
    const shown: Record<string, unknown> = { message, ...fields }
    logged.push(JSON.stringify(shown, (_, value: unknown) => (value instanceof Error ? String(value.stack) : value)))
  }
  const options: Options = {
    secret: LONG_SECRET,
    logger: { error: log, warn: log, info: log, debug: log },
    logQueries: true,
    logKeepalives: true,
    onQuery: (query) => query,
  }
  const [listener, dialer, path] = await pair(options, options)
  expect(await dialer.query('a payload of nobody else')).toBe('a payload of nobody else')
  const refused = next(listener, 'refused')
  const wrong = connection(path, { ...options, secret: 'another secret, which is wrong' })
  expect((await failure(wrong.connect({ timeoutMs: 5000 }))).code).toBe('SECRET_MISMATCH')
  await refused
  expect(logged.some((line) => line.includes('query'))).toBe(true)
  for (const line of logged) {
    for (const form of forms(LONG_SECRET)) expect(line).not.toContain(form.toString())
    expect(line).not.toContain('another secret')
    expect(line).not.toContain('a payload of nobody else')
  }
})

test('TCP binds every interface: only the loopback address answers, and more is refused without encryption', async (ctx) => {
  if (process.platform !== 'linux') {
    console.log('SKIPPED TCP binds every interface: only Linux has all of 127/8 on its loopback interface')
    ctx.skip()
  }
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const others = [
    '127.0.0.2',
    ...own.filter((at) => !at.internal && at.family === 'IPv4').map(({ address }) => address),
  ]
  const reached = async (port: number): Promise<string[]> => {
    const tries = ['127.0.0.1', ...others].map(async (host) => {
      const socket = connect({ port, host }).on('error', () => undefined)
      sockets.add(socket)
      return await once(socket, 'connect').then(
        () => [host],
        () => [],
      )
    })
    return (await Promise.all(tries)).flat()
  }
  // What simple-ipc does with a port alone; so the test would see it.
  const everywhere = createServer((socket) => socket.destroy()).listen(0, '0.0.0.0')
  await once(everywhere, 'listening')
  expect(await reached((everywhere.address() as AddressInfo).port)).toEqual(['127.0.0.1', ...others])
  everywhere.close()

  const port = await unusedPort()
  await listening(tcp({ port }))
  expect(await reached(port)).toEqual(['127.0.0.1'])
  for (const allowNetwork of [false, true]) {
    const wide = connection(tcp({ port: await unusedPort(), host: '0.0.0.0', allowNetwork }))
    expect((await failure(wide.connect({ until: 'started', timeoutMs: 5000 }))).code).toBe('NOT_LOCAL')
  }
})

const modes: [mode: string, options: () => Options][] = [
  ['without encryption', () => ({})],
  ['with encryption', () => ({ encryption: aes256gcm(generateKey()) })],
]

test.each(modes)('frames can be replayed: a recorded conversation is worth nothing later, %s', async (_, options) => {
  const handled: unknown[] = []
  const both = options()
  const onQuery = (query: unknown): string => `${handled.push(query)}`
  const [listener, dialer, wiretap, path] = await tappedPair({ ...both, onQuery }, both)
  expect(await dialer.query('pay')).toBe('1')
  const conversation = Buffer.concat(wiretap.fromDialer)
  await dialer.close()
  const refused = next(listener, 'refused')
  const answer = stranger(path, conversation)
  expect(['secret', 'protocol']).toContain((await refused).reason)
  await answer
  expect(handled).toEqual(['pay'])

  const successor = connection(path, both)
  await meets(listener, successor)
  expect(await successor.query('pay again')).toBe('2')
})

test('frames can be replayed: with encryption a frame that comes twice ends the link and is handled once', async () => {
  const handled: unknown[] = []
  const encryption = aes256gcm(generateKey())
  const onQuery = (query: unknown): string => `${handled.push(query)}`
  const [listener, dialer, wiretap] = await tappedPair({ encryption, onQuery }, { encryption })
  wiretap.forget()
  expect(await dialer.query('pay')).toBe('1')
  const apart = next(listener, 'apart')
  const again = next(listener, 'paired')
  wiretap.toListener(Buffer.concat(wiretap.fromDialer))
  expect((await apart).error?.code).toBe('PROTOCOL')
  await again
  expect(await dialer.query('another', { whenApart: 'wait' })).toBe('2')
  expect(handled).toEqual(['pay', 'another'])
})

test.each(modes)('frames can be reflected: who meets its own bytes pairs with nobody, %s', async (_, options) => {
  const path = join(folder(), 's')
  const mirror = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).pipe(socket)
  }).listen(path)
  try {
    await once(mirror, 'listening')
    const alone = connection(path, options())
    const events: string[] = []
    alone.on('paired', () => events.push('paired'))
    const error = await failure(alone.connect({ timeoutMs: 5000 }))
    expect(['SELF', 'PROTOCOL', 'SECRET_MISMATCH']).toContain(error.code)
    expect(events).toEqual([])
  } finally {
    mirror.close()
  }
})

test('frames can be reflected: with encryption one that comes back ends the link and is not handled', async () => {
  const handled: string[] = []
  const encryption = aes256gcm(generateKey())
  const by = (name: string): Options => ({ encryption, onQuery: () => `${handled.push(name)}` })
  const [, dialer, wiretap] = await tappedPair(by('listener'), by('dialer'))
  wiretap.forget()
  expect(await dialer.query('pay')).toBe('1')
  const apart = next(dialer, 'apart')
  const again = next(dialer, 'paired')
  wiretap.toDialer(Buffer.concat(wiretap.fromDialer))
  expect((await apart).error?.code).toBe('PROTOCOL')
  await again
  expect(await dialer.query('another', { whenApart: 'wait' })).toBe('2')
  expect(handled).toEqual(['listener', 'listener'])
})

test('the key file is world-readable: it is written for its owner alone, and one that others can read is refused', async () => {
  const made = join(folder(), 'made.key')
  saveKey(made, generateKey())
  expect(statSync(made).mode & 0o777).toBe(0o600)
  expect(loadKey(made)).toHaveLength(32)

  // As simple-ipc writes it: the format is the same, so an old key can be taken along by name.
  const old = join(folder(), 'old.key')
  copyFileSync(join(fixtures, 'interop.key'), old)
  chmodSync(old, 0o644)
  expect(() => loadKey(old)).toThrow(expect.objectContaining({ code: 'KEY_INVALID', reason: 'shared' }))
  const key = loadKey(old, { allowShared: true })
  expect(Buffer.from(key)).toEqual(readFileSync(join(fixtures, 'interop.key')))
  const encryption = aes256gcm(key)
  const [, dialer, wiretap] = await tappedPair({ encryption, onQuery: () => 'world' }, { encryption })
  expect(await dialer.query('hello')).toBe('world')
  const heard = Buffer.concat([...wiretap.fromDialer, ...wiretap.fromListener])
  expect(heard.includes('hello') || heard.includes('world')).toBe(false)
})

test('Close() does nothing while no peer is there: it ends the waiting, and the address is free', async () => {
  const path = join(folder(), 's')
  const alone = await listening(path)
  expect(existsSync(path)).toBe(true)
  const waiting = failure(alone.paired())
  await alone.close()
  expect((await waiting).code).toBe('CLOSED')
  expect(alone.state).toBe('closed')
  expect(existsSync(path)).toBe(false)

  const [listener, dialer] = [await listening(path), connection(path)]
  await meets(listener, dialer)
  expect(listener.role).toBe('listener')
})

test('a message has no size limit: too large a one fails at its sender, and a smaller one passes', async () => {
  const handled: number[] = []
  const onQuery = (query: unknown): undefined => {
    handled.push((query as Uint8Array).length)
  }
  const [listener, dialer] = await pair({ onQuery, limits: { messageBytesMax: 10_000 } })
  const error = await failure(dialer.query(new Uint8Array(10_001)))
  expect(error).toMatchObject({ code: 'TOO_LARGE', delivery: 'not-sent' })
  await dialer.query(new Uint8Array(10_000))
  expect(handled).toEqual([10_000])
  expect(listener.state).toBe('paired')
})

test('strings only, base64 inside JSON: bytes travel as they are, and what JSON keeps arrives as it was', async () => {
  const [, dialer, wiretap] = await tappedPair({ onQuery: (query) => query })
  const bytes = Uint8Array.from({ length: 3000 }, (_, at) => at % 256)
  for (const payload of [
    'text ✓ 𝄞',
    bytes,
    { list: [1, null, 'two'], deep: { yes: true } },
    42,
    false,
    null,
    undefined,
  ]) {
    expect(await dialer.query(payload)).toEqual(payload)
  }
  expect(Buffer.concat(wiretap.fromDialer).includes(Buffer.from(bytes))).toBe(true)
  wiretap.forget()
  await dialer.query(bytes)
  const onWire = Buffer.concat(wiretap.fromDialer).length
  expect(onWire).toBeGreaterThanOrEqual(bytes.length)
  expect(onWire).toBeLessThan(bytes.length + 100) // base64 would make 1,000 more of it
})

test('a dead server is never replaced: the other takes its place, and the one that returns meets it', async () => {
  const path = join(folder(), 's')
  const [listener, dialer] = await pairAt(path)
  listener.kill()
  await dialer.next('apart')
  await dialer.next('listening')
  const returned = new PairPeer(path, {}, 'returned')
  await returned.result('connect')
  expect(await dialer.next('paired')).toMatchObject({ role: 'listener', peer: 'new' })
  expect((await returned.next('paired'))['role']).toBe('dialer')
  expect(await returned.result('call', { method: 'pid' })).toBe(dialer.pid)
  expect(await dialer.result('call', { method: 'pid' })).toBe(returned.pid)
})

test.each(['plain', 'encrypted'])(
  'a simple-ipc peer that dials: it gets no byte back, and the pair is untouched (%s)',
  async (scenario) => {
    const [listener, dialer, path] = await pair({ onQuery: () => 'world' })
    const losses: unknown[] = []
    for (const one of [listener, dialer]) one.on('apart', (event) => losses.push(event))
    const refused = next(listener, 'refused')
    const answer = stranger(path, recorded(scenario, 'client'))
    expect(await answer).toHaveLength(0)
    expect((await refused).reason).toBe('not-pairlink')
    expect(await dialer.query('hello')).toBe('world')
    expect(losses).toEqual([])
  },
)

test('the program of the page: two processes with an old secret and an old key file answer each other', async () => {
  const place = folder()
  copyFileSync(join(fixtures, 'interop.key'), join(place, 'encryption.key'))
  chmodSync(join(place, 'encryption.key'), 0o644)
  const peers = ['one', 'other'].map((name) => new Peer(join(repository, 'e2e/peers/moved.mjs'), [place], name))
  await Promise.all(peers.map((peer) => peer.endsWell()))
  for (const peer of peers) expect(peer.lines).toEqual(['world'])
})

test('the page: it names each of these tests', ({ task }) => {
  const page = readFileSync(join(repository, 'apps/docs/coming-from-simple-ipc.md'), 'utf8')
  const faults = new Set(task.file.tasks.map(({ name }) => name.slice(0, name.indexOf(':'))))
  faults.delete('the page')
  expect(faults.size).toBeGreaterThan(18)
  for (const fault of faults) expect(page).toContain(`\`${fault}\``)
})
