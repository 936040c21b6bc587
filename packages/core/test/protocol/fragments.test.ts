/** Large messages between two sessions (PROTOCOL.md, sections 6.3 and 6.4): how they are cut, take turns and are put together. */
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  completeLimits,
  CONTENT,
  FAIL_REASON,
  KIND,
  TAKEN,
  TOO_LARGE,
  type Limits,
  type ProtocolEvent,
} from '../../src/protocol/index.js'
import {
  ask,
  calls,
  expectViolation,
  FAIL_FIELDS,
  FIRST,
  framesOf,
  idOf,
  LAST,
  MORE,
  NOTHING,
  NOTIFY_FIELDS,
  pair as pairOf,
  part,
  QUERY_FIELDS,
  relink,
  reply,
  send,
  tell,
  u64,
  type End,
} from './ends.js'
import { feed, frame, join, opened, polled, sessionOf, written } from './links.js'

const FRAGMENT = 4096
const SMALL = { fragmentBytes: FRAGMENT, messageBytesMax: 100_000, reassemblyBytesMax: 250_000 }

const pair = (limits: Partial<Limits> = SMALL): { a: End; b: End } => pairOf(limits)

/** Takes what `end` writes next, little by little, until `enough` says so. */
function some(end: End, enough: (bytes: Uint8Array) => boolean): Uint8Array {
  const chunks: Uint8Array[] = []
  while (!enough(join(...chunks))) {
    const count = chunks.length
    end.link.takeWrite(1, 0, chunks)
    if (chunks.length === count) break
  }
  return join(...chunks)
}

/** Bytes that are different everywhere, so that a fragment in a wrong place shows. */
function mixed(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >>> 8) * 7 + seed) & 0xff
  return bytes
}

/** Stands for bytes in a comparison: one of long arrays is slow, and says nothing when it fails. */
function sum(bytes: Uint8Array): string {
  return `${bytes.length} bytes, ${createHash('sha256').update(bytes).digest('hex')}`
}

/** Events with the sums of their bytes. */
function summed(events: ProtocolEvent[]): object[] {
  return events.map((event) => ('bytes' in event ? { ...event, bytes: sum(event.bytes) } : event))
}

describe('splitting', () => {
  it('begins with the first byte that does not fit one frame', () => {
    const { a, b } = pair()
    const fits = FRAGMENT - 12 - 5 - 6
    for (const [size, sizes] of [
      [fits, [FRAGMENT]],
      [fits + 1, [FRAGMENT, 12 + 9]],
    ] as const) {
      ask(a, mixed(size), { method: 'method' })
      const bytes = written(a.link)
      expect(framesOf(bytes).map((fragment) => fragment.bytes.length)).toEqual(sizes)
      expect(summed(feed(b.link, bytes))).toMatchObject([{ type: 'query', method: 'method', bytes: sum(mixed(size)) }])
    }
  })

  it.each([
    ['query', KIND.QUERY],
    ['answer', KIND.ANSWER],
    ['fail', KIND.FAIL],
    ['notify', KIND.NOTIFY],
  ] as const)('keeps to the rules of the wire for a large %s, which arrives as it was', (type, kind) => {
    for (const ownership of ['copy', 'borrow', 'own'] as const) {
      for (const size of [4100, 8160, 8176, 20_000, 100_000]) {
        const { a, b } = pair()
        let [from, to] = [a, b]
        if (type === 'query') ask(a, mixed(size), { method: 'm', ownership })
        else if (type === 'notify') tell(a, mixed(size), { method: 'm', ownership })
        else {
          ;[from, to] = [b, a]
          ask(a, NOTHING)
          const id = idOf(send(a, b))
          b.session.handlerEnded()
          if (type === 'answer') b.session.answer(id, CONTENT.BYTES, mixed(size), ownership, 0)
          else b.session.fail(id, FAIL_REASON.HANDLER, 'C', 'm', CONTENT.BYTES, mixed(size), 0)
        }
        const bytes = written(from.link)
        const frames = framesOf(bytes)
        expect(frames.length).toBeGreaterThan(1)
        expect(frames.map(({ flags }) => flags)).toEqual([FIRST, ...Array(frames.length - 2).fill(MORE), LAST])
        expect(new Set(frames.map((fragment) => `${fragment.kind} ${fragment.id} ${fragment.content}`)).size).toBe(1)
        expect(frames[0]).toMatchObject({ kind, content: CONTENT.BYTES })
        expect(frames[0]?.payload.subarray(0, 8)).toEqual(u64(size))
        for (const fragment of frames.slice(0, -1)) expect(fragment.bytes.length).toBe(FRAGMENT)
        expect(frames.at(-1)?.payload.length).toBeGreaterThan(0)
        expect(summed(feed(to.link, bytes))).toMatchObject([{ type, bytes: sum(mixed(size)) }])
        expect(to.session.stats().reassemblyBytes).toBe(0)
      }
    }
  })

  it('keeps to the fragmentBytes of the receiver, not the own', () => {
    const [own, theirs] = [completeLimits({}), completeLimits({ fragmentBytes: 5000 })]
    const { a, b } = pair()
    const sender = sessionOf('dialer', { limits: own, peerLimits: theirs })
    sender.query(NOTHING, CONTENT.BYTES, mixed(20_000), 'own', Infinity, true, 0)
    const out: Uint8Array[] = []
    sender.take(1 << 20, 0, out)
    expect(framesOf(join(...out)).map(({ bytes }) => bytes.length)).toEqual([
      5000,
      5000,
      5000,
      5000,
      12 + 20_000 - 4 * 4988 + 13,
    ])
    expect([a.link.state, b.link.state]).toEqual(['open', 'open'])
  })

  it('refuses what is over messageBytesMax, and takes what is just that', () => {
    const { a, b } = pair()
    expect(ask(a, mixed(100_001))).toBe(TOO_LARGE)
    expect(tell(a, mixed(100_001))).toBe(TOO_LARGE)
    expect(written(a.link)).toEqual(NOTHING)
    expect(ask(a, mixed(100_000))).toBe(0)
    expect(summed(send(a, b))).toMatchObject([{ type: 'query', bytes: sum(mixed(100_000)) }])
  })
})

