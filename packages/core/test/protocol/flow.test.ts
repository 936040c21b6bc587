/** What bounds a session (PROTOCOL.md, sections 6.6, 7.2 and 10): credit, acknowledgements, the window, and what is held back. */
import { describe, expect, it } from 'vitest'
import { CONTENT, FAIL_REASON, KIND, QUEUE_FULL, TAKEN, type ProtocolEvent } from '../../src/protocol/index.js'
import {
  ask,
  AT_REST,
  calls,
  expectViolation,
  filled,
  FIRST,
  framesOf,
  idOf,
  kindsOf,
  NOTHING,
  NOTIFY_FIELDS,
  pair,
  part,
  queriesOf,
  relink,
  reply,
  send,
  settle,
  tell,
  typesOf,
  u64,
  type End,
} from './ends.js'
import { feed, frame, join, polled, written } from './links.js'

const ACK_DELAY_MS = 20

/** The handlers of the notifications among `events` return. @returns what the first byte of each was */
function consume(end: End, events: ProtocolEvent[], now = 0): (number | undefined)[] {
  const heard: (number | undefined)[] = []
  for (const event of events) {
    if (event.type !== 'notify') continue
    end.session.consumed(event.costBytes, now)
    heard.push(event.bytes[0])
  }
  return heard
}

/** The counts of the ACKs among `bytes`: frames taken over, cost consumed. */
function acksOf(bytes: Uint8Array): [number, number][] {
  return framesOf(bytes)
    .filter(({ kind }) => kind === KIND.ACK)
    .map(({ payload }) => {
      const view = new DataView(payload.buffer)
      return [Number(view.getBigUint64(0)), Number(view.getBigUint64(8))]
    })
}

function ack(frames: number, consumedBytes: number): Uint8Array {
  return frame(KIND.ACK, join(u64(frames), u64(consumedBytes)))
}

function notifyFrame(length: number): Uint8Array {
  return frame(KIND.NOTIFY, join(NOTIFY_FIELDS, filled(length)), { content: CONTENT.BYTES })
}

