import { readFileSync } from 'node:fs'
import { describe, expect, it, test } from 'vitest'
import { utf8 } from '../../src/connection/text.js'
import {
  completeLimits,
  CONTENT,
  DEFAULT_LIMITS,
  FAIL_REASON,
  KIND,
  NESTING_FACTOR,
  ProtocolError,
  QUEUE_FULL,
  Session,
  TAKEN,
  TOO_LARGE,
  type Limits,
  type Link,
} from '../../src/protocol/index.js'
import { decodeHello, encodeHello } from '../../src/protocol/hello.js'
import { FrameReader } from '../../src/protocol/reader.js'
import {
  expectViolation,
  filled,
  FIRST,
  framesOf,
  idOf,
  kindsOf,
  NOTHING,
  part,
  queriesOf,
  QUERY_FIELDS,
} from './ends.js'
import { endOf, feed, frame, helloOf, join, linkOf, opened, polled, written } from './links.js'

const KIB = 1024
const MIB = 1024 * KIB
const NO_METHOD = NOTHING

/** Every limit: its default, and the least and the most that it can be set to. */
const TABLE: readonly (readonly [name: keyof Limits, standard: number, least: number, most: number])[] = [
  ['messageBytesMax', 64 * MIB, 1, 2 ** 32 - 1],
  ['fragmentBytes', 64 * KIB, 4 * KIB, 64 * KIB],
  ['sendBytesMax', 16 * MIB, 1, 2 ** 40],
  ['replayBytesMax', 16 * MIB, 1, 2 ** 40],
  ['inboxBytesMax', 16 * MIB, 1, 2 ** 40],
  ['reassemblyBytesMax', 128 * MIB, 1, 2 ** 40],
  ['handlersMax', 1024, 1, 4096],
  ['strangersMax', 16, 1, 4096],
]

/** The limits that belong to one another are moved together, so that a refusal speaks of the one that is meant. */
function withLimit(name: keyof Limits, value: number): Partial<Limits> {
  return name === 'reassemblyBytesMax' ? { messageBytesMax: 1, [name]: value } : { [name]: value }
}

describe('each limit', () => {
  test('stands in the table of this file', () => {
    expect(TABLE.map(([name]) => name).sort()).toEqual(Object.keys(DEFAULT_LIMITS).sort())
  })

  test.each(TABLE)('%s has its default', (name, standard) => {
    expect(DEFAULT_LIMITS[name]).toBe(standard)
    expect(completeLimits({})[name]).toBe(standard)
  })

  test('has the default that PROTOCOL.md says', () => {
    const text = readFileSync(new URL('../../../../PROTOCOL.md', import.meta.url), 'utf8')
    const section = text.slice(text.indexOf('\n## 10.'), text.indexOf('\n## 11.'))
    const unit: Record<string, number> = { MiB: MIB, KiB: KIB, '': 1 }
    const said: Record<string, number> = {}
    for (const [, name = '', count = '', of = ''] of section.matchAll(
      /(\w+(?:Max|Bytes)) \| ([\d,]+) ?(MiB|KiB|)(?= \|)/g,
    )) {
      said[name] = Number(count.replace(',', '')) * (unit[of] ?? NaN)
    }
    expect(said).toEqual(DEFAULT_LIMITS)
  })

  test.each(TABLE)('%s can be set to both ends of its range', (name, _standard, least, most) => {
    for (const value of [least, most]) expect(completeLimits(withLimit(name, value))[name]).toBe(value)
  })

  test.each(TABLE)('%s outside its range is refused, and both are named', (name, _standard, least, most) => {
    const values = [least - 1, most + 1, -1, 0, -Infinity, Infinity, NaN, least + 0.5, 2 ** 53, '7', null]
    for (const value of values) {
      const set = (): Limits => completeLimits(withLimit(name, value as number))
      expect(set, String(value)).toThrow(TypeError)
      expect(set).toThrow(`limits.${name} must be a whole number from ${least} to ${most}, not ${String(value)}`)
    }
  })

  test('of reassembly is at least that of a message, and grows with it when it is not given', () => {
    expect(completeLimits({ messageBytesMax: 200 * MIB }).reassemblyBytesMax).toBe(200 * MIB)
    expect(completeLimits({ messageBytesMax: MIB }).reassemblyBytesMax).toBe(128 * MIB)
    expect(completeLimits({ messageBytesMax: 5, reassemblyBytesMax: 5 }).reassemblyBytesMax).toBe(5)
    expect(() => completeLimits({ messageBytesMax: 5, reassemblyBytesMax: 4 })).toThrow(
      /limits\.reassemblyBytesMax \(4\) must be at least limits\.messageBytesMax \(5\)/,
    )
    expect(() => completeLimits({ reassemblyBytesMax: MIB })).toThrow(TypeError)
  })

  test('of handlers leaves each query a slot in the 16 bits of an id', () => {
    expect(NESTING_FACTOR * 4096).toBe(65_536)
  })

  test('that was given does not change what is given by default', () => {
    completeLimits({ handlersMax: 7 })
    expect(completeLimits({}).handlersMax).toBe(1024)
  })
})

