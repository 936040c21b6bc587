import { expect, test } from 'vitest'
import { World } from './world.js'

const echo = { onQuery: (query: unknown) => query, logKeepalives: true }
const heard = (world: World): string[] =>
  world.logs.filter((entry) => entry.message === 'keepalive').map((entry) => String(entry.fields['kind']))

test('a quiet pair asks for a sign of life from both sides after keepaliveMs, and stays paired', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, keepaliveMs: 1000 })
  await world.clock.advance(900)
  expect(heard(world)).toEqual([])
  await world.clock.advance(200)
  expect(heard(world)).toContain('ping')
  expect(heard(world)).toContain('pong')
  await world.clock.advance(600_000)
  expect([a.state, b.state]).toEqual(['paired', 'paired'])
  expect(heard(world).length).toBeGreaterThan(500)
  await world.end()
})

test('without logKeepalives they are not logged', async () => {
  const world = new World()
  await world.pair({ keepaliveMs: 1000 })
  await world.clock.advance(10_000)
  expect(heard(world)).toEqual([])
  await world.end()
})

test('traffic is a sign of life: no ping while bytes come in', async () => {
  const world = new World()
  const [a] = await world.pair({ ...echo, keepaliveMs: 1000 })
  for (let at = 0; at < 20; at++) {
    await a.query(at)
    await world.clock.advance(500)
  }
  expect(heard(world)).toEqual([])
  await world.end()
})

test('silence of silenceMs loses the link with PEER_SILENT, not sooner', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, keepaliveMs: 1000, silenceMs: 5000 })
  const codes: unknown[] = []
  a.on('apart', ({ error }) => codes.push(error?.code))
  b.on('apart', ({ error }) => codes.push(error?.code))
  const [near, far] = world.pipe
  near.stalled = far.stalled = true
  await world.clock.advance(4900)
  expect(codes).toEqual([])
  await world.clock.advance(200)
  expect(codes).toEqual(['PEER_SILENT', 'PEER_SILENT'])
  near.release()
  far.release()
  await world.finish(Promise.all([a.paired(), b.paired()]))
  await world.end()
})

test('silence is never less than three times the keepalive of the peer', async () => {
  const world = new World()
  const [a] = await world.pair({ keepaliveMs: 1000, silenceMs: 3000 }, { keepaliveMs: 4000, silenceMs: 50_000 })
  const lost: unknown[] = []
  a.on('apart', ({ error }) => lost.push(error?.code))
  const [near, far] = world.pipe
  near.stalled = far.stalled = true
  await world.clock.advance(11_900)
  expect(lost).toEqual([])
  await world.clock.advance(200)
  expect(lost).toEqual(['PEER_SILENT'])
  near.release()
  far.release()
  await world.end()
})

test('a process that slept longer than silenceMs keeps a healthy link', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, keepaliveMs: 1000, silenceMs: 5000 })
  let lost = 0
  a.on('apart', () => lost++)
  b.on('apart', () => lost++)
  for (const sleep of [6000, 60_000, 3_600_000]) {
    await world.clock.jump(sleep)
    await world.clock.advance(3000)
    expect(await Promise.all([a.query(1), b.query(2)])).toEqual([1, 2])
  }
  expect(lost).toBe(0)
  await world.end()
})

test('a process that slept finds a dead link soon after', async () => {
  const world = new World()
  const [a] = await world.pair({ ...echo, keepaliveMs: 1000, silenceMs: 5000 })
  let lost = 0
  a.on('apart', () => lost++)
  const [near, far] = world.pipe
  near.stalled = far.stalled = true
  await world.clock.jump(60_000)
  expect(lost).toBe(0)
  await world.clock.advance(1200)
  expect(lost).toBe(1)
  near.release()
  far.release()
  await world.end()
})

test('a handshake that the process slept through is not lost by that', async () => {
  const world = new World()
  const a = world.make(echo)
  await a.connect({ until: 'started' })
  const b = world.make(echo)
  const meeting = b.connect()
  for (let at = 0; at < 6; at++) await Promise.resolve()
  await world.clock.jump(10_000)
  await world.finish(meeting)
  expect(world.address.pipes).toHaveLength(1)
  await world.end()
})

test('logQueries tells of each call its method, kind and size, and never its content', async () => {
  const world = new World()
  const [, b] = await world.pair({
    ...echo,
    logKeepalives: false,
    logQueries: true,
    handlers: { render: () => 'gizmo' },
  })
  await b.query({ password: 'gizmo' })
  await b.call('render', 'gizmo')
  await b.notify(new Uint8Array(7))
  await world.clock.advance(50)
  const debug = world.logs.filter((entry) => entry.level === 'debug' && 'payload' in entry.fields)
  expect(debug.map((entry) => [entry.message, entry.fields['method'], entry.fields['payload']])).toEqual([
    ['query', '', 'json, 20 bytes'],
    ['handling', '', 'json, 20 bytes'],
    ['query', 'render', 'text, 5 bytes'],
    ['handling', 'render', 'text, 5 bytes'],
    ['notify', '', 'bytes, 7 bytes'],
    ['notified', '', 'bytes, 7 bytes'],
  ])
  await world.end()
  expect(JSON.stringify(world.logs)).not.toContain('gizmo')
})