describe('turns', () => {
  it('are fair between two large messages: neither is ahead by more than a fragment', () => {
    const { a, b } = pair()
    ask(a, mixed(50_000, 1))
    ask(a, mixed(50_000, 2))
    const bytes = written(a.link)
    const order = framesOf(bytes).map(({ id }) => id & 0xffff)
    const sent = [0, 0]
    for (const slot of order) {
      sent[slot] = (sent[slot] ?? 0) + 1
      expect(Math.abs((sent[0] ?? 0) - (sent[1] ?? 0))).toBeLessThanOrEqual(1)
    }
    expect(sent).toEqual([13, 13])
    expect(summed(feed(b.link, bytes))).toMatchObject([
      { bytes: sum(mixed(50_000, 1)) },
      { bytes: sum(mixed(50_000, 2)) },
    ])
  })

  it('let a shorter message end first, and one that comes later have its share', () => {
    const { a, b } = pair()
    ask(a, mixed(90_000, 1))
    const before = some(a, (bytes) => bytes.length > 20_000)
    ask(a, mixed(9_000, 2))
    const events = feed(b.link, join(before, written(a.link)))
    expect(summed(events)).toMatchObject([{ bytes: sum(mixed(9_000, 2)) }, { bytes: sum(mixed(90_000, 1)) }])
  })

  it('do not make small frames wait for a large message', () => {
    const { a } = pair()
    ask(a, mixed(90_000))
    some(a, (bytes) => bytes.length > 20_000)
    ask(a, mixed(10))
    tell(a, mixed(10))
    const next = framesOf(some(a, (bytes) => bytes.length > 5000))
    expect(next.slice(0, 3).map(({ kind, flags }) => [kind, flags])).toContainEqual([KIND.QUERY, 0])
    expect(next.slice(0, 3).map(({ kind, flags }) => [kind, flags])).toContainEqual([KIND.NOTIFY, 0])
  })

  it('open no more messages at once than the receiver puts together', () => {
    const { a, b } = pair({ ...SMALL, reassemblyBytesMax: 150_000 })
    for (let seed = 0; seed < 5; seed++) ask(a, mixed(70_000, seed))
    let most = 0
    const events: ProtocolEvent[] = []
    for (let idle = false; !idle; ) {
      const bytes = some(a, (taken) => taken.length > 0)
      idle = bytes.length === 0
      events.push(...feed(b.link, bytes))
      most = Math.max(most, b.session.stats().reassemblyBytes)
    }
    expect(most).toBe(140_000)
    expect(events.map((event) => (event.type === 'query' ? event.bytes[0] : event.type))).toEqual(
      [0, 1, 2, 3, 4].map((seed) => mixed(1, seed)[0]),
    )
  })

  it('pass to a message that waited when the one before it is withdrawn in the middle', () => {
    const { a, b } = pair({ ...SMALL, reassemblyBytesMax: 100_000 })
    const slot = ask(a, mixed(90_000, 1))
    ask(a, mixed(90_000, 2))
    const before = some(a, (bytes) => bytes.length > 20_000)
    a.session.abandon(slot, 0)
    const rest = written(a.link)
    expect(framesOf(rest)[0]?.kind).toBe(KIND.CANCEL)
    expect(summed(feed(b.link, join(before, rest)))).toMatchObject([{ type: 'query', bytes: sum(mixed(90_000, 2)) }])
  })
})

