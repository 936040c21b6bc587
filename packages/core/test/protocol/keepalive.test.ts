import { describe, expect, it, test } from 'vitest'
import {
  CLOSE_CODE,
  CONTENT,
  KIND,
  type Link,
  type LinkState,
  type ProtocolEvent,
  type Session,
} from '../../src/protocol/index.js'
import { framesOf, kindsOf } from './ends.js'
import { endOf, feed, frame, FRESH_WELCOME, join, linkOf, opened, polled, proven, sessionOf, written } from './links.js'

const KEEPALIVE_MS = 2500
const SILENCE_MS = 20_000
const HANDSHAKE_MS = 5000
const PING = frame(KIND.PING, new Uint8Array(8).fill(7))

/** What a driver does that is woken at the deadline, and nothing else: until `endMs`, or the end of the link. */
function sleepUntil(link: Link, endMs: number): { at: number; kinds: number[]; events: ProtocolEvent[] }[] {
  const wakes: { at: number; kinds: number[]; events: ProtocolEvent[] }[] = []
  while (link.deadline <= endMs) {
    const at = link.deadline
    link.tick(at)
    expect(link.deadline, `the deadline after the tick at ${at}`).toBeGreaterThan(at)
    wakes.push({ at, events: polled(link), kinds: kindsOf(written(link, at)) })
    if (wakes.length > 1000) throw new Error('it never sleeps')
  }
  return wakes
}

const query = (session: Session, now: number): number =>
  session.query(new Uint8Array(0), CONTENT.BYTES, Uint8Array.of(1), 'copy', Infinity, false, now)

describe('a deadline', () => {
  // A sum of a time and a delay may be rounded down, and the difference is then less than the delay; a driver whose timer
  // fired early comes at exactly the sum.
  test('is later after a tick at the very moment, also where the sum of time and delay was rounded', () => {
    const ticks = (link: Link): number => {
      let count = 0
      for (let deadline = link.deadline; deadline !== Infinity; deadline = link.deadline) {
        link.tick(deadline)
        expect(link.deadline).toBeGreaterThan(deadline)
        count++
      }
      return count
    }
    let rounded = 0
    for (let heardAt = 1700.1; heardAt < 2040; heardAt += 1.37) {
      if (heardAt + KEEPALIVE_MS - heardAt < KEEPALIVE_MS || heardAt + SILENCE_MS - heardAt < SILENCE_MS) rounded++
      const { dialer } = opened()
      feed(dialer, frame(KIND.PING, new Uint8Array(8)), heardAt)
      expect(ticks(dialer)).toBeGreaterThan(0)
      expect(dialer.state).toBe('ended')
    }
    expect(rounded).toBeGreaterThan(20)
  })
})

