/**
 * Our own calls as promises, on one session: slots to promises and back. It knows payloads and errors, and nothing of
 * links or of meeting; that there is a peer at all is the Connection's concern.
 */
import {
  FAIL_REASON,
  QUEUE_FULL,
  TAKEN,
  TOO_LARGE,
  type AnswerEvent,
  type Delivery,
  type FailEvent,
  type Session,
} from '../protocol/index.js'
import { PairlinkError, type ErrorCode } from './errors.js'
import type { Encoded } from './payload.js'
import { decodePayload, summarise } from './payload.js'
import type { CallPlan } from './plan.js'
import type { Shared } from './shared.js'

type Resolve = (value: unknown) => void
type Reject = (error: unknown) => void

const RESOLVED = Promise.resolve()
const NO_METHOD_BYTES = new Uint8Array(0)

export class Calls {
  readonly #session: Session
  readonly #shared: Shared
  readonly #resolves: (Resolve | undefined)[] = []
  readonly #rejects: (Reject | undefined)[] = []
  readonly #methods: string[] = []
  /** For calls with a signal: what removes the listener. */
  readonly #cleanups = new Map<number, () => void>()
  #open = 0
  /** The slot whose promise is being made. One executor serves all: a closure per call costs more. */
  #promised = 0
  readonly #keep = (resolve: Resolve, reject: Reject): void => {
    this.#resolves[this.#promised] = resolve
    this.#rejects[this.#promised] = reject
  }

  constructor(session: Session, shared: Shared) {
    this.#session = session
    this.#shared = shared
  }

  /** Calls that are not settled. */
  get open(): number {
    return this.#open
  }

  /** Asks. The promise settles with the answer or a PairlinkError; never synchronously. */
  query(plan: CallPlan, payload: Encoded): Promise<unknown> {
    const { method } = plan
    if (plan.signal?.aborted === true) return Promise.reject(this.#cancelled(plan.signal, 'not-sent'))
    const now = this.#shared.now()
    const ownership = plan.borrow && payload.ownership === 'copy' ? 'borrow' : payload.ownership
    const methodBytes = method === '' ? NO_METHOD_BYTES : this.#shared.methodBytes(method)
    const slot = this.#session.query(
      methodBytes,
      payload.content,
      payload.bytes,
      ownership,
      plan.expiresAt,
      plan.mayWait,
      now,
    )
    if (this.#shared.settings.logQueries) {
      this.#shared.log('debug', { method, slot, payload: summarise(payload.content, payload.bytes) }, 'query')
    }
    if (slot < 0) return Promise.reject(this.#refused(slot, payload.bytes.length))
    this.#shared.wake()
    return this.#promise(slot, plan)
  }

  /** Notifies. Settles when the send queue has taken the message; a borrowed one when the peer has it. */
  notify(plan: CallPlan, payload: Encoded): Promise<void> {
    if (plan.signal?.aborted === true) return Promise.reject(this.#cancelled(plan.signal, 'not-sent'))
    const now = this.#shared.now()
    const ownership = plan.borrow && payload.ownership === 'copy' ? 'borrow' : payload.ownership
    const methodBytes = plan.method === '' ? NO_METHOD_BYTES : this.#shared.methodBytes(plan.method)
    const slot = this.#session.notify(
      methodBytes,
      payload.content,
      payload.bytes,
      ownership,
      plan.expiresAt,
      plan.mayWait,
      now,
    )
    if (this.#shared.settings.logQueries) {
      const fields = { method: plan.method, payload: summarise(payload.content, payload.bytes) }
      this.#shared.log('debug', fields, 'notify')
    }
    this.#shared.wake()
    if (slot === TAKEN) return RESOLVED
    if (slot < 0) return Promise.reject(this.#refused(slot, payload.bytes.length))
    return this.#promise(slot, plan) as Promise<void>
  }

  answered(event: AnswerEvent): void {
    const { slot, content, bytes } = event
    const resolve = this.#resolves[slot]
    const reject = this.#rejects[slot]
    this.#release(slot)
    let value: unknown
    try {
      value = decodePayload(content, bytes, this.#shared.environment.utf8)
    } catch (cause) {
      reject?.(new PairlinkError('PROTOCOL', 'The answer cannot be read', { cause, delivery: 'delivered' }))
      return
    }
    resolve?.(value)
  }

  failed(event: FailEvent): void {
    const reject = this.#rejects[event.slot]
    const method = this.#methods[event.slot] ?? ''
    this.#release(event.slot)
    reject?.(this.#remoteError(event, method))
  }

  timedOut(slot: number, delivery: Delivery): void {
    const reject = this.#rejects[slot]
    const method = this.#methods[slot] ?? ''
    this.#release(slot)
    const what = method === '' ? 'The query' : `The call of '${method}'`
    reject?.(
      new PairlinkError('TIMEOUT', `${what} was not answered in time (${delivery}) at ${this.#shared.address}`, {
        delivery,
      }),
    )
  }

  taken(slot: number): void {
    const resolve = this.#resolves[slot]
    this.#release(slot)
    resolve?.(undefined)
  }

  /** Settles everything that is open, each with what is known of it. */
  end(code: ErrorCode, message: string, cause?: unknown): void {
    const now = this.#shared.now()
    for (let slot = 0; slot < this.#rejects.length; slot++) {
      const reject = this.#rejects[slot]
      if (reject === undefined) continue
      this.#release(slot)
      const delivery = this.#session.abandon(slot, now)
      reject(new PairlinkError(code, message, { delivery, ...(cause === undefined ? {} : { cause }) }))
    }
  }

  #promise(slot: number, plan: CallPlan): Promise<unknown> {
    this.#open++
    this.#methods[slot] = plan.method
    if (plan.signal !== undefined) this.#watch(slot, plan.signal)
    this.#promised = slot
    return new Promise(this.#keep)
  }

  #watch(slot: number, signal: AbortSignal): void {
    const abort = (): void => {
      const reject = this.#rejects[slot]
      this.#release(slot)
      const delivery = this.#session.abandon(slot, this.#shared.now())
      this.#shared.wake()
      reject?.(this.#cancelled(signal, delivery))
    }
    signal.addEventListener('abort', abort, { once: true })
    this.#cleanups.set(slot, () => {
      signal.removeEventListener('abort', abort)
    })
  }

  #release(slot: number): void {
    this.#resolves[slot] = undefined
    this.#rejects[slot] = undefined
    this.#open--
    if (this.#cleanups.size === 0) return
    this.#cleanups.get(slot)?.()
    this.#cleanups.delete(slot)
  }

  #cancelled(signal: AbortSignal, delivery: Delivery): PairlinkError {
    return new PairlinkError('CANCELLED', `The call was cancelled (${delivery})`, { delivery, cause: signal.reason })
  }

  #refused(result: number, bytes: number): PairlinkError {
    if (result === TOO_LARGE) {
      const text = `A message of ${bytes} bytes is more than the other side takes; see limits.messageBytesMax there`
      return new PairlinkError('TOO_LARGE', text, { delivery: 'not-sent' })
    }
    if (result === QUEUE_FULL) {
      return new PairlinkError('QUEUE_FULL', 'Too much is waiting to be sent; await earlier calls', {
        delivery: 'not-sent',
      })
    }
    throw new Error(`pairlink bug: result ${result}`)
  }

  #remoteError(event: FailEvent, method: string): PairlinkError {
    const delivery = 'delivered'
    const of = method === '' ? 'the query' : `'${method}'`
    switch (event.reason) {
      case FAIL_REASON.NO_HANDLER:
        return new PairlinkError('NO_HANDLER', 'The other side has no onQuery', { delivery })
      case FAIL_REASON.NO_METHOD:
        return new PairlinkError('NO_METHOD', `The other side has no handler for ${of}`, { delivery })
      case FAIL_REASON.QUEUE_FULL:
        return new PairlinkError('QUEUE_FULL', `The other side has too many handlers running for ${of}`, { delivery })
      case FAIL_REASON.TOO_LARGE:
        return new PairlinkError('TOO_LARGE', event.message, { delivery })
      case FAIL_REASON.EXPIRED:
        return new PairlinkError('TIMEOUT', `The time of ${of} was up at the other side`, { delivery })
      case FAIL_REASON.CANCELLED:
      case FAIL_REASON.UNREADABLE:
      default: {
        let data: unknown
        try {
          data = decodePayload(event.content, event.bytes, this.#shared.environment.utf8)
        } catch {
          // The message is what matters; data that cannot be read is left out.
        }
        const text = `The handler of ${of} failed${event.message === '' ? '' : `: ${event.message}`}`
        return new PairlinkError('REMOTE', text, {
          delivery,
          remoteCode: event.code === '' ? undefined : event.code,
          data,
        })
      }
    }
  }
}
