/**
 * From a call of the application, or of one of its handlers, to the peer: options and payload are checked and encoded, and
 * it goes to the present peer, waits for the next, or fails. It knows no links and no meeting.
 */
import { CONTENT, METHOD_BYTES_MAX } from '../protocol/index.js'
import type { Calls } from './calls.js'
import type { Environment } from './environment.js'
import { PairlinkError } from './errors.js'
import type { Running } from './handlers.js'
import type { Settings } from './options.js'
import { ParkedCalls, type Send } from './parked.js'
import { encodePayload, type Encoded } from './payload.js'
import { planCall, type CallPlan } from './plan.js'
import type { Signals } from './signals.js'
import type { CallOptions, ConnectionState, NotifyOptions } from './surface.js'
import type { Turn } from './turn.js'

/** Names of methods whose bytes are kept; a program has few. */
const METHODS_KEPT_MAX = 1024

const sendQuery: Send<Calls> = (calls, plan, encoded) => calls.query(plan, encoded)
const sendNotification: Send<Calls> = (calls, plan, encoded) => calls.notify(plan, encoded)

export interface CallerHost {
  /** Those of the present peer, while it may be asked. */
  calls(): Calls | undefined
  state(): ConnectionState
}

export class Caller {
  /** What waits for a peer. */
  readonly parked: ParkedCalls<Calls>
  readonly #settings: Settings
  readonly #environment: Environment
  readonly #turn: Turn
  readonly #host: CallerHost
  /** Filled anew by each call, so that a call needs no object of its own. */
  readonly #encoded: Encoded = { content: CONTENT.NONE, bytes: new Uint8Array(0), ownership: 'own' }
  readonly #methods = new Map<string, Uint8Array>()

  constructor(settings: Settings, environment: Environment, turn: Turn, signals: Signals, host: CallerHost) {
    this.#settings = settings
    this.#environment = environment
    this.#turn = turn
    this.#host = host
    this.parked = new ParkedCalls(environment.clock, signals, settings.limits.sendBytesMax)
  }

  /**
   * Rejects with a TypeError for what cannot be sent, and with a PairlinkError for everything else.
   * @param own those of the session whose query the handler `within` answers: they stay with it, also while it has no link
   */
  call(
    method: string,
    payload: unknown,
    options: CallOptions | undefined,
    within?: Running,
    own?: Calls,
  ): Promise<unknown> {
    try {
      const plan = planCall('call', method, options, within, this.#settings, this.#turn.read())
      const encoded = encodePayload(payload, this.#environment.utf8, this.#encoded)
      const calls = own ?? this.#host.calls()
      return calls === undefined ? this.#whenPaired(plan, encoded, sendQuery) : calls.query(plan, encoded)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Rejects as `call` does. */
  notify(message: unknown, options: NotifyOptions | undefined, within?: Running, own?: Calls): Promise<void> {
    try {
      // The time of the turn will do: whatever has to wait is given its time when it begins to.
      const plan = planCall('notify', options?.method ?? '', options, within, this.#settings, this.#turn.now())
      const encoded = encodePayload(message, this.#environment.utf8, this.#encoded, 'message')
      const calls = own ?? this.#host.calls()
      if (calls !== undefined) return calls.notify(plan, encoded)
      return this.#whenPaired(plan, encoded, sendNotification) as Promise<void>
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** The bytes of a method name. @throws TypeError for one that is too long, or that UTF-8 would change */
  methodBytes(method: string): Uint8Array {
    const known = this.#methods.get(method)
    if (known !== undefined) return known
    const bytes = this.#environment.utf8.encode(method)
    if (bytes.length > METHOD_BYTES_MAX)
      throw new TypeError(`A method name of ${bytes.length} bytes; the limit is ${METHOD_BYTES_MAX}`)
    if (!method.isWellFormed()) throw new TypeError('A method name must be well-formed text')
    if (this.#methods.size < METHODS_KEPT_MAX) this.#methods.set(method, bytes)
    return bytes
  }

  /** While there is no peer: fails at once, or waits for one within the time of the call. */
  #whenPaired(plan: CallPlan, encoded: Encoded, send: Send<Calls>): Promise<unknown> {
    const state = this.#host.state()
    const delivery = 'not-sent'
    if (state === 'closing' || state === 'closed') {
      throw new PairlinkError('CLOSED', 'The connection is closed', { delivery })
    }
    if (plan.whenApart === 'reject') {
      const { address } = this.#settings.transport
      const text = `There is no peer (state ${state}) at ${address}; await connect() or paired() first`
      throw new PairlinkError('NOT_CONNECTED', text, { delivery })
    }
    return this.parked.park(plan, encoded, send)
  }
}