describe('a PING', () => {
  test.each(['dialer', 'listener'] as const)('goes out from the %s after keepaliveMs without a byte', (side) => {
    const link = opened()[side]
    expect(link.deadline).toBe(KEEPALIVE_MS)
    link.tick(KEEPALIVE_MS - 1)
    expect(kindsOf(written(link, KEEPALIVE_MS - 1))).toEqual([])
    link.tick(KEEPALIVE_MS)
    const frames = framesOf(written(link, KEEPALIVE_MS))
    expect(frames.map(({ kind }) => kind)).toEqual([KIND.PING])
    expect(frames[0]?.payload).toHaveLength(8)
  })

  test('is repeated every keepaliveMs while nothing comes, each with a token of its own', () => {
    const { dialer } = opened()
    const tokens = new Set<string>()
    for (let at = KEEPALIVE_MS; at < SILENCE_MS; at += KEEPALIVE_MS) {
      expect(dialer.deadline).toBe(at)
      dialer.tick(at)
      const frames = framesOf(written(dialer, at))
      expect(frames.map(({ kind }) => kind)).toEqual([KIND.PING])
      tokens.add(String(frames[0]?.payload))
    }
    expect(tokens.size).toBe(7)
  })

  test('does not go out while bytes come in, and goes out keepaliveMs after the last', () => {
    const { dialer } = opened()
    let last = 0
    for (let now = 0; now <= 30_000; now += 1000) {
      feed(dialer, PING, now)
      written(dialer, now)
      last = now
      for (const wake of sleepUntil(dialer, now + 999)) expect(wake.kinds).toEqual([])
    }
    const wakes = sleepUntil(dialer, last + KEEPALIVE_MS)
    expect(wakes.map(({ at, kinds }) => [at, kinds])).toEqual([[last + KEEPALIVE_MS, [KIND.PING]]])
  })

  test('is not held off by what we send ourselves: that says nothing of the peer', () => {
    const { dialer, asking } = opened()
    for (let now = 500; now < KEEPALIVE_MS; now += 500) {
      query(asking, now)
      expect(kindsOf(written(dialer, now))).toEqual([KIND.QUERY])
    }
    dialer.tick(KEEPALIVE_MS)
    expect(kindsOf(written(dialer, KEEPALIVE_MS))).toEqual([KIND.PING])
  })

  test('is one, however often it fell due while the pipe was full', () => {
    const { dialer } = opened()
    for (let at = KEEPALIVE_MS; at <= 4 * KEEPALIVE_MS; at += KEEPALIVE_MS) dialer.tick(at)
    dialer.overslept(4 * KEEPALIVE_MS)
    expect(kindsOf(written(dialer, 4 * KEEPALIVE_MS))).toEqual([KIND.PING])
  })

  test('of another length than 8 bytes is an error, and so is such a PONG', () => {
    for (const kind of [KIND.PING, KIND.PONG]) {
      for (const length of [0, 7, 9]) {
        const { listener } = opened()
        expect(endOf(feed(listener, frame(kind, new Uint8Array(length))))).toMatchObject({ by: 'violation' })
      }
    }
  })
})

describe('a PONG', () => {
  test('answers a PING with its 8 bytes', () => {
    const { listener } = opened()
    const token = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 255)
    expect(feed(listener, frame(KIND.PING, token), 10)).toEqual([{ type: 'keepalive', kind: 'ping' }])
    expect(framesOf(written(listener, 10))).toMatchObject([{ kind: KIND.PONG, payload: token }])
    expect(written(listener, 11)).toHaveLength(0)
  })

  test('does not refer to the chunk that its PING came in', () => {
    const { listener } = opened()
    const chunk = PING.slice()
    listener.receive(chunk, true, 10)
    polled(listener)
    chunk.fill(0xee)
    expect(framesOf(written(listener, 10))[0]?.payload).toEqual(new Uint8Array(8).fill(7))
  })

  test('is at most one in the queue, however many PINGs came in, and answers the last of them', () => {
    const { listener } = opened()
    const pings = Array.from({ length: 10_000 }, (_, at) =>
      frame(KIND.PING, Uint8Array.of(0, 0, 0, 0, 0, 0, at >>> 8, at)),
    )
    expect(feed(listener, join(...pings.slice(0, 5000)), 10)).toHaveLength(5000)
    expect(feed(listener, join(...pings.slice(5000)), 20)).toHaveLength(5000)
    expect(framesOf(written(listener, 20))).toMatchObject([
      { kind: KIND.PONG, payload: Uint8Array.of(0, 0, 0, 0, 0, 0, 9999 >>> 8, 9999 & 0xff) },
    ])
  })

  test('is never answered', () => {
    const { listener } = opened()
    expect(feed(listener, frame(KIND.PONG, new Uint8Array(8)), 10)).toEqual([{ type: 'keepalive', kind: 'pong' }])
    expect(written(listener, 10)).toHaveLength(0)
  })

  test('keeps a quiet pair open for ever: both sides ping and pong, and nothing else is said', () => {
    const { dialer, listener } = opened()
    const kinds = new Set<number>()
    let now = 0
    while (now < 3_600_000) {
      now = Math.min(dialer.deadline, listener.deadline)
      for (const link of [dialer, listener]) link.tick(now)
      for (let moved = true; moved; ) {
        moved = false
        for (const [from, to] of [
          [dialer, listener],
          [listener, dialer],
        ] as const) {
          const bytes = written(from, now)
          if (bytes.length === 0) continue
          for (const kind of kindsOf(bytes)) kinds.add(kind)
          feed(to, bytes, now)
          moved = true
        }
      }
    }
    expect([dialer.state, listener.state]).toEqual(['open', 'open'])
    expect(kinds).toEqual(new Set<number>([KIND.PING, KIND.PONG]))
  })
})

