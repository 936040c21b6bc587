/**
 * Time in the pure protocol: named timers for the few things that happen once, and a table of deadlines for the many
 * calls. Both only remember and compare numbers; they know no clock. Times are monotonic milliseconds.
 */

/** A handful of named moments with one soonest. */
export class Timers<Name extends string> {
  readonly #moments = new Map<Name, number>()
  #soonest = Infinity

  /** The soonest moment, Infinity when none is set. */
  get soonest(): number {
    return this.#soonest
  }

  at(name: Name): number {
    return this.#moments.get(name) ?? Infinity
  }

  set(name: Name, moment: number): void {
    this.#moments.set(name, moment)
    this.#refresh()
  }

  clear(name: Name): void {
    if (this.#moments.delete(name)) this.#refresh()
  }

  clearAll(): void {
    this.#moments.clear()
    this.#soonest = Infinity
  }

  /** Removes and returns one timer that is due, or undefined. */
  takeDue(now: number): Name | undefined {
    if (now < this.#soonest) return undefined
    for (const [name, moment] of this.#moments) {
      if (moment <= now) {
        this.clear(name)
        return name
      }
    }
    return undefined
  }

  #refresh(): void {
    let soonest = Infinity
    for (const moment of this.#moments.values()) if (moment < soonest) soonest = moment
    this.#soonest = soonest
  }
}

/** After a scan the next comes at the soonest this much later, so that many near deadlines do not mean many scans. */
const SCAN_PAUSE_MS = 4

/**
 * One deadline per slot. Setting and clearing is one store: `soonest` is only a lower bound, and the scan that makes it
 * true again runs when that bound passes, which under a steady load of short calls is once per timeout. A timing wheel
 * or heap would find the same deadline with more state and a cost on every call.
 */
export class Deadlines {
  #moments = new Float64Array(0)
  #used = 0
  soonest = Infinity

  set(slot: number, moment: number): void {
    if (slot >= this.#moments.length) this.#grow(slot)
    this.#moments[slot] = moment
    if (slot >= this.#used) this.#used = slot + 1
    if (moment < this.soonest) this.soonest = moment
  }

  clear(slot: number): void {
    if (slot < this.#used) this.#moments[slot] = Infinity
  }

  at(slot: number): number {
    return this.#moments[slot] ?? Infinity
  }

  /** Clears and passes on every slot that is due, then makes `soonest` true; it is later than `now` afterwards. */
  expire(now: number, due: (slot: number) => void): void {
    if (now < this.soonest) return
    this.soonest = Infinity
    for (let slot = 0; slot < this.#used; slot++) {
      if ((this.#moments[slot] ?? Infinity) > now) continue
      this.#moments[slot] = Infinity
      due(slot)
    }
    let soonest = Infinity
    for (let slot = 0; slot < this.#used; slot++) {
      const moment = this.#moments[slot] ?? Infinity
      if (moment < soonest) soonest = moment
    }
    this.soonest = soonest === Infinity ? Infinity : Math.max(soonest, now + SCAN_PAUSE_MS)
  }

  #grow(slot: number): void {
    const grown = new Float64Array(Math.max(64, 2 ** Math.ceil(Math.log2(slot + 1)))).fill(Infinity)
    grown.set(this.#moments)
    this.#moments = grown
  }
}