/** What a hello may announce: [the limit, a value that is taken, a value that no peer can have]. */
const ANNOUNCED: readonly (readonly [keyof Limits | 'keepaliveMs', number, number])[] = [
  ['messageBytesMax', 1, 0],
  ['messageBytesMax', 128 * MIB, 128 * MIB + 1], // above the reassemblyBytesMax beside it
  ['replayBytesMax', 1, 0],
  ['inboxBytesMax', 1, 0],
  ['reassemblyBytesMax', 64 * MIB, 64 * MIB - 1],
  ['fragmentBytes', 4096, 4095],
  ['fragmentBytes', 65_536, 65_537],
  ['handlersMax', 1, 0],
  ['handlersMax', 4096, 4097],
  ['keepaliveMs', 1, 0],
]

describe('a hello that announces', () => {
  const announcing = (name: keyof Limits | 'keepaliveMs', value: number) =>
    name === 'keepaliveMs' ? { keepaliveMs: value } : { limits: { ...DEFAULT_LIMITS, [name]: value } }

  test.each(ANNOUNCED)('%s of %d is read as it was written, and one of %d is an error', (name, good, bad) => {
    const read = (value: number) => decodeHello(encodeHello(helloOf('dialer', announcing(name, value)), utf8), utf8)
    const hello = read(good)
    expect({ ...hello, ...hello.limits }).toMatchObject({ [name]: good })
    expect(() => read(bad)).toThrow(ProtocolError)
  })

  test.each(ANNOUNCED)('%s of %d passes at both sides, and one of %d ends the link at both', (name, good, bad) => {
    const taken = linkOf('listener')
    feed(taken, written(linkOf('dialer', { hello: announcing(name, good) })))
    expect(taken.state).toBe('challenging')

    const listener = linkOf('listener')
    expect(endOf(feed(listener, written(linkOf('dialer', { hello: announcing(name, bad) }))))).toMatchObject({
      by: 'refusing',
      refusal: { reason: 'protocol' },
    })

    for (const [value, state] of [
      [good, 'proving'],
      [bad, 'ended'],
    ] as const) {
      const dialer = linkOf('dialer')
      const other = linkOf('listener', { hello: announcing(name, value) })
      feed(other, written(dialer))
      feed(dialer, written(other))
      expect(dialer.state).toBe(state)
    }
  })

  test('more than a u32 loses nothing of it', () => {
    const limits = { ...DEFAULT_LIMITS, replayBytesMax: 2 ** 40, inboxBytesMax: 2 ** 33 + 5 }
    const { limits: read } = decodeHello(encodeHello(helloOf('dialer', { limits }), utf8), utf8)
    expect([read.replayBytesMax, read.inboxBytesMax]).toEqual([2 ** 40, 2 ** 33 + 5])
  })
})

// ---- frames

/** The header of a frame with a payload of `length` bytes that do not follow. */
const header = (kind: number, length: number): Uint8Array => frame(kind, new Uint8Array(0), { length })

/** Two open links whose sides have limits of their own: the dialer asks, the listener answers. */
const pairOf = (ofDialer: Partial<Limits> = {}, ofListener: Partial<Limits> = {}): ReturnType<typeof opened> =>
  opened({ hello: { limits: completeLimits(ofDialer) } }, { hello: { limits: completeLimits(ofListener) } })