describe('the credit of notifications', () => {
  it('stops the sender at inboxBytesMax, and what was consumed lets out as much, in order', () => {
    const { a, b } = pair({ inboxBytesMax: 1000 })
    for (let value = 1; value <= 20; value++) expect(tell(a, filled(136, value))).toBe(TAKEN) // 200 bytes each
    const heard: ProtocolEvent[] = send(a, b)
    expect(heard).toHaveLength(5)
    expect(a.session.stats().callsWaiting).toBe(15)
    expect(settle(a, b, 1000).atB).toEqual([])
    // Two handlers return: two more may come.
    const order = consume(b, heard.splice(0, 2), 1000)
    send(b, a, 1020)
    heard.push(...send(a, b, 1020))
    expect(heard).toHaveLength(5)
    for (let now = 2000; heard.length > 0; now += 100) {
      order.push(...consume(b, heard.splice(0), now))
      send(b, a, now + ACK_DELAY_MS)
      heard.push(...send(a, b, now + ACK_DELAY_MS))
      expect(b.session.stats().inboxBytes).toBeLessThanOrEqual(1000)
    }
    expect(order).toEqual(Array.from({ length: 20 }, (_, at) => at + 1))
    expect(a.session.stats().unconsumedBytes).toBe(0)
  })

  it('counts content, method and 64 bytes, so that empty ones are bounded too', () => {
    const { a, b } = pair({ inboxBytesMax: 1000 })
    for (let count = 0; count < 30; count++) tell(a)
    const events = send(a, b)
    expect(events).toHaveLength(15)
    expect(events[0]).toMatchObject({ type: 'notify', costBytes: 64 })
    consume(b, events)
    send(b, a, ACK_DELAY_MS)
    const { a: c, b: d } = pair()
    tell(c, filled(10), { method: 'ünf' })
    expect(send(c, d)).toMatchObject([{ type: 'notify', method: 'ünf', costBytes: 10 + 4 + 64 }])
    expect(d.session.stats().inboxBytes).toBe(78)
  })

  it('lets one that is larger by itself go when everything before it was consumed, and nothing beside it', () => {
    const { a, b } = pair({ inboxBytesMax: 1000 })
    for (const [value, size] of [10, 5000, 10].entries()) tell(a, filled(size, value))
    for (const value of [0, 1, 2]) {
      const events = send(a, b, value * 100)
      expect(consume(b, events, value * 100)).toEqual([value])
      expect(send(a, b, value * 100)).toEqual([])
      send(b, a, value * 100 + ACK_DELAY_MS)
    }
    expect(a.link.state).toBe('open')
  })

  it('counts a fragmented one by its total', () => {
    const { a, b } = pair({ fragmentBytes: 4096, inboxBytesMax: 50_000 })
    for (const value of [1, 2, 3]) tell(a, filled(20_000, value))
    const events = send(a, b)
    expect(consume(b, events)).toEqual([1, 2])
    expect(events).toMatchObject([{ costBytes: 20_064 }, { costBytes: 20_064 }])
    send(b, a, ACK_DELAY_MS)
    expect(consume(b, send(a, b, ACK_DELAY_MS))).toEqual([3])
  })

  it('overrun ends the link, and what came before stays delivered', () => {
    const { b } = pair({ inboxBytesMax: 1000 })
    const events = feed(b.link, join(notifyFrame(436), notifyFrame(436), notifyFrame(0)))
    expect(events.map(({ type }) => type)).toEqual(['notify', 'notify', 'ended'])
    expectViolation(events, '6.6')
  })

  it('overrun by the total of a first fragment ends the link', () => {
    const { b } = pair({ inboxBytesMax: 1000 })
    feed(b.link, notifyFrame(36))
    const first = (totalBytes: number): Uint8Array => part(KIND.NOTIFY, 1, FIRST, filled(5), totalBytes)
    expectViolation(feed(b.link, first(837)), '6.6')
    const { b: other } = pair({ inboxBytesMax: 1000 })
    feed(other.link, notifyFrame(36))
    expect(feed(other.link, first(836))).toEqual([])
    expect(other.link.state).toBe('open')
  })

  it('does not end the link for one that is larger by itself', () => {
    const { b } = pair({ inboxBytesMax: 1000 })
    const events = feed(b.link, notifyFrame(5000))
    expect(events).toHaveLength(1)
    expectViolation(feed(b.link, notifyFrame(0)), '6.6')
  })

  it('is there again for the receiver as soon as a handler has returned', () => {
    const { b } = pair({ inboxBytesMax: 1000 })
    for (let round = 0; round < 50; round++) {
      const events = feed(b.link, notifyFrame(936))
      expect(consume(b, events)).toEqual([7])
    }
    expect(b.session.stats().inboxBytes).toBe(0)
  })

  it('does not keep queries and answers from passing', () => {
    const { a, b } = pair({ inboxBytesMax: 1000 })
    for (let count = 0; count < 30; count++) tell(a, filled(100))
    ask(a, filled(10))
    expect(send(a, b).map(({ type }) => type)).toContain('query')
    expect(a.session.stats().callsWaiting).toBeGreaterThan(20)
  })

  it('that was never sent cannot be consumed', () => {
    const { a, b } = pair()
    tell(a, filled(36))
    send(a, b)
    expectViolation(feed(a.link, ack(1, 101)), '7.2')
  })

  it('cannot be taken back', () => {
    const { a, b } = pair()
    tell(a, filled(36))
    send(a, b)
    expect(feed(a.link, ack(1, 100))).toEqual([])
    expect(a.session.stats().unconsumedBytes).toBe(0)
    feed(a.link, ack(1, 99))
    expect(a.link.state).toBe('ended')
  })
})

