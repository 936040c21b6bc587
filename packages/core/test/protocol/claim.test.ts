import { describe, expect, test } from 'vitest'
import { judgeClaim, judgeWelcome, NO_ID, type HeldSession, type SessionClaim } from '../../src/protocol/index.js'

const PEER = 'a'.repeat(32)
const HELD: HeldSession = { id: '1'.repeat(32), peer: PEER, received: 10, acked: 5, handed: 8, attempt: 3 }
const CLAIM: SessionClaim = { attempt: 4, session: HELD.id, received: 6, peer: 'b'.repeat(32), fresh: '2'.repeat(32) }

describe('the listener judges a claim', () => {
  test('without a session, a new one begins under the fresh id', () => {
    expect(judgeClaim(undefined, PEER, CLAIM)).toEqual({
      verdict: 'fresh',
      welcome: { status: 'new', session: CLAIM.fresh, received: 0 },
    })
  })
  test('1. an attempt not above the last one welcomed changes nothing', () => {
    for (const attempt of [3, 2, 0]) expect(judgeClaim(HELD, PEER, { ...CLAIM, attempt }).verdict).toBe('drop')
  })
  test('2. its session is resumed, with its own count, from what the dialer has', () => {
    expect(judgeClaim(HELD, PEER, CLAIM)).toEqual({
      verdict: 'resume',
      received: 6,
      welcome: { status: 'resumed', session: HELD.id, received: 10 },
    })
  })
  test('2. both ends of what is possible are resumed', () => {
    for (const received of [HELD.acked, HELD.handed])
      expect(judgeClaim(HELD, PEER, { ...CLAIM, received }).verdict).toBe('resume')
  })
  test('2. a count below what was acknowledged ends the link and never resets', () => {
    expect(judgeClaim(HELD, PEER, { ...CLAIM, received: 4 }).verdict).toBe('drop')
  })
  test('2. a count above what was sent is a violation', () => {
    expect(judgeClaim(HELD, PEER, { ...CLAIM, received: 9 }).verdict).toBe('violation')
  })
  test('3. a session whose WELCOME was lost goes on from the beginning, and is called new', () => {
    const held = { ...HELD, received: 0, acked: 0 }
    expect(judgeClaim(held, PEER, { ...CLAIM, session: NO_ID, received: 0, fresh: held.id })).toEqual({
      verdict: 'resume',
      received: 0,
      welcome: { status: 'new', session: held.id, received: 0 },
    })
  })
  test('3. not when something was received or acknowledged on it', () => {
    for (const more of [
      { received: 1, acked: 0 },
      { received: 0, acked: 1 },
    ]) {
      expect(judgeClaim({ ...HELD, ...more }, PEER, { ...CLAIM, session: NO_ID, fresh: HELD.id }).verdict).toBe('fresh')
    }
  })
  test('4. another session, or none, begins a new one', () => {
    for (const session of [NO_ID, '9'.repeat(32)])
      expect(judgeClaim(HELD, PEER, { ...CLAIM, session }).verdict).toBe('fresh')
  })
  test('4. another instance begins a new one, whatever its counts and attempts say', () => {
    for (const attempt of [1, 9])
      expect(judgeClaim(HELD, 'c'.repeat(32), { ...CLAIM, attempt, received: 99 }).verdict).toBe('fresh')
  })
})

describe('the dialer judges a WELCOME', () => {
  const fresh = '2'.repeat(32)
  test('new, under the id that it offered', () => {
    expect(judgeWelcome(HELD, fresh, { status: 'new', session: fresh, received: 0 }).verdict).toBe('fresh')
  })
  test('new, under another id, is a violation', () => {
    expect(judgeWelcome(HELD, fresh, { status: 'new', session: HELD.id, received: 0 }).verdict).toBe('violation')
  })
  test('resumed, its own session', () => {
    const welcome = { status: 'resumed', session: HELD.id, received: 7 } as const
    expect(judgeWelcome(HELD, fresh, welcome)).toEqual({ verdict: 'resume', welcome, received: 7 })
  })
  test('resumed, a session that it does not hold (any more)', () => {
    for (const held of [undefined, HELD]) {
      expect(judgeWelcome(held, fresh, { status: 'resumed', session: '9'.repeat(32), received: 0 }).verdict).toBe(
        'drop',
      )
    }
  })
  test('resumed, with an impossible count', () => {
    expect(judgeWelcome(HELD, fresh, { status: 'resumed', session: HELD.id, received: 9 }).verdict).toBe('violation')
    expect(judgeWelcome(HELD, fresh, { status: 'resumed', session: HELD.id, received: 4 }).verdict).toBe('drop')
  })
})
