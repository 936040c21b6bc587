/**
 * The pure protocol, for other event loops than pairlink's own: two machines that take bytes and a time and give bytes,
 * events and one deadline. ARCHITECTURE.md says how a driver is built around them.
 */
export { QUEUE_FULL, TAKEN, TOO_LARGE } from './asking.js'
export { judgeClaim, judgeWelcome, type HeldSession, type Judgement } from './claim.js'
export type * from './encryption.js'
export { CipherError, MisuseError, ProtocolError } from './errors.js'
export type * from './events.js'
export { idFromBytes, NO_CLAIM, NO_ID } from './hello.js'
export type { AnnouncedLimits, Hello, Id, Refusal, SessionClaim, Side, Welcome } from './hello.js'
export { completeLimits, DEFAULT_LIMITS, NESTING_FACTOR, type Limits } from './limits.js'
export { Link, SILENCE_KEEPALIVES_MIN, type LinkOptions } from './link.js'
export type { Ownership } from './messages.js'
export type { Hash, Utf8 } from './primitives.js'
export { proofKey } from './proof.js'
export { SLICE_BYTES_MAX } from './reader.js'
export { Session, type SessionOptions, type SessionStats } from './session.js'
export { LINK_MOVES, nextState, type LinkCause, type LinkState } from './state.js'
export {
  ABOUT_BYTES_MAX,
  CLOSE_CODE,
  CONTENT,
  FAIL_REASON,
  KIND,
  METHOD_BYTES_MAX,
  MODES,
  VERSION,
  type Content,
  type Mode,
  type RefuseReason,
} from './wire.js'
