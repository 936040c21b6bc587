import { describe, expect, test } from 'vitest'
import type { Connection, Transport } from '../../src/index.js'
import { KIND } from '../../src/protocol/wire.js'
import { clearTest } from './encryption.js'
import { failure, history, World, type Options } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** A transport of the address that counts the listeners that were closed. */
function counted(world: World): { transport: Transport; closes: () => number } {
  const transport = world.address.transport()
  let closes = 0
  return {
    closes: () => closes,
    transport: {
      ...transport,
      listen: async (...given) => {
        const listener = await transport.listen(...given)
        if (typeof listener === 'string' || 'start' in listener) return listener
        const { close } = listener
        listener.close = () => {
          closes++
          return close.call(listener)
        }
        return listener
      },
    },
  }
}

async function listening(world: World, options: Options = {}) {
  world.address.canBeLost = true
  const { transport, closes } = counted(world)
  const a = world.make({ ...echo, transport, ...options })
  await a.connect({ until: 'started' })
  return { a, closes, seen: history(a) }
}

const warnings = (world: World): string[] =>
  world.logs.filter((entry) => entry.level === 'warn').map((entry) => entry.message)

/** Somebody else removes what lay at the address and listens there itself. */
async function takePlace(world: World, options: Options = {}): Promise<Connection> {
  world.address.accept = undefined
  const other = world.make({ ...echo, ...options })
  await other.connect({ until: 'started' })
  expect(other.role).toBe('listener')
  return other
}

describe('an address that was taken by somebody else', () => {
  test('while waiting: within a second the listener is closed, and it pairs with whoever is there', async () => {
    const world = new World()
    const { a, closes } = await listening(world)
    const connected = a.connect()
    await world.clock.advance(5000)
    expect(closes()).toBe(0)
    const other = await takePlace(world)
    await world.clock.advance(1100)
    await connected
    expect([closes(), a.role, other.role, a.state]).toEqual([1, 'dialer', 'listener', 'paired'])
    expect(await Promise.all([a.query(1), other.query(2)])).toEqual([1, 2])
    expect(warnings(world).filter((message) => message.includes('taken or removed'))).toHaveLength(1)
    await world.end()
  })

  test('not sooner than it is looked after, nor when it is still its own', async () => {
    const world = new World()
    const { a, closes, seen } = await listening(world)
    await world.clock.advance(600_000)
    expect([closes(), a.role, world.address.listenCount]).toEqual([0, 'listener', 1])
    expect(seen).toEqual(['waiting alone'])
    await world.end()
  })

  test('only removed, with nobody there: it listens anew', async () => {
    const world = new World()
    const { a, closes, seen } = await listening(world)
    world.address.accept = undefined
    await world.clock.advance(1100)
    expect([closes(), a.role, a.state, world.address.listenCount]).toEqual([1, 'listener', 'meeting', 2])
    expect(seen).toEqual(['listening'])
    await world.finish(world.make(echo).connect())
    expect(a.state).toBe('paired')
    await world.end()
  })

  test('again and again: each time it comes back', async () => {
    const world = new World()
    const { a, closes } = await listening(world)
    for (let round = 1; round <= 5; round++) {
      world.address.accept = undefined
      await world.clock.advance(1100)
      expect([closes(), a.role]).toEqual([round, 'listener'])
    }
    await world.end()
  })

  test('while paired: within keepaliveMs the pair is given up, and it meets anew', async () => {
    const world = new World()
    const { a, closes, seen } = await listening(world, { keepaliveMs: 3000 })
    const b = world.make(echo)
    await b.connect()
    await world.clock.advance(20_000)
    expect([closes(), a.state]).toEqual([0, 'paired'])
    const other = await takePlace(world)
    await world.clock.advance(1000)
    await world.clock.advance(2000)
    expect(closes()).toBe(1)
    expect(seen.slice(0, 4)).toEqual(['paired', 'paired listener new', 'apart', 'apart PEER_LOST'])
    await world.clock.advance(2000)
    // Three at one address: two of them are a pair now, at the one who has it.
    expect(other.state).toBe('paired')
    expect([a.state, b.state].sort()).toEqual(['apart', 'paired'])
    expect([a.role, b.role]).not.toContain('listener')
    await world.end()
  })

  test('while paired and only removed: the same two pair again, a newcomer finds them', async () => {
    const world = new World()
    const { a, closes } = await listening(world, { keepaliveMs: 1000 })
    const b = world.make(echo)
    await b.connect()
    world.address.accept = undefined
    await world.clock.advance(2500)
    expect([closes(), a.state, b.state]).toEqual([1, 'paired', 'paired'])
    expect(await a.query(1)).toBe(1)
    expect((await world.finish(failure(world.make(echo).connect()))).code).toBe('PAIR_BUSY')
    await world.end()
  })

  test('while apart: it meets anew, and the newcomers that waited are let go', async () => {
    const world = new World()
    const { a, closes } = await listening(world, { holdMs: 10_000 })
    const b = world.make({ ...echo, reconnect: false })
    await b.connect()
    world.pipe[0].destroy()
    await world.clock.settle()
    const c = world.make(echo)
    const connected = c.connect()
    await world.clock.advance(500)
    expect([a.state, c.state]).toEqual(['apart', 'meeting'])
    world.address.accept = undefined
    await world.finish(connected, 5000)
    await world.finish(a.paired(), 5000)
    expect(closes()).toBe(1)
    await world.end()
  })

  test('its watch does not keep the process alive, and ends with close()', async () => {
    const world = new World()
    const { a } = await listening(world)
    expect(world.clock.held).toBe(0)
    await a.close()
    expect(world.clock.pending).toBe(0)
    await world.end()
  })

  test('a listener that fails to close is logged as ours, and it meets all the same', async () => {
    const world = new World()
    world.address.canBeLost = true
    const transport = world.address.transport()
    const a = world.make({
      ...echo,
      transport: {
        ...transport,
        listen: async (...given) => {
          const listener = await transport.listen(...given)
          if (typeof listener === 'string' || 'start' in listener) return listener
          listener.close = () => Promise.reject(new Error('EIO'))
          return listener
        },
      },
    })
    await a.connect({ until: 'started' })
    const other = await takePlace(world)
    await world.finish(other.connect())
    expect(a.state).toBe('paired')
    expect(world.errors()).toHaveLength(1)
    await world.end()
  })
})

