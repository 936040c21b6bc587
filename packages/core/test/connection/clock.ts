/** A clock that stands still until a test moves it. */
import type { Clock, Timer } from '../../src/connection/clock.js'

interface Entry {
  readonly at: number
  readonly callback: () => void
  isHeld: boolean
}

export class VirtualClock implements Clock {
  #now = 1000
  readonly #timers = new Set<Entry>()

  now(): number {
    return this.#now
  }

  after(delayMs: number, callback: () => void): Timer {
    const entry: Entry = { at: this.#now + Math.max(0, delayMs), callback, isHeld: true }
    this.#timers.add(entry)
    return {
      cancel: () => {
        this.#timers.delete(entry)
      },
      ref: () => {
        entry.isHeld = true
      },
      unref: () => {
        entry.isHeld = false
      },
    }
  }

  soon(callback: () => void): void {
    process.nextTick(callback)
  }

  afterPoll(callback: () => void): void {
    setImmediate(callback)
  }

  /** Timers that would keep a process alive. */
  get held(): number {
    return [...this.#timers].filter((entry) => entry.isHeld).length
  }

  get pending(): number {
    return this.#timers.size
  }

  /** Moves on by `ms`, firing what is due in its order and letting everything ready run in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await this.settle()
    for (;;) {
      let next: Entry | undefined
      for (const entry of this.#timers) if (entry.at <= end && (next === undefined || entry.at < next.at)) next = entry
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.at)
      next.callback()
      await this.settle()
    }
    this.#now = end
    await this.settle()
  }

  /** Jumps without firing anything in between: the process did not run. */
  async jump(ms: number): Promise<void> {
    this.#now += ms
    await this.advance(0)
  }

  /** Lets everything that is ready run: microtasks, ticks and what they bring. */
  async settle(): Promise<void> {
    for (let round = 0; round < 3; round++) await new Promise((resolve) => setImmediate(resolve))
  }
}
