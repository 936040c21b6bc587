/** Queries and their answers between two sessions (PROTOCOL.md, section 6), by events and by what lies on the wire. */
import { describe, expect, it } from 'vitest'
import { CONTENT, FAIL_REASON, KIND, QUEUE_FULL, TOO_LARGE, type ProtocolEvent } from '../../src/protocol/index.js'
import {
  ask,
  calls,
  expectViolation,
  FAIL_FIELDS,
  failed,
  filled,
  FIRST,
  framesOf,
  idOf,
  kindsOf,
  NOTHING,
  pair,
  queriesOf,
  queryFields,
  relink,
  reply,
  send,
  settle,
  typesOf,
  type End,
  type Frame,
} from './ends.js'
import { DRAIN_MS, feed, frame, join, polled, written } from './links.js'

/** Uses slot 0 once: nothing is then as it is on a new link alone. */
function warm(a: End, b: End): void {
  ask(a)
  reply(b, idOf(send(a, b)))
  send(b, a)
}

const remainingOf = (query: Frame | undefined, at = 0): number =>
  new DataView((query ?? { payload: NOTHING }).payload.buffer).getUint32(at)

describe('ids', () => {
  it('name the slot in the low half and a generation in the high half', () => {
    const { a } = pair()
    const slots = [ask(a), ask(a), ask(a), ask(a)]
    const ids = calls(a).map(({ id }) => id)
    expect(ids.map((id) => id & 0xffff)).toEqual(slots)
    expect(new Set(slots).size).toBe(4)
    expect(ids.map((id) => id >>> 16)).toEqual([1, 1, 1, 1])
  })

  it('never come twice while a slot is used over and over', () => {
    const { a, b } = pair()
    const ids = new Set<number>()
    for (let round = 0; round < 300; round++) {
      ask(a)
      const id = idOf(send(a, b))
      expect(id & 0xffff).toBe(0)
      ids.add(id)
      reply(b, id)
      expect(typesOf(send(b, a))).toEqual(['answer'])
    }
    expect(ids.size).toBe(300)
  })

  it('go round after the last generation', () => {
    const { a, b } = pair()
    let id = 0
    for (let round = 0; round < 65_537; round++) {
      ask(a)
      id = idOf(send(a, b))
      reply(b, id)
      send(b, a)
    }
    expect(id).toBe(0x10000)
    expect(a.link.state).toBe('open')
  })

  it('serve no other call before the timeout that ended theirs was polled', () => {
    const { a } = pair({ handlersMax: 1 })
    for (let count = 0; count < 16; count++) expect(ask(a, NOTHING, { expiresAt: 100 })).toBe(count)
    expect(ask(a)).toBe(QUEUE_FULL)
    a.session.tick(100)
    expect(ask(a)).toBe(QUEUE_FULL)
    const events = polled(a.link)
    expect(typesOf(events)).toEqual(Array(16).fill('timeout'))
    // The first one was written to the outbox: its slot is taken until the peer has answered.
    for (let count = 0; count < 15; count++) expect(ask(a)).toBeGreaterThan(0)
    expect(ask(a)).toBe(QUEUE_FULL)
  })

  it('stay taken after the caller has gone, until the peer has answered', () => {
    const { a, b } = pair({ handlersMax: 1 })
    const slot = ask(a)
    const id = idOf(send(a, b))
    a.session.abandon(slot, 0)
    const others = Array.from({ length: 15 }, () => ask(a))
    expect(others).not.toContain(slot)
    expect(ask(a)).toBe(QUEUE_FULL)
    expect(typesOf(send(a, b))).toEqual(['cancel'])
    reply(b, id)
    expect(send(b, a)).toEqual([])
    expect(ask(a)).toBe(slot)
  })

  it('are free at once when a call was withdrawn that had never left the queue', () => {
    const { a } = pair({ handlersMax: 1 })
    ask(a)
    const waiting = ask(a)
    expect(a.session.abandon(waiting, 0)).toBe('not-sent')
    expect(ask(a)).toBe(waiting)
  })
})

