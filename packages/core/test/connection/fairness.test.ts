/**
 * Nothing waits behind what is large or slow. The pipe of these tests has room for one write, as a slow one has; how much a
 * small thing may wait for is counted in the bytes that are written before it, since time says nothing here.
 */
import { expect, test } from 'vitest'
import { encryptionInUse } from './encryption.js'
import { NarrowPipe } from './narrow.js'
import { deferred, heldHandler, World } from './world.js'

const MIB = 2 ** 20
/** One write: 256 KiB, to the end of the fragment that is begun there; a little more where it is encrypted. */
const WRITE_BYTES = 1.02 * (256 + 64) * 1024

function pattern(length: number): Uint8Array {
  const words = new Uint32Array(length / 4)
  for (let at = 0, x = 1; at < words.length; at++) words[at] = x = (Math.imul(x, 1664525) + 1013904223) | 0
  return new Uint8Array(words.buffer)
}

/** Signs of life of this kind that have arrived, at either side. */
function heardOf(world: World, kind: 'ping' | 'pong'): number {
  return world.logs.filter(({ message, fields }) => message === 'keepalive' && fields['kind'] === kind).length
}

/** Encrypting it all takes long and shows nothing more. */
const LARGE_MIB = encryptionInUse().encryption === undefined ? 256 : 64

test(`while an answer of ${LARGE_MIB} MiB is under way, queries, answers, cancels, notifications and pings pass within two writes`, async () => {
  const world = new World()
  const large = pattern(LARGE_MIB * MIB)
  const heard: unknown[] = []
  const slow = heldHandler()
  let toldToStop = deferred()
  const handlers = {
    large: () => large,
    echo: (input: unknown) => input,
    slow: slow.handler,
    never: (_: unknown, { signal }: { signal: AbortSignal }) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason as Error)
          toldToStop.resolve(undefined)
        })
      }),
  }
  const options = {
    handlers,
    limits: { messageBytesMax: LARGE_MIB * MIB },
    queryTimeoutMs: Infinity,
    logKeepalives: true,
    onNotify: (message: unknown) => void heard.push(message),
  }
  const [a, b] = await world.pair({ ...options, keepaliveMs: 1000 }, { ...options, keepaliveMs: 1500 })
  const [dialer, listener] = world.pipe
  const pipe = new NarrowPipe(world, listener, dialer)
  const asked = b.call('large')
  await world.clock.settle()

  const waited: Record<string, number> = {}
  const note = async (what: string, promise: Promise<unknown>): Promise<void> => {
    waited[what] = Math.max(waited[what] ?? 0, await pipe.until(promise))
  }
  for (let part = 1; part <= 7; part++) {
    while (pipe.bytes < (part / 8) * large.length) await pipe.step()
    await note('a query of the side that gets it', b.call('echo', part))
    await note('a query of the side that sends it', a.call('echo', part))

    const [bySender, byReceiver] = [b.call('slow'), a.call('slow')]
    while (slow.calls.length < 2) await pipe.step()
    for (const call of slow.calls.splice(0)) call.resolve(part)
    await note('an answer of the side that sends it', bySender)
    await note('an answer of the side that gets it', byReceiver)

    for (const side of [a, b]) {
      toldToStop = deferred()
      const stop = new AbortController()
      const cancelled = side.call('never', undefined, { signal: stop.signal }).catch((error: unknown) => error)
      await pipe.step()
      await pipe.step()
      stop.abort()
      await note(
        side === a ? 'a cancel of the side that sends it' : 'a cancel of the side that gets it',
        toldToStop.promise,
      )
      expect(await cancelled).toMatchObject({ code: 'CANCELLED' })
    }

    for (const side of [a, b]) {
      const before = heard.length
      await side.notify(part)
      await pipe.step()
      await pipe.step()
      expect(heard.length - before, 'notifications').toBe(1)
    }

    // Nothing is read for so long that both ask whether the other is there.
    const [pings, pongs] = [heardOf(world, 'ping'), heardOf(world, 'pong')]
    await world.clock.advance(1600)
    await pipe.step()
    await pipe.step()
    expect([heardOf(world, 'ping') - pings, heardOf(world, 'pong') - pongs]).toEqual([2, 2])
  }
  expect(pipe.bytes, 'and it is still under way').toBeLessThan(large.length)
  expect(Object.keys(waited)).toHaveLength(6)
  for (const [what, bytes] of Object.entries(waited)) expect(bytes, what).toBeLessThanOrEqual(2 * WRITE_BYTES)
  expect(pipe.largestWrite).toBeLessThanOrEqual(WRITE_BYTES)

  await pipe.until(asked)
  expect(Buffer.compare((await asked) as Uint8Array, large)).toBe(0)
  await world.end()
})