describe("at a newcomer's proof", () => {
  /** The kinds of the frames that an end has written, without its preamble. */
  const kinds = (written: readonly Uint8Array[]): number[] =>
    written.filter((chunk) => String.fromCharCode(...chunk.subarray(0, 4)) !== 'PLNK').map((chunk) => chunk[0] ?? -1)

  clearTest(
    'a waiting listener that has lost the address never sends WELCOME, closes, and meets anew at once',
    async () => {
      const world = new World()
      const { a, closes, seen } = await listening(world)
      const c = world.make(echo)
      const connected = c.connect().catch(() => undefined)
      // Accepted here, but its first bytes come when the address has changed hands.
      for (let at = 0; world.address.pipes.length === 0; at++) {
        expect(at).toBeLessThan(100)
        await Promise.resolve()
      }
      const [, far] = world.pipe
      far.stalled = true
      far.written = []
      await world.clock.settle()
      expect([a.state, c.state, a.stats().strangers]).toEqual(['meeting', 'meeting', 1])
      const other = await takePlace(world)
      far.release()
      await world.clock.settle()
      expect(kinds(far.written)).toEqual([KIND.HELLO])
      expect([closes(), far.isClosed]).toEqual([1, true])
      expect(seen.filter((entry) => entry.startsWith('paired listener'))).toEqual([])
      await world.clock.advance(1000)
      // Whoever was first pairs with the holder.
      expect(other.state).toBe('paired')
      expect([a.role, c.role]).toContain('dialer')
      await world.finish(connected)
      await world.end()
    },
  )

  clearTest('a proven newcomer is welcomed while the address is held (the check above can fail)', async () => {
    const world = new World()
    await listening(world)
    const c = world.make(echo)
    const connected = c.connect()
    while (world.address.pipes.length === 0) await Promise.resolve()
    const [, far] = world.pipe
    far.written = []
    await connected
    expect(kinds(far.written).slice(0, 2)).toEqual([KIND.HELLO, KIND.WELCOME])
    await world.end()
  })

  clearTest('a paired listener that has lost the address is seen by it too, before its next look', async () => {
    const world = new World()
    const { a, closes } = await listening(world, { keepaliveMs: 6000 })
    const b = world.make(echo)
    await b.connect()
    const c = world.make(echo)
    const connected = c.connect().catch(() => undefined)
    while (world.address.pipes.length === 1) await Promise.resolve()
    const [, far] = world.pipe
    far.stalled = true
    far.written = []
    await world.clock.settle()
    await takePlace(world)
    far.release()
    await world.clock.settle()
    expect(closes()).toBe(1)
    expect(kinds(far.written)).toEqual([KIND.HELLO])
    expect(a.state).toBe('apart')
    await world.finish(connected)
    await world.end()
  })
})
