/**
 * Calls that were made while there is no peer and wait for one, in their order: the first thing that the next peer gets.
 * It knows how long each may wait, and nothing of how a call is sent.
 */
import { afterReading, type Clock, type Timer } from './clock.js'
import { PairlinkError, type ErrorCode } from './errors.js'
import type { Encoded } from './payload.js'
import type { CallPlan } from './plan.js'
import { abortedOf, type Signals } from './signals.js'

/** What a call costs beside its payload, so that empty ones are bounded too. */
const COST_BYTES = 64

/** Sends what was parked, as it would have been sent at once. */
export type Send<Target> = (target: Target, plan: CallPlan, encoded: Encoded) => Promise<unknown>

interface Parked<Target> {
  readonly plan: CallPlan
  readonly encoded: Encoded
  readonly send: Send<Target>
  readonly expiresAt: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  timer: Timer | undefined
  unwatch: (() => void) | undefined
}

export class ParkedCalls<Target> {
  readonly #clock: Clock
  readonly #signals: Signals
  readonly #bytesMax: number
  readonly #parked = new Set<Parked<Target>>()
  #bytes = 0
  #isHeld = true

  constructor(clock: Clock, signals: Signals, bytesMax: number) {
    this.#clock = clock
    this.#signals = signals
    this.#bytesMax = bytesMax
  }

  get count(): number {
    return this.#parked.size
  }

  /** What those that wait cost, together. */
  get bytes(): number {
    return this.#bytes
  }

  /** Rejects with `QUEUE_FULL`, `TIMEOUT`, `CANCELLED` or what `reject` says, all `not-sent`; or settles as `send` does. */
  park(plan: CallPlan, encoded: Encoded, send: Send<Target>): Promise<unknown> {
    const fired = abortedOf(plan.signals)
    if (fired !== undefined) return Promise.reject(cancelled(fired))
    if (this.#bytes > 0 && this.#bytes + costOf(encoded) > this.#bytesMax) {
      return Promise.reject(notSent('QUEUE_FULL', 'Too much is waiting for a peer; see limits.sendBytesMax'))
    }
    // The caller may change its bytes after the call, so they are copied here as they would be by the session.
    const isCopied = encoded.ownership === 'copy' && !plan.borrow
    const kept: Encoded = isCopied
      ? { ...encoded, bytes: new Uint8Array(encoded.bytes), ownership: 'own' }
      : { ...encoded }
    return new Promise((resolve, reject) => {
      const expiresAt = this.#clock.now() + plan.timeoutMs
      const ends = { resolve, reject, timer: undefined, unwatch: undefined }
      const item: Parked<Target> = { plan, encoded: kept, send, expiresAt, ...ends }
      this.#parked.add(item)
      this.#bytes += costOf(kept)
      if (expiresAt !== Infinity) {
        item.timer = afterReading(this.#clock, plan.timeoutMs, () => {
          this.#remove(item)
          reject(timeout(plan))
        })
        if (!this.#isHeld) item.timer.unref()
      }
      if (plan.signals.length === 0) return
      item.unwatch = this.#signals.watch(plan.signals, (signal) => {
        this.#remove(item)
        reject(cancelled(signal))
      })
    })
  }

  /** There is a peer: sends everything whose time is not up, in order. */
  release(target: Target): void {
    const now = this.#clock.now()
    for (const item of [...this.#parked]) {
      this.#remove(item)
      const { plan, encoded, expiresAt } = item
      if (expiresAt <= now) {
        item.reject(timeout(plan))
        continue
      }
      // Whatever it may have to wait for now, it has waited already.
      const left: CallPlan = { ...plan, expiresAt, timeoutMs: expiresAt - now }
      item.send(target, left, encoded).then(item.resolve, item.reject)
    }
  }

  /** There will be none. */
  reject(code: ErrorCode, text: string): void {
    for (const item of [...this.#parked]) {
      this.#remove(item)
      item.reject(notSent(code, text))
    }
  }

  hold(held: boolean): void {
    this.#isHeld = held
    for (const { timer } of this.#parked) {
      if (held) timer?.ref()
      else timer?.unref()
    }
  }

  #remove(item: Parked<Target>): void {
    item.timer?.cancel()
    item.unwatch?.()
    this.#parked.delete(item)
    this.#bytes -= costOf(item.encoded)
  }
}

function costOf({ bytes }: Encoded): number {
  return bytes.length + COST_BYTES
}

function notSent(code: ErrorCode, text: string): PairlinkError {
  return new PairlinkError(code, text, { delivery: 'not-sent' })
}

function timeout({ timeoutMs }: CallPlan): PairlinkError {
  return notSent('TIMEOUT', `No peer came within ${timeoutMs} ms`)
}

function cancelled(signal: AbortSignal): PairlinkError {
  return new PairlinkError('CANCELLED', 'Waiting for the peer was cancelled', {
    delivery: 'not-sent',
    cause: signal.reason,
  })
}
