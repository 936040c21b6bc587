/**
 * One incarnation of a process in a simulated session: the real Connection, and an application around it that asks, answers
 * and writes down what it sees. It knows nothing of wires and schedules.
 */
import {
  Connection,
  isPairlinkError,
  QueryError,
  type CallOptions,
  type ConnectionOptions,
  type Context,
} from '@pairlink/core'
import { contentOf } from './content.js'
import type { Dice } from './dice.js'
import { ANSWER_SALT, type CallRecord, type Fault, type Ledger, type Party, type Run } from './ledger.js'
import type { SimProcess } from './process.js'
import type { CallPlan } from './schedule.js'

/** What a supervisor waits before it starts anew what has failed. */
const CONNECT_AGAIN_MS = 50
/** How a first meeting may fail among processes that are alike. */
const CONNECT_CODES: readonly string[] = ['PAIR_BUSY', 'PEER_SILENT', 'NOT_PAIRLINK', 'PEER_LOST']

export interface PlayerOptions {
  readonly name: string
  readonly process: SimProcess
  readonly dice: Dice
  readonly ledger: Ledger
  readonly fault: Fault
  readonly connection: Omit<ConnectionOptions, 'onQuery' | 'onNotify' | 'logger'>
  /** What happened to the session, for whoever counts. */
  /** `connect()` has failed with `PAIR_BUSY`. */
  readonly turnedAway: (player: Player) => void
  readonly told: (what: 'paired' | 'resumed' | 'reset' | 'apart' | 'left', player: Player) => void
}

export class Player implements Party {
  readonly name: string
  readonly process: SimProcess
  readonly connection: Connection
  readonly #ledger: Ledger
  readonly #fault: Fault
  epoch = 0
  resetAt = -Infinity
  leftAt = -Infinity
  isClosing = false
  isClosed = false
  /** When its last `connect()` began. */
  lookedSince = 0
  /** Told that two are paired there, for good. */
  readonly #turnedAway: (player: Player) => void
  /** Since when there is no link, on its own clock; Infinity while there is one. */
  apartSince = Infinity
  /** The present peer, or the last, as its hello says. */
  peerInstance: string | undefined
  /** How many sessions with each other process began, by the role, and ended without a goodbye. */
  readonly #sessions = new Map<string, Record<'listener' | 'dialer' | 'reset', number>>()

  constructor(options: PlayerOptions) {
    const { name, process, dice, ledger, fault, told } = options
    this.name = name
    this.process = process
    this.#ledger = ledger
    this.#fault = fault
    this.#turnedAway = options.turnedAway
    const id = Array.from(dice.bytes(16), (byte) => byte.toString(16).padStart(2, '0')).join('')
    const environment = { clock: process, random: dice, process: id }
    const complete: ConnectionOptions = {
      ...options.connection,
      about: name,
      onQuery: (content, context) => this.#handle(content, context),
      onNotify: (content) => this.#hear(content),
      logger: {
        error: (fields, message) => {
          this.#logged(fields, message)
        },
      },
    }
    this.connection = new Connection(complete, environment)
    this.connection.on('paired', ({ resumed, role }) => {
      this.apartSince = Infinity
      this.peerInstance = this.connection.peer?.about as string | undefined
      if (!resumed) {
        this.epoch++
        this.sessionsWith(this.peerInstance ?? '')[role]++
      }
      told(resumed ? 'resumed' : 'paired', this)
    })
    this.connection.on('apart', ({ error }) => {
      if (this.apartSince === Infinity) this.apartSince = this.now()
      if (error === undefined) {
        this.epoch++
        this.leftAt = this.now()
        told('left', this)
      } else {
        told('apart', this)
      }
    })
    this.connection.on('reset', () => {
      this.epoch++
      this.resetAt = this.now()
      this.sessionsWith(this.peerInstance ?? '').reset++
      told('reset', this)
    })
    void this.connection.closed.then((error) => {
      this.isClosed = true
      if (!this.isClosing) fault('lives-on', `${name} ended by itself: ${String(error)}`)
    })
  }

  sessionsWith(name: string): Record<'listener' | 'dialer' | 'reset', number> {
    let sessions = this.#sessions.get(name)
    if (sessions === undefined) this.#sessions.set(name, (sessions = { listener: 0, dialer: 0, reset: 0 }))
    return sessions
  }

  get isAlive(): boolean {
    return this.process.isAlive
  }

  get state(): string {
    return this.connection.state
  }

  now(): number {
    return this.process.now()
  }

  awakeSince(): number {
    return this.process.awakeSince()
  }