describe('silence', () => {
  test.each(['dialer', 'listener'] as const)('ends the link of the %s after silenceMs, and not sooner', (side) => {
    const link = opened()[side]
    const wakes = sleepUntil(link, SILENCE_MS - 1)
    expect(wakes.flatMap(({ events }) => events)).toEqual([])
    link.tick(SILENCE_MS - 1)
    expect(link.state).toBe('open')
    link.tick(SILENCE_MS)
    expect(endOf(polled(link))).toEqual({ by: 'silence', silentMs: SILENCE_MS })
    expect(link.state).toBe('ended')
    expect(link.session).toBeUndefined()
    expect(written(link, SILENCE_MS)).toHaveLength(0)
  })

  test.each([
    ['the own silenceMs when it is the larger', 20_000, 6666, 20_000],
    ['three keepalives of the peer when they are the larger', 20_000, 6667, 20_001],
    ['three keepalives of a peer that seldom pings', 1000, 60_000, 180_000],
  ])('is %s', (_what, silenceMs, keepaliveMs, expectedMs) => {
    const { dialer } = opened({ silenceMs }, { hello: { keepaliveMs } })
    sleepUntil(dialer, expectedMs - 1)
    dialer.tick(expectedMs - 1)
    expect(dialer.state).toBe('open')
    dialer.tick(expectedMs)
    expect(endOf(polled(dialer))).toEqual({ by: 'silence', silentMs: expectedMs })
  })

  test('is not judged by the own keepalive, which the peer does not have to keep to', () => {
    const { dialer } = opened({ silenceMs: 1000, hello: { keepaliveMs: 60_000 } }, { hello: { keepaliveMs: 100 } })
    sleepUntil(dialer, 1000)
    expect(dialer.state).toBe('ended')
  })

  test.each([
    ['a whole frame', PING],
    ['one byte of a header', PING.subarray(0, 1)],
    ['a piece of a payload', PING.subarray(0, 14)],
  ])('%s is a sign of life', (_what, bytes) => {
    const { dialer } = opened()
    feed(dialer, bytes, SILENCE_MS - 1)
    sleepUntil(dialer, 2 * SILENCE_MS - 2)
    expect(dialer.state).toBe('open')
    dialer.tick(2 * SILENCE_MS - 1)
    expect(endOf(polled(dialer))).toEqual({ by: 'silence', silentMs: SILENCE_MS })
  })

  test('a large frame that comes in slowly keeps the link, byte by byte', () => {
    const { listener } = opened()
    const long = frame(KIND.NOTIFY, new Uint8Array(40), { content: CONTENT.BYTES })
    let now = 0
    for (const byte of long) {
      now += SILENCE_MS - 1
      feed(listener, Uint8Array.of(byte), now)
      listener.tick(now)
      expect(listener.state).toBe('open')
    }
  })

  it('a chunk without a byte is no sign of life', () => {
    const { dialer } = opened()
    feed(dialer, new Uint8Array(0), SILENCE_MS - 1)
    dialer.tick(SILENCE_MS)
    expect(dialer.state).toBe('ended')
  })

  test('what we write, and what is written to a pipe that nobody reads, is none', () => {
    const { dialer, asking } = opened()
    for (let now = 1000; now < SILENCE_MS; now += 1000) {
      query(asking, now)
      written(dialer, now)
      dialer.tick(now)
    }
    dialer.tick(SILENCE_MS)
    expect(endOf(polled(dialer))).toMatchObject({ by: 'silence' })
  })
})