describe('answers', () => {
  it('come exactly once for each query, in any order, each to its own caller', () => {
    const { a, b } = pair()
    const slots = [1, 2, 3].map((value) => ask(a, filled(3, value), { method: `m${value}` }))
    const queries = queriesOf(send(a, b))
    expect(queries.map(({ method }) => method)).toEqual(['m1', 'm2', 'm3'])
    for (const { id, bytes } of queries.reverse()) expect(reply(b, id, bytes)).toBe(true)
    const bytes = written(b.link)
    expect(kindsOf(bytes)).toEqual([KIND.ANSWER, KIND.ANSWER, KIND.ANSWER])
    const events = feed(a.link, bytes)
    expect(events.map((event) => (event.type === 'answer' ? [event.slot, ...event.bytes] : event.type))).toEqual([
      [slots[2], 3, 3, 3],
      [slots[1], 2, 2, 2],
      [slots[0], 1, 1, 1],
    ])
    expect(a.session.stats().queriesInFlight).toBe(0)
    expect([a.session.idle, b.session.idle]).toEqual([true, true])
  })

  it('of a slot are refused when it was answered before, and nothing is written', () => {
    const { a, b } = pair()
    ask(a)
    const id = idOf(send(a, b))
    expect(reply(b, id)).toBe(true)
    expect(b.session.answer(id, CONTENT.NONE, NOTHING, 'own', 0)).toBe(false)
    expect(b.session.fail(id, FAIL_REASON.HANDLER, '', '', CONTENT.NONE, NOTHING, 0)).toBe(false)
    expect(calls(b)).toHaveLength(1)
  })

  it('are refused while a large one is still on its way out', () => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    ask(a)
    const id = idOf(send(a, b))
    expect(reply(b, id, filled(20_000))).toBe(true)
    expect(b.session.answer(id, CONTENT.NONE, NOTHING, 'own', 0)).toBe(false)
    expect(b.session.fail(id, FAIL_REASON.HANDLER, '', '', CONTENT.NONE, NOTHING, 0)).toBe(false)
    const [answer, ...others] = send(b, a)
    expect(answer).toMatchObject({ type: 'answer', bytes: filled(20_000) })
    expect(others).toEqual([])
  })

  it.each([
    ['was never asked', 5],
    ['is beyond every slot', 0xffff],
  ])('to a query that %s are refused, and nothing is written', (_what, id) => {
    const { b } = pair()
    expect(b.session.answer(id, CONTENT.NONE, NOTHING, 'own', 0)).toBe(false)
    expect(b.session.fail(id, FAIL_REASON.HANDLER, '', '', CONTENT.NONE, NOTHING, 0)).toBe(false)
    expect(calls(b)).toEqual([])
  })

  it('of an old generation do not reach the query that has the slot now', () => {
    const { a, b } = pair()
    ask(a)
    const old = idOf(send(a, b))
    reply(b, old)
    send(b, a)
    ask(a)
    const id = idOf(send(a, b))
    expect(id & 0xffff).toBe(old & 0xffff)
    expect(b.session.answer(old, CONTENT.BYTES, filled(1), 'own', 0)).toBe(false)
    expect(calls(b)).toEqual([])
    expect(reply(b, id)).toBe(true)
  })

  const bad: [string, (a: End, b: End) => number][] = [
    ['that was never asked', () => 0x10000],
    ['beyond every slot', () => 0x1ffff],
    ['of the next generation', (a, b) => (ask(a), idOf(send(a, b)) + 0x10000)],
    [
      'that was answered before',
      (a, b) => {
        ask(a)
        const id = idOf(send(a, b))
        reply(b, id)
        send(b, a)
        return id
      },
    ],
    ['that was not written yet', (a) => (ask(a), 0x10000)],
    ['that is held back', (a, b) => (ask(a), send(a, b), ask(a) | 0x10000)],
    [
      'that is not wholly written',
      (a) => {
        ask(a, filled(20_000))
        a.link.takeWrite(1, 0, [])
        return 0x10000
      },
    ],
  ]
  it.each(bad)('to an id %s end the link', (_what, idFor) => {
    for (const [kind, fields] of [
      [KIND.ANSWER, NOTHING],
      [KIND.FAIL, FAIL_FIELDS],
    ] as const) {
      const { a, b } = pair({ handlersMax: 1, fragmentBytes: 4096 })
      expectViolation(feed(a.link, frame(kind, fields, { id: idFor(a, b) })), '6.2')
    }
  })

  it('that are too large for the asker become FAIL 8', () => {
    const { a, b } = pair({ messageBytesMax: 1000 })
    const slot = ask(a)
    expect(reply(b, idOf(send(a, b)), filled(1001))).toBe(true)
    expect(send(b, a)).toMatchObject([{ type: 'fail', slot, reason: FAIL_REASON.TOO_LARGE, content: CONTENT.NONE }])
    ask(a)
    reply(b, idOf(send(a, b)), filled(1000))
    expect(typesOf(send(b, a))).toEqual(['answer'])
  })

  it('with bytes where the content is none end the link', () => {
    const { a, b } = pair()
    ask(a)
    const id = idOf(send(a, b))
    expectViolation(feed(a.link, frame(KIND.ANSWER, filled(1), { id })), '3.4')
  })
})

