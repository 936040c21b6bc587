import { describe, expect, test } from 'vitest'
import {
  KIND,
  LINK_MOVES,
  MisuseError,
  nextState,
  ProtocolError,
  type Link,
  type LinkCause,
  type LinkState,
} from '../../src/protocol/index.js'
import { feed, frame, FRESH_WELCOME, join, linkOf, opened, polled, proven, sessionOf, written } from './links.js'

const STATES = Object.keys(LINK_MOVES) as LinkState[]
const CAUSES: LinkCause[] = [
  'read hello',
  'read prove',
  'read welcome',
  'read refuse',
  'read ask',
  'read reply',
  'read close',
  'write welcome',
  'write refuse',
  'write close',
  'end',
]

/** The table once more, as PROTOCOL.md, section 4, has it. */
const EDGES: [LinkState, LinkCause, LinkState][] = [
  ['calling', 'read hello', 'proving'],
  ['calling', 'read refuse', 'ended'],
  ['calling', 'end', 'ended'],
  ['waiting', 'read hello', 'challenging'],
  ['waiting', 'write refuse', 'refusing'],
  ['waiting', 'end', 'ended'],
  ['proving', 'read welcome', 'open'],
  ['proving', 'read refuse', 'ended'],
  ['proving', 'end', 'ended'],
  ['challenging', 'read prove', 'judging'],
  ['challenging', 'write refuse', 'refusing'],
  ['challenging', 'end', 'ended'],
  ['judging', 'write welcome', 'open'],
  ['judging', 'write refuse', 'refusing'],
  ['judging', 'end', 'ended'],
  ['open', 'read ask', 'open'],
  ['open', 'read reply', 'open'],
  ['open', 'read close', 'closed-by-peer'],
  ['open', 'write close', 'closing'],
  ['open', 'end', 'ended'],
  ['closing', 'read ask', 'closing'],
  ['closing', 'read reply', 'closing'],
  ['closing', 'read close', 'closed'],
  ['closing', 'end', 'ended'],
  ['closed-by-peer', 'read reply', 'closed-by-peer'],
  ['closed-by-peer', 'write close', 'closed'],
  ['closed-by-peer', 'end', 'ended'],
  ['closed', 'read reply', 'closed'],
  ['closed', 'end', 'ended'],
  ['refusing', 'end', 'ended'],
]

describe('the table of moves', () => {
  test.each(EDGES)('%s, %s: %s', (state, cause, next) => {
    expect(nextState(state, cause)).toBe(next)
  })

  const legal = new Set(EDGES.map(([state, cause]) => `${state}, ${cause}`))
  const illegal = STATES.flatMap((state) => CAUSES.map((cause) => [state, cause] as const)).filter(
    ([state, cause]) => !legal.has(`${state}, ${cause}`),
  )
  test.each(illegal)('%s, %s: refused', (state, cause) => {
    expect(nextState(state, cause)).toBeUndefined()
  })
})

/** A link in each state that it can be left in, by the moves that lead there. */
const REACHED: Record<LinkState, () => Link> = {
  calling: () => linkOf('dialer'),
  waiting: () => linkOf('listener'),
  proving: () => {
    const [dialer, listener] = [linkOf('dialer'), linkOf('listener')]
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    return dialer
  },
  challenging: () => {
    const listener = linkOf('listener')
    feed(listener, written(linkOf('dialer')))
    return listener
  },
  judging: () => proven().listener,
  open: () => opened().listener,
  closing: () => {
    const { listener } = opened()
    listener.close(0, '', false)
    written(listener)
    return listener
  },
  'closed-by-peer': () => {
    const { listener, dialer } = opened()
    dialer.close(0, '', false)
    feed(listener, written(dialer))
    return listener
  },
  closed: () => {
    const { listener, dialer, answering } = opened()
    // Something is still unanswered, so that the link does not end at once.
    answering.query(new Uint8Array(0), 0, new Uint8Array(0), 'own', Infinity, true, 0)
    listener.close(0, '', false)
    written(listener)
    dialer.close(0, '', false)
    feed(listener, written(dialer))
    return listener
  },
  refusing: () => {
    const listener = linkOf('listener')
    listener.refuse('busy', '')
    return listener
  },
  ended: () => {
    const link = linkOf('dialer')
    link.drop('')
    return link
  },
}

