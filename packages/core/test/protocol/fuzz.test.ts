/** Some hundreds of runs of what `npm run fuzz` does for minutes, without the encryption that `@pairlink/crypto` has. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { naiveCipher } from '../../../../e2e/fuzz/ciphers.mjs'
import { expectedOf } from '../../../../e2e/fuzz/content.mjs'
import { fuzz, report } from '../../../../e2e/fuzz/fuzz.mjs'
import { decodeInput, encodeInput } from '../../../../e2e/fuzz/inputs.mjs'
import { targetsOf } from '../../../../e2e/fuzz/targets.mjs'
import { decodePayload } from '../../src/connection/payload.js'
import { utf8 } from '../../src/connection/text.js'
import type { Link, ProtocolEvent } from '../../src/protocol/index.js'
import { testTarget } from './fuzzing.js'

for (const target of targetsOf([undefined, naiveCipher])) testTarget(target, target.name === 'content' ? 100 : 300)

describe('content', () => {
  const json = fc.oneof(
    fc.json(),
    fc.constantFrom('{"__proto__":{"a":1}}', '1e999', '-0', '"\\ud800"', '[', '\ufeff1'),
    fc
      .tuple(fc.integer({ min: 990, max: 1010 }), fc.constantFrom(['[', ']'], ['{"a":', '}'] as const))
      .map(([depth, [open, close]]) => `${open.repeat(depth)}1${close.repeat(depth)}`),
  )
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    json.map((text) => utf8.encode(text)),
    fc.string({ unit: 'binary' }).map((text) => utf8.encode(text)),
  )

  test('is read as what it is, or not at all', () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 3), bytes, (content, of) => {
        const expected = expectedOf(content, of)
        const decode = (): unknown => decodePayload(content, of, utf8)
        if (expected.isReadable) expect(decode()).toStrictEqual(expected.value)
        else expect(decode).toThrow()
        expect(Object.hasOwn(Object.prototype, 'a')).toBe(false)
      }),
      { numRuns: 500 },
    )
  })
})

describe('the fuzzer', () => {
  /** What a link would do with a fault in it. The private fields need the link itself. */
  const broken =
    (faults: (link: Link) => Partial<Record<keyof Link, unknown>>) =>
    <T extends object>(link: T): T => {
      const planted: Record<string | symbol, unknown> = faults(link as unknown as Link)
      return new Proxy(link, {
        get(target, name) {
          if (Object.hasOwn(planted, name)) return planted[name]
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      })
    }
  const polled = (change: (event: ProtocolEvent | undefined) => ProtocolEvent | undefined) =>
    broken((link) => ({ poll: () => change(link.poll()) }))

  const usedAgain = new Uint8Array(4096)
  const FAULTS: Record<string, { wrap: ReturnType<typeof broken>; target: string; says: RegExp }> = {
    'an exception at one kind of frame': {
      wrap: polled((event) => {
        if (event?.type === 'close') throw new RangeError('planted')
        return event
      }),
      target: 'wire-proof-listener',
      says: /RangeError: planted/,
    },
    'an end of a wrong kind': {
      wrap: polled((event) =>
        event?.type === 'ended' && event.end.by === 'violation'
          ? { type: 'ended', end: { by: 'cipher', error: event.end.error } }
          : event,
      ),
      target: 'insider-proof-listener',
      says: /ended by cipher/,
    },
    'content that was changed on its way': {
      wrap: polled((event) =>
        event?.type === 'query' ? { ...event, bytes: event.bytes.map((byte) => byte ^ 1) } : event,
      ),
      target: 'wire-custom-listener',
      says: /delivered what was not sent/,
    },
    'events without end': {
      wrap: polled((event) => event ?? { type: 'keepalive', kind: 'ping' }),
      target: 'frames-dialer',
      says: /steps for/,
    },
    'bytes that are used again after they were delivered': {
      wrap: polled((event) => {
        if (event?.type !== 'query' || event.bytes.length > usedAgain.length) return event
        usedAgain.set(event.bytes)
        return { ...event, bytes: usedAgain.subarray(0, event.bytes.length) }
      }),
      target: 'insider-proof-dialer',
      says: /has changed afterwards/,
    },
    'a chunk of which a byte is lost': {
      wrap: broken((link) => ({
        receive: (chunk: Uint8Array, transient: boolean, now: number) => {
          link.receive(chunk.length === 2 ? chunk.subarray(1) : chunk, transient, now)
        },
      })),
      target: 'frames-listener',
      says: /in other chunks/,
    },
    'a deadline that does not move': {
      wrap: broken(() => ({ deadline: 0 })),
      target: 'insider-proof-dialer',
      says: /deadline is in the past/,
    },
  }

  test.each(Object.entries(FAULTS))('finds %s', async (_name, { wrap, target: name, says }) => {
    const targets = targetsOf([undefined, naiveCipher], { wrap }).filter((target) => target.name === name)
    const { found } = await fuzz({ targets, seed: 1, runs: 500 })
    if (found === undefined) throw new Error('nothing was found')
    const text = report(found, 'a file', 1)
    expect(text).toMatch(says)
    // What is printed is enough to see it again.
    expect(text).toContain(encodeInput(found.input).trimEnd())
    await expect((async () => targets[0]?.run(decodeInput(encodeInput(found.input))))()).rejects.toThrow(
      (found.error as Error).message,
    )
  })

  test('draws the same from the same seed', async () => {
    const ends = async (): Promise<string> => {
      const targets = targetsOf([undefined]).filter(({ name }) => name.startsWith('insider'))
      const { counts, found } = await fuzz({ targets, seed: 7, runs: 50 })
      expect(found).toBeUndefined()
      return JSON.stringify(counts.map((one) => [one.target, one.runs, [...one.ends]]))
    }
    expect(await ends()).toBe(await ends())
  })
})