describe('a FAIL', () => {
  it('carries its reason, code, message and content', () => {
    const { a, b } = pair()
    const slot = ask(a)
    failed(b, idOf(send(a, b)), filled(5), 'E_CODE', 'nö')
    expect(send(b, a)).toEqual([
      {
        type: 'fail',
        slot,
        reason: FAIL_REASON.HANDLER,
        code: 'E_CODE',
        message: 'nö',
        content: CONTENT.BYTES,
        bytes: filled(5),
      },
    ])
    expect(a.session.stats().queriesInFlight).toBe(0)
  })

  it('with large content arrives whole, and its slot is free only then', () => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    const slot = ask(a)
    failed(b, idOf(send(a, b)), filled(50_000), 'C', 'm'.repeat(1024))
    const bytes = written(b.link)
    expect(framesOf(bytes).length).toBeGreaterThan(12)
    expect(feed(a.link, bytes.subarray(0, bytes.length - 1))).toEqual([])
    expect(ask(a)).not.toBe(slot)
    expect(feed(a.link, bytes.subarray(bytes.length - 1))).toMatchObject([
      { type: 'fail', slot, code: 'C', message: 'm'.repeat(1024), bytes: filled(50_000) },
    ])
    expect(a.session.stats().reassemblyBytes).toBe(0)
  })

  it('loses its content, and nothing else, when that is too large for the asker', () => {
    const { a, b } = pair({ messageBytesMax: 100 })
    ask(a)
    failed(b, idOf(send(a, b)), filled(101))
    expect(send(b, a)).toMatchObject([{ type: 'fail', code: 'CODE', message: 'why', content: 0, bytes: NOTHING }])
  })

  it('cuts a code and a message that are too long, between characters', () => {
    const { a, b } = pair()
    ask(a)
    failed(b, idOf(send(a, b)), NOTHING, `c${'é'.repeat(40)}`, '€'.repeat(1000))
    // 1 + 31 × 2 = 63 bytes of 64; 341 × 3 = 1,023 bytes of 1,024.
    expect(send(b, a)).toMatchObject([{ type: 'fail', code: `c${'é'.repeat(31)}`, message: '€'.repeat(341) }])
  })

  it.each([
    ['code over 64 bytes', join(Uint8Array.of(1, 65), filled(65, 65), Uint8Array.of(0, 0))],
    ['message over 1,024 bytes', join(Uint8Array.of(1, 0, 4, 1), filled(1025, 65))],
    ['code longer than the frame', Uint8Array.of(1, 9, 65, 65)],
    ['message longer than the frame', Uint8Array.of(1, 0, 0, 9, 65)],
    ['code that is not UTF-8', Uint8Array.of(1, 1, 0xff, 0, 0)],
    ['missing fields', Uint8Array.of(1)],
  ])('with a %s ends the link', (_what, payload) => {
    const { a, b } = pair()
    ask(a)
    const id = idOf(send(a, b))
    expectViolation(feed(a.link, frame(KIND.FAIL, payload, { id })), '6.1')
  })
})

describe('a query', () => {
  it.each([
    ['empty', ''],
    ['of 255 bytes', 'x'.repeat(255)],
    ['of 255 bytes and fewer characters', 'ü'.repeat(127) + '!'],
  ])('arrives with its method: %s', (_what, method) => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    ask(a, filled(3), { method })
    ask(a, filled(9000, 8), { method })
    expect(send(a, b)).toMatchObject([
      { type: 'query', method, bytes: filled(3) },
      { type: 'query', method, bytes: filled(9000, 8) },
    ])
  })

  it('with a method over 255 bytes never goes out as another query', () => {
    const { a, b } = pair()
    let events: ProtocolEvent[] = []
    try {
      ask(a, NOTHING, { method: 'x'.repeat(256) })
      events = send(a, b)
    } catch {
      // Refusing it is one way to keep the promise.
    }
    expect(typesOf(events)).toEqual([])
  })

  it.each([
    ['without all of its fields', queryFields(1).subarray(0, 4), '6.1'],
    ['with a method longer than the frame', Uint8Array.of(0, 0, 0, 1, 9, 65), '6.1'],
    ['with a method that is not UTF-8', queryFields(1, Uint8Array.of(0xff)), '6.1'],
    ['with bytes where the content is none', join(queryFields(1), filled(1)), '3.4'],
  ])('%s ends the link', (_what, payload, section) => {
    const { b } = pair()
    expectViolation(feed(b.link, frame(KIND.QUERY, payload, { id: 0x10000 })), section)
  })

  it('in a slot that is taken ends the link, whatever the generation', () => {
    for (const id of [0x10003, 0x20003]) {
      const { b } = pair()
      feed(b.link, frame(KIND.QUERY, queryFields(1000), { id: 0x10003 }))
      expectViolation(feed(b.link, frame(KIND.QUERY, queryFields(1000), { id })), '6.2')
    }
  })

  it('in the last slot is handled, and beyond it ends the link', () => {
    const { b } = pair({ handlersMax: 2 })
    expect(typesOf(feed(b.link, frame(KIND.QUERY, queryFields(1000), { id: 0x1001f })))).toEqual(['query'])
    expectViolation(feed(b.link, frame(KIND.QUERY, queryFields(1000), { id: 0x10020 })), '6.2')
  })

  it('in a slot whose answer was not written yet ends the link', () => {
    const { b } = pair()
    for (let generation = 1; generation < 100; generation++) {
      feed(b.link, frame(KIND.QUERY, queryFields(0), { id: generation * 0x10000 }))
    }
    expect(b.link.state).toBe('ended')
  })

  it('that is too large for the peer is refused and changes nothing', () => {
    const { a, b } = pair({ messageBytesMax: 1000 })
    const before = a.session.stats()
    expect(ask(a, filled(1001))).toBe(TOO_LARGE)
    expect(a.session.stats()).toEqual(before)
    expect(calls(a)).toEqual([])
    const slot = ask(a, filled(1000))
    expect(slot).toBe(0)
    expect(send(a, b)).toMatchObject([{ type: 'query', bytes: filled(1000) }])
  })
})

