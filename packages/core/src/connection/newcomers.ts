/**
 * Those who have proven the secret while the listener keeps its place for the peer that it has lost: they wait without an
 * answer, since one of them may be that peer's successor, and nobody can tell yet. It knows no sessions.
 */
import type { Hello, Id } from '../protocol/index.js'
import { afterReading, type Clock, type Timer } from './clock.js'
import type { Pump } from './pump.js'

const WAITING_MAX = 16

export interface Newcomer {
  readonly pump: Pump
  readonly hello: Hello
}

export class Newcomers {
  readonly #clock: Clock
  readonly #admit: (newcomer: Newcomer) => void
  readonly #waiting: Newcomer[] = []
  #keptFor: Id | undefined
  #timer: Timer | undefined
  #isHeld = true

  /** `admit` is called for each, in the order of their coming, when nothing is kept any more. */
  constructor(clock: Clock, admit: (newcomer: Newcomer) => void) {
    this.#clock = clock
    this.#admit = admit
  }

  /** Those that wait. */
  get count(): number {
    return this.#waiting.length
  }

  /** Keeps the place for `peer`, for so long. */
  keepFor(peer: Id, forMs: number): void {
    this.#timer?.cancel()
    this.#keptFor = peer
    this.#timer = afterReading(this.#clock, forMs, () => {
      this.release()
    })
    if (!this.#isHeld) this.#timer.unref()
  }

  /** True when the place is kept for another: the newcomer waits then. */
  takes(newcomer: Newcomer): boolean {
    if (this.#keptFor === undefined || this.#keptFor === newcomer.hello.instance) return false
    this.#waiting.push(newcomer)
    // They hold the secret, and may still be many: the one that has waited longest dials again.
    if (this.#waiting.length > WAITING_MAX) this.#waiting.shift()?.pump.destroy()
    return true
  }

  /** It did not wait to the end. */
  remove(pump: Pump): void {
    const at = this.#waiting.findIndex((newcomer) => newcomer.pump === pump)
    if (at >= 0) this.#waiting.splice(at, 1)
  }

  /** Nothing is kept any more. */
  release(): void {
    this.#timer?.cancel()
    this.#keptFor = undefined
    for (const newcomer of this.#waiting.splice(0)) this.#admit(newcomer)
  }

  hold(held: boolean): void {
    this.#isHeld = held
    if (held) this.#timer?.ref()
    else this.#timer?.unref()
  }
}
