/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The Connection: one class that a user sees. It owns the state, the pair and the promises of `connect`, and leaves the
 * rendezvous to Meeting, bytes to Pump, calls to Caller, Calls and HandlerRunner.
 */
import {
  CLOSE_CODE,
  judgeClaim,
  judgeWelcome,
  Link,
  NO_CLAIM,
  proofKey,
  Session,
  type EndedEvent,
  type Hello,
  type Id,
  type Judgement,
  type LinkEnd,
  type ProtocolEvent,
  type SessionClaim,
  type Side,
} from '../protocol/index.js'
import { Backoff } from './backoff.js'
import { Caller } from './caller.js'
import type { Calls } from './calls.js'
import { afterReading, Alarm, type Timer } from './clock.js'
import { Emitter, type Emission } from './emitter.js'
import { lossOf, refusedReason } from './endings.js'
import { systemEnvironment, type Environment } from './environment.js'
import { isPairlinkError, PairlinkError } from './errors.js'
import { namelessCall, type Outward } from './handlers.js'
import { Inbox } from './inbox.js'
import { Leaving } from './leaving.js'
import { SafeLogger } from './logger.js'
import { Meeting, type MeetingHost, type MeetingPlan } from './meeting.js'
import { Newcomers } from './newcomers.js'
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
import type { Pump } from './pump.js'
import { randomId } from './random.js'
import type { Shared } from './shared.js'
import { Signals } from './signals.js'
import { EVENT_NAMES, type CallOptions, type ConnectionEvents, type ConnectionState } from './surface.js'
import type { ConnectionStats, NotifyOptions, Role } from './surface.js'
import { Turn } from './turn.js'
import { Waiters, type ConnectOptions, type PairedOptions } from './waiters.js'

/** Fewer can be guessed. */
const SECRET_BYTES_MIN = 16

export class Connection<Mine extends object = AnyApi, Theirs extends object = Mine> {
  readonly #settings: Settings
  readonly #environment: Environment
  readonly #shared: Shared
  readonly #logger: SafeLogger
  readonly #emitter: Emitter<ConnectionEvents>
  readonly #meeting: Meeting
  readonly #waiters: Waiters
  readonly #inbox: Inbox
  readonly #newcomers: Newcomers
  readonly #caller: Caller
  readonly #key: Uint8Array
  readonly #instance: Id

  #state: ConnectionState = 'idle'
  #pair: Pair | undefined
  readonly #leaving = new Leaving()
  /** Those of all sessions, also of sessions that are over. */
  readonly #handlerCount = { running: 0 }
  /** What strangers were turned away for, in the words of transports: told to people once each. */
  readonly #faultsTold = new Set<string>()
  #lastPeer: Id | undefined
  /** Who had accepted the last link that was dialled, where that can be told. */
  #lastHolder: string | undefined
  /** Ends the present meeting. */
  #meetingAbort: AbortController | undefined
  #attempt = 0
  #fresh: Id
  /** While listening for a peer that was lost: when to give up. */
  readonly #giveUp: Alarm
  /** While apart: when the session with the last peer is forgotten. */
  readonly #resumeUntil: Alarm
  #mayResumeLate = false
  /** Whoever has come in time may finish its handshake. */
  #mayExtend = false
  #isHeld = true
  #hasPaired = false
  /** Whether this process has held the address since it last dialled a peer: where roles stay, it is the one that listens. */
  #isListener = false
  #warnedOfOneProcess = false
  /** And nobody was warned yet. */
  #isSecretShort: boolean

  readonly #turn: Turn

  #closing: Promise<void> | undefined
  /** While closing: until when a peer may take to be finished with. */
  #drainedAt = 0
  /** Called when the last pipe of a peer is closed, while closing. */
  #allGone: (() => void) | undefined
  readonly #closed: Promise<PairlinkError | undefined>
  #settleClosed: (error: PairlinkError | undefined) => void = () => undefined