describe('withdrawing', () => {
  it('a query that is held back: it is not-sent, and never sent', () => {
    const { a, b } = pair({ handlersMax: 1 })
    ask(a, filled(1))
    const id = idOf(send(a, b))
    const waiting = ask(a, filled(2))
    ask(a, filled(3))
    expect(a.session.delivery(waiting)).toBe('not-sent')
    expect(a.session.abandon(waiting, 0)).toBe('not-sent')
    reply(b, id)
    const { atA, atB } = settle(a, b)
    expect(typesOf(atA)).toEqual(['answer'])
    expect(atB).toMatchObject([{ type: 'query', bytes: filled(3) }])
  })

  it('a query that is queued and not written: it is not-sent, and its handler never runs', () => {
    const { a, b } = pair()
    warm(a, b)
    ask(a, filled(1, 1))
    const slot = ask(a, filled(1, 2), { expiresAt: 1000 })
    ask(a, filled(1, 3))
    expect(a.session.abandon(slot, 0)).toBe('not-sent')
    const { atA, atB } = settle(a, b)
    expect(queriesOf(atB).map(({ bytes }) => bytes[0])).toEqual([1, 3])
    expect(atA).toEqual([])
    expect(ask(a)).toBe(slot)
  })

  it('a large query that was not begun: not a byte of it is sent', () => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    const slot = ask(a, filled(50_000))
    expect(a.session.abandon(slot, 0)).toBe('not-sent')
    expect(calls(a)).toEqual([])
    expect(a.session.idle).toBe(true)
    expect(settle(a, b)).toEqual({ atA: [], atB: [] })
    expect(ask(a)).toBe(slot)
  })

  it('a large query in the middle: a CANCEL ends it, no handler runs, nothing of it is kept', () => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    const slot = ask(a, filled(50_000))
    const chunks: Uint8Array[] = []
    a.link.takeWrite(10_000, 0, chunks)
    feed(b.link, join(...chunks))
    expect(b.session.stats().reassemblyBytes).toBe(50_000)
    expect(a.session.abandon(slot, 0)).toBe('unknown')
    const rest = written(a.link)
    expect(kindsOf(rest)).toEqual([KIND.CANCEL])
    expect(feed(b.link, rest)).toEqual([])
    expect(b.session.stats().reassemblyBytes).toBe(0)
    const back = written(b.link)
    expect(framesOf(back)).toMatchObject([{ kind: KIND.FAIL, payload: Uint8Array.of(FAIL_REASON.CANCELLED, 0, 0, 0) }])
    expect(feed(a.link, back)).toEqual([])
    expect([a.session.idle, b.session.idle]).toEqual([true, true])
  })

  it('tells unknown of what was written and delivered of what was acknowledged', () => {
    const { a, b } = pair()
    const slot = ask(a)
    expect(a.session.delivery(slot)).toBe('not-sent')
    send(a, b)
    expect(a.session.delivery(slot)).toBe('unknown')
    send(b, a, 20)
    expect(a.session.delivery(slot)).toBe('delivered')
    expect(a.session.abandon(slot, 20)).toBe('delivered')
  })

  it('twice writes one CANCEL', () => {
    const { a, b } = pair()
    const slot = ask(a)
    send(a, b)
    expect(a.session.abandon(slot, 0)).toBe('unknown')
    a.session.abandon(slot, 0)
    expect(calls(a).map(({ kind }) => kind)).toEqual([KIND.CANCEL])
  })

  it('after a timeout that was not polled takes the event back', () => {
    const { a } = pair({ handlersMax: 1 })
    ask(a)
    const slot = ask(a, NOTHING, { expiresAt: 10 })
    a.session.tick(10)
    expect(a.session.abandon(slot, 10)).toBe('not-sent')
    expect(polled(a.link)).toEqual([])
    expect(ask(a)).toBe(slot)
  })
})