const ask = (session: Session, bytes: number, mayWait = false): number =>
  session.query(NO_METHOD, CONTENT.BYTES, new Uint8Array(bytes), 'own', Infinity, mayWait, 0)
const tell = (session: Session, bytes: number, mayWait = false): number =>
  session.notify(NO_METHOD, CONTENT.BYTES, new Uint8Array(bytes), 'own', Infinity, mayWait, 0)

/** QUERY frames as a hostile peer writes them: a whole one, and the first of a message of `totalBytes`. */
const wholeQuery = (bytes: number, id = 1): Uint8Array =>
  frame(KIND.QUERY, join(QUERY_FIELDS, new Uint8Array(bytes)), { id, content: CONTENT.BYTES })
const firstQuery = (totalBytes: number, id = 1): Uint8Array =>
  part(KIND.QUERY, id, FIRST, new Uint8Array(1), totalBytes)

/** Bytes outside the heap of V8 that `make` leaves behind: where the payloads of frames would lie. */
function retainedBytes(make: () => unknown): number {
  const before = process.memoryUsage().arrayBuffers
  const kept = make()
  const after = process.memoryUsage().arrayBuffers
  expect(kept).toBeDefined() // alive until here
  return after - before
}

describe('a frame over the limit is refused from its header', () => {
  test.each([
    [1024, 1013],
    [4096, 4085],
    [65_536, 65_525],
    [65_536, 2 ** 31],
    [65_536, 2 ** 32 - 12],
    [65_536, 2 ** 32 - 1],
  ])('limit %d, payload %d: at its 12th byte and no sooner', (frameBytesMax, length) => {
    const reader = new FrameReader(frameBytesMax)
    const bytes = header(KIND.NOTIFY, length)
    for (let at = 0; at < 11; at++) {
      reader.feed(bytes.subarray(at, at + 1), false)
      expect(reader.next()).toBe(false)
    }
    reader.feed(bytes.subarray(11), false)
    expect(() => reader.next()).toThrow(ProtocolError)
    const whole = new FrameReader(frameBytesMax)
    whole.feed(bytes, false)
    expect(() => whole.next()).toThrow(/the limit is/)
  })

  test.each([1024, 4096, 65_536])('limit %d: one that fills it exactly is taken', (frameBytesMax) => {
    const reader = new FrameReader(frameBytesMax)
    reader.feed(frame(KIND.NOTIFY, new Uint8Array(frameBytesMax - 12), { content: CONTENT.BYTES }), false)
    expect(reader.next()).toBe(true)
    expect(reader.lengthBytes).toBe(frameBytesMax - 12)
  })

  test('before a byte of its payload is kept, whereas one within the limit gets its room', () => {
    const COUNT = 500
    const fill = (length: number): FrameReader[] =>
      Array.from({ length: COUNT }, () => {
        const reader = new FrameReader(65_536)
        reader.feed(header(KIND.NOTIFY, length), false)
        try {
          reader.next()
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error
        }
        return reader
      })
    expect(retainedBytes(() => fill(65_525))).toBeLessThan(COUNT * 1024)
    // What would be seen if it were otherwise.
    expect(retainedBytes(() => fill(65_524))).toBeGreaterThan(COUNT * 60_000)
  })

  test('on an open link, by the fragmentBytes that this side has announced, whatever those of the peer are', () => {
    for (const [own, theirs] of [
      [4096, 65_536],
      [65_536, 4096],
      [10_000, 20_000],
    ] as const) {
      const { dialer, listener } = pairOf({ fragmentBytes: theirs }, { fragmentBytes: own })
      for (const [link, limit] of [
        [listener, own],
        [dialer, theirs],
      ] as const) {
        expect(feed(link, header(KIND.NOTIFY, limit - 12 + 1).subarray(0, 11))).toEqual([])
        expectViolation(feed(link, header(KIND.NOTIFY, limit - 12 + 1).subarray(11)), '3.1')
        expect(link.state).toBe('ended')
      }
    }
  })

  test('on an open link, one that fills it exactly is taken', () => {
    const { listener } = pairOf({}, { fragmentBytes: 4096 })
    expect(feed(listener, wholeQuery(4096 - 12 - 5))).toMatchObject([{ type: 'query' }])
  })

  test('and what came before it stays delivered', () => {
    const { listener } = pairOf()
    const events = feed(listener, join(wholeQuery(3), header(KIND.QUERY, 65_525), new Uint8Array(100)))
    expect(events.map(({ type }) => type)).toEqual(['query', 'ended'])
  })

  test('in the handshake at 1,024 bytes, whatever the fragmentBytes: PROVE, WELCOME, REFUSE', () => {
    const listener = linkOf('listener')
    const proving = linkOf('dialer')
    feed(listener, written(proving))
    feed(proving, written(listener))
    expectViolation(feed(listener, header(KIND.PROVE, 1013)), '3.1')
    expectViolation(feed(proving, header(KIND.WELCOME, 1013)), '3.1')
    const challenging = linkOf('listener')
    feed(challenging, written(linkOf('dialer')))
    expect(feed(challenging, header(KIND.PROVE, 1012))).toEqual([])
    expect(challenging.state).toBe('challenging')
  })

  test('in the first message by what the preamble has announced', () => {
    const hello = written(linkOf('dialer'))
    const announced = ((hello[6] ?? 0) << 8) | (hello[7] ?? 0)
    const preamble = hello.subarray(0, 8)
    const over = linkOf('listener')
    expect(endOf(feed(over, join(preamble, header(KIND.HELLO, announced - 12 + 1))))).toMatchObject({
      by: 'refusing',
      refusal: { reason: 'protocol' },
    })
    const within = linkOf('listener')
    expect(feed(within, join(preamble, header(KIND.HELLO, announced - 12)))).toEqual([])
  })

  test.each([0, 1025, 65_535])('a preamble that announces %d bytes ends the pipe, on both sides', (length) => {
    const preamble = Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0, length >>> 8, length & 0xff)
    for (const side of ['dialer', 'listener'] as const) expectViolation(feed(linkOf(side), preamble), '2')
  })

  test('a stranger is given no more memory than a handshake message, however much it announces', () => {
    const COUNT = 300
    const strangers = (messageBytes: number): Link[] =>
      Array.from({ length: COUNT }, () => {
        const link = linkOf('listener')
        feed(link, Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0, messageBytes >>> 8, messageBytes & 0xff))
        feed(link, header(KIND.HELLO, 65_524))
        return link
      })
    expect(retainedBytes(() => strangers(1024))).toBeLessThan(COUNT * 4096)
  })
})