  /**
   * Nothing is opened until `connect`.
   * @param options checked at once
   * @param given clock, randomness and hash instead of the system's; for simulators, everybody else leaves it out
   * @throws TypeError that names what is wrong with the options
   */
  constructor(options: ConnectionOptions<Mine>, given: Partial<Environment> = {}) {
    const environment = { ...systemEnvironment, ...given }
    const { settings, secret } = completeOptions(options, environment.utf8)
    this.#settings = settings
    this.#environment = environment
    this.#logger = new SafeLogger(settings.logger)
    this.#isSecretShort = secret.length < SECRET_BYTES_MIN
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
      this.#pair?.drive(now)
      this.#leaving.drive(now)
    })
    const signals = new Signals()
    this.#caller = new Caller(settings, environment, this.#turn, signals, {
      calls: () => (this.#canAsk() ? this.#pair?.calls : undefined),
      state: () => this.#state,
    })
    this.#shared = {
      settings,
      environment,
      signals,
      address: settings.transport.address,
      now: () => this.#turn.now(),
      read: () => this.#turn.read(),
      wake: () => {
        this.#turn.wake()
      },
      log: (level, fields, message) => {
        this.#logger.log(level, fields, message)
      },
      methodBytes: (method) => this.#caller.methodBytes(method),
    }
    this.#inbox = new Inbox(this.#shared)
    this.#waiters = new Waiters(environment.clock, () => {
      this.#nobodyWaits()
    })
    // One who came at the last moment is read first.
    this.#giveUp = new Alarm(
      environment.clock,
      () => {
        if (this.#state !== 'apart') return
        if (this.#mayExtend && this.#meeting.strangers > 0) {
          this.#mayExtend = false
          this.#giveUp.set(environment.clock.now() + settings.handshakeTimeoutMs)
          return
        }
        void this.#end(new PairlinkError('RETRIES_EXHAUSTED', `No peer came back at ${settings.transport.address}`))
      },
      true,
    )
    this.#resumeUntil = new Alarm(
      environment.clock,
      () => {
        this.#windowOver()
      },
      true,
    )
    this.#newcomers = new Newcomers(environment.clock, ({ pump, hello }) => {
      this.#proven(pump, hello)
      pump.pump(environment.clock.now())
    })
    this.#meeting = new Meeting(settings.transport, environment.clock, environment.random, this.#host(), {
      strangersMax: settings.limits.strangersMax,
      drainMs: settings.drainMs,
      keepaliveMs: settings.keepaliveMs,
      // A listener that was stopped meanwhile gives its peer another keepaliveMs.
      busyMsMax: settings.silenceMs + settings.keepaliveMs + settings.drainMs,
    })
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** Who listened and who dialled, for diagnosis: both can do the same. */
  get role(): Role | undefined {
    return this.#pair?.pump?.link.side ?? (this.#meeting.isListening ? 'listener' : undefined)
  }

  /** The present peer; undefined while there is none. */
  get peer(): Peer | undefined {
    return this.#pair?.pump === undefined ? undefined : this.#pair.peer
  }

  /** Resolves once the connection is over for good, to the error that ended it or undefined. Never rejects. */
  get closed(): Promise<PairlinkError | undefined> {
    return this.#closed
  }

  /**
   * Meets the other process: dials, or listens when nobody is there. Each call has its own promise; there is one meeting.
   * Resolves when paired, or with `until: 'started'` as soon as this process listens or stands by.
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
    if (this.#isOver()) {
      this.#waiters.reject(this.#closedError())
    } else if (this.#state === 'paired') {
      this.#waiters.paired()
    } else if (this.#state === 'idle') {
      if (this.#waiters.count > 0) this.#meet()
    } else if (this.#meeting.isListening || this.#state === 'standby') {
      this.#waiters.started()
    }
    return promise
  }

  /**
   * Resolves when there is a peer: now, or once there is one. Starts nothing.
   * @throws PairlinkError `TIMEOUT`, `CANCELLED`, `CLOSED`, or what ended the meeting that was under way
   */
  paired(options: PairedOptions = {}): Promise<void> {
    let promise: Promise<void>
    try {
      promise = this.#waiters.watch(options)
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#isOver()) this.#waiters.reject(this.#closedError())
    else if (this.#canAsk()) this.#waiters.paired()
    return promise
  }

  /**
   * Asks the other side's `onQuery`.
   * @throws TypeError for a payload that cannot be sent, PairlinkError for everything else, both as rejections
   */
  query<T = unknown>(payload: unknown, options?: CallOptions): Promise<T> {
    return this.#caller.call('', payload, options) as Promise<T>
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
    if ((method as unknown) === '') return Promise.reject(namelessCall())
    return this.#caller.call(method, input, options) as Promise<Output<Theirs, Name>>
  }

  /**
   * Sends a one-way message. Resolves when the send queue has taken it, which is not to say that it arrived; with `borrow`
   * when the peer has it.
   * @throws TypeError for a message that cannot be sent, PairlinkError for everything else, both as rejections
   */
  notify(message: unknown, options?: NotifyOptions): Promise<void> {
    return this.#caller.notify(message, options)
  }

  /** Adds a listener. @returns the function that removes it. @throws TypeError for an event that there is not */
  on<Name extends keyof ConnectionEvents>(event: Name, listener: (event: ConnectionEvents[Name]) => void): () => void {
    checkNames({ [event]: true }, EVENT_NAMES, 'event')
    if (typeof listener !== 'function') throw new TypeError(`The listener of '${event}' must be a function`)
    return this.#emitter.on(event, listener)
  }

  /** A plain snapshot of what is going on. */
  stats(): ConnectionStats {
    return {
      state: this.#state,
      role: this.role,
      callsOpen: this.#pairs().reduce((sum, pair) => sum + pair.calls.open, 0),
      callsParked: this.#caller.parked.count,
      parkedBytes: this.#caller.parked.bytes,
      inboxWaiting: this.#inbox.waiting,
      inboxWaitingBytes: this.#inbox.waitingBytes,
      leaving: this.#leaving.count,
      strangers: this.#meeting.strangers,
      newcomers: this.#newcomers.count,
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
    return this.#end(undefined, drainMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- meeting

  #host(): MeetingHost {
    return {
      makeLink: (side) => this.#makeLink(side),
      listening: (address) => {
        this.#isListener = true
        this.#leaveStandby()
        this.#emitter.emit(['listening', { address }])
        this.#waiters.started()
      },
      holderGone: (holder) => {
        const pair = this.#pair
        if (pair === undefined || pair.pump !== undefined || holder !== this.#lastHolder) return
        this.#reset(
          pair,
          new PairlinkError('PEER_LOST', `The process of the peer at ${this.#shared.address} has ended`),
        )
      },
      refused: (end, failure) => {
        this.#refused(end, failure)
      },
      displaced: () => {
        this.#displaced()
      },
      event: (pump, event) => {
        this.#event(pump, event)
      },
      ended: (pump, event) => {
        this.#linkEnded(pump, event)
      },
      gone: (pump) => {
        this.#leaving.remove(pump)
        if (this.#pair?.pump === pump && this.#state === 'closing') this.#pair = undefined
        if (this.#pair === undefined && this.#leaving.count === 0) this.#allGone?.()
      },
      bug: (error) => {
        this.#logger.log('error', { error }, 'a bug of pairlink, please report it')
      },
    }
  }

  #makeLink(side: Side): Link {
    const environment = this.#environment
    const { limits, keepaliveMs, silenceMs, handshakeTimeoutMs, about, encryption } = this.#settings
    const claim = side === 'listener' ? NO_CLAIM : { ...this.#claim(), attempt: ++this.#attempt, fresh: this.#fresh }
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
        cipherName: encryption?.mode === 'custom' ? encryption.cipherName : '',
      },
      key: this.#key,
      encryption,
      ephemeral: environment.random.bytes(32),
      hash: environment.hash,
      utf8: environment.utf8,
      silenceMs,
      handshakeTimeoutMs,
      now: environment.clock.now(),
    })
  }

  /** The session to resume, if one is held. */
  #claim(): Pick<SessionClaim, 'session' | 'received' | 'peer'> {
    if (this.#pair === undefined) return NO_CLAIM
    const { id, received, peer } = this.#pair.session
    return { session: id, received, peer }
  }

  #meet(): void {
    const isFirst = !this.#hasPaired
    const abort = new AbortController()
    this.#meetingAbort = abort
    if (isFirst) this.#setState('meeting')
    const { reconnect, failover, whenBusy, transport, encryption } = this.#settings
    this.#warnOfSecret()
    const backoff = new Backoff(reconnect, isFirst, this.#environment.random)
    const plan: MeetingPlan = {
      isFirst,
      mayListen: isFirst || failover || this.#isListener,
      isStandby: whenBusy === 'wait',
      roundsMax: backoff.roundsMax,
      pauses: backoff.pauses(),
      missed: this.#missedOnce(),
      standsBy: () => {
        this.#setState('standby')
        this.#waiters.started()
      },
      waiting: (error) => {
        this.#waiting(error)
      },
    }
    const isOpen = transport.reach === 'network' && !transport.encrypted && encryption === undefined
    const text = `${transport.address} reaches beyond this host, and nothing on the way is encrypted`
    const meeting = isOpen
      ? Promise.reject(new PairlinkError('NOT_LOCAL', text))
      : this.#meeting.meet(plan, abort.signal)
    meeting.then(
      (met) => {
        if (met === 'listening' && this.#state === 'apart') {
          this.#mayExtend = true
          this.#giveUp.set(this.#environment.clock.now() + backoff.listeningMs())
        }
      },
      (error: unknown) => {
        if (abort.signal.aborted) return
        this.#failed(
          isPairlinkError(error)
            ? error
            : new PairlinkError('ADDRESS_INVALID', `Meeting at ${this.#shared.address} failed`, { cause: error }),
        )
      },
    )
  }

  /** What others can reach they can listen to, or answer at: a secret that can be guessed is then found from one proof. */
  #warnOfSecret(): void {
    const { transport, encryption } = this.#settings
    if (!this.#isSecretShort || transport.reach === 'user' || transport.encrypted || encryption?.mode === 'sealed')
      return
    this.#isSecretShort = false
    const text = `others can reach ${transport.address}, and the secret is short enough to be guessed. Use at least ${SECRET_BYTES_MIN} random bytes, or encryption: aes256gcm(key)`
    this.#logger.log('warn', { address: transport.address }, text)
  }

  /** No further try is worth it. Once a `connect` has been resolved, `closed` is where that is told. */
  #failed(reason: PairlinkError): void {
    if (this.#hasPaired || this.#waiters.isWanted) void this.#end(reason)
    else this.#backToIdle(reason)
  }

  /** The two whose place was waited for are not there any more, or not as they were. */
  #leaveStandby(): void {
    if (this.#state === 'standby') this.#setState(this.#hasPaired ? 'apart' : 'meeting')
  }

  /** Tells of each look that found nobody, in the log of people once. */
  #missedOnce(): MeetingPlan['missed'] {
    let isLogged = false
    return (error, retryInMs) => {
      const fields = { code: error.code, address: this.#shared.address, retryInMs: Math.round(retryInMs) }
      this.#logger.log(isLogged ? 'debug' : 'info', fields, error.message)
      isLogged = true
      this.#leaveStandby()
      if (this.#state === 'apart') this.#emitter.emit(['apart', { error, retryInMs }])
    }
  }

  #waiting(error: PairlinkError | undefined): void {
    if (this.#state === 'standby') return
    const { address } = this.#shared
    if (error === undefined) this.#logger.log('info', { address }, `waiting at ${address}`)
    else this.#logger.log('warn', { code: error.code, address }, `waiting at ${address}: ${error.message}`)
    this.#emitter.emit(['waiting', { error, address }])
  }

  /** The address is not ours any more: nobody is answered in its name, and the place is looked for anew. */
  #displaced(): void {
    const { address } = this.#shared
    this.#logger.log('warn', { address }, `${address} was taken or removed by somebody else; meeting anew`)
    this.#newcomers.release()
    this.#giveUp.clear()
    const pair = this.#pair
    // The loss of the link makes us meet again.
    if (pair?.pump !== undefined) pair.pump.destroy()
    else if (this.#state === 'meeting' || this.#state === 'apart') this.#meet()
  }

  /** The first meeting failed, or nobody waits for it any more: as if `connect` had not been called. */
  #backToIdle(reason: PairlinkError | undefined): void {
    this.#meetingAbort?.abort(reason)
    this.#meetingAbort = undefined
    // A next meeting waits for the end of this one.
    void this.#stopMeeting()
    // Before listeners of the state are called, which may connect anew.
    if (reason !== undefined) this.#waiters.reject(reason)
    this.#setState('idle')
  }

  #nobodyWaits(): void {
    if (!this.#hasPaired && this.#meetingAbort !== undefined) this.#backToIdle(undefined)
  }

  #refused(end: LinkEnd, error: PairlinkError | undefined): void {
    if (end.by === 'cipher') {
      this.#logger.log('error', { error: end.error, address: this.#shared.address }, 'the own cipher failed')
    }
    const reason = refusedReason(end, error)
    if (reason === undefined || this.#isOver()) return
    // What a transport has a word for is often a mistake of one's own, such as a page that is not listed.
    const fault = error?.reason
    const isNews = fault !== undefined && !this.#faultsTold.has(fault)
    if (isNews) this.#faultsTold.add(fault)
    const fields = { reason, address: this.#shared.address, error }
    this.#logger.log(
      isNews ? 'warn' : 'debug',
      fields,
      `a stranger was turned away${isNews ? `: ${error?.message}` : ''}`,
    )
    this.#emitter.emit(['refused', { reason, error }])
  }

  // ---- the pair

  /** Whether calls go to the present peer. */
  #canAsk(): boolean {
    return this.#state === 'paired'
  }

  /** The present one, and those that are finished with. */
  #pairs(): Pair[] {
    return [...this.#leaving.pairs, ...(this.#pair === undefined ? [] : [this.#pair])]
  }

  #event(pump: Pump, event: Exclude<ProtocolEvent, EndedEvent>): void {
    if (isSessionEvent(event)) {
      const pair = this.#pair?.pump === pump ? this.#pair : this.#leaving.of(pump)
      pair?.event(event)
      if (event.type === 'close' && this.#pair === pair) this.#goodbye(pump)
      return
    }
    switch (event.type) {
      case 'proven':
        this.#proven(pump, event.hello)
        return
      case 'welcomed':
        this.#welcomed(pump, event.hello, judgeWelcome(this.#pair?.session, this.#fresh, event.welcome))
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
    this.#pair = undefined
    this.#leaving.add(pump, pair)
    this.#setState('apart', ['apart', { error: undefined, retryInMs: undefined }])
  }

  /** A dialer at our listener has proven the secret. */
  #proven(pump: Pump, hello: Hello): void {
    const { link } = pump
    const now = this.#environment.clock.now()
    const isLast = this.#settings.reconnect === false && this.#hasPaired && this.#pair === undefined
    if (this.#isOver() || isLast) {
      if (this.#state !== 'closing' || !this.#finishWith(pump, hello, now)) {
        link.refuse('busy', 'closing', Math.max(1, this.#drainedAt - now))
      }
      return
    }
    const wasListening = this.#meeting.isListening
    if (!this.#meeting.holdsAddress()) {
      link.drop('the address is not ours any more')
      if (wasListening) this.#displaced()
      return
    }
    let pair = this.#pair
    if (pair?.pump !== undefined && pair.session.peer !== hello.instance) {
      // Should the present peer be gone without a word, its silence makes room soon.
      link.refuse('busy', 'two processes are paired here already', pair.pump.link.probe(now))
      this.#turn.wake()
      return
    }
    if (pair?.pump === undefined && this.#newcomers.takes({ pump, hello })) return
    if (pair !== undefined && pair.session.peer !== hello.instance) {
      this.#reset(pair, new PairlinkError('PEER_LOST', `Another process has come to ${this.#shared.address}`))
      if (this.#isOver()) {
        pump.destroy() // a listener of the event has closed the connection
        return
      }
      pair = undefined
    }
    const judgement = judgeClaim(pair?.session, hello.instance, hello.claim)
    switch (judgement.verdict) {
      case 'drop':
        link.drop(judgement.why)
        return
      case 'violation':
        link.blame(judgement.why)
        return
      case 'resume':
      case 'fresh': {
        const resumed = judgement.verdict === 'resume' ? pair : undefined
        const session = resumed?.session ?? this.#newSession(judgement.welcome.session, hello, hello.claim.attempt)
        link.welcome(session, judgement, now)
        if (resumed === undefined) {
          this.#begin(pump, session, hello)
        } else {
          session.attempt = hello.claim.attempt
          this.#resume(resumed, pump)
        }
        return
      }
      default:
        judgement satisfies never
    }
  }

  /** The listener that we dialled has proven the secret and welcomes us. */
  #welcomed(pump: Pump, hello: Hello, judgement: Judgement): void {
    const pair = this.#pair
    if (judgement.verdict === 'violation') {
      pump.link.blame(judgement.why)
      // Counts that cannot be: what the two hold of the session is not the same.
      if (pair !== undefined) this.#reset(pair, new PairlinkError('PROTOCOL', judgement.why))
      return
    }
    if (judgement.verdict === 'drop' || this.#isOver()) {
      pump.link.drop('why' in judgement ? judgement.why : 'closing')
      return
    }
    // The id has served: the next new session gets another.
    this.#fresh = randomId(this.#environment.random)
    if (judgement.verdict === 'resume' && pair !== undefined) {
      pump.link.attach(pair.session, judgement)
      this.#resume(pair, pump)
      return
    }
    const session = this.#newSession(judgement.welcome.session, hello, 0)
    pump.link.attach(session, judgement)
    this.#begin(pump, session, hello)
  }

  #newSession(id: Id, hello: Hello, attempt: number): Session {
    const { limits, drainMs } = this.#settings
    const { utf8 } = this.#environment
    const handlerCount = this.#handlerCount
    return new Session({
      id,
      peer: hello.instance,
      attempt,
      limits,
      peerLimits: hello.limits,
      drainMs,
      handlerCount,
      utf8,
    })
  }

  #begin(pump: Pump, session: Session, hello: Hello): void {
    const before = this.#pair
    if (before !== undefined) {
      this.#reset(before, new PairlinkError('PEER_LOST', `The peer at ${this.#shared.address} began anew`))
      if (this.#isOver()) {
        pump.destroy() // a listener has closed the connection
        return
      }
    }
    this.#hasPaired = true
    this.#pair = new Pair(pump, session, hello, this.#shared, this.#outwardOf(session), this.#inbox)
    if (!this.#isHeld) this.#pair.hold(false)
    if (hello.process === this.#environment.process && !this.#warnedOfOneProcess) {
      this.#warnedOfOneProcess = true
      this.#logger.log('warn', { address: this.#shared.address }, 'both ends of the pair are in one process')
    }
    const peer = this.#lastPeer === hello.instance ? 'same' : 'new'
    this.#lastPeer = hello.instance
    this.#linked(this.#pair, pump, { role: pump.link.side, resumed: false, peer })
  }

  /** Another link carries the session that was held. */
  #resume(pair: Pair, pump: Pump): void {
    this.#carryOn(pair, pump)
    this.#linked(pair, pump, { role: pump.link.side, resumed: true, peer: 'same' })
  }

  #carryOn(pair: Pair, pump: Pump): void {
    const old = pair.pump
    pair.resume(pump)
    // One that was only half open: nobody here knew that it was lost.
    old?.destroy()
  }

  #linked(pair: Pair, pump: Pump, event: ConnectionEvents['paired']): void {
    this.#giveUp.clear()
    this.#resumeUntil.clear()
    this.#meetingAbort = undefined
    this.#isListener = pump.link.side === 'listener'
    this.#lastHolder = pump.holder
    this.#meeting.paired()
    // Before the application hears of the pair, so that nothing overtakes what it sent before.
    this.#caller.parked.release(pair.calls)
    this.#setState('paired', ['paired', event])
    this.#waiters.paired()
    // The others learn that it is too late for them.
    this.#newcomers.release()
  }

  /** The session is over without a goodbye: what was in flight settles, and nobody will ask for it any more. */
  #reset(pair: Pair, error: PairlinkError): void {
    if (this.#pair !== pair) return
    this.#pair = undefined
    this.#resumeUntil.clear()
    const { pump } = pair
    const reset = ['reset', { notificationsUnknown: pair.session.unconsumedCount }] as const
    // From here on code of the application runs, which may close the connection.
    if (this.#state === 'paired') this.#setState('apart', ['apart', { error, retryInMs: undefined }], reset)
    else this.#emitter.emit(reset)
    pair.lose('PEER_LOST', error.message, error)
    pump?.destroy()
  }

  /** The peer did not come back in time; one that is in the middle of a handshake may finish it. */
  #windowOver(): void {
    const pair = this.#pair
    if (pair === undefined || pair.pump !== undefined) return
    if (this.#mayResumeLate && this.#meeting.isMeeting(pair.session.peer)) {
      this.#mayResumeLate = false
      this.#resumeUntil.set(this.#environment.clock.now() + this.#settings.handshakeTimeoutMs)
      return
    }
    const text = `The peer at ${this.#shared.address} did not come back within ${this.#settings.resumeWindowMs} ms`
    this.#reset(pair, new PairlinkError('PEER_LOST', text))
  }

  /** What the handlers of a session call with: its own peer, and never the next one. */
  #outwardOf(session: Session): Outward {
    const gone = (): Promise<never> => {
      const text = 'The peer whose query this handler answers has closed, or is lost'
      return Promise.reject(new PairlinkError('NOT_CONNECTED', text, { delivery: 'not-sent' }))
    }
    const calls = (): Calls | undefined => (this.#isOver() ? undefined : this.#pair?.calls)
    return {
      call: (method, payload, options, within) =>
        this.#pair?.session === session ? this.#caller.call(method, payload, options, within, calls()) : gone(),
      notify: (message, options, within) =>
        this.#pair?.session === session ? this.#caller.notify(message, options, within, calls()) : gone(),
    }
  }

  #linkEnded(pump: Pump, event: EndedEvent): void {
    this.#newcomers.remove(pump)
    const left = this.#leaving.of(pump)
    if (left !== undefined) {
      left.lose('CLOSED', 'The peer has closed')
      // `gone` removes it, when the pipe is closed too.
      if (this.#state === 'apart') this.#meetAgain(undefined)
      return
    }
    const pair = this.#pair
    if (pair?.pump !== pump) return
    if (this.#state === 'closing') {
      // The peer, which has not heard that we close, dials anew: what was accepted still goes out then.
      if (pump.link.side === 'listener' && pair.isUnfinished) {
        pair.suspend()
        pair.drive(this.#environment.clock.now())
      } else pair.lose('CLOSED', 'The connection was closed')
      return // `gone` tells that the pipe is closed too
    }
    const { link } = pump
    const error = lossOf(event.end, this.#shared.address)
    if (event.end.by === 'silence' && link.side === 'dialer') this.#meeting.lostBySilence(pump)
    const { reconnect, resumeWindowMs, holdMs } = this.#settings
    if (link.side === 'listener' && reconnect !== false) this.#newcomers.keepFor(pair.session.peer, holdMs)
    // A peer that breaks the protocol as soon as it is back would do so for ever.
    const isHopeless = (event.end.by === 'violation' || event.end.by === 'cipher') && !pair.hasAdvanced
    const isKept = reconnect !== false && resumeWindowMs > 0 && !isHopeless
    const reset = ['reset', { notificationsUnknown: pair.session.unconsumedCount }] as const
    const now = this.#environment.clock.now()
    if (isKept) {
      this.#mayResumeLate = true
      this.#resumeUntil.set(now + resumeWindowMs)
      pair.suspend()
    } else {
      this.#pair = undefined
    }
    this.#logger.log('debug', { code: error.code, address: this.#shared.address }, error.message)
    const retryInMs = reconnect !== false && !this.#meeting.isListening ? 0 : undefined
    // From here on code of the application runs, which may close the connection.
    this.#setState('apart', ['apart', { error, retryInMs }], ...(isKept ? [] : [reset]))
    if (isKept) pair.drive(now)
    else pair.lose('PEER_LOST', error.message, error)
    if (!this.#isOver()) this.#meetAgain(error)
  }

  /** The link of the last peer has ended, with an error or after its goodbye. */
  #meetAgain(error: PairlinkError | undefined): void {
    if (this.#settings.reconnect === false) void this.#end(error)
    else if (this.#meetingAbort === undefined) this.#meet()
  }

  // ---- the end

  /**
   * Ends the connection: for a reason that no further try would mend, or without one because it was told to. Those that are
   * finished with get `drainMs`.
   */
  #end(error: PairlinkError | undefined, drainMs: number = this.#settings.drainMs): Promise<void> {
    if (this.#closing !== undefined) return this.#closing
    // Known before anybody is told, who may close too.
    let resolve = (): void => undefined
    this.#closing = new Promise((settle) => (resolve = settle))
    void this.#shutDown(error, drainMs).then(resolve)
    return this.#closing
  }

  async #shutDown(error: PairlinkError | undefined, drainMs: number): Promise<void> {
    this.#drainedAt = this.#environment.clock.now() + drainMs
    this.#setState('closing')
    this.#giveUp.clear()
    this.#resumeUntil.clear()
    this.#newcomers.release()
    this.#caller.parked.reject('CLOSED', 'The connection was closed')
    this.#meetingAbort?.abort(this.#closedError())
    this.#meetingAbort = undefined
    if (error === undefined) this.#waiters.reject(this.#closedError())
    if (this.#pair !== undefined && this.#pair.pump === undefined) {
      // There is no time to wait for it any more.
      if (error === undefined) this.#pair.lose('CLOSED', 'The connection was closed')
      else this.#pair.lose('PEER_LOST', error.message)
      this.#pair = undefined
    }
    await this.#drain(drainMs)
    await this.#stopMeeting()
    this.#waiters.reject(error ?? this.#closedError())
    this.#setState('closed')
    if (error !== undefined) this.#logger.log('error', { code: error.code }, error.message)
    this.#emitter.emit(['closed', { error }])
    this.#settleClosed(error)
  }

  /**
   * While closing, one who has proven the secret: the present peer, whose link was cut, is finished with on another link. No
   * session is begun. False for everybody else.
   */
  #finishWith(pump: Pump, hello: Hello, now: number): boolean {
    const pair = this.#pair
    if (pair === undefined || pair.session.peer !== hello.instance) return false
    const judgement = judgeClaim(pair.session, hello.instance, hello.claim)
    switch (judgement.verdict) {
      case 'drop':
        pump.link.drop(judgement.why)
        return true
      case 'violation':
        pump.link.blame(judgement.why)
        return true
      case 'fresh':
        // It knows nothing of this session any more: there is nobody to finish with.
        this.#leave(pair)
        return false
      case 'resume':
        pair.session.attempt = hello.claim.attempt
        pump.link.welcome(pair.session, judgement, now)
        this.#carryOn(pair, pump)
        pump.link.close(CLOSE_CODE.done, '', false)
        return true
    }
  }

  /** While closing: this one is not waited for any longer. */
  #leave(pair: Pair): void {
    pair.lose('CLOSED', 'The connection was closed before this was finished')
    if (pair.pump !== undefined) {
      pair.pump.destroy()
      return // `gone` follows
    }
    this.#pair = undefined
    if (this.#leaving.count === 0) this.#allGone?.()
  }

  /** Says goodbye, and waits until the pipes of all peers are closed or the time is up. */
  async #drain(drainMs: number): Promise<void> {
    const pairs = this.#pairs()
    if (pairs.length === 0) return
    let timer: Timer | undefined
    await new Promise<void>((resolve) => {
      this.#allGone = resolve
      timer = afterReading(this.#environment.clock, drainMs, () => {
        for (const pair of pairs) this.#leave(pair)
      })
      if (!this.#isHeld) timer.unref()
      // One that is leaving already answers our goodbye with the one that it was promised when everything is done.
      this.#pair?.pump?.link.close(CLOSE_CODE.done, '', false)
      this.#turn.wake()
    })
    timer?.cancel()
    this.#allGone = undefined
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

  #isOver(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  /** Tells of another state, and of what is told with it. */
  #setState(now: ConnectionState, ...news: Emission<ConnectionEvents>[]): void {
    const before = this.#state
    if (before === now) return
    this.#state = now
    this.#emitter.emit(['state', { now, before }], ...news)
  }

  #hold(held: boolean): void {
    this.#isHeld = held
    this.#giveUp.hold(held)
    this.#resumeUntil.hold(held)
    this.#pair?.hold(held)
    this.#newcomers.hold(held)
    this.#caller.parked.hold(held)
    this.#waiters.hold(held)
    this.#meeting.hold(held)
  }
}
