/**
 * The promises of `connect` and `paired`: each has its own condition, signal and time; the meeting goes on while one of
 * them is left. It knows no transport and starts nothing.
 */
import { afterReading, type Clock, type Timer } from './clock.js'
import { PairlinkError } from './errors.js'
import { abortSignal, checkNames, milliseconds, oneOf, record } from './options.js'

export interface PairedOptions {
  readonly signal?: AbortSignal
  /** How long to wait, in milliseconds; for ever by default. */
  readonly timeoutMs?: number
}

export interface ConnectOptions extends PairedOptions {
  /** `'paired'` by default; `'started'` resolves as soon as this process listens, stands by or is paired. */
  readonly until?: 'paired' | 'started'
}

interface Waiter {
  readonly until: 'paired' | 'started'
  /** Of `connect`: keeps the meeting going. */
  readonly counts: boolean
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  readonly timer: Timer | undefined
}

export class Waiters {
  readonly #clock: Clock
  readonly #nobodyLeft: () => void
  readonly #waiters = new Set<Waiter>()
  /** A `connect` of this meeting was resolved: it goes on, whoever gives up. */
  #isWanted = false
  #isHeld = true

  /** `nobodyLeft` is called when the last `connect` gave up before anybody was resolved. */
  constructor(clock: Clock, nobodyLeft: () => void) {
    this.#clock = clock
    this.#nobodyLeft = nobodyLeft
  }

  /** Whether a `connect` of this meeting was resolved. */
  get isWanted(): boolean {
    return this.#isWanted
  }

  /** Calls of `connect` that wait. */
  get count(): number {
    let count = 0
    for (const waiter of this.#waiters) if (waiter.counts) count++
    return count
  }

  /** A call of `connect`. @throws TypeError for wrong options */
  add(options: ConnectOptions): Promise<void> {
    const given = record(options, 'The options of connect')
    checkNames(given, ['until', 'signal', 'timeoutMs'], 'option of connect')
    return this.#wait(given, oneOf(given, 'until', ['paired', 'started']), true)
  }

  /** A call of `paired`. @throws TypeError for wrong options */
  watch(options: PairedOptions): Promise<void> {
    const given = record(options, 'The options of paired')
    checkNames(given, ['signal', 'timeoutMs'], 'option of paired')
    return this.#wait(given, 'paired', false)
  }

  started(): void {
    for (const waiter of [...this.#waiters]) if (waiter.until === 'started') waiter.resolve()
  }

  paired(): void {
    for (const waiter of [...this.#waiters]) waiter.resolve()
  }

  reject(error: PairlinkError): void {
    this.#isWanted = false
    for (const waiter of [...this.#waiters]) waiter.reject(error)
  }

  hold(held: boolean): void {
    this.#isHeld = held
    for (const { timer } of this.#waiters) {
      if (held) timer?.ref()
      else timer?.unref()
    }
  }

  #wait(given: Record<string, unknown>, until: Waiter['until'], counts: boolean): Promise<void> {
    const timeoutMs = milliseconds(given, 'timeoutMs', Infinity, { zero: true })
    const signal = abortSignal(given)
    if (signal?.aborted === true) return Promise.reject(cancelled(signal))
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.#waiters.delete(waiter)
        timer?.cancel()
        signal?.removeEventListener('abort', abort)
      }
      const giveUp = (error: PairlinkError): void => {
        done()
        reject(error)
        if (counts && !this.#isWanted && this.count === 0) this.#nobodyLeft()
      }
      const timer =
        timeoutMs === Infinity
          ? undefined
          : afterReading(this.#clock, timeoutMs, () => {
              giveUp(new PairlinkError('TIMEOUT', `No peer came within ${timeoutMs} ms`))
            })
      if (!this.#isHeld) timer?.unref()
      const abort = (): void => {
        if (signal !== undefined) giveUp(cancelled(signal))
      }
      const waiter: Waiter = {
        until,
        counts,
        timer,
        resolve: () => {
          this.#isWanted ||= counts
          done()
          resolve()
        },
        reject: (error) => {
          done()
          reject(error)
        },
      }
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }
}

function cancelled(signal: AbortSignal): PairlinkError {
  return new PairlinkError('CANCELLED', 'Waiting for the peer was cancelled', { cause: signal.reason })
}
