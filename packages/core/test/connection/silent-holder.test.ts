import { describe, expect, test } from 'vitest'
import type { Pipe, SilentHolder } from '../../src/transport.js'
import { dialTimes, history, mortal, takePipe, World, type Options, type Stranger } from './world.js'

const echo = { onQuery: (query: unknown) => query }

/** A dialer whose listener, process `h1`, has been stopped: it holds the address, accepts and says nothing. */
async function stopped(world: World, options: Options = {}) {
  world.address.holder = 'h1'
  const life = mortal(world)
  const dialer = dialTimes(world, world.address.transport())
  const a = world.make({ ...echo, transport: life.transport })
  const b = world.make({ ...echo, transport: dialer.transport, keepaliveMs: 1000, silenceMs: 3000, ...options })
  await a.connect({ until: 'started' })
  await b.connect()
  const accept = world.address.accept
  const strangers: Stranger[] = []
  /** What each listen was given. */
  const asked: (SilentHolder | undefined)[] = []
  const verdicts: { isSilent: boolean; tookMs: number }[] = []
  world.address.onListen = (silent) => {
    asked.push(silent)
    if (silent === undefined) return undefined
    const { isSilent } = silent
    Object.assign(silent, {
      isSilent: async (pipe: Pipe) => {
        const at = world.clock.now()
        const result = await isSilent(pipe)
        verdicts.push({ isSilent: result, tookMs: world.clock.now() - at })
        return result
      },
    })
    return undefined
  }
  life.stop()
  for (const end of world.pipe) end.stalled = true
  world.address.accept = (pipe) => strangers.push(takePipe(pipe as Stranger['pipe']))
  const seen = history(b)
  const leave = async (): Promise<void> => {
    for (const pipes of world.address.pipes) for (const end of pipes) end.destroy()
    for (const { pipe } of strangers) pipe.destroy()
    await world.finish(Promise.all(world.connections.map((connection) => connection.close())))
    world.address.accept = undefined
    await world.end()
  }
  return { a, b, accept, strangers, asked, verdicts, seen, leave, life, times: dialer.times }
}

async function until(world: World, isSo: () => boolean): Promise<void> {
  for (let ms = 0; !isSo(); ms += 10) {
    expect(ms, 'milliseconds waited').toBeLessThan(30_000)
    await world.clock.advance(10)
  }
}

/** Moves on until the pair is lost by silence. */
async function silence(world: World, seen: string[]): Promise<void> {
  await until(world, () => seen.includes('apart PEER_SILENT'))
}