describe('a process that was not running', () => {
  const LATE_MS = 1_000_000

  test('would declare silence if it looked at the clock alone', () => {
    const { dialer } = opened()
    dialer.tick(LATE_MS)
    expect(endOf(polled(dialer))).toEqual({ by: 'silence', silentMs: LATE_MS })
  })

  test('keeps the link when bytes had come in, which it reads before it looks at the clock', () => {
    const { dialer } = opened()
    dialer.overslept(LATE_MS)
    feed(dialer, PING, LATE_MS)
    dialer.tick(LATE_MS)
    expect(dialer.state).toBe('open')
    expect(dialer.deadline).toBeGreaterThan(LATE_MS)
    sleepUntil(dialer, LATE_MS + SILENCE_MS - 1)
    expect(dialer.state).toBe('open')
    sleepUntil(dialer, LATE_MS + SILENCE_MS)
    expect(dialer.state).toBe('ended')
  })

  test('gives the peer another keepaliveMs, pings it, and then knows', () => {
    const { dialer } = opened()
    dialer.overslept(LATE_MS)
    dialer.tick(LATE_MS)
    expect(polled(dialer)).toEqual([])
    expect(kindsOf(written(dialer, LATE_MS))).toEqual([KIND.PING])
    dialer.tick(LATE_MS + KEEPALIVE_MS - 1)
    expect(dialer.state).toBe('open')
    expect(dialer.deadline).toBe(LATE_MS + KEEPALIVE_MS)
    dialer.tick(LATE_MS + KEEPALIVE_MS)
    // The time asleep is no silence of the peer's.
    expect(endOf(polled(dialer))).toEqual({ by: 'silence', silentMs: SILENCE_MS })
  })

  test('is saved by a PONG that comes within that time', () => {
    const { dialer, listener } = opened()
    dialer.overslept(LATE_MS)
    dialer.tick(LATE_MS)
    feed(listener, written(dialer, LATE_MS), LATE_MS)
    const later = LATE_MS + KEEPALIVE_MS - 1
    expect(feed(dialer, written(listener, LATE_MS), later)).toContainEqual({ type: 'keepalive', kind: 'pong' })
    sleepUntil(dialer, later + SILENCE_MS - 1)
    expect(dialer.state).toBe('open')
  })

  test('and slept but a moment, is given no less time than it had', () => {
    const { dialer } = opened()
    dialer.overslept(100)
    dialer.tick(100)
    sleepUntil(dialer, SILENCE_MS - 1)
    expect(dialer.state).toBe('open')
    sleepUntil(dialer, SILENCE_MS)
    expect(dialer.state).toBe('ended')
  })

  test('gives a handshake that it slept through another keepaliveMs', () => {
    for (const side of ['dialer', 'listener'] as const) {
      const link = linkOf(side)
      link.overslept(LATE_MS)
      link.tick(LATE_MS)
      expect(link.state).not.toBe('ended')
      expect(link.deadline).toBe(LATE_MS + KEEPALIVE_MS)
      link.tick(LATE_MS + KEEPALIVE_MS)
      expect(endOf(polled(link))).toMatchObject({ by: 'handshake-timeout' })
    }
  })

  test('gives a handshake that it slept through for a moment no less time than it had', () => {
    const dialer = linkOf('dialer')
    dialer.overslept(100)
    expect(dialer.deadline).toBe(HANDSHAKE_MS)
  })

  test('and a link that is over stays over', () => {
    const { dialer } = opened()
    dialer.drop('enough')
    polled(dialer)
    dialer.overslept(LATE_MS)
    expect(dialer.deadline).toBe(Infinity)
    expect(written(dialer, LATE_MS)).toHaveLength(0)
  })
})