// ---- messages

describe('messageBytesMax', () => {
  test('of the peer holds for queries and notifications: larger ones are TOO_LARGE and leave nothing behind', () => {
    const { dialer, asking } = pairOf({}, { messageBytesMax: 100_000 })
    const before = asking.stats()
    expect(ask(asking, 100_001)).toBe(TOO_LARGE)
    expect(ask(asking, 100_001, true)).toBe(TOO_LARGE)
    expect(tell(asking, 100_001)).toBe(TOO_LARGE)
    expect(asking.stats()).toEqual(before)
    expect(written(dialer)).toHaveLength(0)
    expect(ask(asking, 100_000)).toBeGreaterThanOrEqual(0)
    expect(tell(asking, 100_000)).toBe(TAKEN)
  })

  test('of this side does not hold for what it sends', () => {
    const { dialer, listener, asking } = pairOf({ messageBytesMax: 10 })
    expect(ask(asking, 100_000)).toBeGreaterThanOrEqual(0)
    expect(feed(listener, written(dialer))).toMatchObject([{ type: 'query' }])
  })

  test('of the asker turns a larger answer into a FAIL that says so', () => {
    const { dialer, listener, asking, answering } = pairOf({ messageBytesMax: 10 })
    for (const [bytes, expected] of [
      [10, { type: 'answer' }],
      [11, { type: 'fail', reason: FAIL_REASON.TOO_LARGE }],
      [100_000, { type: 'fail', reason: FAIL_REASON.TOO_LARGE }],
    ] as const) {
      ask(asking, 1)
      const id = idOf(feed(listener, written(dialer)))
      answering.answer(id, CONTENT.BYTES, new Uint8Array(bytes), 'own', 0)
      expect(feed(dialer, written(listener))).toMatchObject([expected])
    }
  })

  test('of the asker leaves the data out of a FAIL that would be larger', () => {
    const { dialer, listener, asking, answering } = pairOf({ messageBytesMax: 10 })
    ask(asking, 1)
    const id = idOf(feed(listener, written(dialer)))
    answering.fail(id, FAIL_REASON.HANDLER, 'CODE', 'why', CONTENT.BYTES, new Uint8Array(11), 0)
    expect(feed(dialer, written(listener))).toMatchObject([
      { type: 'fail', code: 'CODE', message: 'why', content: CONTENT.NONE, bytes: new Uint8Array(0) },
    ])
  })

  test.each([100_001, 2 ** 32, 2 ** 53 + 2])('a peer that announces a message of %d bytes loses its link', (total) => {
    const { listener } = pairOf({}, { messageBytesMax: 100_000 })
    expectViolation(feed(listener, firstQuery(total)), '6.3')
    const taking = pairOf({}, { messageBytesMax: 100_000 })
    expect(feed(taking.listener, firstQuery(100_000))).toEqual([])
    expect(taking.answering.stats().reassemblyBytes).toBe(100_000)
  })

  test('one over it gets no room: its first fragment says what it will be', () => {
    const links = [pairOf(), pairOf()] as const
    expect(retainedBytes(() => feed(links[0].listener, firstQuery(64 * MIB + 1)))).toBeLessThan(MIB)
    expect(links[0].listener.state).toBe('ended')
    // What would be seen if it were otherwise.
    expect(retainedBytes(() => feed(links[1].listener, firstQuery(64 * MIB)))).toBeGreaterThan(63 * MIB)
  })

  it('holds for a message in one piece, too', () => {
    const { listener } = pairOf({}, { messageBytesMax: 10 })
    expectViolation(feed(listener, wholeQuery(11)), '6.3')
  })
})