/** One frame of each cause that could be read, well-formed where that does not depend on more. */
const READ: [LinkCause, Uint8Array][] = [
  ['read hello', frame(KIND.HELLO, new Uint8Array(300))],
  ['read prove', frame(KIND.PROVE, new Uint8Array(32))],
  ['read welcome', frame(KIND.WELCOME, new Uint8Array(57))],
  ['read refuse', frame(KIND.REFUSE, new Uint8Array(20))],
  ['read ask', frame(KIND.QUERY, new Uint8Array(5), { id: 7 })],
  ['read ask', frame(KIND.NOTIFY, new Uint8Array(1))],
  ['read reply', frame(KIND.CANCEL, new Uint8Array(0), { id: 7 })],
  ['read reply', frame(KIND.PING, new Uint8Array(8))],
  ['read close', frame(KIND.CLOSE, new Uint8Array(2))],
]

describe.each(STATES.filter((state) => state !== 'ended' && state !== 'refusing'))('a link in state %s', (state) => {
  test('is in that state', () => {
    expect(REACHED[state]().state).toBe(state)
  })

  test.each(READ.filter(([cause]) => nextState(state, cause) === undefined))(
    'ends when it should %s',
    (_cause, bytes) => {
      const link = REACHED[state]()
      // Before the preamble, a frame needs one in front of it.
      const isFirst = state === 'calling' || state === 'waiting'
      const preamble = isFirst
        ? Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0, bytes.length >>> 8, bytes.length)
        : new Uint8Array(0)
      const events = feed(link, join(preamble, bytes))
      const [last] = events.slice(-1)
      expect(events).toHaveLength(1)
      if (last?.type !== 'ended') throw new Error('expected the end')
      if (last.end.by === 'violation') expect(last.end.error).toBeInstanceOf(ProtocolError)
      else expect(last.end).toMatchObject({ by: 'refusing', refusal: { reason: 'protocol' } })
      expect(polled(link)).toEqual([])
    },
  )

  const commands: [LinkCause, (link: Link) => void][] = [
    ['write welcome', (link) => link.welcome(sessionOf('listener'), FRESH_WELCOME, 0)],
    ['write refuse', (link) => link.refuse('busy', '')],
  ]
  test.each(commands.filter(([cause]) => nextState(state, cause) === undefined))(
    'refuses the command to %s, and nothing changes',
    (_cause, command) => {
      const link = REACHED[state]()
      const before = [link.state, link.session, link.deadline]
      expect(() => command(link)).toThrow(MisuseError)
      expect([link.state, link.session, link.deadline]).toEqual(before)
      expect(polled(link)).toEqual([])
    },
  )

  test('attach is refused where no WELCOME waits for it', () => {
    const link = REACHED[state]()
    expect(() => link.attach(sessionOf('dialer'), FRESH_WELCOME)).toThrow(MisuseError)
    expect(link.state).toBe(state)
  })
})

test('what came before a bad frame in the same bytes stays delivered', () => {
  const { listener } = opened()
  const query = frame(KIND.QUERY, Uint8Array.of(0, 0, 0, 9, 0, 42), { id: 0x10000, content: 2 })
  const events = feed(listener, join(query, frame(99)))
  expect(events.map((event) => event.type)).toEqual(['query', 'ended'])
})

test.each(['refusing', 'ended'] as const)('a link that is %s reads nothing more and stays as it is', (state) => {
  const link = REACHED[state]()
  polled(link)
  expect(feed(link, new Uint8Array(1000))).toEqual([])
  link.pipeEnded(1)
  link.tick(1e9)
  link.close(0, '', false)
  link.drop('again')
  expect(polled(link)).toEqual([])
  expect(link.deadline).toBe(Infinity)
})
