/**
 * Where time enters. Everything else is given `now` as a number; a simulator puts a clock of its own here.
 */
import { soon } from '#runtime'

export interface Timer {
  cancel(): void
  ref(): void
  unref(): void
}

export interface Clock {
  /** Monotonic milliseconds. */
  now(): number
  after(delayMs: number, callback: () => void): Timer
  /** Calls back before the process waits again, after all that is ready to run now. */
  soon(callback: () => void): void
  /** Calls back once what has arrived by now has been read. */
  afterPoll(callback: () => void): void
}

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a link.
const { setTimeout, clearTimeout, performance } = globalThis
const setImmediate: (callback: () => void) => unknown =
  typeof globalThis.setImmediate === 'function' ? globalThis.setImmediate : (callback) => setTimeout(callback, 0)
/** The longest delay that `setTimeout` takes before it overflows. */
const DELAY_MS_MAX = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    let timer: unknown
    let isHeld = true
    const hold = (held: boolean): void => {
      isHeld = held
      // In browsers a timer is a number, and nothing is kept alive by it.
      if (typeof timer !== 'object' || timer === null) return
      const handle = timer as { ref(): void; unref(): void }
      if (held) handle.ref()
      else handle.unref()
    }
    const wait = (restMs: number): void => {
      if (restMs <= DELAY_MS_MAX) timer = setTimeout(callback, restMs)
      else {
        timer = setTimeout(() => {
          wait(restMs - DELAY_MS_MAX)
        }, DELAY_MS_MAX)
      }
      if (!isHeld) hold(false)
    }
    wait(Math.max(0, Math.ceil(delayMs)))
    return {
      cancel: () => {
        clearTimeout(timer as number)
      },
      ref: () => {
        hold(true)
      },
      unref: () => {
        hold(false)
      },
    }
  },
  soon,
  afterPoll(callback) {
    setImmediate(callback)
  },
}

/** A timer that fires this much late means that the process did not run: what has arrived meanwhile is read first. */
export const LATE_MS = 100

/** As `clock.after`, but a timer that fires late calls back only when what had arrived by then was read. */
export function afterReading(clock: Clock, delayMs: number, callback: () => void): Timer {
  let isCancelled = false
  const dueAt = clock.now() + delayMs
  const timer = clock.after(delayMs, () => {
    if (clock.now() - dueAt <= LATE_MS) {
      callback()
      return
    }
    clock.afterPoll(() => {
      if (!isCancelled) callback()
    })
  })
  return {
    cancel: () => {
      isCancelled = true
      timer.cancel()
    },
    ref: () => {
      timer.ref()
    },
    unref: () => {
      timer.unref()
    },
  }
}

/** One timer that is only armed anew when its moment comes nearer: a moment that moved away costs one early call. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: (moment: number) => void
  readonly #reads: boolean
  #timer: Timer | undefined
  #moment = Infinity
  #held = true
  /** Which setting the next call back belongs to. */
  #setting = 0

  /** @param reads what has arrived by the moment is read before the call back, which may set or clear the alarm meanwhile */
  constructor(clock: Clock, ring: (moment: number) => void, reads = false) {
    this.#clock = clock
    this.#ring = ring
    this.#reads = reads
  }

  set(moment: number): void {
    if (moment >= this.#moment) return
    this.clear()
    this.#moment = moment
    this.#timer = this.#clock.after(moment - this.#clock.now(), () => {
      this.clear()
      if (!this.#reads) {
        this.#ring(moment)
        return
      }
      const setting = this.#setting
      this.#clock.afterPoll(() => {
        if (setting === this.#setting) this.#ring(moment)
      })
    })
    if (!this.#held) this.#timer.unref()
  }

  clear(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#moment = Infinity
    this.#setting++
  }

  /** Whether the timer keeps the process alive. */
  hold(held: boolean): void {
    this.#held = held
    if (held) this.#timer?.ref()
    else this.#timer?.unref()
  }
}