describe('putting together', () => {
  it('tells messages apart by kind and id, however their fragments alternate', () => {
    const { a, b } = pair()
    // b asks in slot 0 too, so that an answer and a query of one id are open at once.
    ask(b, mixed(5))
    const asked = idOf(send(b, a))
    ask(a, mixed(40_000, 1))
    ask(a, mixed(30_000, 2))
    tell(a, mixed(35_000, 3))
    reply(a, asked, mixed(45_000, 4))
    const bytes = written(a.link)
    expect(
      new Set(
        framesOf(bytes)
          .slice(0, 4)
          .map(({ kind, id }) => `${kind} ${id}`),
      ).size,
    ).toBe(4)
    const events = summed(feed(b.link, bytes, 0, 1000))
    expect(events).toHaveLength(4)
    expect(events).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ type: 'query', bytes: sum(mixed(40_000, 1)) }),
        expect.objectContaining({ type: 'query', bytes: sum(mixed(30_000, 2)) }),
        expect.objectContaining({ type: 'notify', bytes: sum(mixed(35_000, 3)) }),
        expect.objectContaining({ type: 'answer', bytes: sum(mixed(45_000, 4)) }),
      ]),
    )
  })

  it('goes on where it was when another link carries the session', () => {
    const { a, b } = pair()
    ask(a, mixed(50_000))
    feed(b.link, some(a, (bytes) => bytes.length > 20_000).subarray(0, 18_000))
    some(a, (bytes) => bytes.length > 10_000)
    expect(b.session.stats()).toMatchObject({ reassemblyBytes: 50_000, receivedFrames: 4 })
    relink(a, b)
    expect(summed(send(a, b))).toMatchObject([{ type: 'query', bytes: sum(mixed(50_000)) }])
    expect(b.session.stats().receivedFrames).toBe(13)
  })

  it('accepts fragments of any size but none', () => {
    const { b } = pair()
    const bytes = join(
      part(KIND.QUERY, 0x10000, FIRST, mixed(3).subarray(0, 1), 3),
      part(KIND.QUERY, 0x10000, MORE, mixed(3).subarray(1, 2)),
      frame(KIND.PING, new Uint8Array(8)),
      part(KIND.QUERY, 0x10000, LAST, mixed(3).subarray(2, 3)),
    )
    expect(feed(b.link, bytes).map(({ type }) => type)).toEqual(['keepalive', 'query'])
  })

  it('keeps nothing of an answer whose caller has gone, and frees its slot at the end of it', () => {
    const { a, b } = pair()
    const slot = ask(a, mixed(5))
    reply(b, idOf(send(a, b)), mixed(50_000))
    const bytes = written(b.link)
    expect(feed(a.link, bytes.subarray(0, 20_000))).toEqual([])
    a.session.abandon(slot, 0)
    expect(feed(a.link, bytes.subarray(20_000))).toEqual([])
    expect(a.session.stats()).toMatchObject({ reassemblyBytes: 0, queriesInFlight: 0 })
  })

  it('ends in a FAIL instead of the rest of an answer', () => {
    const { a, b } = pair()
    const slot = ask(a, mixed(5))
    send(a, b)
    feed(a.link, part(KIND.ANSWER, 0x10000, FIRST, mixed(10), 100))
    expect(a.session.stats().reassemblyBytes).toBe(100)
    expect(feed(a.link, part(KIND.FAIL, 0x10000, 0, FAIL_FIELDS))).toMatchObject([{ type: 'fail', slot }])
    expect(a.session.stats()).toMatchObject({ reassemblyBytes: 0, queriesInFlight: 0 })
  })
})