describe('a dialer whose pair was lost by silence', () => {
  test('asks for the place after two handshakes at the same holder without a byte, and gets it', async () => {
    const world = new World()
    const { b, asked, verdicts, seen, strangers, leave } = await stopped(world)
    await silence(world, seen)
    await world.clock.advance(5000)
    expect([strangers.length, asked]).toEqual([1, []])
    // At the latest: the first pause, two handshakes, a pause between them, the last look.
    await world.clock.advance(100 + 5000 + 1500 + 1000)
    expect(asked).toEqual([{ holder: 'h1', isSilent: expect.any(Function) }])
    expect(verdicts).toEqual([{ isSilent: true, tookMs: 1000 }])
    expect(strangers).toHaveLength(3) // two handshakes and the last look
    expect([b.role, b.state]).toEqual(['listener', 'apart'])
    world.address.holder = 'h2'
    const c = world.make(echo)
    await world.finish(c.connect(), 2000)
    expect([b.state, await c.query(1)]).toEqual(['paired', 1])
    await leave()
  })

  test('with a handshake shorter than the last look too', async () => {
    const world = new World()
    const { b, verdicts, seen, leave } = await stopped(world, { handshakeTimeoutMs: 300 })
    await silence(world, seen)
    await until(world, () => b.role === 'listener')
    expect(verdicts.at(-1)).toMatchObject({ isSilent: true })
    await leave()
  })

  test('not sooner: after one such handshake it has asked for nothing', async () => {
    const world = new World()
    const { asked, seen, strangers, leave } = await stopped(world, { handshakeTimeoutMs: 20_000 })
    await silence(world, seen)
    await world.clock.advance(30_000)
    expect([strangers.length, asked]).toEqual([2, []])
    await leave()
  })

  test.each([500, 990])(
    'a byte after %d ms of the last look: isSilent is false, and that very handshake goes on and pairs',
    async (ms) => {
      const world = new World()
      const { a, b, accept, asked, verdicts, seen, strangers, leave } = await stopped(world)
      await silence(world, seen)
      await until(world, () => strangers.length === 2)
      // The holder goes on in the middle of the last look.
      const pipes: Pipe[] = []
      world.address.accept = (pipe) => pipes.push(pipe)
      await until(world, () => pipes.length === 1)
      expect(asked).toHaveLength(1)
      await world.clock.advance(ms - 10)
      const dials = world.address.pipes.length
      world.address.accept = accept
      for (const pipe of pipes) accept?.(pipe)
      await until(world, () => verdicts.length === 1)
      expect(verdicts[0]?.isSilent).toBe(false)
      await world.finish(b.paired(), 0)
      expect([b.role, a.state, await b.query(1)]).toEqual(['dialer', 'paired', 1])
      expect(world.address.pipes).toHaveLength(dials)
      expect(a.peer).toBeDefined()
      await leave()
    },
  )

  test('a single byte in the last look is enough: isSilent is false, and that handshake has its whole time', async () => {
    const world = new World()
    const { b, verdicts, seen, strangers, leave } = await stopped(world)
    await silence(world, seen)
    await until(world, () => strangers.length === 3)
    await world.clock.advance(200)
    const last = strangers[2]
    last?.pipe.write([new TextEncoder().encode('P')])
    await until(world, () => verdicts.length === 1)
    expect(verdicts[0]?.isSilent).toBe(false)
    await world.clock.advance(3900)
    expect([b.role, last?.ended, strangers.length]).toEqual([undefined, false, 3])
    await world.clock.advance(100)
    expect(last?.ended).toBe(true)
    await leave()
  })

  test('a second that was longer than a second proves nothing: our own process was late', async () => {
    const world = new World()
    const { b, asked, verdicts, seen, strangers, leave } = await stopped(world)
    await silence(world, seen)
    await until(world, () => strangers.length === 3)
    expect(asked).toHaveLength(1)
    await world.clock.advance(400)
    await world.clock.jump(1000)
    await world.clock.advance(10)
    expect(verdicts).toEqual([{ isSilent: false, tookMs: expect.any(Number) }])
    expect(b.role).toBeUndefined()
    // The suspicion stays, and the next look is in time.
    await until(world, () => verdicts.length === 2)
    expect(verdicts[1]).toEqual({ isSilent: true, tookMs: 1000 })
    expect(b.role).toBe('listener')
    await leave()
  })

  test("'full', which nobody has answered, counts as such a handshake", async () => {
    const world = new World()
    const { b, asked, seen, strangers, leave } = await stopped(world)
    await silence(world, seen)
    let full = 0
    world.address.onDial = () => {
      full++
      return 'full'
    }
    await world.clock.advance(1000)
    expect(full).toBeGreaterThan(1)
    expect(asked.filter((silent) => silent !== undefined).length).toBeGreaterThan(0)
    expect(asked.find((silent) => silent !== undefined)).toMatchObject({ holder: 'h1' })
    world.address.onDial = undefined
    await until(world, () => b.role === 'listener')
    expect(strangers.length).toBeLessThan(5)
    await leave()
  })

  test('a holder that has given a byte since is under no suspicion', async () => {
    const world = new World()
    const { asked, seen, strangers, leave, b } = await stopped(world)
    await silence(world, seen)
    world.address.accept = (pipe) => {
      const stranger = takePipe(pipe as Stranger['pipe'])
      strangers.push(stranger)
      stranger.pipe.write([new TextEncoder().encode('P')]) // slow, and alive
    }
    await world.clock.advance(60_000)
    expect(strangers.length).toBeGreaterThan(5)
    expect(asked).toEqual([])
    expect(b.state).toBe('apart')
    await leave()
  })

  test('one sign of life clears it, whatever follows', async () => {
    const world = new World()
    const { asked, seen, strangers, leave } = await stopped(world)
    await silence(world, seen)
    await until(world, () => strangers.length === 1)
    const mute = world.address.accept
    world.address.accept = (pipe) => {
      const stranger = takePipe(pipe as Stranger['pipe'])
      strangers.push(stranger)
      stranger.pipe.write([new TextEncoder().encode('P')])
    }
    await until(world, () => strangers.length === 2)
    world.address.accept = mute
    await world.clock.advance(60_000)
    expect(strangers.length).toBeGreaterThan(6)
    expect(asked).toEqual([])
    await leave()
  })

  test('another holder that says nothing is not meant', async () => {
    const world = new World()
    const { asked, seen, strangers, leave, b } = await stopped(world)
    await silence(world, seen)
    world.address.holder = 'h2'
    await world.clock.advance(60_000)
    expect(strangers.length).toBeGreaterThan(5)
    expect([asked, b.state]).toEqual([[], 'apart'])
    await leave()
  })

  test('nor one of whom nothing can be told', async () => {
    const world = new World()
    const { asked, seen, strangers, leave } = await stopped(world)
    Object.assign(world.address, { holder: undefined })
    await silence(world, seen)
    await world.clock.advance(60_000)
    expect([asked, strangers.length > 5]).toEqual([[], true])
    await leave()
  })

  test('with failover false it only dials', async () => {
    const world = new World()
    const { asked, seen, strangers, leave, b } = await stopped(world, { failover: false })
    await silence(world, seen)
    await world.clock.advance(60_000)
    expect([asked, strangers.length > 5, b.role]).toEqual([[], true, undefined])
    await leave()
  })

  test('close() during the last look ends at once, and leaves nothing', async () => {
    const world = new World()
    const { b, asked, seen, strangers, leave } = await stopped(world)
    await silence(world, seen)
    await until(world, () => strangers.length === 3)
    expect(asked).toHaveLength(1)
    await world.clock.advance(300)
    const before = world.clock.now()
    await world.finish(b.close())
    expect(world.clock.now()).toBe(before)
    await world.clock.settle()
    expect(strangers[2]?.ended).toBe(true)
    await leave()
  })
})

test('who has met nobody yet never takes the place of one that says nothing', async () => {
  const world = new World()
  world.address.holder = 'h1'
  const asked: (SilentHolder | undefined)[] = []
  world.address.onListen = (silent) => {
    asked.push(silent)
    return undefined
  }
  const strangers: Stranger[] = []
  world.address.accept = (pipe) => strangers.push(takePipe(pipe as Stranger['pipe']))
  const b = world.make(echo)
  void b.connect().catch(() => undefined)
  await world.clock.advance(60_000)
  expect([strangers.length > 5, asked, b.state]).toEqual([true, [], 'meeting'])
  await world.finish(b.close())
  for (const { pipe } of strangers) pipe.destroy()
  world.address.accept = undefined
  await world.end()
})

test('who has lost its peer by the end of the pipe, not by silence, takes no place either', async () => {
  const world = new World()
  const { asked, seen, strangers, leave, b } = await stopped(world)
  for (const end of world.pipe) end.release()
  world.pipe[0].destroy()
  await world.clock.advance(60_000)
  expect(seen).toContain('apart PEER_LOST')
  expect([strangers.length > 5, asked, b.state]).toEqual([true, [], 'apart'])
  await leave()
})
