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
import { abortedOf } from './signals.js'

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
  /** For calls with a signal: what ends the watch on it. */
  readonly #unwatch = new Map<number, () => void>()
  /** Calls whose bytes the caller has lent. */
  readonly #lent = new Set<number>()
  readonly #whenFlushed: (callback: () => void) => void
  #open = 0
  /** The slot whose promise is being made. One executor serves all: a closure per call costs more. */
  #promised = 0
  readonly #keep = (resolve: Resolve, reject: Reject): void => {
    this.#resolves[this.#promised] = resolve
    this.#rejects[this.#promised] = reject
  }

  /** `whenFlushed` calls back once nothing that was written lies in this process any more. */
  constructor(session: Session, shared: Shared, whenFlushed: (callback: () => void) => void) {
    this.#whenFlushed = whenFlushed
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
    const fired = abortedOf(plan.signals)
    if (fired !== undefined) return Promise.reject(this.#cancelled(fired, 'not-sent'))
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
    if (ownership === 'borrow') this.#lent.add(slot)
    return this.#promise(slot, plan)
  }

  /** Notifies. Settles when the send queue has taken the message; a borrowed one when the peer has it. */
  notify(plan: CallPlan, payload: Encoded): Promise<void> {
    const fired = abortedOf(plan.signals)
    if (fired !== undefined) return Promise.reject(this.#cancelled(fired, 'not-sent'))
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
    this.#session.expireAt(slot, this.#shared.read() + plan.timeoutMs)
    if (ownership === 'borrow') this.#lent.add(slot)
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
    const isLent = this.#release(slot)
    const what = method === '' ? 'What was sent' : `'${method}'`
    const text = `${what} found no answer, or no room in the send queue, in time (${delivery}) at ${this.#shared.address}`
    this.#giveBack(isLent, () => reject?.(new PairlinkError('TIMEOUT', text, { delivery })))
  }

  taken(slot: number): void {
    const resolve = this.#resolves[slot]
    this.#release(slot)
    resolve?.(undefined)
  }

  /** Settles everything that is open, each with what is known of it. */
  end(code: ErrorCode, message: string, cause?: unknown): void {
    for (let slot = 0; slot < this.#rejects.length; slot++) {
      const reject = this.#rejects[slot]
      if (reject === undefined) continue
      this.#release(slot)
      const delivery = this.#session.delivery(slot)
      reject(new PairlinkError(code, message, { delivery, ...(cause === undefined ? {} : { cause }) }))
    }
  }

  #promise(slot: number, plan: CallPlan): Promise<unknown> {
    this.#open++
    this.#methods[slot] = plan.method
    if (plan.signals.length > 0) this.#watch(slot, plan.signals)
    this.#promised = slot
    return new Promise(this.#keep)
  }

  #watch(slot: number, signals: readonly AbortSignal[]): void {
    const unwatch = this.#shared.signals.watch(signals, (signal) => {
      const reject = this.#rejects[slot]
      const isLent = this.#release(slot)
      const delivery = this.#session.abandon(slot, this.#shared.now())
      this.#shared.wake()
      this.#giveBack(isLent, () => reject?.(this.#cancelled(signal, delivery)))
    })
    this.#unwatch.set(slot, unwatch)
  }

  /** Settles a call before its end at the peer: bytes that were lent are the caller's again only when the pipe has let go of them. */
  #giveBack(isLent: boolean, settle: () => void): void {
    if (isLent) this.#whenFlushed(settle)
    else settle()
  }

  /** The call in `slot` is settled. True when its bytes were lent. */
  #release(slot: number): boolean {
    this.#resolves[slot] = undefined
    this.#rejects[slot] = undefined
    this.#open--
    if (this.#unwatch.size > 0) {
      this.#unwatch.get(slot)?.()
      this.#unwatch.delete(slot)
    }
    return this.#lent.size > 0 && this.#lent.delete(slot)
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