/** For each kind that has fragments: an end that may read them under id 0x10000. */
const RECEIVERS: [string, number, string, () => End][] = [
  ['QUERY', KIND.QUERY, '6.3', () => pair().b],
  ['NOTIFY', KIND.NOTIFY, '6.4', () => pair().b],
  ...([KIND.ANSWER, KIND.FAIL] as const).map((kind): [string, number, string, () => End] => [
    kind === KIND.ANSWER ? 'ANSWER' : 'FAIL',
    kind,
    '6.3',
    () => {
      const { a, b } = pair()
      ask(a, mixed(5))
      send(a, b)
      return a
    },
  ]),
]

describe.each(RECEIVERS)('fragments of a %s', (_name, kind, unknown, receiver) => {
  const id = 0x10000
  const begun = (): End => {
    const end = receiver()
    expect(feed(end.link, part(kind, id, FIRST, mixed(10), 30))).toEqual([])
    expect(end.session.stats().reassemblyBytes).toBe(30)
    return end
  }

  it('are put together when they are as they should be', () => {
    const end = begun()
    const rest = join(part(kind, id, MORE, mixed(30).subarray(10, 11)), part(kind, id, LAST, mixed(30).subarray(11)))
    expect(summed(feed(end.link, rest))).toMatchObject([{ bytes: sum(mixed(30)) }])
  })

  it.each<[string, Uint8Array]>([
    ['beyond the total, in a further one', part(kind, id, MORE, mixed(21))],
    ['beyond the total, in the last one', part(kind, id, LAST, mixed(21))],
    ['that end before the total', part(kind, id, LAST, mixed(19))],
    ['that reach the total and promise more', part(kind, id, MORE, mixed(20))],
    ['without a byte of content', part(kind, id, MORE, NOTHING)],
    ['that end without a byte of content', part(kind, id, LAST, NOTHING)],
    ['of another content than the first', part(kind, id, MORE, mixed(5), 0, CONTENT.TEXT)],
  ])('end the link: bytes %s', (_what, bytes) => {
    expectViolation(feed(begun().link, bytes), '6.3')
  })

  it('end the link when the first is not there', () => {
    expectViolation(feed(receiver().link, part(kind, id, MORE, mixed(5))), unknown)
    expectViolation(feed(receiver().link, part(kind, id, LAST, mixed(5))), unknown)
  })

  it('end the link under an id that was not begun', () => {
    const events = feed(begun().link, part(kind, id + 1, MORE, mixed(5)))
    expectViolation(events, kind === KIND.QUERY ? '6.3' : kind === KIND.NOTIFY ? '6.4' : '6.2')
  })

  it.each<[string, Uint8Array]>([
    ['without content', part(kind, id, FIRST, NOTHING, 30)],
    ['with all of the content', part(kind, id, FIRST, mixed(30), 30)],
    ['with more than the total', part(kind, id, FIRST, mixed(31), 30)],
    ['of a total of 0', part(kind, id, FIRST, NOTHING, 0)],
    ['of a total over messageBytesMax', part(kind, id, FIRST, mixed(10), 100_001)],
  ])('end the link when the first is one %s', (_what, bytes) => {
    const end = receiver()
    expectViolation(feed(end.link, bytes), '6.3')
    expect(end.session.stats().reassemblyBytes).toBe(0)
  })

  it('end the link when the first announces more than memory could hold', () => {
    const events = feed(receiver().link, part(kind, id, FIRST, mixed(10), 2 ** 53))
    expectViolation(events, '6.3')
  })

  it('end the link when the first is shorter than its fields', () => {
    for (const size of kind === KIND.ANSWER ? [0, 7] : [0, 7, 8]) {
      const events = feed(receiver().link, frame(kind, new Uint8Array(size), { flags: FIRST, id, content: 2 }))
      const last = events.at(-1)
      expect(last).toMatchObject({ type: 'ended', end: { by: 'violation' } })
    }
  })
})