describe('an ACK', () => {
  it('goes out first on every link, with both counts', () => {
    const { a, b } = pair()
    tell(a, filled(36))
    tell(a, filled(36))
    ask(a)
    const events = send(a, b)
    consume(b, events.slice(0, 1))
    tell(b, filled(136))
    consume(a, send(b, a))
    ask(a)
    ask(b)
    const first = relink(a, b, 5)
    expect(typesOf(polled(a.link))).toEqual(['query'])
    expect(kindsOf(first)).toEqual([KIND.WELCOME, KIND.ACK, KIND.QUERY])
    expect(acksOf(first)).toEqual([[3, 100]])
    const second = written(a.link, 5)
    expect(kindsOf(second)).toEqual([KIND.ACK, KIND.QUERY])
    expect(acksOf(second)).toEqual([[2, 200]])
  })

  it('is due 20 ms after the first frame that none has reported, whatever follows', () => {
    const { a, b } = pair()
    expect(b.session.ackAt).toBe(Infinity)
    for (const now of [100, 110, 119]) {
      ask(a)
      send(a, b, now)
      expect(written(b.link, now)).toEqual(NOTHING)
      expect(b.link.writeDeadline).toBe(120)
    }
    expect(acksOf(written(b.link, 120))).toEqual([[3, 0]])
    expect(b.link.writeDeadline).toBe(Infinity)
    expect(written(b.link, 10_000)).toEqual(NOTHING)
  })

  it('is due at once after 256 frames, and not before', () => {
    const { a, b } = pair()
    for (let round = 1; round <= 3; round++) {
      for (let count = 0; count < 255; count++) ask(a)
      send(a, b)
      expect(written(b.link)).toEqual(NOTHING)
      ask(a)
      send(a, b)
      expect(acksOf(written(b.link))).toEqual([[round * 256, 0]])
    }
  })

  it('is due at once after 256 KiB, and not before', () => {
    const { a, b } = pair()
    const whole = 65_536 - 12 - 5
    for (const size of [whole, whole, whole, whole - 1]) ask(a, filled(size))
    send(a, b)
    expect(written(b.link)).toEqual(NOTHING)
    ask(a)
    send(a, b)
    expect(acksOf(written(b.link))).toEqual([[5, 0]])
  })

  it.each([
    ["the sender's replayBytesMax", { replayBytesMax: 4000 }, { inboxBytesMax: 9000, replayBytesMax: 1 }],
    ['the own inboxBytesMax', { replayBytesMax: 9000, inboxBytesMax: 1 }, { inboxBytesMax: 4000 }],
  ])('is due at once after a quarter of %s, where that is the smaller', (_what, own, theirs) => {
    const { a, b } = pair(own, theirs)
    ask(a, filled(1000 - 12 - 5 - 1))
    send(a, b)
    expect(written(b.link)).toEqual(NOTHING)
    ask(a)
    send(a, b)
    expect(acksOf(written(b.link))).toEqual([[2, 0]])
  })

  it('reports what was consumed, and not what merely arrived', () => {
    const { a, b } = pair()
    for (let count = 0; count < 3; count++) tell(a, filled(36))
    const events = send(a, b)
    expect(acksOf(written(b.link, 20))).toEqual([[3, 0]])
    consume(b, events.slice(0, 2), 50)
    expect(b.link.writeDeadline).toBe(70)
    expect(written(b.link, 69)).toEqual(NOTHING)
    expect(acksOf(written(b.link, 70))).toEqual([[3, 200]])
  })

  it('is due at once when a quarter of the inbox was consumed', () => {
    const { a, b } = pair({ inboxBytesMax: 4000 })
    for (let count = 0; count < 9; count++) tell(a, filled(61)) // 125 bytes
    const events = send(a, b)
    written(b.link, 20)
    consume(b, events.slice(0, 7), 30)
    expect(written(b.link, 30)).toEqual(NOTHING)
    consume(b, events.slice(7, 8), 30)
    expect(acksOf(written(b.link, 30))).toEqual([[9, 1000]])
  })

  it('is not answered by another: two idle sides fall silent', () => {
    const { a, b } = pair()
    ask(a)
    tell(b)
    let frames = 0
    for (let now = 0; now < 2000; now += 10) {
      const [there, back] = [written(a.link, now), written(b.link, now)]
      frames += framesOf(join(there, back)).length
      consume(a, feed(a.link, back, now), now)
      feed(b.link, there, now)
    }
    // QUERY and NOTIFY, and an ACK from each for what it received or consumed.
    expect(frames).toBe(4)
  })

  it('does not wait behind a full window', () => {
    const { a, b } = pair({ replayBytesMax: 1000 })
    ask(a, filled(2000))
    written(a.link)
    ask(a, filled(2000))
    expect(written(a.link)).toEqual(NOTHING)
    tell(b)
    send(b, a)
    expect(kindsOf(written(a.link, 20))).toEqual([KIND.ACK])
  })

  it.each([
    ['goes back', 1],
    ['is beyond what was sent', 4],
  ])('that %s ends the link', (_what, count) => {
    const { a, b } = pair()
    for (let at = 0; at < 3; at++) ask(a)
    send(a, b)
    ask(a) // queued, not written
    expect(feed(a.link, ack(2, 0))).toEqual([])
    expect(feed(a.link, ack(2, 0))).toEqual([])
    expectViolation(feed(a.link, ack(count, 0)), '7.2')
  })

  it('of what was sent on an earlier link and not on this one ends the link', () => {
    const { a, b } = pair()
    for (let at = 0; at < 3; at++) ask(a)
    written(a.link)
    relink(a, b)
    expectViolation(feed(a.link, ack(3, 0)), '7.2')
  })

  it('of another length ends the link', () => {
    for (const size of [0, 8, 15, 17]) {
      const { a } = pair()
      expectViolation(feed(a.link, frame(KIND.ACK, new Uint8Array(size))), '3.2')
    }
  })
})

