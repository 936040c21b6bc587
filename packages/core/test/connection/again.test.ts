import { expect, test } from 'vitest'
import { Connection, type Transport } from '../../src/index.js'
import { failure, heldHandler, history, mortal, occupy, World, type Options } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** What lies at the address is removed behind the listener's back. */
function remove(world: World): void {
  world.address.accept = undefined
}

test('failover: false on both sides: the one that listened takes its own place again when the address was removed', async () => {
  const world = new World()
  world.address.canBeLost = true
  const [a, b] = await world.pair({ ...echo, failover: false })
  remove(world)
  await world.clock.advance(5000)
  expect([a.state, a.role, b.state, b.role]).toEqual(['paired', 'listener', 'paired', 'dialer'])
  expect(await b.query(1)).toBe(1)
  await world.end()
})

test('reconnect: false: whoever comes after the goodbye of the peer is not paired with', async () => {
  const world = new World()
  const held = heldHandler()
  const a = world.make({ onQuery: held.handler, reconnect: false })
  const b = world.make(echo)
  await a.connect({ until: 'started' })
  await b.connect()
  const asked = b.query('slow')
  await world.clock.settle()
  const closing = b.close()
  await world.clock.settle()
  expect(a.state).toBe('apart')
  const c = world.make(echo)
  void c.connect().catch(() => undefined)
  await world.clock.advance(500)
  expect(a.state).toBe('apart')
  held.calls[0]?.resolve('done')
  expect(await world.finish(asked)).toBe('done')
  await world.finish(closing)
  expect(await world.finish(a.closed)).toBeUndefined()
  await world.end()
})

test('a standby whose pair has gone says so, and what it waits for then', async () => {
  const world = new World()
  const [first, second] = [mortal(world), mortal(world)]
  const a = world.make({ ...echo, transport: first.transport })
  const b = world.make({ ...echo, transport: second.transport })
  const c = world.make({ ...echo, whenBusy: 'wait' })
  await a.connect({ until: 'started' })
  await b.connect()
  const seen = history(c)
  await world.finish(c.connect({ until: 'started' }))
  await world.clock.advance(10_000)
  expect(seen).toEqual(['meeting', 'standby'])
  first.stop()
  second.stop()
  const strangers = occupy(world)
  world.pipe[0].destroy()
  await world.clock.advance(12_000)
  expect(strangers.length).toBeGreaterThan(1)
  expect(c.state).toBe('meeting')
  expect(seen).toContain('waiting PEER_SILENT')
  remove(world)
  await world.clock.advance(7000)
  expect(seen.slice(-2)).toEqual(['listening', 'waiting alone'])
  for (const connection of [a, b, c]) void connection.close()
  await world.clock.advance(10_000)
})

test('who listens waits for nothing but the other, whatever failed before', async () => {
  const world = new World()
  const a = world.make(echo)
  const seen = history(a)
  const connecting = a.connect()
  connecting.catch(() => undefined)
  world.address.onListen = () => Promise.resolve('cannot')
  await world.clock.advance(1500)
  world.address.onListen = undefined
  await world.clock.advance(10_000)
  expect(seen).toEqual(['meeting', 'listening', 'waiting alone'])
  await world.end()
})

test('an address that answers and hangs up in the middle, again and again, is told of', async () => {
  const world = new World()
  occupy(world, ({ pipe }) => {
    pipe.write([new TextEncoder().encode('PLNK')])
    pipe.end()
  })
  const a = world.make(echo)
  const errors: unknown[] = []
  a.on('waiting', ({ error }) => errors.push(error?.message))
  a.connect().catch(() => undefined)
  await world.clock.advance(5000)
  expect(errors).toEqual([expect.stringContaining('hangs up in the middle of the handshake')])
  remove(world)
  await world.end()
})

test('text of whoever refuses cannot move a terminal', async () => {
  const world = new World()
  const text = '\u001b[2Jfake\nERROR all is lost\u2028'
  const bytes = new TextEncoder().encode(text)
  occupy(world, ({ pipe }) => {
    const payload = Uint8Array.of(6, 1, 0, 0, 0, 0, 0, 0, bytes.length, ...bytes)
    const refuse = Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, payload.length, ...payload)
    pipe.write([Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0x80, 0, refuse.length, ...refuse)])
    pipe.end()
  })
  const error = await failure(world.make({ ...echo, encryption: undefined }).connect())
  expect(error.code).toBe('PROTOCOL')
  expect(error.message).toContain('fake')

  expect(error.message).not.toMatch(/[\u0000-\u001f\u2028]/)
  remove(world)
  await world.end()
})

test('a listener of the state idle that connects again at once does not end in a recursion', async () => {
  const world = new World()
  const options: Options = { transport: { ...world.address.transport(), reach: 'network' }, encryption: undefined }
  const a = world.make(options)
  let count = 0
  a.on('state', ({ now }) => {
    if (now === 'idle' && ++count < 1000) a.connect().catch(() => undefined)
  })
  expect((await failure(a.connect())).code).toBe('NOT_LOCAL')
  await world.clock.settle()
  expect(count).toBe(1000)
  await world.end()
})

test('a transport that does not give its address up is not waited for by close()', async () => {
  const world = new World()
  const inner = world.address.transport()
  const transport: Transport = {
    ...inner,
    listen: async (...input) => {
      const listener = await inner.listen(...input)
      if (typeof listener !== 'string' && 'close' in listener) listener.close = () => new Promise(() => undefined)
      return listener
    },
  }
  const a = world.make({ ...echo, transport })
  await a.connect({ until: 'started' })
  const before = world.clock.now()
  await world.finish(a.close())
  expect(world.clock.now() - before).toBeLessThanOrEqual(1010)
})

test('a dial that takes long keeps the process alive, or not', async () => {
  const world = new World()
  const transport: Transport = { ...world.address.transport(), dial: () => new Promise(() => undefined) }
  const a = new Connection({ transport, secret: 's' }, world.environment())
  a.connect().catch(() => undefined)
  await world.clock.settle()
  expect(world.clock.held).toBeGreaterThan(0)
  a.unref()
  expect(world.clock.held).toBe(0)
  a.ref()
  expect(world.clock.held).toBeGreaterThan(0)
  await world.finish(a.close())
  expect(world.clock.held).toBe(0)
})
