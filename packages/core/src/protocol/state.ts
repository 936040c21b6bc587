/**
 * Every legal move of a Link, in one table that does not know which side it is on. A cause that the table does not have
 * for a state is refused and changes nothing.
 */

/**
 * - `calling` (dialer), `waiting` (listener): nothing was read yet.
 * - `proving`: the dialer has sent its proof and waits for the listener's.
 * - `challenging`: the listener has sent its hello and waits for the dialer's proof.
 * - `judging`: the dialer is proven; somebody must welcome or refuse it.
 * - `open`: frames flow. `closing`: our CLOSE is written. `closed-by-peer`: theirs was read. `closed`: both.
 * - `refusing`: a REFUSE is on its way out, then it is over. `ended`: over.
 */
export type LinkState =
  | 'calling'
  | 'waiting'
  | 'proving'
  | 'challenging'
  | 'judging'
  | 'open'
  | 'closing'
  | 'closed-by-peer'
  | 'closed'
  | 'refusing'
  | 'ended'

export type LinkCause =
  | 'read hello'
  | 'read prove'
  | 'read welcome'
  | 'read refuse'
  | 'read ask'
  | 'read reply'
  | 'read close'
  | 'write welcome'
  | 'write refuse'
  | 'write close'
  | 'end'

type Moves = Readonly<Partial<Record<LinkCause, LinkState>>>

/** `ask` is QUERY and NOTIFY, what a CLOSE forbids; `reply` is every other frame of an open link. */
export const LINK_MOVES: Readonly<Record<LinkState, Moves>> = {
  calling: { 'read hello': 'proving', 'read refuse': 'ended', end: 'ended' },
  waiting: { 'read hello': 'challenging', 'write refuse': 'refusing', end: 'ended' },
  proving: { 'read welcome': 'open', 'read refuse': 'ended', end: 'ended' },
  challenging: { 'read prove': 'judging', 'write refuse': 'refusing', end: 'ended' },
  judging: { 'write welcome': 'open', 'write refuse': 'refusing', end: 'ended' },
  open: {
    'read ask': 'open',
    'read reply': 'open',
    'read close': 'closed-by-peer',
    'write close': 'closing',
    end: 'ended',
  },
  closing: { 'read ask': 'closing', 'read reply': 'closing', 'read close': 'closed', end: 'ended' },
  'closed-by-peer': { 'read reply': 'closed-by-peer', 'write close': 'closed', end: 'ended' },
  closed: { 'read reply': 'closed', end: 'ended' },
  refusing: { end: 'ended' },
  ended: {},
}

/** Where `cause` leads from `state`, or undefined when that is not a legal move. */
export function nextState(state: LinkState, cause: LinkCause): LinkState | undefined {
  return LINK_MOVES[state][cause]
}
