import { describe, expect, test } from 'vitest'
import { PairlinkError, type Connection } from '../../src/index.js'
import { failure, World } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** What happens to it, in order. */
function history(connection: Connection): string[] {
  const seen: string[] = []
  connection.on('paired', ({ role, peer }) => seen.push(`paired ${role} ${peer}`))
  connection.on('apart', ({ error }) => seen.push(`apart ${error?.code ?? 'in order'}`))
  connection.on('closed', ({ error }) => seen.push(`closed ${error?.code ?? 'in order'}`))
  return seen
}

describe('after a loss', () => {
  test('that no session outlives both are apart, then paired again in a new one with the same peer', async () => {
    const world = new World()
    const a = world.make({ ...echo, resumeWindowMs: 0 })
    const b = world.make({ ...echo, resumeWindowMs: 0 })
    const seen = [history(a), history(b)]
    await a.connect({ until: 'started' })
    await b.connect()
    await b.query(1)
    world.pipe[0].destroy()
    await world.clock.advance(100)
    expect(seen[0]).toEqual(['paired listener new', 'apart PEER_LOST', 'paired listener same'])
    expect(seen[1]).toEqual(['paired dialer new', 'apart PEER_LOST', 'paired dialer same'])
    expect(await Promise.all([a.query(2), b.query(3)])).toEqual([2, 3])
    expect(b.stats().session?.sentFrames).toBe(2)
    await world.end()
  })

  test('again and again', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    for (let round = 0; round < 20; round++) {
      world.pipe[round % 2]?.destroy()
      await world.finish(Promise.all([a.paired(), b.paired()]))
      await world.clock.advance(100)
      expect(await Promise.all([a.query(round), b.query(round)])).toEqual([round, round])
    }
    await world.end()
  })

  test.each(['listener', 'dialer'] as const)('when the %s goes, the survivor pairs with a new peer', async (who) => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const [gone, survivor] = who === 'listener' ? [a, b] : [b, a]
    const seen = history(survivor)
    await world.finish(gone.close())
    await world.clock.advance(100)
    expect(survivor.state).toBe('apart')
    expect(survivor.peer).toBeUndefined()
    const c = world.make(echo)
    await world.finish(c.connect())
    await world.finish(survivor.paired())
    expect(seen[0]).toBe('apart in order')
    expect(seen[1]).toMatch(/^paired \w+ new$/)
    expect(await Promise.all([survivor.query(1), c.query(2)])).toEqual([1, 2])
    await world.end()
  })

  test('connect() and paired() wait for the next pair, and give up without ending the search', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    await world.finish(b.close())
    const waits = [failure(a.connect({ timeoutMs: 50 })), failure(a.paired({ timeoutMs: 50 }))]
    await world.clock.advance(51)
    expect((await Promise.all(waits)).map((error) => error.code)).toEqual(['TIMEOUT', 'TIMEOUT'])
    expect(a.state).toBe('apart')
    const waiting = Promise.all([a.connect(), a.paired()])
    await world.make(echo).connect()
    await waiting
    await world.end()
  })

  test('what kept the first meeting from going on does not end a later one', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    const seen = history(b)
    await world.finish(a.close())
    await world.clock.advance(100)
    // The survivor listens now; put it back to dialling by cutting it off from its place.
    const wrong = world.make({ secret: 'wrong' })
    expect((await failure(wrong.connect())).code).toBe('SECRET_MISMATCH')
    expect(b.state).toBe('apart')
    await world.make(echo).connect()
    expect(seen.at(-1)).toBe('paired listener new')
    await world.end()
  })
})

describe('a peer that dials anew, without its session, before its loss was noticed here', () => {
  test('is told as apart, then paired', async () => {
    const world = new World()
    const [a] = await world.pair({
      ...echo,
      resumeWindowMs: 0,
      onQuery: (query) => (query === 'wait' ? new Promise(() => undefined) : query),
    })
    const seen = history(a)
    const waiting = failure(a.query('wait'))
    await world.clock.settle()
    const [near, far] = world.pipe
    near.vanish()
    await world.clock.advance(100)
    expect(seen).toEqual(['apart PEER_LOST', 'paired listener same'])
    expect(await waiting).toMatchObject({ code: 'PEER_LOST' })
    expect(await a.query(1)).toBe(1)
    expect(far.isClosed).toBe(true)
    await world.end()
  })

  test('leaves nothing when the application closes as it is told', async () => {
    const world = new World()
    const [a] = await world.pair({ ...echo, resumeWindowMs: 0 })
    a.on('apart', () => void a.close())
    world.pipe[0].vanish()
    await world.finish(a.closed)
    await world.end()
  })
})