test('while a query of 64 MiB is under way, small ones of the same side pass within two writes', async () => {
  const world = new World()
  const large = new Uint8Array(64 * MIB)
  const onQuery = (query: unknown): unknown => (query instanceof Uint8Array ? query.length : query)
  const [a, b] = await world.pair({ onQuery, queryTimeoutMs: Infinity })
  const [dialer, listener] = world.pipe
  const pipe = new NarrowPipe(world, dialer, listener)
  const asked = b.query(large, { borrow: true })
  for (let part = 1; part <= 7; part++) {
    while (pipe.bytes < (part / 8) * large.length) await pipe.step()
    expect(await pipe.until(b.query(part))).toBeLessThanOrEqual(2 * WRITE_BYTES)
    expect(await pipe.until(a.query(part))).toBeLessThanOrEqual(2 * WRITE_BYTES)
  }
  expect(pipe.bytes, 'and it is still under way').toBeLessThan(large.length)
  await pipe.until(asked)
  expect(await asked).toBe(large.length)
  await world.end()
})

test('large messages share: those that are as large end together, and one that comes later waits for none', async () => {
  const world = new World()
  const onQuery = (query: unknown): unknown => new Uint8Array((query as number) * MIB)
  const [, b] = await world.pair({ onQuery, queryTimeoutMs: Infinity, limits: { sendBytesMax: 64 * MIB } })
  const [dialer, listener] = world.pipe
  const pipe = new NarrowPipe(world, listener, dialer)
  const ends: number[] = []
  const equal = Array.from({ length: 4 }, () => b.query(8).then(() => ends.push(pipe.bytes)))
  while (pipe.bytes < 4 * MIB) await pipe.step()
  // Four have most of their way to go, and this is the fifth of equals: its share is a fifth.
  const waitedBytes = await pipe.until(b.query(1))
  expect(waitedBytes).toBeGreaterThan(4.5 * MIB)
  expect(waitedBytes).toBeLessThan(5 * MIB + 3 * WRITE_BYTES)
  expect(ends).toEqual([])
  await pipe.until(Promise.all(equal))
  expect(Math.max(...ends) - Math.min(...ends)).toBeLessThanOrEqual(WRITE_BYTES)
  await world.end()
})

test('slow handlers delay no other call, as long as one is free', async () => {
  const world = new World()
  const slow = heldHandler()
  const [, b] = await world.pair({
    handlers: { slow: slow.handler, quick: (input) => input },
    limits: { handlersMax: 4 },
    queryTimeoutMs: Infinity,
  })
  const held = Array.from({ length: 3 }, () => b.call('slow'))
  // No time passes in which anything could be waited for.
  expect(await Promise.all(Array.from({ length: 60 }, (_, at) => b.call('quick', at)))).toEqual([...Array(60).keys()])
  expect(b.stats().callsOpen).toBe(3)
  for (const call of slow.calls) call.resolve('late')
  expect(await world.finish(Promise.all(held))).toEqual(['late', 'late', 'late'])
  await world.end()
})
