/**
 * What becomes of the session when a proven dialer claims one (PROTOCOL.md, section 5.4): the listener's list and the
 * dialer's reading of the answer, as two functions of plain values. They must not know links.
 */
import { NO_ID, type Id, type SessionClaim, type Welcome } from './hello.js'

/** What the two functions need to know of the session that a process holds. */
export interface HeldSession {
  readonly id: Id
  readonly peer: Id
  /** Sequenced frames taken over from the peer. */
  readonly received: number
  /** Own sequenced frames that the peer has acknowledged, and up to which they were handed to the last pipe. */
  readonly acked: number
  readonly handed: number
  /** The attempt that was last welcomed on this side; 0 when this side dialled. */
  readonly attempt: number
}

export type Judgement =
  /** End the link and change nothing. */
  | { readonly verdict: 'drop'; readonly why: string }
  /** The peer broke the protocol. */
  | { readonly verdict: 'violation'; readonly why: string }
  /** Go on with the held session; `received` is the count that the peer states. */
  | { readonly verdict: 'resume'; readonly welcome: Welcome; readonly received: number }
  /** Forget the held session, if any, and begin a new one. */
  | { readonly verdict: 'fresh'; readonly welcome: Welcome }

/** The listener's list, in its order. `dialer` is the instance that the proven hello named. */
export function judgeClaim(held: HeldSession | undefined, dialer: Id, claim: SessionClaim): Judgement {
  const fresh: Judgement = { verdict: 'fresh', welcome: { status: 'new', session: claim.fresh, received: 0 } }
  if (held === undefined || held.peer !== dialer) return fresh
  if (claim.attempt <= held.attempt) {
    return { verdict: 'drop', why: `attempt ${claim.attempt} comes after attempt ${held.attempt} was welcomed` }
  }
  if (claim.session !== NO_ID && claim.session === held.id) {
    const impossible = impossibleCount(held, claim.received)
    if (impossible !== undefined) return impossible
    const welcome: Welcome = { status: 'resumed', session: held.id, received: held.received }
    return { verdict: 'resume', welcome, received: claim.received }
  }
  if (claim.fresh === held.id && held.received === 0 && held.acked === 0) {
    return { verdict: 'resume', welcome: { status: 'new', session: held.id, received: 0 }, received: 0 }
  }
  return fresh
}

/** The dialer's reading of a WELCOME that was proven. `fresh` is the id that its hello offered. */
export function judgeWelcome(held: HeldSession | undefined, fresh: Id, welcome: Welcome): Judgement {
  if (welcome.status === 'new') {
    if (welcome.session === fresh) return { verdict: 'fresh', welcome }
    return { verdict: 'violation', why: 'the WELCOME begins a session under an id that was not offered' }
  }
  if (held === undefined || held.id !== welcome.session) {
    return { verdict: 'drop', why: 'the WELCOME resumes a session that is no longer held' }
  }
  return impossibleCount(held, welcome.received) ?? { verdict: 'resume', welcome, received: welcome.received }
}

function impossibleCount(held: HeldSession, received: number): Judgement | undefined {
  if (received > held.handed) {
    return { verdict: 'violation', why: `${received} frames received, but only ${held.handed} were sent` }
  }
  if (received < held.acked) {
    return { verdict: 'drop', why: `${received} frames received, but ${held.acked} were acknowledged before` }
  }
  return undefined
}