describe('the window of what is not acknowledged', () => {
  it('stops the sender at replayBytesMax, and an ACK lets it go on', () => {
    const { a, b } = pair({ replayBytesMax: 10_000 })
    const lost: Uint8Array[] = []
    for (let value = 0; value < 100; value++) {
      ask(a, filled(1000, value))
      lost.push(written(a.link))
      expect(a.session.stats().unacknowledgedBytes).toBeLessThan(10_000 + 1017)
    }
    expect(a.session.stats().sentFrames).toBe(10)
    expect(a.session.stats().queuedBytes).toBe(90 * 1017)
    const handled = feed(b.link, join(...lost))
    expect(handled).toHaveLength(10)
    handled.push(...settle(a, b, ACK_DELAY_MS).atB)
    for (let now = 100; now < 1000; now += 20) handled.push(...settle(a, b, now).atB)
    expect(handled.map((event) => (event.type === 'query' ? event.bytes[0] : -1))).toEqual([...Array(100).keys()])
    expect(a.session.stats().unacknowledgedBytes).toBe(0)
  })

  it('lets a frame go that is larger by itself, when everything before it is acknowledged', () => {
    const { a, b } = pair({ replayBytesMax: 1 })
    const handled: ProtocolEvent[] = []
    for (let now = 0; now < 200; now += 20) {
      if (now < 100) ask(a, filled(5000, now))
      handled.push(...settle(a, b, now).atB)
    }
    expect(handled.map((event) => (event.type === 'query' ? event.bytes[0] : -1))).toEqual([0, 20, 40, 60, 80])
  })

  it('holds the fragments of a large message back, and they come when an ACK has made room', () => {
    const { a, b } = pair({ fragmentBytes: 4096, replayBytesMax: 20_000 })
    ask(a)
    send(a, b)
    ask(a, filled(100_000))
    const begun = written(a.link)
    expect(begun.length).toBeGreaterThan(12_000)
    expect(begun.length).toBeLessThan(20_000 + 4096)
    expect(a.session.stats().queuedBytes).toBeGreaterThan(70_000)
    feed(b.link, begun)
    const { atB } = settle(a, b, 20)
    for (let now = 40; now < 1000; now += 20) atB.push(...settle(a, b, now).atB)
    expect(atB).toHaveLength(1)
    expect(atB[0]).toMatchObject({ type: 'query', bytes: { length: 100_000 } })
  })

  it('holds also in the turn that begins with everything acknowledged', () => {
    const { a } = pair({ fragmentBytes: 4096, replayBytesMax: 20_000 })
    ask(a, filled(100_000))
    written(a.link)
    expect(a.session.stats().unacknowledgedBytes).toBeLessThan(20_000 + 4096)
  })

  it('counts a replay like what is sent for the first time', () => {
    const { a, b } = pair({ replayBytesMax: 10_000 })
    for (let value = 0; value < 9; value++) {
      ask(a, filled(1000, value))
      written(a.link)
    }
    relink(a, b)
    expect(a.session.stats()).toMatchObject({ unacknowledgedBytes: 0, queuedBytes: 9 * 1017 })
    expect(send(a, b)).toHaveLength(9)
    expect(a.session.stats()).toMatchObject({ unacknowledgedBytes: 9 * 1017, queuedBytes: 0 })
  })
})