describe('a message that begins anew', () => {
  it('ends the link while its fragments are open: a query', () => {
    for (const again of [
      part(KIND.QUERY, 0x10000, FIRST, mixed(5), 9),
      frame(KIND.QUERY, QUERY_FIELDS, { id: 0x10000 }),
    ]) {
      const { b } = pair()
      feed(b.link, part(KIND.QUERY, 0x10000, FIRST, mixed(10), 30))
      expectViolation(feed(b.link, again), '6.2')
    }
  })

  it('ends the link while its fragments are open: an answer', () => {
    for (const again of [part(KIND.ANSWER, 0x10000, FIRST, mixed(5), 9), part(KIND.ANSWER, 0x10000, 0, mixed(5))]) {
      const { a, b } = pair()
      ask(a, mixed(5))
      send(a, b)
      feed(a.link, part(KIND.ANSWER, 0x10000, FIRST, mixed(10), 30))
      expectViolation(feed(a.link, again), '6.3')
    }
  })

  it('ends the link while its fragments are open: a notification, under whatever id', () => {
    for (const again of [
      part(KIND.NOTIFY, 1, FIRST, mixed(5), 9),
      part(KIND.NOTIFY, 2, FIRST, mixed(5), 9),
      part(KIND.NOTIFY, 0, 0, NOTIFY_FIELDS),
    ]) {
      const { b } = pair()
      feed(b.link, part(KIND.NOTIFY, 1, FIRST, mixed(10), 30))
      expectViolation(feed(b.link, again), '6.4')
    }
  })

  it('ends the link when the fragments of an answer and of a FAIL are mixed', () => {
    for (const [one, other] of [
      [KIND.ANSWER, KIND.FAIL],
      [KIND.FAIL, KIND.ANSWER],
    ] as const) {
      const { a, b } = pair()
      ask(a, mixed(5))
      send(a, b)
      feed(a.link, part(one, 0x10000, FIRST, mixed(10), 30))
      expectViolation(feed(a.link, part(other, 0x10000, MORE, mixed(5))), '6.3')
    }
  })
})

describe('the receiver', () => {
  it('ends the link when too much is open at once, and not before', () => {
    const { b } = pair()
    // 250,000 bytes may be open at once.
    for (let slot = 0; slot < 2; slot++) feed(b.link, part(KIND.QUERY, 0x10000 | slot, FIRST, mixed(10), 100_000))
    feed(b.link, part(KIND.QUERY, 0x10002, FIRST, mixed(10), 50_000))
    expect(b.session.stats().reassemblyBytes).toBe(250_000)
    expectViolation(feed(b.link, part(KIND.QUERY, 0x10003, FIRST, mixed(1), 2)), '6.3')
  })

  it('counts a message no more when it is whole or was cancelled', () => {
    const { b } = pair()
    for (let generation = 1; generation < 20; generation++) {
      const id = generation << 16
      feed(b.link, part(KIND.QUERY, id, FIRST, mixed(10), 100_000))
      expect(b.session.stats().reassemblyBytes).toBe(100_000)
      expect(feed(b.link, frame(KIND.CANCEL, NOTHING, { id }))).toEqual([])
      expect(b.session.stats().reassemblyBytes).toBe(0)
      expect(calls(b)).toMatchObject([{ kind: KIND.FAIL, id }])
    }
  })

  it.each(RECEIVERS)('ends the link for fragments of a %s whose content is none', (_name, kind, _section, receiver) => {
    const events = feed(receiver().link, part(kind, 0x10000, FIRST, mixed(10), 30, CONTENT.NONE))
    expectViolation(events, '3.4')
  })
})

describe('a fragmented NOTIFY', () => {
  it('is heard before every notification that was sent after it', () => {
    const { a, b } = pair()
    const sizes = [10, 50_000, 20, 60_000, 70_000, 30]
    for (const [at, size] of sizes.entries()) expect(tell(a, mixed(size, at))).toBe(TAKEN)
    const bytes = written(a.link)
    expect(feed(b.link, bytes).map((event) => (event.type === 'notify' ? event.bytes.length : event.type))).toEqual(
      sizes,
    )
    const ids = framesOf(bytes).filter(({ flags }) => flags === FIRST)
    expect(new Set(ids.map(({ id }) => id)).size).toBe(3)
    expect(framesOf(bytes).filter(({ flags, id }) => flags === 0 && id !== 0)).toEqual([])
  })

  it('lets queries and their answers pass', () => {
    const { a, b } = pair()
    tell(a, mixed(90_000))
    const before = some(a, (bytes) => bytes.length > 20_000)
    ask(a, mixed(10))
    const events = feed(b.link, join(before, written(a.link)))
    expect(events.map(({ type }) => type)).toEqual(['query', 'notify'])
  })

  it('with an id in one piece ends the link', () => {
    const { b } = pair()
    expectViolation(feed(b.link, frame(KIND.NOTIFY, NOTIFY_FIELDS, { id: 1 })), '6.4')
  })
})