  /** Meets whoever is there, again and again. */
  async begin(): Promise<void> {
    for (;;) {
      this.lookedSince = this.now()
      try {
        await this.connection.connect()
        return
      } catch (error) {
        if (this.isOver()) return
        if (!isPairlinkError(error) || !CONNECT_CODES.includes(error.code)) {
          this.#fault('meets', `${this.name}: connect() failed with ${String(error)}`)
          return
        }
        if (error.code === 'PAIR_BUSY') this.#turnedAway(this)
      }
      await this.#sleep(CONNECT_AGAIN_MS)
      if (this.isOver()) return
    }
  }

  /** Whether it has begun to close, which it may at any await. */
  isOver(): boolean {
    return this.isClosing
  }

  async close(drainMs: number): Promise<void> {
    this.isClosing = true
    await this.connection.close({ drainMs })
  }

  /** Asks, and never rejects: what becomes of it goes into the ledger. */
  async ask(plan: CallPlan, context?: Context, within?: Run): Promise<void> {
    const { kind, content, sizeBytes, timeoutMs, cancelAfterMs, whenApart, borrows } = plan
    const ownMs = timeoutMs < 0 ? Infinity : timeoutMs
    const expiresAt = this.now() + Math.min(ownMs, context?.remainingMs ?? Infinity)
    const call = this.#ledger.issue(this, plan, expiresAt, within)
    const payload = contentOf(call.number, content, sizeBytes, 0)
    const cancel = cancelAfterMs < 0 ? undefined : new AbortController()
    const options: CallOptions = {
      timeoutMs: ownMs,
      whenApart,
      borrow: borrows,
      ...(cancel === undefined ? {} : { signal: cancel.signal }),
    }
    const to = context ?? this.connection
    const promise: Promise<unknown> = kind === 'query' ? to.query(payload, options) : to.notify(payload, options)
    // What was not lent is the caller's own again at once.
    if (!borrows) spoil(payload)
    if (cancel !== undefined) {
      this.process.after(cancelAfterMs, () => {
        if (call.outcome !== undefined) return
        call.cancelledAt = this.now()
        cancel.abort()
      })
    }
    try {
      this.#ledger.answered(call, await promise)
    } catch (error) {
      this.#ledger.failed(call, error)
    }
    if (borrows) spoil(payload)
    if (plan.then !== undefined && !this.isClosing) void this.ask(plan.then)
  }

  #handle(content: unknown, context: Context): unknown {
    const started = this.#ledger.started(this, 'query', content)
    if (started === undefined) return undefined
    const { call, run } = started
    const { plan } = call
    if (plan.handlerMs !== 0 || plan.nested !== undefined) return this.#work(call, run, context)
    run.endedAt = this.now()
    return this.#result(call)
  }

  async #work(call: CallRecord, run: Run, context: Context): Promise<unknown> {
    const { plan } = call
    const { signal } = context
    const aborted = (): void => {
      // What it says is judged when everybody was told why.
      run.abortedWith = 'aborted'
      queueMicrotask(() => {
        this.#ledger.aborted(call, run, signal.reason)
      })
    }
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
    try {
      if (plan.nested !== undefined) await this.ask(plan.nested, context, run)
      await this.#sleep(plan.handlerMs, plan.heeds ? signal : undefined)
    } finally {
      run.endedAt = this.now()
    }
    return this.#result(call)
  }

  #result({ number, plan }: CallRecord): unknown {
    if (plan.fails) throw new QueryError('PLANNED', 'as planned')
    return contentOf(number, plan.content, plan.answerBytes, ANSWER_SALT)
  }

  #hear(content: unknown): unknown {
    const started = this.#ledger.started(this, 'notify', content)
    if (started === undefined) return undefined
    const { plan } = started.call
    const nested = plan.nested === undefined ? undefined : this.ask(plan.nested)
    if (plan.handlerMs === 0) return undefined
    // Two that both wait in the handler of a notification until the other one has room for theirs wait for ever.
    return Promise.all([plan.nested?.kind === 'query' ? nested : undefined, this.#sleep(plan.handlerMs)])
  }

  #sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error)
        return
      }
      const timer = delayMs < 0 ? undefined : this.process.after(delayMs, resolve)
      signal?.addEventListener('abort', () => {
        timer?.cancel()
        reject(signal.reason as Error)
      })
    })
  }

  #logged(fields: Record<string, unknown>, message: string): void {
    // A handler that does not heed its signal is part of the play.
    if (message.startsWith('a handler goes on')) return
    this.#fault('logs-no-error', `${this.name} logged '${message}': ${String(fields['error'])}`)
  }
}

function spoil(payload: unknown): void {
  if (payload instanceof Uint8Array) payload.fill(0xee)
}