it.each(['query', 'answer', 'notify'])('the session keeps nothing of a %s that was polled', (type) => {
  const { a, b } = pair()
  ask(a, filled(1000))
  tell(a, filled(1000))
  reply(b, idOf(send(a, b)), filled(1000))
  const [to, from] = type === 'answer' ? [a, b] : [b, a]
  if (type === 'query') ask(a, filled(1000))
  if (type === 'notify') tell(a, filled(1000))
  to.link.receive(written(from.link), false, 0)
  const event = to.link.poll() as { type: string; bytes: Uint8Array }
  expect([event.type, event.bytes.length]).toEqual([type, 1000])
  expect(to.link.poll()).toBeUndefined()
  // The event is one object that is filled anew, so this is what the session holds.
  expect(event.bytes.length).toBe(0)
})

describe('answers beyond sendBytesMax', () => {
  const LIMITS = { sendBytesMax: 10_000 }

  it.each([
    ['one in one piece', 1, {}],
    ['two in fragments', 2, { fragmentBytes: 4096 }],
  ])(
    'that wait to be written hold further handlers back (%s), which start in order afterwards',
    (_what, count, more) => {
      const { a, b } = pair({ ...LIMITS, ...more })
      for (let at = 0; at < count; at++) ask(a, filled(1, 1))
      for (const { id } of queriesOf(send(a, b))) reply(b, id, filled(20_000))
      for (const value of [2, 3, 4]) ask(a, filled(1, value))
      expect(send(a, b)).toEqual([])
      expect(b.session.stats()).toMatchObject({ handlersRunning: 0, queriesWaiting: 3 })
      expect(b.session.idle).toBe(false)
      const answers = send(b, a)
      expect(answers).toHaveLength(count)
      expect(polled(b.link).map((event) => (event.type === 'query' ? event.bytes[0] : event.type))).toEqual([2, 3, 4])
      expect(b.session.stats()).toMatchObject({ handlersRunning: 3, queriesWaiting: 0 })
    },
  )

  it('let a CANCEL take its query out of those that wait, and the others start in their order', () => {
    const { a, b } = pair(LIMITS)
    ask(a)
    reply(b, idOf(send(a, b)), filled(20_000))
    const slots = [2, 3, 4].map((value) => ask(a, filled(1, value)))
    expect(send(a, b)).toEqual([])
    a.session.abandon(slots[1] ?? -1, 0)
    expect(send(a, b)).toEqual([])
    expect(b.session.stats()).toMatchObject({ queriesWaiting: 2 })
    send(b, a)
    expect(polled(b.link).map((event) => (event.type === 'query' ? event.bytes[0] : event.type))).toEqual([2, 4])
  })

  it('hold nothing back when it is one large message that is under way', () => {
    const { a, b } = pair({ ...LIMITS, fragmentBytes: 4096 })
    ask(a)
    reply(b, idOf(send(a, b)), filled(1_000_000))
    ask(a)
    expect(send(a, b).map(({ type }) => type)).toEqual(['query'])
    // It is through, and of two more the second one waits behind the first.
    send(b, a)
    for (let at = 0; at < 2; at++) ask(a)
    for (const { id } of queriesOf(send(a, b))) reply(b, id, filled(1_000_000))
    ask(a)
    expect(send(a, b)).toEqual([])
    expect(b.session.stats()).toMatchObject({ queriesWaiting: 1 })
  })

  it('do not hold back at the limit itself', () => {
    const { a, b } = pair(LIMITS)
    ask(a)
    reply(b, idOf(send(a, b)), filled(10_000 - 12))
    ask(a)
    expect(send(a, b)).toHaveLength(1)
    const { a: c, b: d } = pair(LIMITS)
    ask(c)
    reply(d, idOf(send(c, d)), filled(10_001 - 12))
    ask(c)
    expect(send(c, d)).toEqual([])
  })

  it('do not hold back while an own query is outstanding', () => {
    const { a, b } = pair(LIMITS)
    ask(a)
    const first = idOf(send(a, b))
    ask(b)
    reply(b, first, filled(20_000))
    ask(a)
    expect(send(a, b).map(({ type }) => type)).toEqual(['query'])
  })

  it('let a query that waits be cancelled, and its handler never runs', () => {
    const { a, b } = pair(LIMITS)
    ask(a)
    reply(b, idOf(send(a, b)), filled(20_000))
    const slot = ask(a)
    send(a, b)
    a.session.abandon(slot, 0)
    expect(send(a, b)).toEqual([])
    expect(kindsOf(written(b.link))).toEqual([KIND.ANSWER, KIND.FAIL])
    expect(polled(b.link)).toEqual([])
    expect(b.session.stats().handlersRunning).toBe(0)
    expect(b.session.idle).toBe(true)
  })

  it('let the time of a query that waits run out: FAIL 5, and its handler never runs', () => {
    const { a, b } = pair(LIMITS)
    ask(a)
    reply(b, idOf(send(a, b)), filled(20_000))
    ask(a, NOTHING, { expiresAt: 100 })
    send(a, b)
    b.session.tick(100)
    const frames = calls(b, 100)
    expect(frames.map(({ kind }) => kind)).toEqual([KIND.ANSWER, KIND.FAIL])
    expect(frames[1]?.payload).toEqual(Uint8Array.of(FAIL_REASON.EXPIRED, 0, 0, 0))
    expect(polled(b.link)).toEqual([])
  })

  it('leave a query that waited the rest of its time', () => {
    const { a, b } = pair(LIMITS)
    ask(a)
    reply(b, idOf(send(a, b)), filled(20_000))
    ask(a, NOTHING, { expiresAt: 1000 })
    send(a, b)
    written(b.link, 300)
    expect(polled(b.link)).toMatchObject([{ type: 'query', remainingMs: 700 }])
  })
})