describe('the bytes of a message', () => {
  it('may be used again at once after a call that copies them', () => {
    const { a, b } = pair()
    const [query, told] = [mixed(50_000, 1), mixed(50_000, 2)]
    ask(a, query, { ownership: 'copy' })
    tell(a, told, { ownership: 'copy' })
    query.fill(0)
    told.fill(0)
    const events = summed(send(a, b))
    expect(events).toHaveLength(2)
    expect(events).toContainEqual(expect.objectContaining({ type: 'query', bytes: sum(mixed(50_000, 1)) }))
    expect(events).toContainEqual(expect.objectContaining({ type: 'notify', bytes: sum(mixed(50_000, 2)) }))
  })

  it('stay as they were in copied messages, also when their blocks serve again', () => {
    const { a, b } = pair()
    for (let seed = 0; seed < 8; seed++) {
      const bytes = mixed(20_000 + seed, seed)
      const slot = ask(a, bytes, { ownership: 'copy' })
      bytes.fill(0)
      const [query] = send(a, b)
      if (query?.type !== 'query') throw new Error('expected a query')
      expect(sum(query.bytes)).toBe(sum(mixed(20_000 + seed, seed)))
      reply(b, query.id)
      expect(feed(a.link, written(b.link, 20), 20)).toMatchObject([{ type: 'answer', slot }])
      expect(a.session.stats().unacknowledgedBytes).toBe(0)
    }
  })

  it('go out where they lie when they were lent or handed over', () => {
    for (const ownership of ['borrow', 'own'] as const) {
      const { a } = pair()
      const bytes = mixed(50_000)
      ask(a, bytes, { ownership })
      const chunks: Uint8Array[] = []
      a.link.takeWrite(1 << 20, 0, chunks)
      expect(chunks.filter(({ buffer }) => buffer === bytes.buffer)).toHaveLength(13)
    }
  })

  it('that were lent are copied for a replay when their caller takes them back', () => {
    const { a, b } = pair()
    const bytes = mixed(50_000)
    const slot = tell(a, bytes, { ownership: 'borrow' })
    expect(slot).toBeGreaterThanOrEqual(0)
    feed(b.link, some(a, (taken) => taken.length > 20_000).subarray(0, 9000))
    expect(a.session.abandon(slot, 0)).toBe('unknown')
    bytes.fill(0)
    relink(a, b)
    expect(summed(send(a, b))).toMatchObject([{ type: 'notify', bytes: sum(mixed(50_000)) }])
  })

  it('that were lent with a notification are given back when it was acknowledged, and not before', () => {
    for (const size of [10, 3000, 50_000]) {
      const { a, b } = pair()
      const slot = tell(a, mixed(size), { ownership: 'borrow' })
      expect(polled(a.link)).toEqual([])
      send(a, b)
      expect(polled(a.link)).toEqual([])
      expect(feed(a.link, written(b.link, 20), 20)).toEqual([{ type: 'taken', slot }])
      expect(polled(a.link)).toEqual([])
    }
  })

  it.each([10, 50_000])('of a lent notification that is not-sent never arrive (%i bytes)', (size) => {
    const { a, b } = pair()
    const slot = tell(a, mixed(size), { ownership: 'borrow' })
    const delivery = a.session.abandon(slot, 0)
    const arrived = send(a, b).length > 0
    expect({ delivery, arrived }).not.toEqual({ delivery: 'not-sent', arrived: true })
  })
})

describe('a first fragment that breaks a rule', () => {
  const TOTAL = Uint8Array.of(0, 0, 0, 2, 0, 0, 0, 0)
  it.each([
    ['NOTIFY', KIND.NOTIFY, 1, join(TOTAL, Uint8Array.of(0, 1, 2))],
    ['QUERY', KIND.QUERY, 0x10005, join(TOTAL, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 1, 2))],
  ])('%s: leaves nothing behind in the session', (_, kind, id, payload) => {
    const { listener, answering } = opened()
    const before = answering.stats()
    const events = feed(listener, frame(kind, payload, { flags: FIRST, content: CONTENT.BYTES, id }))
    expect(events.at(-1)).toMatchObject({ type: 'ended', end: { by: 'violation', error: { section: '6.3' } } })
    expect(answering.stats()).toEqual(before)
    expect(answering.idle).toBe(true)
  })
})