describe('time', () => {
  it('of no limit goes as ffffffff and arrives as Infinity', () => {
    const { a, b } = pair()
    ask(a)
    const bytes = written(a.link)
    expect(remainingOf(framesOf(bytes)[0])).toBe(0xffffffff)
    expect(feed(b.link, bytes)).toMatchObject([{ type: 'query', remainingMs: Infinity }])
    expect(b.session.deadline).toBe(Infinity)
  })

  it('counts down while a query is held back', () => {
    const { a, b } = pair({ handlersMax: 1 })
    ask(a)
    const id = idOf(send(a, b))
    ask(a, NOTHING, { expiresAt: 1000 })
    reply(b, id, NOTHING, 300)
    send(b, a, 300)
    expect(send(a, b, 300)).toMatchObject([{ type: 'query', remainingMs: 700 }])
  })

  it('is written anew when the pipe was full for a while', () => {
    const { a, b } = pair()
    warm(a, b)
    ask(a, NOTHING, { expiresAt: 1000 })
    ask(a, filled(3000), { expiresAt: 2000.5 })
    ask(a)
    const bytes = written(a.link, 400)
    const queries = framesOf(bytes).filter(({ kind }) => kind === KIND.QUERY)
    expect(queries.map((query) => remainingOf(query))).toEqual([600, 1601, 0xffffffff])
    expect(queriesOf(feed(b.link, bytes, 400)).map(({ remainingMs }) => remainingMs)).toEqual([600, 1601, Infinity])
  })

  it('is written anew when a query is sent once more, and the handler runs once', () => {
    const { a, b } = pair()
    ask(a, filled(1), { expiresAt: 1000 })
    ask(a, filled(2))
    written(a.link)
    relink(a, b, 250)
    const events = send(a, b, 250)
    expect(queriesOf(events).map(({ remainingMs }) => remainingMs)).toEqual([750, Infinity])
    relink(a, b, 300)
    expect(send(a, b, 300)).toEqual([])
  })

  it('is 0 in a query that is sent once more without its caller, and no handler runs', () => {
    const { a, b } = pair()
    const slot = ask(a, filled(1), { expiresAt: 1000 })
    written(a.link)
    expect(a.session.abandon(slot, 5)).toBe('unknown')
    relink(a, b, 6)
    const { atA, atB } = settle(a, b, 6)
    expect([atA, atB]).toEqual([[], []])
    expect([a.session.idle, b.session.idle]).toEqual([true, true])
  })

  it('is written anew in a large query that waited before its first fragment', () => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    warm(a, b)
    ask(a, filled(10_000), { expiresAt: 1000 })
    const [first] = calls(a, 400)
    expect(first?.flags).toBe(FIRST)
    expect(remainingOf(first, 8)).toBe(600)
  })

  it('of 0 on the wire is answered FAIL 5, and no handler runs', () => {
    const { b } = pair()
    const id = 0x10004
    expect(feed(b.link, frame(KIND.QUERY, queryFields(0), { id }))).toEqual([])
    expect(calls(b)).toMatchObject([{ kind: KIND.FAIL, id, payload: Uint8Array.of(FAIL_REASON.EXPIRED, 0, 0, 0) }])
    expect(b.session.stats().handlersRunning).toBe(0)
    expect(b.session.idle).toBe(true)
  })

  it('that is up stops the handler, whose late answer becomes FAIL 5', () => {
    const { b } = pair()
    const id = 0x10000
    feed(b.link, frame(KIND.QUERY, queryFields(100), { id }))
    b.session.tick(99)
    expect(polled(b.link)).toEqual([])
    b.session.tick(100)
    expect(polled(b.link)).toEqual([{ type: 'cancel', id, why: 'expired' }])
    expect(calls(b, 100)).toEqual([])
    expect(reply(b, id, filled(9), 150)).toBe(true)
    expect(calls(b, 150)).toMatchObject([{ kind: KIND.FAIL, payload: Uint8Array.of(FAIL_REASON.EXPIRED, 0, 0, 0) }])
  })

  it('that is up at the caller ends the call once and cancels it at the peer', () => {
    const { a, b } = pair()
    const slot = ask(a, NOTHING, { expiresAt: 100 })
    const id = idOf(send(a, b))
    expect(a.session.deadline).toBe(100)
    a.session.tick(100)
    expect(polled(a.link)).toEqual([{ type: 'timeout', slot, delivery: 'unknown' }])
    expect(send(a, b, 90)).toEqual([{ type: 'cancel', id, why: 'cancelled' }])
    reply(b, id, NOTHING, 100)
    expect(send(b, a, 100)).toEqual([])
    a.session.tick(10_000)
    expect(polled(a.link)).toEqual([])
  })

  it('that is up before the query was written makes it not-sent, and no handler runs', () => {
    const { a, b } = pair()
    warm(a, b)
    const slot = ask(a, NOTHING, { expiresAt: 100 })
    a.session.tick(100)
    expect(polled(a.link)).toEqual([{ type: 'timeout', slot, delivery: 'not-sent' }])
    expect(settle(a, b, 100)).toEqual({ atA: [], atB: [] })
    expect(a.session.idle).toBe(true)
  })

  it('of a query that was answered does not stop the next one in its slot', () => {
    const { b } = pair()
    feed(b.link, frame(KIND.QUERY, queryFields(100), { id: 0x10000 }))
    reply(b, 0x10000)
    written(b.link)
    const [next] = feed(b.link, frame(KIND.QUERY, queryFields(0xffffffff), { id: 0x20000 }))
    expect(next).toMatchObject({ type: 'query', remainingMs: Infinity })
    b.session.tick(1000)
    expect(polled(b.link)).toEqual([])
  })

  it('does not end a call that was answered in time', () => {
    const { a, b } = pair()
    ask(a, NOTHING, { expiresAt: 100 })
    reply(b, idOf(send(a, b)))
    send(b, a)
    for (const end of [a, b]) {
      end.session.tick(1000)
      expect(polled(end.link)).toEqual([])
      expect(end.session.deadline).toBe(Infinity)
    }
  })
})

