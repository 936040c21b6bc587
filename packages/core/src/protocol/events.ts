/**
 * What the protocol tells its driver, one event at a time. A polled event and the bytes in it belong to the driver only
 * until the next poll, unless its docstring says otherwise: the frequent ones are one object that is filled anew.
 */
import type { Hello, Refusal, Welcome } from './hello.js'

/**
 * What is known of a call that did not end in an answer: `not-sent` (the peer surely did not get it), `delivered` (the
 * peer's process has it; the handler may not have run), `unknown` (the rest; never claimed when one of the others is
 * known to be wrong).
 */
export type Delivery = 'not-sent' | 'unknown' | 'delivered'

/** A query to be handled. `bytes` may be kept. Exactly one `answer` or `fail` with this id must follow. */
export interface QueryEvent {
  readonly type: 'query'
  readonly id: number
  readonly method: string
  readonly content: number
  readonly bytes: Uint8Array
  /** What is left of the caller's time; Infinity for no limit. */
  readonly remainingMs: number
}
/** The answer to the own call in `slot`, which is free again. `bytes` may be kept. */
export interface AnswerEvent {
  readonly type: 'answer'
  readonly slot: number
  readonly content: number
  readonly bytes: Uint8Array
}
/** The own call in `slot` failed at the peer; the slot is free again. `bytes` may be kept. */
export interface FailEvent {
  readonly type: 'fail'
  readonly slot: number
  readonly reason: number
  readonly code: string
  readonly message: string
  readonly content: number
  readonly bytes: Uint8Array
}
/** The own call or waiting notification in `slot` ran out of time. */
export interface TimeoutEvent {
  readonly type: 'timeout'
  readonly slot: number
  readonly delivery: Delivery
}
/** The notification that waited in `slot` was taken by the send queue; a borrowed one was acknowledged. */
export interface TakenEvent {
  readonly type: 'taken'
  readonly slot: number
}
/** A notification. `costBytes` must be given back with `consumed` when its handler has returned. `bytes` may be kept. */
export interface NotifyEvent {
  readonly type: 'notify'
  readonly method: string
  readonly content: number
  readonly bytes: Uint8Array
  readonly costBytes: number
}
/** The handler of query `id` should stop; with `given-up` its id is free and its result will be dropped. */
export interface CancelEvent {
  readonly type: 'cancel'
  readonly id: number
  readonly why: 'cancelled' | 'expired' | 'given-up'
}
/** The peer asks nothing more. */
export interface CloseEvent {
  readonly type: 'close'
  readonly code: number
  readonly reason: string
}

export type SessionEvent =
  | QueryEvent
  | AnswerEvent
  | FailEvent
  | TimeoutEvent
  | TakenEvent
  | NotifyEvent
  | CancelEvent
  | CloseEvent

/** Listener only: the dialer has proven the secret. `welcome` or `refuse` must follow. */
export interface ProvenEvent {
  readonly type: 'proven'
  readonly hello: Hello
}
/** Dialer only: the listener has proven the secret and welcomes us. `attach` or `drop` must follow before the next poll. */
export interface WelcomedEvent {
  readonly type: 'welcomed'
  readonly hello: Hello
  readonly welcome: Welcome
}
/** A keepalive frame came in. */
export interface KeepaliveEvent {
  readonly type: 'keepalive'
  readonly kind: 'ping' | 'pong'
}
/** The link is over; the last event of every link. */
export interface EndedEvent {
  readonly type: 'ended'
  readonly end: LinkEnd
}

/** Who ended a link, and why. */
export type LinkEnd =
  /** Both sides have closed. */
  | { readonly by: 'close' }
  /** The pipe ended or broke. `heard` is false when not one byte had come in. */
  | { readonly by: 'pipe'; readonly heard: boolean }
  /** The peer's first bytes were not pairlink's. */
  | { readonly by: 'foreign' }
  /** The peer broke the protocol. */
  | { readonly by: 'violation'; readonly error: Error }
  /** Our own cipher failed, or has sealed its last record. */
  | { readonly by: 'cipher'; readonly error: Error }
  /** The peer sent a REFUSE; nobody vouches for who wrote it. */
  | { readonly by: 'refused'; readonly refusal: Refusal }
  /** We sent a REFUSE. */
  | { readonly by: 'refusing'; readonly refusal: Refusal }
  /** We found that the other side speaks another version or mode, or is this very instance, or lacks the secret. */
  | { readonly by: 'mismatch'; readonly refusal: Refusal }
  /** The handshake took too long, or nothing was heard for too long. */
  | { readonly by: 'handshake-timeout'; readonly heard: boolean }
  | { readonly by: 'silence'; readonly silentMs: number }
  /** The driver dropped it. */
  | { readonly by: 'drop'; readonly why: string }

export type LinkEvent = ProvenEvent | WelcomedEvent | KeepaliveEvent | EndedEvent
export type ProtocolEvent = SessionEvent | LinkEvent

/** The one object behind QueryEvent, AnswerEvent and NotifyEvent: its fields are filled before it is passed on as one. */
export class EventCell {
  type: 'query' | 'answer' | 'notify' = 'query'
  id = 0
  slot = 0
  method = ''
  content = 0
  bytes: Uint8Array = new Uint8Array(0)
  remainingMs = 0
  costBytes = 0
}
