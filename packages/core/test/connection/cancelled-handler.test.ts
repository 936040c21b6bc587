import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import type { Context } from '../../src/index.js'
import { FAIL_REASON, KIND } from '../../src/protocol/index.js'
import { clearTest } from './encryption.js'
import { MemoryPipe } from './memory.js'
import { failure, heldHandler, World, type Deferred } from './world.js'

const abortError = (): Error => Object.assign(new Error('This operation was aborted'), { name: 'AbortError' })

/** The ways in which programs stop at a signal; each gives a promise that rejects once it has fired. */
const WAYS: [string, (signal: AbortSignal) => Promise<unknown>][] = [
  ["a promise of Node's own that was given the signal", (signal) => sleep(3_600_000, undefined, { signal })],
  ['an awaited event that was given the signal', (signal) => once(new EventEmitter(), 'never', { signal })],
  ['a DOMException named AbortError', (signal) => fired(signal, () => new DOMException('aborted', 'AbortError'))],
  ['an Error named AbortError', (signal) => fired(signal, abortError)],
  ['the reason of the signal', (signal) => fired(signal, () => signal.reason)],
]

function fired(signal: AbortSignal, error: () => unknown): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(error())
    })
  })
}

/** `a` handles what `handler` says, `b` asks; 'alive' is always answered. */
async function askedOf(world: World, handler: (signal: AbortSignal) => Promise<unknown>) {
  const contexts: Context[] = []
  const [a, b] = await world.pair({
    onQuery: (query, context) => {
      if (query === 'alive') return 'yes'
      contexts.push(context)
      return handler(context.signal)
    },
  })
  return { a, b, contexts }
}

/** Lets timers of Node's own that were aborted reject, which the virtual clock knows nothing of. */
async function settle(world: World): Promise<void> {
  await world.clock.settle()
  await new Promise((resolve) => setImmediate(resolve))
  await world.clock.settle()
}