describe('fragmentBytes', () => {
  test.each([4096, 5000, 65_536])('of %d at the peer: no frame that is written to it is larger', (fragmentBytes) => {
    const { dialer, listener, asking, answering } = pairOf({ fragmentBytes }, { fragmentBytes })
    const overheads = [12 + 5, 12 + 1] as const
    for (const bytes of [1, fragmentBytes - 18, fragmentBytes - 17, fragmentBytes - 16, fragmentBytes, 300_000]) {
      ask(asking, bytes)
      tell(asking, bytes)
      const sent = framesOf(written(dialer))
      for (const { bytes: whole } of sent) expect(whole.length).toBeLessThanOrEqual(fragmentBytes)
      for (const [kind, overhead] of [
        [KIND.QUERY, overheads[0]],
        [KIND.NOTIFY, overheads[1]],
      ] as const) {
        const ofKind = sent.filter((one) => one.kind === kind)
        expect(ofKind.length === 1, `${bytes} bytes in one frame of kind ${kind}`).toBe(
          bytes + overhead <= fragmentBytes,
        )
      }
      const events = feed(listener, join(...sent.map((one) => one.bytes)))
      expect(events.map(({ type }) => type).sort()).toEqual(['notify', 'query'])
      for (const event of events) {
        if (event.type === 'query') answering.answer(event.id, CONTENT.BYTES, event.bytes, 'own', 0)
        if (event.type === 'notify') answering.consumed(event.costBytes, 0)
      }
      const answers = framesOf(written(listener, 100))
      for (const { bytes: whole } of answers) expect(whole.length).toBeLessThanOrEqual(fragmentBytes)
      const back = feed(dialer, join(...answers.map((one) => one.bytes)), 100)
      expect(back.filter(({ type }) => type === 'answer')).toHaveLength(1)
    }
  })

  test('of the peer counts, and not the own', () => {
    const { dialer, listener, asking } = pairOf({ fragmentBytes: 65_536 }, { fragmentBytes: 4096 })
    ask(asking, 60_000)
    const sent = written(dialer)
    expect(Math.max(...framesOf(sent).map(({ bytes }) => bytes.length))).toBe(4096)
    expect(feed(listener, sent)).toMatchObject([{ type: 'query' }])
  })
})

