import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CONTENT, KIND, ProtocolError, type Link, type ProtocolEvent } from '../../src/protocol/index.js'
import { Queue } from '../../src/protocol/queue.js'
import { FrameReader } from '../../src/protocol/reader.js'
import { Deadlines } from '../../src/protocol/timers.js'
import { feed, frame, join, linkOf, opened, polled, written } from './links.js'

/** Events without what differs between two runs, and with bytes as text, to be compared. */
function told(events: ProtocolEvent[]): string[] {
  return events.map((event) =>
    JSON.stringify(event, (_key, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
    ),
  )
}

/** Every state of a link, made anew. */
const LINKS: Record<string, () => Link> = {
  calling: () => linkOf('dialer'),
  waiting: () => linkOf('listener'),
  challenging: () => {
    const listener = linkOf('listener')
    feed(listener, written(linkOf('dialer')))
    return listener
  },
  'open, of the dialer': () => opened().dialer,
  'open, of the listener': () => opened().listener,
  closing: () => {
    const { dialer } = opened()
    dialer.close(0, '', false)
    written(dialer)
    return dialer
  },
}

const payload = fc.uint8Array({ maxLength: 300 })
const anyFrame = fc
  .record({
    kind: fc.oneof(fc.constantFrom(...Object.values(KIND)), fc.nat(255)),
    flags: fc.oneof(fc.constantFrom(0, 1, 5, 7), fc.nat(255)),
    content: fc.nat(4),
    id: fc.oneof(fc.nat(20), fc.nat(0xffffffff)),
    payload,
  })
  .map(({ kind, flags, content, id, payload: bytes }) => frame(kind, bytes, { flags, content, id }))

describe('any bytes', () => {
  test.each(Object.entries(LINKS))('bring only events and known ends to a link that is %s', (_state, make) => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(anyFrame, payload), { maxLength: 8 }),
        fc.integer({ min: 1, max: 500 }),
        (parts, chunkBytes) => {
          const link = make()
          const bytes = join(...parts)
          const events = bytes.length === 0 ? [] : feed(link, bytes, 1, chunkBytes)
          written(link, 2)
          link.tick(3)
          events.push(...polled(link))
          const ends = events.filter((event) => event.type === 'ended')
          expect(ends.length).toBeLessThanOrEqual(1)
          for (const { end } of ends) if (end.by === 'violation') expect(end.error).toBeInstanceOf(ProtocolError)
          expect(link.deadline).toBeGreaterThan(3)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('that announce 4 GB are refused before anything is kept', () => {
    for (const make of Object.values(LINKS)) {
      const link = make()
      const before = process.memoryUsage().arrayBuffers
      const events = feed(
        link,
        join(frame(KIND.QUERY, new Uint8Array(0), { id: 1, length: 0xffffffff }), new Uint8Array(1000)),
      )
      expect(events.at(-1)?.type).toBe('ended')
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6)
    }
  })
})

describe('any chunking', () => {
  const query = fc.tuple(fc.nat(50), fc.string({ maxLength: 20 }), payload).map(([slot, method, bytes]) => {
    const name = new TextEncoder().encode(method).subarray(0, 255)
    const valid =
      new TextEncoder().encode(new TextDecoder().decode(name)).length === name.length ? name : new Uint8Array(0)
    return { slot, bytes: join(Uint8Array.of(0, 0, 100, 0, valid.length), valid, bytes) }
  })

  test('of the same stream gives the same events', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(query, { maxLength: 10, selector: ({ slot }) => slot }),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 }),
        (queries, sizes) => {
          const stream = join(
            ...queries.map(({ slot, bytes }) =>
              frame(KIND.QUERY, bytes, { id: slot | 0x10000, content: CONTENT.BYTES }),
            ),
            frame(KIND.NOTIFY, Uint8Array.of(0, 1, 2), { content: CONTENT.BYTES }),
            frame(KIND.PING, new Uint8Array(8)),
          )
          const whole = feed(opened().listener, stream)
          const inBytes = feed(opened().listener, stream, 0, 1)
          const { listener } = opened()
          const split: ProtocolEvent[] = []
          for (let at = 0, turn = 0; at < stream.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1
            // Overwritten after it was read, as the buffer of a socket is.
            const chunk = stream.slice(at, at + size)
            listener.receive(chunk, true, 0)
            split.push(...polled(listener))
            chunk.fill(0xee)
            at += size
          }
          expect(told(inBytes)).toEqual(told(whole))
          expect(told(split)).toEqual(told(whole))
          expect(whole).toHaveLength(queries.length + 2)
        },
      ),
      { numRuns: 100 },
    )
  })
})