describe('a CANCEL', () => {
  it('reaches the handler, whose answer becomes FAIL 4 and is told to nobody', () => {
    const { a, b } = pair()
    const slot = ask(a)
    const id = idOf(send(a, b))
    a.session.abandon(slot, 0)
    expect(send(a, b)).toEqual([{ type: 'cancel', id, why: 'cancelled' }])
    expect(written(b.link)).toEqual(NOTHING)
    expect(reply(b, id, filled(9))).toBe(true)
    const back = written(b.link)
    expect(framesOf(back)).toMatchObject([{ kind: KIND.FAIL, payload: Uint8Array.of(FAIL_REASON.CANCELLED, 0, 0, 0) }])
    expect(feed(a.link, back)).toEqual([])
    expect(a.session.idle).toBe(true)
  })

  it('makes FAIL 4 of a handler that fails because it was stopped', () => {
    const { a, b } = pair()
    const slot = ask(a)
    const id = idOf(send(a, b))
    a.session.abandon(slot, 0)
    send(a, b)
    failed(b, id)
    expect(calls(b)).toMatchObject([{ kind: KIND.FAIL, payload: Uint8Array.of(FAIL_REASON.CANCELLED, 0, 0, 0) }])
  })

  it('that crosses the answer is harmless on both sides', () => {
    const { a, b } = pair()
    const slot = ask(a)
    const id = idOf(send(a, b))
    reply(b, id, filled(3))
    a.session.abandon(slot, 0)
    const [cancel, answer] = [written(a.link), written(b.link)]
    expect([kindsOf(cancel), kindsOf(answer)]).toEqual([[KIND.CANCEL], [KIND.ANSWER]])
    expect(feed(b.link, cancel)).toEqual([])
    expect(feed(a.link, answer)).toEqual([])
    expect([a.link.state, b.link.state]).toEqual(['open', 'open'])
    expect(calls(b)).toEqual([])
    expect(ask(a)).toBe(slot)
    expect(typesOf(send(a, b))).toEqual(['query'])
  })

  it('that crosses a large answer stops it in the middle', () => {
    const { a, b } = pair({ fragmentBytes: 4096 })
    const slot = ask(a)
    const id = idOf(send(a, b))
    reply(b, id, filled(100_000))
    const chunks: Uint8Array[] = []
    b.link.takeWrite(10_000, 0, chunks)
    expect(feed(a.link, join(...chunks))).toEqual([])
    a.session.abandon(slot, 0)
    send(a, b)
    const rest = written(b.link)
    expect(kindsOf(rest)).toEqual([KIND.FAIL])
    expect(feed(a.link, rest)).toEqual([])
    expect(a.session.stats()).toMatchObject({ reassemblyBytes: 0, queriesInFlight: 0 })
    expect([a.session.idle, b.session.idle]).toEqual([true, true])
  })

  it('of an id that is not open is ignored; with a payload it ends the link', () => {
    const { b } = pair()
    expect(feed(b.link, frame(KIND.CANCEL, NOTHING, { id: 0x10000 }))).toEqual([])
    expect(feed(b.link, frame(KIND.CANCEL, NOTHING, { id: 0xffffffff }))).toEqual([])
    expect(calls(b)).toEqual([])
    expectViolation(feed(b.link, frame(KIND.CANCEL, filled(1), { id: 0x10000 })), '6.5')
  })

  it('of another generation does not stop the query that has the slot', () => {
    const { b } = pair()
    feed(b.link, frame(KIND.QUERY, queryFields(1000), { id: 0x20000 }))
    expect(feed(b.link, frame(KIND.CANCEL, NOTHING, { id: 0x10000 }))).toEqual([])
    expect(reply(b, 0x20000)).toBe(true)
    expect(calls(b).map(({ kind }) => kind)).toEqual([KIND.ANSWER])
  })

  it('after the time was up changes nothing: the answer is FAIL 5', () => {
    const { b } = pair()
    const id = 0x10000
    feed(b.link, frame(KIND.QUERY, queryFields(100), { id }))
    b.session.tick(100)
    polled(b.link)
    expect(feed(b.link, frame(KIND.CANCEL, NOTHING, { id }), 110)).toEqual([])
    reply(b, id, NOTHING, 120)
    expect(calls(b, 120)[0]?.payload[0]).toBe(FAIL_REASON.EXPIRED)
  })
})

