/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The Connection: one class that a user sees. It owns the state, the pair and the promises of `connect`, and leaves the
 * rendezvous to Meeting, bytes to Pump, calls to Calls and HandlerRunner.
 */
import {
  CLOSE_CODE,
  CONTENT,
  judgeClaim,
  judgeWelcome,
  Link,
  METHOD_BYTES_MAX,
  NO_CLAIM,
  NO_ID,
  proofKey,
  Session,
  type EndedEvent,
  type Hello,
  type Id,
  type Judgement,
  type LinkEnd,
  type ProtocolEvent,
  type RefuseReason,
  type SessionStats,
  type Side,
} from '../protocol/index.js'
import type { Calls } from './calls.js'
import { Alarm, type Timer } from './clock.js'
import { Emitter } from './emitter.js'
import { systemEnvironment, type Environment } from './environment.js'
import { isPairlinkError, PairlinkError } from './errors.js'
import type { CallOptions, NotifyOptions, Outward, Running } from './handlers.js'
import { Inbox } from './inbox.js'
import { SafeLogger } from './logger.js'
import { Meeting, type MeetingHost } from './meeting.js'
import {
  checkNames,
  completeOptions,
  milliseconds,
  record,
  type AnyApi,
  type ConnectionOptions,
  type Input,
  type Method,
  type Output,
  type Settings,
} from './options.js'
import { isSessionEvent, Pair, type Peer } from './pair.js'
import { encodePayload, type Encoded } from './payload.js'
import { planCall, type CallPlan } from './plan.js'
import type { Pump } from './pump.js'
import { randomId } from './random.js'
import type { Shared } from './shared.js'
import { Turn } from './turn.js'
import { Waiters, type ConnectOptions, type PairedOptions } from './waiters.js'

export type ConnectionState = 'idle' | 'meeting' | 'paired' | 'apart' | 'closing' | 'closed'
export type Role = 'listener' | 'dialer'

/**
 * Why somebody was turned away: what a REFUSE said, or `not-pairlink` (other bytes), `silent` (no proof in time), `crowd` (too
 * many strangers at once, and it was the oldest).
 */
export type RefusedReason = RefuseReason | 'not-pairlink' | 'silent' | 'crowd'

export interface ConnectionEvents {
  state: { readonly now: ConnectionState; readonly before: ConnectionState }
  /** This process holds the address and waits there. */
  listening: { readonly address: string }
  paired: { readonly role: Role; readonly peer: 'same' | 'new' }
  /** The link is gone: without an error when the peer has said goodbye. */
  apart: { readonly error: PairlinkError | undefined }
  /** A stranger or a third process was turned away. */
  refused: { readonly reason: RefusedReason }
  closed: { readonly error: PairlinkError | undefined }
}

export interface ConnectionStats {
  readonly state: ConnectionState
  readonly role: Role | undefined
  /** Own calls without an answer. */
  readonly callsOpen: number
  /** Notifications whose handler was not started. */
  readonly inboxWaiting: number
  /** Links that have not proven the secret. */
  readonly strangers: number
  /** The session with the present peer. */
  readonly session: SessionStats | undefined
}

export class Connection<Mine extends object = AnyApi, Theirs extends object = Mine> {
  readonly #settings: Settings
  readonly #environment: Environment
  readonly #shared: Shared
  readonly #logger: SafeLogger
  readonly #emitter: Emitter<ConnectionEvents>
  readonly #meeting: Meeting
  readonly #waiters: Waiters
  readonly #inbox: Inbox
  readonly #outward: Outward
  readonly #key: Uint8Array
  readonly #instance: Id

  #state: ConnectionState = 'idle'
  #pair: Pair | undefined
  /** Those that have said goodbye, until what was begun with them is finished. */
  readonly #leaving = new Map<Pump, Pair>()
  #lastPeer: Id | undefined
  /** Ends the present meeting. */
  #meetingAbort: AbortController | undefined
  #attempt = 0
  #fresh: Id
  /** While listening for a peer that was lost: when to give up. */
  readonly #giveUp: Alarm
  #isHeld = true
  #warnedOfOneProcess = false