describe('what waits to be written', () => {
  const LIMITS = { sendBytesMax: 5000, handlersMax: 4 }

  it('is bounded for queries by sendBytesMax, without a link too', () => {
    const { a, b } = pair({ ...LIMITS, handlersMax: 1000 })
    let accepted = 0
    while (ask(a, filled(500), { mayWait: false }) !== QUEUE_FULL) accepted++
    expect(accepted).toBe(10) // 517 bytes each; the tenth passes the limit
    expect(a.session.stats().queuedBytes).toBe(5170)
    expect(ask(a, filled(500))).toBeGreaterThan(0)
    expect(a.session.stats()).toMatchObject({ queuedBytes: 5170, callsWaiting: 1 })
    expect(send(a, b)).toHaveLength(11)
    expect(ask(a, filled(500), { mayWait: false })).toBeGreaterThan(0)
  })

  it('is bounded for notifications by sendBytesMax, and the caller that waits is told when its own was taken', () => {
    const { a, b } = pair(LIMITS)
    let accepted = 0
    while (tell(a, filled(500, accepted), { mayWait: false }) !== QUEUE_FULL) accepted++
    expect(accepted).toBeGreaterThan(8)
    const before = a.session.stats()
    expect(before.queuedBytes).toBeLessThan(5000 + 600)
    expect(tell(a, filled(500), { mayWait: false })).toBe(QUEUE_FULL)
    expect(a.session.stats()).toEqual(before)
    const slot = tell(a, filled(500, accepted))
    expect(slot).toBeGreaterThanOrEqual(0)
    expect(polled(a.link)).toEqual([])
    const events = send(a, b)
    expect(polled(a.link)).toEqual([{ type: 'taken', slot }])
    events.push(...settle(a, b, ACK_DELAY_MS).atB, ...settle(a, b, 2 * ACK_DELAY_MS).atB)
    expect(consume(b, events)).toEqual(Array.from({ length: accepted + 1 }, (_, at) => at))
  })

  it('is written as soon as there is room, those included whose callers waited', () => {
    const { a, b } = pair(LIMITS)
    while (tell(a, filled(500, 1), { mayWait: false }) !== QUEUE_FULL);
    tell(a, filled(500, 2))
    expect(consume(b, [...send(a, b), ...send(a, b)])).toContain(2)
  })

  it('ends a notification that waited too long: it is not-sent, and never arrives', () => {
    const { a, b } = pair(LIMITS)
    let accepted = 0
    while (tell(a, filled(500, accepted), { mayWait: false }) !== QUEUE_FULL) accepted++
    const slot = tell(a, filled(500, 99), { expiresAt: 50 })
    tell(a, filled(500, 100))
    a.session.tick(50)
    expect(polled(a.link)).toEqual([{ type: 'timeout', slot, delivery: 'not-sent' }])
    const heard = [50, 70, 90].flatMap((now) => consume(b, settle(a, b, now).atB))
    expect(heard).not.toContain(99)
    expect(heard.slice(-1)).toEqual([100])
  })

  it('of notifications is bounded while the peer consumes nothing', () => {
    const { a, b } = pair({ sendBytesMax: 5000, inboxBytesMax: 3000 })
    let accepted = 0
    for (let round = 0; round < 500; round++) {
      if (tell(a, filled(100), { mayWait: false }) === TAKEN) accepted++
      settle(a, b, round * 20)
    }
    expect(accepted * 164).toBeLessThan(5000 + 3000 + 2 * 164)
    expect(a.session.stats().unconsumedBytes).toBe(accepted * 164)
    expect(b.session.stats().inboxBytes).toBeLessThanOrEqual(3000)
  })

  it('counts no more when it was withdrawn', () => {
    const { a } = pair({ ...LIMITS, fragmentBytes: 4096, inboxBytesMax: 1000 })
    tell(a, filled(900))
    for (let round = 0; round < 50; round++) {
      const slots = [ask(a, filled(50_000)), a.session.notify(NOTHING, 2, filled(4500), 'borrow', Infinity, true, 0)]
      for (const slot of slots) {
        expect(slot).toBeGreaterThanOrEqual(0)
        expect(a.session.abandon(slot, 0)).toBe('not-sent')
      }
    }
    expect(a.session.stats()).toMatchObject({ callsWaiting: 0, queriesInFlight: 0 })
    expect(a.session.stats().queuedBytes).toBeLessThan(1000)
  })
})