/** A link in each state of a handshake that goes no further, all begun at 0; the last byte came at `heardAt`. */
function stalled(heardAt: number): Record<'calling' | 'waiting' | 'proving' | 'challenging' | 'judging', Link> {
  const calling = linkOf('dialer')
  const waiting = linkOf('listener')
  const challenging = linkOf('listener')
  feed(challenging, written(linkOf('dialer')), heardAt)
  const proving = linkOf('dialer')
  const judging = linkOf('listener')
  feed(judging, written(proving), heardAt)
  feed(proving, written(judging, heardAt), heardAt)
  feed(judging, written(proving, heardAt), heardAt)
  return { calling, waiting, proving, challenging, judging }
}

describe('the handshake', () => {
  test.each(['calling', 'waiting', 'proving', 'challenging'] as const)(
    'in state %s ends handshakeTimeoutMs after the beginning of the pipe, whatever came in between',
    (state) => {
      const link = stalled(HANDSHAKE_MS - 1)[state]
      expect(link.state).toBe(state)
      expect(link.deadline).toBe(HANDSHAKE_MS)
      link.tick(HANDSHAKE_MS - 1)
      expect(polled(link)).toEqual([])
      link.tick(HANDSHAKE_MS)
      const heard = state === 'proving' || state === 'challenging'
      expect(endOf(polled(link))).toEqual({ by: 'handshake-timeout', heard })
    },
  )

  test('in state judging ends too, when nobody welcomes or refuses', () => {
    const { judging } = stalled(100)
    expect(judging.deadline).toBe(100 + HANDSHAKE_MS)
    judging.tick(100 + HANDSHAKE_MS)
    expect(endOf(polled(judging))).toEqual({ by: 'handshake-timeout', heard: true })
  })

  test('is not drawn out by a peer that sends a byte now and then', () => {
    const listener = linkOf('listener')
    const hello = written(linkOf('dialer'))
    for (let at = 0; at < 50; at++) feed(listener, hello.subarray(at, at + 1), at * 99)
    listener.tick(HANDSHAKE_MS)
    expect(endOf(polled(listener))).toEqual({ by: 'handshake-timeout', heard: true })
  })

  test('has no keepalive: nothing but its messages goes out while it lasts', () => {
    const dialer = linkOf('dialer', { handshakeTimeoutMs: 100_000 })
    written(dialer)
    dialer.tick(99_999)
    expect(written(dialer, 99_999)).toHaveLength(0)
    expect(dialer.state).toBe('calling')
  })

  test('that is done has no time limit any more', () => {
    const { dialer, listener } = opened()
    for (const link of [dialer, listener]) {
      feed(link, PING, HANDSHAKE_MS - 1)
      link.tick(HANDSHAKE_MS)
      expect(link.state).toBe('open')
    }
  })
})

describe('a CLOSE', () => {
  const close = (link: Link): void => link.close(CLOSE_CODE.done, 'bye', true)

  test('from both sides ends both links in order, with no deadline left', () => {
    const { dialer, listener } = opened()
    close(dialer)
    const first = written(dialer, 10)
    expect(kindsOf(first)).toEqual([KIND.CLOSE])
    expect(feed(listener, first, 10)).toEqual([{ type: 'close', code: 0, reason: 'bye' }])
    close(listener)
    const second = written(listener, 10)
    expect(endOf(polled(listener))).toEqual({ by: 'close' })
    expect(endOf(feed(dialer, second, 10))).toEqual({ by: 'close' })
    expect([dialer.deadline, listener.deadline]).toEqual([Infinity, Infinity])
  })

  test('that is not answered leaves the link to its keepalive and to silence', () => {
    const { dialer } = opened()
    close(dialer)
    written(dialer, 10)
    const wakes = sleepUntil(dialer, SILENCE_MS)
    expect(wakes.flatMap(({ kinds }) => kinds)).toEqual(Array.from({ length: 7 }, () => KIND.PING))
    expect(endOf(wakes.flatMap(({ events }) => events))).toEqual({ by: 'silence', silentMs: SILENCE_MS })
  })

  test('does not keep a PING from being answered', () => {
    const { dialer, listener } = opened()
    close(dialer)
    feed(listener, written(dialer, 10), 10)
    feed(listener, PING, 20)
    feed(dialer, PING, 20)
    expect(kindsOf(written(listener, 20))).toEqual([KIND.PONG])
    expect(kindsOf(written(dialer, 20))).toEqual([KIND.PONG])
  })
})