describe('reassemblyBytesMax', () => {
  const limits = { messageBytesMax: 100_000, reassemblyBytesMax: 150_000 }

  test('a peer whose open messages together are over it loses its link', () => {
    const { listener, answering } = pairOf({}, limits)
    expect(feed(listener, firstQuery(100_000, 1))).toEqual([])
    expect(feed(listener, firstQuery(50_000, 2))).toEqual([])
    expect(answering.stats().reassemblyBytes).toBe(150_000)
    expectViolation(feed(listener, firstQuery(2, 3)), '6.3')
  })

  test('counts over all kinds of messages', () => {
    const { listener } = pairOf({}, limits)
    feed(listener, firstQuery(100_000))
    expectViolation(feed(listener, part(KIND.NOTIFY, 1, FIRST, filled(1), 50_001)), '6.3')
  })

  test('a message that is cancelled gives its room back', () => {
    const { listener, answering } = pairOf({}, limits)
    for (let id = 1; id < 20; id++) {
      expect(feed(listener, firstQuery(100_000, id))).toEqual([])
      feed(listener, frame(KIND.CANCEL, new Uint8Array(0), { id }))
      expect(answering.stats().reassemblyBytes).toBe(0)
      written(listener)
    }
  })

  test('of the peer is kept to: never more is open at once, and all arrive', () => {
    const { dialer, listener, asking, answering } = pairOf({}, limits)
    for (let count = 0; count < 5; count++) expect(ask(asking, 90_000)).toBeGreaterThanOrEqual(0)
    let most = 0
    let arrived = 0
    for (let round = 0; arrived < 5 && round < 1000; round++) {
      const out: Uint8Array[] = []
      dialer.takeWrite(10_000, 0, out)
      for (const event of feed(listener, join(...out))) {
        if (event.type === 'ended') throw new Error('the receiver has ended the link')
        if (event.type === 'query') arrived++
      }
      most = Math.max(most, answering.stats().reassemblyBytes)
    }
    expect(arrived).toBe(5)
    expect(most).toBe(90_000)
  })
})

describe('sendBytesMax', () => {
  test('bounds the queries that are accepted and not written: the next is QUEUE_FULL, or waits when it may', () => {
    const { dialer, asking } = pairOf({ sendBytesMax: 10_000 })
    let count = 0
    while (ask(asking, 1000) >= 0) if (++count > 100) throw new Error('no bound')
    expect(count).toBe(10)
    expect(asking.stats().queuedBytes).toBeLessThanOrEqual(10_000 + 1017)
    expect(ask(asking, 1)).toBe(QUEUE_FULL)
    expect(ask(asking, 1, true)).toBeGreaterThanOrEqual(0)
    expect(asking.stats().callsWaiting).toBe(1)
    written(dialer)
    expect(asking.stats().callsWaiting).toBe(0)
    expect(ask(asking, 1)).toBeGreaterThanOrEqual(0)
  })

  test('bounds notifications by themselves', () => {
    const { dialer, asking } = pairOf({ sendBytesMax: 10_000 })
    while (ask(asking, 1000) >= 0);
    let count = 0
    while (tell(asking, 1000) === TAKEN) if (++count > 100) throw new Error('no bound')
    expect(count).toBe(10)
    expect(tell(asking, 1)).toBe(QUEUE_FULL)
    written(dialer)
    expect(tell(asking, 1)).toBe(TAKEN)
  })

  test('lets one through that is larger by itself, cut into fragments or not, and a query beside a large one', () => {
    for (const [bytes, queries] of [
      [10, 1],
      [500_000, 2],
    ] as const) {
      const { dialer, listener, asking } = pairOf({ sendBytesMax: 1 })
      for (let at = 0; at < queries; at++) expect(ask(asking, bytes)).toBeGreaterThanOrEqual(0)
      expect(ask(asking, bytes)).toBe(QUEUE_FULL)
      expect(tell(asking, bytes)).toBe(TAKEN)
      expect(tell(asking, bytes)).toBe(QUEUE_FULL)
      expect(
        feed(listener, written(dialer))
          .map(({ type }) => type)
          .sort(),
      ).toEqual(['notify', ...Array.from({ length: queries }, () => 'query')])
    }
  })

  test('holds back handlers while answers over it wait to be written', () => {
    const { dialer, listener, asking, answering } = pairOf({}, { sendBytesMax: 1000 })
    ask(asking, 1)
    const id = idOf(feed(listener, written(dialer)))
    answering.answer(id, CONTENT.BYTES, new Uint8Array(1001), 'own', 0)
    answering.handlerEnded()
    ask(asking, 1)
    expect(feed(listener, written(dialer))).toEqual([])
    feed(dialer, written(listener))
    expect(polled(listener)).toMatchObject([{ type: 'query' }])
  })
})