describe('a long life', () => {
  it('leaves nothing behind', () => {
    const { a, b } = pair({
      fragmentBytes: 4096,
      sendBytesMax: 20_000,
      replayBytesMax: 30_000,
      inboxBytesMax: 5000,
      handlersMax: 4,
    })
    const counts = { answers: 0, notified: 0 }
    const exchange = (now: number, answerBytes: number): void => {
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        const events = send(from, to, now)
        consume(to, events, now)
        for (const { id } of queriesOf(events)) reply(to, id, filled(answerBytes))
        counts.answers += events.filter(({ type }) => type === 'answer').length
      }
    }
    for (let round = 0; round < 1500; round++) {
      const now = round * 5
      for (const end of [a, b]) {
        ask(end, filled(round % 50 === 0 ? 30_000 : round % 200))
        if (tell(end, filled(round % 70), { mayWait: false }) === TAKEN) counts.notified++
      }
      exchange(now, round % 60 === 0 ? 20_000 : 10)
      for (const end of [a, b]) {
        const stats = end.session.stats()
        expect(stats.unacknowledgedBytes).toBeLessThan(30_000 + 2 * 65_536)
        expect(stats.queuedBytes).toBeLessThan(200_000)
        expect(stats.inboxBytes).toBe(0)
        expect(stats.handlersRunning).toBe(0)
        expect(stats.callsWaiting).toBeLessThan(64)
      }
    }
    for (let now = 10_000; now < 12_000; now += 20) exchange(now, 0)
    expect(counts.answers).toBe(3000)
    expect(counts.notified).toBeGreaterThan(2000)
    for (const end of [a, b]) {
      expect(end.session.idle).toBe(true)
      expect(end.session.stats()).toMatchObject({ ...AT_REST, unconsumedBytes: 0 })
    }
  })
})