describe('reconnect: false', () => {
  test('closes after a loss, with its error', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, reconnect: false })
    const seen = [history(a), history(b)]
    world.pipe[0].destroy()
    expect((await a.closed)?.code).toBe('PEER_LOST')
    expect((await b.closed)?.code).toBe('PEER_LOST')
    expect(seen).toEqual([
      ['apart PEER_LOST', 'closed PEER_LOST'],
      ['apart PEER_LOST', 'closed PEER_LOST'],
    ])
    expect((await failure(a.connect())).code).toBe('CLOSED')
    await world.clock.settle()
    world.expectNothingLeft()
  })

  test("closes without an error after the peer's goodbye", async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, reconnect: false })
    await world.finish(b.close())
    expect(await world.finish(a.closed)).toBeUndefined()
    await world.clock.settle()
    world.expectNothingLeft()
  })
})

test('reconnect: false: closed resolves when the pipe of the peer that has said goodbye is gone, however long its end takes', async () => {
  const world = new World()
  const [a, b] = await world.pair({ ...echo, reconnect: false })
  a.on('state', ({ now }) => {
    if (now === 'closing') world.pipe[1].stalled = true
  })
  let isClosed = false
  void a.closed.then(() => (isClosed = true))
  const closed = b.close()
  await world.clock.advance(1000)
  expect([a.state, isClosed, world.pipe[1].isClosed]).toEqual(['closing', false, false])
  world.pipe[1].release()
  await world.finish(closed)
  expect([a.state, isClosed]).toEqual(['closed', true])
  world.expectNothingLeft()
})

describe('maxRetries', () => {
  test('spent without a peer is RETRIES_EXHAUSTED in closed, with no timer left', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, reconnect: { maxRetries: 3, delayMs: 200 } }, echo)
    await world.finish(b.close())
    const waiting = failure(a.paired())
    await world.clock.advance(500)
    expect(a.state).toBe('apart')
    await world.clock.advance(200)
    expect((await a.closed)?.code).toBe('RETRIES_EXHAUSTED')
    expect((await waiting).code).toBe('RETRIES_EXHAUSTED')
    expect(a.state).toBe('closed')
    world.expectNothingLeft()
  })

  test('is counted anew after each pair, and a peer in time stops the count', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, reconnect: { maxRetries: 3, delayMs: 200 } }, echo)
    await world.finish(b.close())
    await world.clock.advance(500)
    const c = world.make(echo)
    await c.connect()
    await world.clock.advance(5000)
    expect(a.state).toBe('paired')
    await world.finish(c.close())
    await world.clock.advance(500)
    expect(a.state).toBe('apart')
    await world.clock.advance(200)
    expect((await a.closed)?.code).toBe('RETRIES_EXHAUSTED')
    await world.end()
  })

  test('also counts for the one that has to dial', async () => {
    const world = new World()
    const [a, b] = await world.pair({ ...echo, reconnect: { maxRetries: 2, delayMs: 200 } })
    // Both lose the other, and somebody mute takes the listener's place.
    await world.finish(a.close())
    world.address.accept = (pipe) => {
      pipe.destroy()
    }
    const error = await world.finish(b.closed)
    expect(['RETRIES_EXHAUSTED', 'ADDRESS_INVALID']).toContain(error?.code)
    world.address.accept = undefined
    await world.end()
  })

  test('does not count for the first meeting', async () => {
    const world = new World()
    const a = world.make({ reconnect: { maxRetries: 1, delayMs: 10 } })
    await a.connect({ until: 'started' })
    await world.clock.advance(10_000)
    expect(a.state).toBe('meeting')
    await world.end()
  })

  test('0 searches for ever', async () => {
    const world = new World()
    const [a, b] = await world.pair(echo)
    await world.finish(b.close())
    await world.clock.advance(10_000_000)
    expect(a.state).toBe('apart')
    await world.end()
  })
})

test('ADDRESS_INVALID while apart ends the connection', async () => {
  const world = new World()
  const transport = world.address.transport()
  let broken = false
  const dial: typeof transport.dial = (signal) =>
    broken ? Promise.reject(new PairlinkError('ADDRESS_INVALID', 'the folder is gone')) : transport.dial(signal)
  const a = world.make(echo)
  const b = world.make({ ...echo, transport: { ...transport, dial } })
  await a.connect({ until: 'started' })
  await b.connect()
  broken = true
  world.pipe[0].destroy()
  expect((await world.finish(b.closed))?.code).toBe('ADDRESS_INVALID')
  expect(b.state).toBe('closed')
  await world.end()
})