describe('a handler that does not stop', () => {
  it.each([
    ['cancelled', FAIL_REASON.CANCELLED],
    ['expired', FAIL_REASON.EXPIRED],
  ])('is given up after the drain time when it was %s, and its result is dropped', (why, reason) => {
    const { b } = pair()
    const id = 0x10000
    feed(b.link, frame(KIND.QUERY, queryFields(why === 'expired' ? 100 : 0xffffffff), { id }))
    const stopped =
      why === 'expired' ? (b.session.tick(100), polled(b.link)) : feed(b.link, frame(KIND.CANCEL, NOTHING, { id }), 100)
    expect(stopped).toEqual([{ type: 'cancel', id, why }])
    expect(b.session.deadline).toBeLessThanOrEqual(100 + DRAIN_MS)
    b.session.tick(99 + DRAIN_MS)
    expect(polled(b.link)).toEqual([])
    expect(calls(b, 99 + DRAIN_MS)).toEqual([])
    b.session.tick(100 + DRAIN_MS)
    expect(polled(b.link)).toEqual([{ type: 'cancel', id, why: 'given-up' }])
    expect(calls(b, 700)).toMatchObject([{ kind: KIND.FAIL, id, payload: Uint8Array.of(reason, 0, 0, 0) }])
    // It runs on, and counts, until it has really ended.
    expect(b.session.stats().handlersRunning).toBe(1)
    expect(reply(b, id, filled(1), 800)).toBe(false)
    expect(calls(b, 800)).toEqual([])
    expect(b.session.stats().handlersRunning).toBe(0)
    expect(b.session.deadline).toBe(Infinity)
  })

  it('cannot answer the query that was asked in its slot after it was given up', () => {
    const { b } = pair()
    const [old, id] = [0x10000, 0x20000]
    feed(b.link, frame(KIND.QUERY, queryFields(100), { id: old }))
    b.session.tick(100)
    b.session.tick(100 + DRAIN_MS)
    polled(b.link)
    calls(b, 700)
    expect(typesOf(feed(b.link, frame(KIND.QUERY, queryFields(1000), { id }), 700))).toEqual(['query'])
    expect(reply(b, old, filled(1), 800)).toBe(false)
    expect(reply(b, id, filled(2), 800)).toBe(true)
    expect(calls(b, 800)).toMatchObject([{ kind: KIND.ANSWER, id, payload: filled(2) }])
  })

  it('fills the house: further queries are answered FAIL 6 until one has ended', () => {
    const { b } = pair({ handlersMax: 1 })
    for (let slot = 0; slot < 16; slot++) {
      feed(b.link, frame(KIND.QUERY, queryFields(100), { id: 0x10000 | slot }))
    }
    b.session.tick(100)
    b.session.tick(100 + DRAIN_MS)
    expect(polled(b.link)).toHaveLength(32)
    expect(calls(b, 700)).toHaveLength(16)
    expect(feed(b.link, frame(KIND.QUERY, queryFields(100), { id: 0x20000 }), 700)).toEqual([])
    expect(calls(b, 700)).toMatchObject([{ id: 0x20000, payload: Uint8Array.of(FAIL_REASON.QUEUE_FULL, 0, 0, 0) }])
    b.session.handlerEnded()
    expect(typesOf(feed(b.link, frame(KIND.QUERY, queryFields(100), { id: 0x30000 }), 700))).toEqual(['query'])
  })
})