describe('the frame reader', () => {
  const reader = (): FrameReader => new FrameReader(65_536)
  const bytes = join(frame(KIND.QUERY, Uint8Array.of(1, 2, 3), { id: 5, content: 2 }), Uint8Array.of(9, 9))

  test('reads a frame whole, and keeps what trails it for later', () => {
    const whole = reader()
    whole.feed(bytes, false)
    expect(whole.next()).toBe(true)
    expect([whole.kind, whole.id, whole.content, whole.lengthBytes]).toEqual([KIND.QUERY, 5, 2, 3])
    expect([...whole.keep(whole.start)]).toEqual([1, 2, 3])
    expect(whole.next()).toBe(false)
  })

  test('reads a frame byte by byte', () => {
    const slow = reader()
    let frames = 0
    for (const byte of bytes) {
      slow.feed(Uint8Array.of(byte), true)
      while (slow.next()) frames += slow.lengthBytes
    }
    expect(frames).toBe(3)
  })

  test.each([0, 1, 64, 65, 1000])('what was kept of a transient chunk survives it (%i bytes)', (size) => {
    const content = new Uint8Array(size).map((_, at) => at)
    const chunk = join(frame(KIND.ANSWER, content, { content: 2 }), frame(KIND.ANSWER, content, { content: 2 }))
    const transient = reader()
    transient.feed(chunk, true)
    const kept: Uint8Array[] = []
    while (transient.next()) kept.push(transient.keep(transient.start))
    chunk.fill(0xee)
    expect(kept.map((part) => [...part])).toEqual([[...content], [...content]])
  })

  test.each([
    ['an unknown kind', frame(77)],
    ['a reserved byte', Uint8Array.of(KIND.PING, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)],
    ['an unknown content', frame(KIND.QUERY, new Uint8Array(5), { content: 4 })],
    ['a content where there is none', frame(KIND.PING, new Uint8Array(8), { content: 1 })],
    ['an id where there is none', frame(KIND.PING, new Uint8Array(8), { id: 1 })],
    ['flags that do not go together', frame(KIND.QUERY, new Uint8Array(5), { flags: 2 })],
    ['a first fragment that is the last', frame(KIND.QUERY, new Uint8Array(5), { flags: 3 })],
    ['fragments of what has none', frame(KIND.CANCEL, new Uint8Array(0), { flags: 1 })],
    ['a length over the limit', frame(KIND.QUERY, new Uint8Array(0), { length: 65_525 })],
  ])('refuses %s', (_what, bad) => {
    const strict = reader()
    strict.feed(bad, false)
    expect(() => strict.next()).toThrow(ProtocolError)
  })
})

describe('the small parts', () => {
  test('Queue is first in, first out, whatever is put in, taken or removed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(1000), fc.constant('shift'), fc.constant('remove')), { maxLength: 3000 }),
        (steps) => {
          const queue = new Queue<number>()
          const model: number[] = []
          for (const step of steps) {
            if (step === 'shift') expect(queue.shift()).toBe(model.shift())
            else if (step === 'remove') {
              const wanted = model[Math.floor(model.length / 2)]
              const removed = queue.remove((item) => item === wanted)
              if (wanted !== undefined) model.splice(model.indexOf(wanted), 1)
              expect(removed).toBe(wanted)
            } else {
              queue.push(step as number)
              model.push(step as number)
            }
            expect(queue.length).toBe(model.length)
            expect(queue.peek()).toBe(model[0])
          }
        },
      ),
      { numRuns: 30 },
    )
  })

  test('Deadlines passes on each slot once, not before its time, and at most 4 ms late; its soonest is never in the past', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(200), fc.nat(500), fc.nat(20)), { maxLength: 200 }), (steps) => {
        const deadlines = new Deadlines()
        const model = new Map<number, number>()
        let now = 0
        for (const [slot, delay, pause] of steps) {
          if (delay < 50) {
            deadlines.clear(slot)
            model.delete(slot)
          } else {
            deadlines.set(slot, now + delay)
            model.set(slot, now + delay)
          }
          // A driver wakes when it is told to, at the latest.
          for (const end = now + pause; now < end; ) {
            now = Math.min(end, Math.max(now, deadlines.soonest))
            if (now < deadlines.soonest) break
            deadlines.expire(now, (due) => {
              expect(model.get(due)).toBeLessThanOrEqual(now)
              expect(model.get(due)).toBeGreaterThanOrEqual(now - 4)
              model.delete(due)
            })
            expect(deadlines.soonest).toBeGreaterThan(now)
          }
          now = Math.max(now, 0)
        }
        expect([...model.values()].every((moment) => moment >= now - 4)).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})