  readonly #turn: Turn
  readonly #encoded: Encoded = { content: CONTENT.NONE, bytes: new Uint8Array(0), ownership: 'own' }
  readonly #methodBytes = new Map<string, Uint8Array>()

  #closing: Promise<void> | undefined
  /** Called when the last pipe of a peer is closed, while closing. */
  #allGone: (() => void) | undefined
  readonly #closed: Promise<PairlinkError | undefined>
  #settleClosed: (error: PairlinkError | undefined) => void = () => undefined

  /**
   * Nothing is opened until `connect`.
   * @param options checked at once
   * @param environment clock, randomness and hash; for simulators, everybody else leaves it out
   * @throws TypeError that names what is wrong with the options
   */
  constructor(options: ConnectionOptions<Mine>, environment: Environment = systemEnvironment) {
    const { settings, secret } = completeOptions(options, environment.utf8)
    this.#settings = settings
    this.#environment = environment
    this.#logger = new SafeLogger(settings.logger)
    this.#key = proofKey(secret, environment.hash, environment.utf8)
    this.#instance = randomId(environment.random)
    this.#fresh = randomId(environment.random)
    this.#closed = new Promise((resolve) => {
      this.#settleClosed = resolve
    })
    this.#emitter = new Emitter((error, event) => {
      this.#logger.log('error', { event, error }, 'a listener threw')
    })
    this.#turn = new Turn(environment.clock, (now) => {
      this.#pair?.pump.pump(now)
    })
    this.#shared = {
      settings,
      environment,
      address: settings.transport.address,
      now: () => this.#turn.now(),
      wake: () => {
        this.#turn.wake()
      },
      log: (level, fields, message) => {
        this.#logger.log(level, fields, message)
      },
      methodBytes: (method) => this.#bytesOf(method),
    }
    this.#outward = {
      call: (method, payload, callOptions, within) => this.#call(method, payload, callOptions, within),
      notify: (message, notifyOptions, within) => this.#notify(message, notifyOptions, within),
    }
    this.#inbox = new Inbox(this.#shared)
    this.#waiters = new Waiters(environment.clock, () => {
      this.#nobodyWaits()
    })
    this.#giveUp = new Alarm(environment.clock, () => {
      void this.#end(new PairlinkError('RETRIES_EXHAUSTED', `No peer came back at ${settings.transport.address}`))
    })
    this.#meeting = new Meeting(settings.transport, environment.clock, environment.random, this.#host(), {
      strangersMax: settings.limits.strangersMax,
      drainMs: settings.drainMs,
    })
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** Who listened and who dialled, for diagnosis: both can do the same. */
  get role(): Role | undefined {
    return this.#pair?.pump.link.side ?? (this.#meeting.isListening ? 'listener' : undefined)
  }

  /** The present peer; undefined while there is none. */
  get peer(): Peer | undefined {
    return this.#pair?.peer
  }

  /** Resolves once the connection is over for good, to the error that ended it or undefined. Never rejects. */
  get closed(): Promise<PairlinkError | undefined> {
    return this.#closed
  }

  /**
   * Meets the other process: dials, or listens when nobody is there. Each call has its own promise; there is one meeting.
   * Resolves when paired, or with `until: 'started'` as soon as this process listens.
   * @throws PairlinkError with a code of the table "first connect"; the state is `idle` then, and it may be tried again.
   * `TIMEOUT` and `CANCELLED` end the meeting only when nobody else waits for it; `CLOSED` after `close()`
   */
  connect(options: ConnectOptions = {}): Promise<void> {
    let promise: Promise<void>
    try {
      promise = this.#waiters.add(options)
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#state === 'closing' || this.#state === 'closed') {
      this.#waiters.reject(this.#closedError())
    } else if (this.#state === 'paired') {
      this.#waiters.paired()
    } else if (this.#state === 'idle') {
      if (this.#waiters.count > 0) this.#meet(true)
    } else if (this.#meeting.isListening) {
      this.#waiters.started()
    }
    return promise
  }

  /**
   * Resolves when there is a peer: now, or once there is one. Starts nothing.
   * @throws PairlinkError `TIMEOUT`, `CANCELLED` or `CLOSED`
   */
  paired(options: PairedOptions = {}): Promise<void> {
    let promise: Promise<void>
    try {
      promise = this.#waiters.watch(options)
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#state === 'closing' || this.#state === 'closed') this.#waiters.reject(this.#closedError())
    else if (this.#canAsk()) this.#waiters.paired()
    return promise
  }

  /**
   * Asks the other side's `onQuery`.
   * @throws TypeError for a payload that cannot be sent, PairlinkError for everything else, both as rejections
   */
  query<T = unknown>(payload: unknown, options?: CallOptions): Promise<T> {
    return this.#call('', payload, options, undefined) as Promise<T>
  }

  /**
   * Calls a handler of the other side by name.
   * @throws TypeError for an input that cannot be sent, PairlinkError for everything else, both as rejections
   */
  call<Name extends Method<Theirs>>(
    method: Name,
    ...[input, options]: undefined extends Input<Theirs, Name>
      ? [input?: Input<Theirs, Name>, options?: CallOptions]
      : [input: Input<Theirs, Name>, options?: CallOptions]
  ): Promise<Output<Theirs, Name>> {
    if ((method as unknown) === '')
      return Promise.reject(new TypeError('A method needs a name; use query() for the nameless form'))
    return this.#call(method, input, options, undefined) as Promise<Output<Theirs, Name>>
  }

  /**
   * Sends a one-way message. Resolves when the send queue has taken it, which is not to say that it arrived; with `borrow`
   * when the peer has it.
   * @throws TypeError for a message that cannot be sent, PairlinkError for everything else, both as rejections
   */
  notify(message: unknown, options?: NotifyOptions): Promise<void> {
    return this.#notify(message, options, undefined)
  }

  /** Adds a listener. @returns the function that removes it */
  on<Name extends keyof ConnectionEvents>(event: Name, listener: (event: ConnectionEvents[Name]) => void): () => void {
    return this.#emitter.on(event, listener)
  }

  /** A plain snapshot of what is going on. */
  stats(): ConnectionStats {
    return {
      state: this.#state,
      role: this.role,
      callsOpen: this.#pair?.calls.open ?? 0,
      inboxWaiting: this.#inbox.waiting,
      strangers: this.#meeting.strangers,
      session: this.#pair?.session.stats(),
    }
  }

  /** The connection keeps the process alive, as it does from the beginning. */
  ref(): void {
    this.#hold(true)
  }

  /** The process may end although the connection is open. */
  unref(): void {
    this.#hold(false)
  }

  /**
   * Ends the connection, in every state, and again: what was accepted is sent, what the peer has asked is answered, for at
   * most `drainMs`; then calls without an answer settle with `CLOSED`. Resolves when nothing is left open. Never rejects
   * but for a TypeError about its options.
   */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    let drainMs: number
    try {
      const given = record(options, 'The options of close')
      checkNames(given, ['drainMs'], 'option of close')
      drainMs = milliseconds(given, 'drainMs', this.#settings.drainMs, { finite: true, zero: true })
    } catch (error) {
      return Promise.reject(error)
    }
    this.#closing ??= this.#state === 'closed' ? Promise.resolve() : this.#close(drainMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- calls

  #call(
    method: string,
    payload: unknown,
    options: CallOptions | undefined,
    within: Running | undefined,
  ): Promise<unknown> {
    try {
      const plan = planCall('call', method, options, within, this.#settings, this.#turn.now())
      const encoded = encodePayload(payload, this.#environment.utf8, this.#encoded)
      const pair = this.#pair
      if (pair !== undefined && this.#canAsk()) return pair.calls.query(plan, encoded)
      return this.#whenPaired(plan, { ...encoded }, (calls, kept) => calls.query(plan, kept))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #notify(message: unknown, options: NotifyOptions | undefined, within: Running | undefined): Promise<void> {
    try {
      const plan = planCall('notify', options?.method ?? '', options, within, this.#settings, this.#turn.now())
      const encoded = encodePayload(message, this.#environment.utf8, this.#encoded, 'message')
      const pair = this.#pair
      if (pair !== undefined && this.#canAsk()) return pair.calls.notify(plan, encoded)
      return this.#whenPaired(plan, { ...encoded }, (calls, kept) => calls.notify(plan, kept)) as Promise<void>
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** While there is no peer: fails at once, or waits for one within the time of the call. */
  async #whenPaired(
    plan: CallPlan,
    encoded: Encoded,
    send: (calls: Calls, encoded: Encoded) => Promise<unknown>,
  ): Promise<unknown> {
    const delivery = 'not-sent'
    if (this.#state === 'closing' || this.#state === 'closed') {
      throw new PairlinkError('CLOSED', 'The connection is closed', { delivery })
    }
    if (plan.whenApart === 'reject') {
      const text = `There is no peer (state ${this.#state}) at ${this.#shared.address}; await connect() or paired() first`
      throw new PairlinkError('NOT_CONNECTED', text, { delivery })
    }
    // The caller may change its bytes after the call, so they are copied here as they would be by the session.
    const isCopied = encoded.ownership === 'copy' && !plan.borrow
    const kept: Encoded = isCopied ? { ...encoded, bytes: encoded.bytes.slice(), ownership: 'own' } : encoded
    try {
      while (!this.#canAsk()) {
        const leftMs = plan.expiresAt - this.#turn.now()
        const waiting = plan.signal === undefined ? {} : { signal: plan.signal }
        await this.paired(leftMs === Infinity ? waiting : { ...waiting, timeoutMs: Math.max(0, leftMs) })
      }
    } catch (error) {
      if (!isPairlinkError(error)) throw error
      throw new PairlinkError(error.code, error.message, { delivery, cause: error.cause })
    }
    const pair = this.#pair
    if (pair === undefined) throw new PairlinkError('NOT_CONNECTED', 'The peer has gone again', { delivery })
    return send(pair.calls, kept)
  }

  #canAsk(): boolean {
    return this.#state === 'paired'
  }

  #bytesOf(method: string): Uint8Array {
    const known = this.#methodBytes.get(method)
    if (known !== undefined) return known
    const bytes = this.#environment.utf8.encode(method)
    if (bytes.length > METHOD_BYTES_MAX)
      throw new TypeError(`A method name of ${bytes.length} bytes; the limit is ${METHOD_BYTES_MAX}`)
    if (this.#methodBytes.size < 1024) this.#methodBytes.set(method, bytes)
    return bytes
  }

  // ---- meeting

  #host(): MeetingHost {
    return {
      makeLink: (side) => this.#makeLink(side),
      listening: (address) => {
        this.#emitter.emit('listening', { address })
        this.#waiters.started()
      },
      refused: (end) => {
        this.#refused(end)
      },
      event: (pump, event) => {
        this.#event(pump, event)
      },
      ended: (pump, event) => {
        this.#linkEnded(pump, event)
      },
      gone: (pump) => {
        this.#leaving.delete(pump)
        if (this.#pair?.pump === pump && this.#state === 'closing') this.#pair = undefined
        if (this.#pair === undefined && this.#leaving.size === 0) this.#allGone?.()
      },
      bug: (error) => {
        this.#logger.log('error', { error }, 'a bug of pairlink, please report it')
      },
    }
  }

  #makeLink(side: Side): Link {
    const environment = this.#environment
    const { limits, keepaliveMs, silenceMs, handshakeTimeoutMs, about } = this.#settings
    const claim =
      side === 'listener'
        ? NO_CLAIM
        : { attempt: ++this.#attempt, session: NO_ID, received: 0, peer: NO_ID, fresh: this.#fresh }
    return new Link({
      hello: {
        side,
        instance: this.#instance,
        process: environment.process,
        nonce: environment.random.bytes(32),
        features: 0,
        keepaliveMs,
        limits,
        claim,
        about,
        cipherName: '',
      },
      mode: 'proof',
      key: this.#key,
      hash: environment.hash,
      utf8: environment.utf8,
      silenceMs,
      handshakeTimeoutMs,
      now: environment.clock.now(),
    })
  }

  #meet(isFirst: boolean): void {
    const abort = new AbortController()
    this.#meetingAbort = abort
    if (isFirst) this.#setState('meeting')
    const { reconnect } = this.#settings
    const maxRetries = reconnect === false || isFirst ? 0 : reconnect.maxRetries
    const delayMs = reconnect === false ? 1000 : reconnect.delayMs
    const plan = {
      isFirst,
      roundsMax: maxRetries === 0 ? Infinity : maxRetries,
      delayMs,
      missed: (error: PairlinkError) => {
        this.#logger.log('debug', { code: error.code, address: this.#shared.address }, error.message)
      },
    }
    this.#meeting.meet(plan, abort.signal).then(
      (met) => {
        // As the survivor in the listener's place, one attempt is `delayMs` of listening.
        if (met === 'listening' && this.#state === 'apart' && maxRetries > 0) {
          this.#giveUp.set(this.#environment.clock.now() + maxRetries * delayMs)
        }
      },
      (error: unknown) => {
        if (abort.signal.aborted) return
        const reason = isPairlinkError(error)
          ? error
          : new PairlinkError('ADDRESS_INVALID', `Meeting at ${this.#shared.address} failed`, { cause: error })
        if (isFirst) void this.#backToIdle(reason)
        else void this.#end(reason)
      },
    )
  }

  /** The first meeting failed, or nobody waits for it any more: as if `connect` had not been called. */
  async #backToIdle(reason: PairlinkError | undefined): Promise<void> {
    const abort = this.#meetingAbort
    abort?.abort(reason)
    this.#meetingAbort = undefined
    await this.#stopMeeting()
    if (this.#state !== 'meeting') return
    this.#setState('idle')
    if (reason !== undefined) this.#waiters.reject(reason)
    // Somebody may have begun to wait while the address was being given up.
    else if (this.#waiters.count > 0) this.#meet(true)
  }

  #nobodyWaits(): void {
    if (this.#state === 'meeting' && this.#meetingAbort !== undefined) void this.#backToIdle(undefined)
  }

  #refused(end: LinkEnd): void {
    const reason = refusedReason(end)
    if (reason === undefined || this.#state === 'closing' || this.#state === 'closed') return
    this.#logger.log('debug', { reason, address: this.#shared.address }, 'a stranger was turned away')
    this.#emitter.emit('refused', { reason })
  }

  // ---- the pair

  #event(pump: Pump, event: Exclude<ProtocolEvent, EndedEvent>): void {
    if (isSessionEvent(event)) {
      const pair = this.#pair?.pump === pump ? this.#pair : this.#leaving.get(pump)
      pair?.event(event)
      if (event.type === 'close' && this.#pair === pair) this.#goodbye(pump)
      return
    }
    switch (event.type) {
      case 'proven':
        this.#proven(pump, event.hello)
        return
      case 'welcomed':
        this.#welcomed(pump, event.hello, judgeWelcome(undefined, this.#fresh, event.welcome))
        return
      case 'keepalive':
        if (this.#settings.logKeepalives) this.#logger.log('debug', { kind: event.kind }, 'keepalive')
        return
      default:
        event satisfies never
    }
  }

  /** The peer asks nothing more and is asked nothing more; another process may come meanwhile. */
  #goodbye(pump: Pump): void {
    const pair = this.#pair
    if (pair === undefined || this.#state !== 'paired') return
    this.#leaving.set(pump, pair)
    this.#pair = undefined
    this.#setState('apart')
    this.#emitter.emit('apart', { error: undefined })
  }

  /** A dialer at our listener has proven the secret. */
  #proven(pump: Pump, hello: Hello): void {
    const { link } = pump
    if (this.#state === 'closing' || this.#state === 'closed') {
      link.refuse('busy', 'closing')
      return
    }
    const pair = this.#pair
    if (pair !== undefined && pair.session.peer !== hello.instance) {
      link.refuse('busy', 'two processes are paired here already')
      // Should the present peer be gone without a word, its silence is to be noticed soon.
      pair.pump.link.ping()
      return
    }
    const judgement = judgeClaim(pair?.session, hello.instance, hello.claim)
    switch (judgement.verdict) {
      case 'drop':
      case 'violation':
        link.drop(judgement.why)
        return
      case 'resume':
      case 'fresh': {
        const resumed = judgement.verdict === 'resume' ? pair : undefined
        const session = resumed?.session ?? this.#newSession(judgement.welcome.session, hello, hello.claim.attempt)
        link.welcome(session, judgement, this.#environment.clock.now())
        if (resumed === undefined) {
          this.#begin(pump, session, hello)
        } else {
          const old = resumed.pump
          session.attempt = hello.claim.attempt
          resumed.pump = pump
          old.destroy()
        }
        return
      }
      default:
        judgement satisfies never
    }
  }

  /** The listener that we dialled has proven the secret and welcomes us. */
  #welcomed(pump: Pump, hello: Hello, judgement: Judgement): void {
    if (judgement.verdict !== 'fresh' || this.#state === 'closing' || this.#state === 'closed') {
      pump.link.drop('why' in judgement ? judgement.why : 'closing')
      return
    }
    // The id has served: the next new session gets another.
    this.#fresh = randomId(this.#environment.random)
    const session = this.#newSession(judgement.welcome.session, hello, 0)
    pump.link.attach(session, judgement)
    this.#begin(pump, session, hello)
  }

  #newSession(id: Id, hello: Hello, attempt: number): Session {
    const { limits, drainMs } = this.#settings
    const { utf8 } = this.#environment
    return new Session({ id, peer: hello.instance, attempt, limits, peerLimits: hello.limits, drainMs, utf8 })
  }

  #begin(pump: Pump, session: Session, hello: Hello): void {
    const before = this.#pair
    if (before !== undefined) {
      const error = new PairlinkError('PEER_LOST', `The peer at ${this.#shared.address} began anew`)
      this.#pair = undefined
      before.lose('PEER_LOST', error.message, error)
      before.pump.destroy()
      this.#setState('apart')
      this.#emitter.emit('apart', { error })
      if (this.#state !== 'apart') {
        pump.destroy() // a listener has closed the connection
        return
      }
    }
    this.#giveUp.clear()
    this.#meetingAbort = undefined
    this.#pair = new Pair(pump, session, hello, this.#shared, this.#outward, this.#inbox)
    if (hello.process === this.#environment.process && !this.#warnedOfOneProcess) {
      this.#warnedOfOneProcess = true
      this.#logger.log('warn', { address: this.#shared.address }, 'both ends of the pair are in one process')
    }
    const peer = this.#lastPeer === hello.instance ? 'same' : 'new'
    this.#lastPeer = hello.instance
    this.#setState('paired')
    this.#emitter.emit('paired', { role: pump.link.side, peer })
    this.#waiters.paired()
  }

  #linkEnded(pump: Pump, event: EndedEvent): void {
    const left = this.#leaving.get(pump)
    if (left !== undefined) {
      left.lose('CLOSED', 'The peer has closed')
      // `gone` removes it, when the pipe is closed too.
      if (this.#state === 'apart') this.#meetAgain(undefined)
      return
    }
    const pair = this.#pair
    if (pair?.pump !== pump) return
    if (this.#state === 'closing') {
      pair.lose('CLOSED', 'The connection was closed')
      return // `gone` tells that the pipe is closed too
    }
    const error = lossOf(event.end, this.#shared.address)
    pair.lose('PEER_LOST', error.message, error)
    this.#pair = undefined
    this.#logger.log('debug', { code: error.code, address: this.#shared.address }, error.message)
    this.#setState('apart')
    this.#meetAgain(error)
    this.#emitter.emit('apart', { error })
  }

  /** The link of the last peer has ended, with an error or after its goodbye. */
  #meetAgain(error: PairlinkError | undefined): void {
    if (this.#settings.reconnect === false) void this.#end(error)
    else if (this.#meetingAbort === undefined) this.#meet(false)
  }

  // ---- the end

  async #close(drainMs: number): Promise<void> {
    this.#setState('closing')
    this.#giveUp.clear()
    this.#waiters.reject(this.#closedError())
    this.#meetingAbort?.abort(this.#closedError())
    this.#meetingAbort = undefined
    await this.#drain(drainMs)
    await this.#finish(undefined)
  }

  /** Says goodbye, and waits until the pipes of all peers are closed or the time is up. */
  async #drain(drainMs: number): Promise<void> {
    const pairs = [...this.#leaving.values(), ...(this.#pair === undefined ? [] : [this.#pair])]
    if (pairs.length === 0) return
    let timer: Timer | undefined
    await new Promise<void>((resolve) => {
      this.#allGone = resolve
      timer = this.#environment.clock.after(drainMs, () => {
        for (const pair of pairs) {
          pair.lose('CLOSED', 'The connection was closed before this was finished')
          pair.pump.destroy()
        }
      })
      if (!this.#isHeld) timer.unref()
      // One that is leaving already answers our goodbye with the one that it was promised when everything is done.
      this.#pair?.pump.link.close(CLOSE_CODE.done, '', false)
      this.#turn.wake()
    })
    timer?.cancel()
    this.#allGone = undefined
  }

  /** The connection ends by itself, for a reason that no further try would mend. */
  async #end(error: PairlinkError | undefined): Promise<void> {
    if (this.#closing !== undefined) return
    this.#setState('closing')
    this.#giveUp.clear()
    this.#meetingAbort?.abort(this.#closedError())
    this.#closing = this.#finish(error)
    await this.#closing
  }

  async #finish(error: PairlinkError | undefined): Promise<void> {
    this.#pair = undefined
    await this.#stopMeeting()
    this.#waiters.reject(error ?? this.#closedError())
    this.#setState('closed')
    if (error !== undefined) this.#logger.log('error', { code: error.code }, error.message)
    this.#emitter.emit('closed', { error })
    this.#settleClosed(error)
  }

  async #stopMeeting(): Promise<void> {
    try {
      await this.#meeting.stop()
    } catch (error) {
      this.#logger.log('error', { error }, `the address ${this.#shared.address} could not be given up in order`)
    }
  }

  #closedError(): PairlinkError {
    return new PairlinkError('CLOSED', 'The connection is closed')
  }

  #setState(now: ConnectionState): void {
    const before = this.#state
    if (before === now) return
    this.#state = now
    this.#emitter.emit('state', { now, before })
  }

  #hold(held: boolean): void {
    this.#isHeld = held
    this.#giveUp.hold(held)
    this.#meeting.hold(held)
  }
}

function lossOf(end: LinkEnd, address: string): PairlinkError {
  switch (end.by) {
    case 'silence':
      return new PairlinkError(
        'PEER_SILENT',
        `Nothing was heard from the peer for ${Math.round(end.silentMs)} ms at ${address}`,
      )
    case 'violation':
      return new PairlinkError('PROTOCOL', `The peer broke the protocol: ${end.error.message}`, { cause: end.error })
    default:
      return new PairlinkError('PEER_LOST', `The link to the peer at ${address} ended without a goodbye`)
  }
}

/** Undefined for one that left by itself. */
function refusedReason(end: LinkEnd): RefusedReason | undefined {
  switch (end.by) {
    case 'refusing':
      return end.refusal.reason
    case 'stranger':
      return 'not-pairlink'
    case 'violation':
      return 'protocol'
    case 'handshake-timeout':
      return 'silent'
    case 'drop':
      return 'crowd'
    default:
      return undefined
  }
}
