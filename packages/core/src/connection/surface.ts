/** What a user sees of a Connection beside its methods: states, events, numbers, and what calls and handlers are given. */
import type { SessionStats } from '../protocol/index.js'
import type { RefusedReason } from './endings.js'
import type { PairlinkError } from './errors.js'

/**
 * `idle`: not begun, or `connect` has failed. `meeting`: no peer yet. `standby`: two others are paired, and this process
 * waits for its turn. `paired`: there is a peer. `apart`: it was lost or has said goodbye, and the next is awaited.
 * `closing`, `closed`: for good.
 */
export type ConnectionState = 'idle' | 'meeting' | 'standby' | 'paired' | 'apart' | 'closing' | 'closed'
export type Role = 'listener' | 'dialer'

export interface ConnectionEvents {
  state: { readonly now: ConnectionState; readonly before: ConnectionState }
  /** This process holds the address and waits there. */
  listening: { readonly address: string }
  /**
   * Nothing is wrong, but it takes long: this process was alone for three seconds, or the error says what it waits for (a
   * peer that does not answer, a lock that is held).
   */
  waiting: { readonly error: PairlinkError | undefined; readonly address: string }
  /** There is a peer. `resumed`: the session goes on, and no call was lost. */
  paired: { readonly role: Role; readonly resumed: boolean; readonly peer: 'same' | 'new' }
  /**
   * There is no peer any more: without an error when it has said goodbye, and what was begun with it is then still finished.
   * Again for each look for a peer that found none. `retryInMs` is when the next one follows; undefined for one who
   * listens, or does not look.
   */
  apart: { readonly error: PairlinkError | undefined; readonly retryInMs: number | undefined }
  /**
   * The session with the last peer is over without a goodbye: calls in flight have settled with `PEER_LOST`. So many
   * notifications were accepted of which it is not known whether they were handled.
   */
  reset: { readonly notificationsUnknown: number }
  /** A stranger or a third process was turned away. `error` tells more where the transport turned it away. */
  refused: { readonly reason: RefusedReason; readonly error: PairlinkError | undefined }
  closed: { readonly error: PairlinkError | undefined }
}

export const EVENT_NAMES: readonly (keyof ConnectionEvents)[] = [
  'state',
  'listening',
  'waiting',
  'paired',
  'apart',
  'reset',
  'refused',
  'closed',
]

/** What goes on at the moment; what can fill up is shown as its level. */
export interface ConnectionStats {
  readonly state: ConnectionState
  readonly role: Role | undefined
  /** Own calls without an answer, those with a peer that has said goodbye included. */
  readonly callsOpen: number
  /** Own calls and notifications that wait for a peer. */
  readonly callsParked: number
  /** What they cost: payload and 64 bytes each; at most `sendBytesMax`, or one that is larger. */
  readonly parkedBytes: number
  /** Notifications whose handler was not started. */
  readonly inboxWaiting: number
  /** What they cost, of all sessions together; at most 2 × `inboxBytesMax`, or one that is larger. */
  readonly inboxWaitingBytes: number
  /** Peers that have said goodbye and with which what was begun is being finished; at most 16. */
  readonly leaving: number
  /** Links that have not proven the secret; at most `strangersMax`. */
  readonly strangers: number
  /** Processes that have proven it and wait until the place is not kept for a lost peer any more; at most 16. */
  readonly newcomers: number
  /** The session with the present peer, also while its link is lost; undefined without one. */
  readonly session: SessionStats | undefined
}

export interface CallOptions {
  /** How long to wait, in milliseconds; `Infinity` for ever. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** What to do while there is no peer. */
  readonly whenApart?: 'reject' | 'wait'
  /** The bytes are not copied: leave them alone until the promise settles. */
  readonly borrow?: boolean
}

export interface NotifyOptions extends CallOptions {
  /** A name that `onNotify` finds as `context.method`. */
  readonly method?: string
}

/** What a handler is given beside its input. */
export interface Context {
  /** Fires when the caller cancels, its time is up, or the session is lost. It is made when it is first asked for. */
  readonly signal: AbortSignal
  /** What is left of the caller's time; `Infinity` for no limit. */
  readonly remainingMs: number
  readonly method: string
  /** Like those of the Connection, within the remaining time, and cancelled together with this call. */
  call(method: string, input?: unknown, options?: CallOptions): Promise<unknown>
  query<T = unknown>(payload: unknown, options?: CallOptions): Promise<T>
  /** Does not wait: the send queue takes the message, or it fails with `QUEUE_FULL`. */
  notify(message: unknown, options?: NotifyOptions): Promise<void>
}