describe('the deadline', () => {
  /** A link in each state of the table, at time 0. */
  function inEveryState(): Record<LinkState, Link> {
    const asked = opened()
    query(asked.asking, 0)
    feed(asked.listener, written(asked.dialer))
    asked.dialer.close(CLOSE_CODE.done, '', false)
    feed(asked.listener, written(asked.dialer))
    const closed = opened()
    query(closed.asking, 0)
    closed.dialer.close(CLOSE_CODE.done, '', false)
    feed(closed.listener, written(closed.dialer))
    closed.listener.close(CLOSE_CODE.done, '', false)
    feed(closed.dialer, written(closed.listener))
    const refusing = stalled(0).judging
    refusing.refuse('busy', '')
    const ended = linkOf('dialer')
    ended.drop('')
    return {
      ...stalled(0),
      open: opened().dialer,
      closing: asked.dialer,
      'closed-by-peer': asked.listener,
      closed: closed.dialer,
      refusing,
      ended,
    }
  }
  const STATES = Object.keys(inEveryState()) as LinkState[]

  test.each(STATES)('of state %s: there is one unless the link is over', (state) => {
    const link = inEveryState()[state]
    expect(link.state).toBe(state)
    const isOver = state === 'refusing' || state === 'ended'
    expect(Number.isFinite(link.deadline)).toBe(!isOver)
    if (!isOver) expect(link.deadline).toBeGreaterThan(0)
  })

  test.each(STATES)('of state %s: after a tick it is later than now, at whatever moment that comes', (state) => {
    for (const now of [0, 1, 2499, 2500, 2501, 4999, 5000, 7500, 19_999, 20_000, 1e6, 1e12]) {
      const link = inEveryState()[state]
      link.tick(now)
      expect(link.deadline, `tick at ${now}`).toBeGreaterThan(now)
    }
  })

  test.each(STATES)('of state %s: who only sleeps until it comes to an end in bounded time and wakes', (state) => {
    const link = inEveryState()[state]
    const wakes = sleepUntil(link, 1e6)
    expect(link.state).toBe(state === 'refusing' ? 'refusing' : 'ended')
    expect(wakes.length).toBeLessThanOrEqual(8)
    expect(wakes.at(-1)?.at ?? 0).toBeLessThanOrEqual(SILENCE_MS)
  })

  test('is there between a WELCOME and the session that it brings', () => {
    const { dialer, listener } = proven()
    listener.welcome(sessionOf('listener'), FRESH_WELCOME, 0)
    dialer.receive(written(listener), false, 0)
    expect(dialer.poll()?.type).toBe('welcomed')
    expect(dialer.deadline).toBe(HANDSHAKE_MS)
    dialer.tick(HANDSHAKE_MS)
    expect(dialer.state).toBe('ended')
  })

  test('is later than now and at most a keepaliveMs away, in a long run of traffic, pauses and late wake-ups', () => {
    const { dialer, listener } = opened()
    let now = 0
    for (let round = 0; round < 2000; round++) {
      now += (round * 7919) % 3001
      const isLate = round % 50 === 0
      if (isLate) now += 100_000
      for (const link of [dialer, listener]) {
        if (isLate) link.overslept(now)
        if (isLate || round % 3 === 0) feed(link, PING, now)
        written(link, now)
        link.tick(now)
        expect(link.state).toBe('open')
        expect(link.deadline).toBeGreaterThan(now)
        expect(link.deadline).toBeLessThanOrEqual(now + KEEPALIVE_MS)
      }
    }
  })
})