describe('a handler that stops with', () => {
  test.each(WAYS)('%s after its query was cancelled logs nothing', async (_what, handler) => {
    const world = new World()
    const { a, b, contexts } = await askedOf(world, handler)
    const stop = new AbortController()
    const asked = failure(b.query('held', { signal: stop.signal }))
    await settle(world)
    expect(a.stats().session?.handlersRunning).toBe(1)
    stop.abort()
    expect((await asked).code).toBe('CANCELLED')
    await settle(world)
    expect(contexts.map(({ signal }) => signal.aborted)).toEqual([true])
    expect(a.stats().session?.handlersRunning).toBe(0)
    expect(await b.query('alive')).toBe('yes')
    await world.end()
    expect(world.logs.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
  })

  test.each(WAYS)("%s after its caller's time was up logs nothing", async (_what, handler) => {
    const world = new World()
    const { a, b } = await askedOf(world, handler)
    const asked = failure(b.query('held', { timeoutMs: 100 }))
    await world.clock.advance(150)
    expect((await asked).code).toBe('TIMEOUT')
    await settle(world)
    expect(a.stats().session?.handlersRunning).toBe(0)
    await world.end()
    expect(world.logs.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
  })

  test.each(WAYS)('%s because the session was lost logs no error of the application', async (_what, handler) => {
    const world = new World()
    const { a, b, contexts } = await askedOf(world, handler)
    const asked = failure(b.query('held'))
    await settle(world)
    await world.finish(Promise.all([a.close(), b.close()]))
    await asked
    await settle(world)
    expect(contexts.map(({ signal }) => signal.aborted)).toEqual([true])
    await world.end()
    expect(world.errors()).toEqual([])
  })
})

describe('what is still logged as an error of the application, once', () => {
  test('an AbortError of a handler that nobody has told to stop', async () => {
    const world = new World()
    const { b } = await askedOf(world, () => Promise.reject(abortError()))
    expect((await failure(b.query('held'))).code).toBe('REMOTE')
    await world.end()
    expect(world.errors().map(({ message }) => message)).toEqual(['a handler threw'])
  })

  test('an AbortError that came before the cancel', async () => {
    const world = new World()
    const { handler, calls } = heldHandler()
    const { b } = await askedOf(world, handler)
    const stop = new AbortController()
    const asked = failure(b.query('held', { signal: stop.signal }))
    await world.clock.settle()
    calls[0]?.reject(abortError())
    await world.clock.settle()
    stop.abort()
    expect((await asked).code).toBe('REMOTE')
    await world.end()
    expect(world.errors()).toHaveLength(1)
  })

  test('any other error of a handler after its query was cancelled', async () => {
    const world = new World()
    const { b } = await askedOf(world, (signal) => fired(signal, () => new TypeError('x is undefined')))
    const stop = new AbortController()
    const asked = failure(b.query('held', { signal: stop.signal }))
    await world.clock.settle()
    stop.abort()
    expect((await asked).code).toBe('CANCELLED')
    await world.clock.settle()
    await world.end()
    expect(world.errors().map(({ message, fields }) => [message, String(fields['error'])])).toEqual([
      ['a handler threw', 'TypeError: x is undefined'],
    ])
  })

  test('another query of the same moment that was not cancelled', async () => {
    const world = new World()
    const { handler, calls } = heldHandler()
    const { b } = await askedOf(world, handler)
    const stop = new AbortController()
    const asked = [failure(b.query('one', { signal: stop.signal })), failure(b.query('two'))]
    await world.clock.settle()
    stop.abort()
    await world.clock.settle()
    for (const call of calls) call.reject(abortError())
    expect((await Promise.all(asked)).map(({ code }) => code)).toEqual(['CANCELLED', 'REMOTE'])
    await world.end()
    expect(world.errors()).toHaveLength(1)
  })
})

describe('what the peer reads of it', () => {
  /** The reasons of all FAIL frames that were written while `run` went on. */
  async function failReasons(run: () => Promise<void>): Promise<number[]> {
    const reasons: number[] = []
    const push = vi.spyOn(MemoryPipe.prototype, 'push')
    try {
      await run()
      for (const [bytes] of push.mock.calls) {
        if (bytes === 'end') continue
        // Each chunk holds whole frames, since all of them are small.
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
        for (let at = 0; at + 12 <= bytes.length; at += 12 + view.getUint32(at + 8)) {
          if (bytes[at] === KIND.FAIL) reasons.push(bytes[at + 12] ?? 0)
        }
      }
    } finally {
      push.mockRestore()
    }
    return reasons
  }

  async function cancelledWith(end: (call: Deferred) => void): Promise<number[]> {
    const world = new World()
    const { handler, calls } = heldHandler()
    const { b } = await askedOf(world, handler)
    const reasons = await failReasons(async () => {
      const stop = new AbortController()
      const asked = failure(b.query('held', { signal: stop.signal }))
      await world.clock.settle()
      stop.abort()
      await asked
      await world.clock.settle()
      for (const call of calls) end(call)
      await world.clock.settle()
    })
    await world.end()
    return reasons
  }

  clearTest('a handler that returns after the cancel is FAIL 4', async () => {
    expect(await cancelledWith((call) => call.resolve('late'))).toEqual([FAIL_REASON.CANCELLED])
  })

  clearTest('a handler that stops with an AbortError after the cancel is FAIL 4', async () => {
    expect(await cancelledWith((call) => call.reject(abortError()))).toEqual([FAIL_REASON.CANCELLED])
  })
  clearTest('a handler that fails in another way after the cancel is FAIL 4', async () => {
    expect(await cancelledWith((call) => call.reject(new TypeError('x')))).toEqual([FAIL_REASON.CANCELLED])
  })

  clearTest('a handler that stops with an AbortError after its time was up is FAIL 5', async () => {
    const world = new World()
    const { b } = await askedOf(world, (signal) => fired(signal, abortError))
    const reasons = await failReasons(async () => {
      const asked = failure(b.query('held', { timeoutMs: 100 }))
      // The CANCEL of the caller would come first if it were not held up on its way.
      const [near, far] = world.pipe
      await world.clock.settle()
      for (const pipe of [near, far]) pipe.stalled = true
      await world.clock.advance(150)
      await asked
      for (const pipe of [near, far]) pipe.release()
      await world.clock.advance(150)
    })
    await world.end()
    expect(reasons).toEqual([FAIL_REASON.EXPIRED])
  })
})