describe('handlersMax', () => {
  it('holds further queries back, and each answer lets out one, in order', () => {
    const { a, b } = pair({ handlersMax: 2 })
    for (let value = 1; value <= 6; value++) ask(a, filled(1, value))
    const running = queriesOf(send(a, b))
    expect(running.map(({ bytes }) => bytes[0])).toEqual([1, 2])
    expect(a.session.stats()).toMatchObject({ queriesInFlight: 2, callsWaiting: 4 })
    const order: (number | undefined)[] = []
    for (let next = running.pop(); next !== undefined; next = running.pop()) {
      reply(b, next.id)
      send(b, a)
      const started = queriesOf(send(a, b))
      expect(started.length).toBeLessThanOrEqual(1)
      order.push(...started.map(({ bytes }) => bytes[0]))
      running.push(...started)
    }
    expect(order).toEqual([3, 4, 5, 6])
    expect([a.session.idle, b.session.idle]).toEqual([true, true])
  })

  it('is QUEUE_FULL for a caller that may not wait, and changes nothing', () => {
    const { a, b } = pair({ handlersMax: 1 })
    expect(ask(a, NOTHING, { mayWait: false })).toBe(0)
    send(a, b)
    const before = a.session.stats()
    expect(ask(a, NOTHING, { mayWait: false })).toBe(QUEUE_FULL)
    expect(a.session.stats()).toEqual(before)
  })

  it('holds a query that waits as it was when it was asked, if it was to be copied', () => {
    const { a, b } = pair({ handlersMax: 1 })
    ask(a)
    const id = idOf(send(a, b))
    const bytes = filled(10)
    ask(a, bytes, { ownership: 'copy' })
    bytes.fill(0)
    reply(b, id)
    send(b, a)
    expect(send(a, b)).toMatchObject([{ type: 'query', bytes: filled(10) }])
  })

  it('does not hold a query back that is asked while a handler for this peer runs', () => {
    const { a, b } = pair({ handlersMax: 1 })
    ask(a, filled(1, 1))
    const outer = idOf(send(a, b))
    ask(b, filled(1, 2))
    const middle = idOf(send(b, a))
    // a has its one query out, and its handler must ask another before it can answer.
    expect(ask(a, filled(1, 3), { mayWait: false })).toBeGreaterThan(0)
    const inner = idOf(send(a, b))
    reply(b, inner)
    expect(typesOf(send(b, a))).toEqual(['answer'])
    reply(a, middle)
    expect(typesOf(send(a, b))).toEqual(['answer'])
    reply(b, outer)
    expect(typesOf(send(b, a))).toEqual(['answer'])
    expect([a.session.idle, b.session.idle]).toEqual([true, true])
  })

  it('does not hold a nested query back behind those that were held before', () => {
    const { a, b } = pair({ handlersMax: 1 })
    ask(a, filled(1, 1))
    send(a, b)
    send(b, a, 20) // b's ACK
    ask(a, filled(1, 2), { now: 30 })
    ask(b, filled(1, 3), { now: 40 })
    expect(typesOf(send(b, a, 40))).toEqual(['query'])
    ask(a, filled(1, 4), { now: 41 })
    const handled: ProtocolEvent[] = []
    for (let now = 41; now < 20_000; now += 100) {
      for (const end of [a, b]) end.session.tick(now)
      handled.push(...settle(a, b, now).atB)
    }
    expect(queriesOf(handled).map(({ bytes }) => bytes[0])).toContain(4)
  })

  it('leaves sixteen times as many slots to nested queries, and then it is QUEUE_FULL', () => {
    const { a, b } = pair({ handlersMax: 2 })
    ask(b)
    send(b, a)
    for (let count = 0; count < 32; count++) expect(ask(a)).toBe(count)
    expect(ask(a)).toBe(QUEUE_FULL)
    expect(queriesOf(send(a, b))).toHaveLength(32)
    expect(b.link.state).toBe('open')
  })
})
