/**
 * One simulated process as its operating system sees it: a clock, timers, and what arrives. It can be stopped, woken, killed,
 * and its clock can jump. It knows neither pipes nor connections.
 *
 * What comes while a process does not run waits. When it goes on, timers that are due come first, then what has arrived, then
 * what asked to come after both: the order of Node's event loop.
 */
import type { Clock, Timer } from '@pairlink/core'
import type { Time } from './time.js'

class SimTimer implements Timer {
  readonly dueAt: number
  readonly callback: () => void
  readonly #timers: Set<SimTimer>
  #isHeld = true

  constructor(dueAt: number, callback: () => void, timers: Set<SimTimer>) {
    this.dueAt = dueAt
    this.callback = callback
    this.#timers = timers
    timers.add(this)
  }

  get isHeld(): boolean {
    return this.#isHeld
  }

  cancel(): void {
    this.#timers.delete(this)
  }

  ref(): void {
    this.#isHeld = true
  }

  unref(): void {
    this.#isHeld = false
  }
}

export class SimProcess implements Clock {
  readonly name: string
  readonly #time: Time
  readonly #timers = new Set<SimTimer>()
  /** Timers that came due, and what arrived, while it did not run. */
  #due: SimTimer[] = []
  #arrived: (() => void)[] = []
  #offsetMs: number
  #stops = 0
  #isCatchingUp = false
  #isAlive = true
  #awakeSince: number

  /** @param startMs what its clock says at the beginning */
  constructor(name: string, time: Time, startMs: number) {
    this.name = name
    this.#time = time
    this.#offsetMs = startMs - time.now
    this.#awakeSince = startMs
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  /** Neither stopped nor busy with what came meanwhile. */
  get isRunning(): boolean {
    return this.#isAlive && this.#stops === 0 && !this.#isCatchingUp
  }

  /** Since when it has been running, on its own clock. */
  awakeSince(): number {
    return this.#awakeSince
  }

  get timersPending(): number {
    return this.#timers.size
  }

  // ---- Clock

  now(): number {
    return this.#time.now + this.#offsetMs
  }

  after(delayMs: number, callback: () => void): Timer {
    // As in Node: whole milliseconds, at least one, counted from a time without fraction; so it may fire a little early.
    const dueAt = Math.floor(this.now()) + Math.max(1, Math.ceil(delayMs))
    const timer = new SimTimer(dueAt, callback, this.#timers)
    this.#arm(timer)
    return timer
  }

  soon(callback: () => void): void {
    process.nextTick(callback)
  }

  afterPoll(callback: () => void): void {
    const run = (): void => {
      if (!this.#isAlive) return
      if (this.isRunning) callback()
      else this.#arrived.push(callback)
    }
    this.#time.at(this.#time.now, run, 1)
  }

  // ---- what its surroundings do to it

  /** Something has arrived: `run` is called now, or when the process goes on; never for a dead one. */
  arrive(run: () => void): void {
    if (!this.#isAlive) return
    if (this.isRunning) run()
    else this.#arrived.push(run)
  }

  /** It does not run until `wake` was called as often. */
  stop(): void {
    this.#stops++
  }

  wake(): void {
    if (--this.#stops > 0 || !this.#isAlive) return
    this.#awakeSince = this.now()
    this.#catchUp()
  }

  /** Its clock goes forward by `ms`, as after a suspend that it did not notice. */
  jump(ms: number): void {
    this.#offsetMs += ms
    this.#awakeSince = this.now()
    for (const timer of this.#timers) this.#arm(timer)
  }

  /** Nothing of it ever runs again. */
  kill(): void {
    this.#isAlive = false
    this.#timers.clear()
    this.#due = []
    this.#arrived = []
  }

  #arm(timer: SimTimer): void {
    this.#time.at(timer.dueAt - this.#offsetMs, () => {
      if (!this.#timers.has(timer) || this.#due.includes(timer)) return
      if (this.isRunning) this.#fire(timer)
      else this.#due.push(timer)
    })
  }

  #fire(timer: SimTimer): void {
    if (!this.#timers.delete(timer)) return
    timer.callback()
  }

  /** One thing after another, so that what each brings about has happened before the next. */
  #catchUp(): void {
    if (this.#stops > 0 || !this.#isAlive) {
      this.#isCatchingUp = false
      return
    }
    const timer = this.#due.shift()
    const run = timer === undefined ? this.#arrived.shift() : undefined
    this.#isCatchingUp = timer !== undefined || run !== undefined
    if (!this.#isCatchingUp) return
    this.#time.at(this.#time.now, () => {
      this.#catchUp()
    })
    if (timer !== undefined) this.#fire(timer)
    else run?.()
  }
}
