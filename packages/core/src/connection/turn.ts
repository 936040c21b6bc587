/**
 * One turn of the event loop: the time is read once in it, and what was queued in it goes out at its end in one write.
 * A clock costs more than a call, and a write more than a hundred.
 */
import type { Clock } from './clock.js'

export class Turn {
  readonly #clock: Clock
  readonly #ends: (now: number) => void
  /** Negative while the time of this turn was not read. */
  #now = -1
  #isEnding = false

  /** `ends` is called once at the end of each turn in which `now` or `wake` was called. */
  constructor(clock: Clock, ends: (now: number) => void) {
    this.#clock = clock
    this.#ends = ends
  }

  now(): number {
    if (this.#now < 0) {
      this.#now = this.#clock.now()
      this.wake()
    }
    return this.#now
  }

  /** The time of this moment, which is that of the turn from here on: long work may lie between two calls of one turn. */
  read(): number {
    this.#now = this.#clock.now()
    this.wake()
    return this.#now
  }

  wake(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#clock.soon(this.#end)
  }

  readonly #end = (): void => {
    const now = this.#now < 0 ? this.#clock.now() : this.#now
    this.#isEnding = false
    this.#now = -1
    this.#ends(now)
  }
}
