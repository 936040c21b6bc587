/** Notifications for which the send queue has no room: their order, and what is known of them when they are given up. */
import { expect, test } from 'vitest'
import { CONTENT, TAKEN, type Session } from '../../src/protocol/index.js'
import { sessionOf } from './links.js'
import { completeLimits } from '../../src/protocol/index.js'

const NO_METHOD = new Uint8Array(0)
const limits = completeLimits({ sendBytesMax: 5000, inboxBytesMax: 8000, messageBytesMax: 50_000 })

function tell(session: Session, lengthBytes: number, ownership: 'own' | 'borrow' = 'own'): number {
  return session.notify(NO_METHOD, CONTENT.BYTES, new Uint8Array(lengthBytes), ownership, Infinity, true, 0)
}

function openSession(): Session {
  const session = sessionOf('dialer', { limits, peerLimits: limits })
  session.attached(0)
  return session
}

/** All that is to be written at this moment. */
function write(session: Session, budgetBytes = 1e6): void {
  session.take(budgetBytes, 0, [])
}

test('when one that is large is given up, those that found no room behind it are taken at once', () => {
  const session = openSession()
  expect(tell(session, 7000)).toBe(TAKEN)
  const large = tell(session, 15_000, 'borrow')
  const behind = tell(session, 10)
  expect(behind).toBeGreaterThanOrEqual(0)
  write(session)
  expect(session.poll()).toBeUndefined()
  session.abandon(large, 0)
  expect(session.poll()).toEqual({ type: 'taken', slot: behind })
})

test('none overtakes one that found no room', () => {
  const session = openSession()
  expect(tell(session, 4000)).toBe(TAKEN)
  expect(tell(session, 6000)).toBe(TAKEN)
  const behind = tell(session, 10)
  expect(behind).toBeGreaterThanOrEqual(0)
  expect(tell(session, 10)).not.toBe(TAKEN)
})

test('one that was taken, and given up before its caller was told, may still arrive: nothing is known of it', () => {
  const session = openSession()
  expect(tell(session, 4000)).toBe(TAKEN)
  expect(tell(session, 2000)).toBe(TAKEN)
  const slot = tell(session, 10)
  expect(session.delivery(slot)).toBe('not-sent')
  write(session)
  expect(session.hasEvents).toBe(true)
  expect(session.abandon(slot, 0)).toBe('unknown')
  expect(session.poll()).toBeUndefined()
})