describe('replayBytesMax', () => {
  /** Writes as a driver does whose pipe is never full, `budgetBytes` at a time. */
  function writeAll(link: Link, budgetBytes: number, now: number): Uint8Array {
    const out: Uint8Array[] = []
    for (let count = -1; count !== out.length; ) {
      count = out.length
      link.takeWrite(budgetBytes, now, out)
    }
    return join(...out)
  }

  test.each([
    ['small queries', 1000, 1000],
    ['queries in many fragments', 4, 1_000_000],
  ])('bounds what is written of %s and not acknowledged, to a block; an ACK lets more out', (_what, count, bytes) => {
    const { dialer, listener, asking } = pairOf({ replayBytesMax: 200_000 })
    for (let at = 0; at < count; at++) expect(ask(asking, bytes)).toBeGreaterThanOrEqual(0)
    let arrived = 0
    for (let now = 0; arrived < count && now < 10_000; now += 20) {
      const bytesOut = writeAll(dialer, 10_000, now)
      const { unacknowledgedBytes, queuedBytes } = asking.stats()
      expect(unacknowledgedBytes).toBeLessThanOrEqual(200_000 + 65_536)
      if (queuedBytes > 0) {
        expect(unacknowledgedBytes).toBeGreaterThanOrEqual(200_000)
        expect(writeAll(dialer, 10_000, now + 10)).toHaveLength(0)
      }
      arrived += feed(listener, bytesOut, now).filter(({ type }) => type === 'query').length
      feed(dialer, written(listener, now + 20), now + 20)
    }
    expect(arrived).toBe(count)
  })

  test('does not hold back an ACK, a PING or a PONG', () => {
    const { dialer, listener, asking, answering } = pairOf({ replayBytesMax: 10 })
    ask(asking, 100)
    written(dialer)
    ask(asking, 100)
    expect(written(dialer)).toHaveLength(0)
    ask(answering, 1)
    feed(dialer, join(written(listener), frame(KIND.PING, new Uint8Array(8))))
    dialer.tick(2500)
    expect(kindsOf(written(dialer, 2500))).toEqual([KIND.ACK, KIND.PONG, KIND.PING])
  })

  test('lets one through that is larger by itself when all before it is acknowledged', () => {
    const { dialer, listener, asking } = pairOf({ replayBytesMax: 1 })
    for (let count = 0; count < 5; count++) ask(asking, 1000)
    let now = 0
    let arrived = 0
    for (; arrived < 5 && now < 1000; now += 20) {
      arrived += feed(listener, written(dialer, now), now).filter(({ type }) => type === 'query').length
      feed(dialer, written(listener, now + 20), now + 20)
    }
    expect(arrived).toBe(5)
  })

  test.each([
    ['of the peer', { replayBytesMax: 40_000 }, {}],
    ['or inboxBytesMax of this side', {}, { inboxBytesMax: 40_000 }],
  ])('a quarter of that %s has an ACK go out at once', (_what, ofDialer, ofListener) => {
    for (const [bytes, isAcked] of [
      [9900, false],
      [10_000, true],
    ] as const) {
      const { dialer, listener, asking } = pairOf(ofDialer, ofListener)
      ask(asking, bytes)
      feed(listener, written(dialer))
      expect(kindsOf(written(listener)).includes(KIND.ACK)).toBe(isAcked)
    }
  })
})

describe('inboxBytesMax', () => {
  test('of the peer is kept to, at 64 bytes beside each content and method, until it says what it has consumed', () => {
    const { dialer, listener, asking, answering } = pairOf({}, { inboxBytesMax: 1000 })
    for (let count = 0; count < 9; count++) expect(tell(asking, 136)).toBe(TAKEN)
    const got = feed(listener, written(dialer))
    expect(got.map((event) => event.type === 'notify' && event.costBytes)).toEqual([200, 200, 200, 200, 200])
    expect(asking.stats().callsWaiting).toBe(4)
    for (let count = 0; count < 2; count++) answering.consumed(200, 0)
    feed(dialer, written(listener, 20), 20)
    expect(feed(listener, written(dialer, 20), 20)).toHaveLength(2)
    expect(answering.stats().inboxBytes).toBe(1000)
  })

  test('one that is larger by itself goes when everything before it was consumed', () => {
    const { dialer, listener, asking, answering } = pairOf({}, { inboxBytesMax: 1000 })
    tell(asking, 100)
    tell(asking, 5000)
    expect(feed(listener, written(dialer))).toHaveLength(1)
    answering.consumed(164, 0)
    feed(dialer, written(listener, 20), 20)
    expect(feed(listener, written(dialer, 20), 20)).toMatchObject([{ type: 'notify', costBytes: 5064 }])
  })

  const notify = (bytes: number): Uint8Array =>
    frame(KIND.NOTIFY, new Uint8Array(1 + bytes), { content: CONTENT.BYTES })

  test('a peer that sends more than it has room for loses its link', () => {
    const { listener } = pairOf({}, { inboxBytesMax: 1000 })
    const events = feed(listener, join(notify(436), notify(436)))
    expect(events.map(({ type }) => type)).toEqual(['notify', 'notify'])
    expectViolation(feed(listener, notify(0)), '6.6')
  })

  test('a large one counts from its first fragment on', () => {
    const { listener } = pairOf({}, { inboxBytesMax: 1000 })
    expect(feed(listener, notify(0))).toHaveLength(1)
    expectViolation(feed(listener, part(KIND.NOTIFY, 1, FIRST, filled(1), 873)), '6.6')
  })
})

describe('handlersMax', () => {
  test.each([1, 3])('of %d at the peer: the next query waits for an answer, or is QUEUE_FULL', (handlersMax) => {
    const { dialer, listener, asking, answering } = pairOf({ handlersMax: 4096 }, { handlersMax })
    for (let count = 0; count < handlersMax; count++) expect(ask(asking, 1)).toBeGreaterThanOrEqual(0)
    expect(ask(asking, 1)).toBe(QUEUE_FULL)
    expect(ask(asking, 1, true)).toBeGreaterThanOrEqual(0)
    const queries = feed(listener, written(dialer))
    expect(queries).toHaveLength(handlersMax)
    expect(asking.stats()).toMatchObject({ queriesInFlight: handlersMax, callsWaiting: 1 })
    answering.answer(queriesOf(queries)[0]?.id ?? 0, CONTENT.NONE, new Uint8Array(0), 'own', 0)
    answering.handlerEnded()
    feed(dialer, written(listener))
    expect(asking.stats()).toMatchObject({ queriesInFlight: handlersMax, callsWaiting: 0 })
  })

  test('of the peer does not hold back a query out of a handler, up to 16 times as many', () => {
    const { dialer, listener, asking, answering } = pairOf({}, { handlersMax: 2 })
    ask(answering, 1)
    expect(feed(dialer, written(listener))).toMatchObject([{ type: 'query' }])
    let count = 0
    while (ask(asking, 1) >= 0) if (++count > 1000) throw new Error('no bound')
    expect(count).toBe(NESTING_FACTOR * 2)
    expect(feed(listener, written(dialer)).filter(({ type }) => type === 'query')).toHaveLength(count)
  })

  test.each([1, 4095, 4096])('of %d: a slot from 16 times that on is an error, and those below are taken', (most) => {
    const slots = NESTING_FACTOR * most
    const { listener } = pairOf({}, { handlersMax: most })
    expect(feed(listener, wholeQuery(1, slots - 1))).toMatchObject([{ type: 'query', id: slots - 1 }])
    if (slots < 65_536) expectViolation(feed(listener, wholeQuery(1, slots)), '6.2')
  })

  test('a peer that asks in a slot that is taken loses its link', () => {
    const { listener } = pairOf()
    feed(listener, wholeQuery(1, 5))
    expectViolation(feed(listener, wholeQuery(1, 5 | (9 << 16))), '6.2')
  })
})
