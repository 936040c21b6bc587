/** The one clock of a simulated world: what happens next, in an order that is the same in each run. */

interface Happening {
  readonly at: number
  /** Among those of one moment; what is 1 comes after everything else of that moment. */
  readonly rank: 0 | 1
  readonly number: number
  readonly run: () => void
}

function isBefore(a: Happening, b: Happening): boolean {
  if (a.at !== b.at) return a.at < b.at
  return a.rank !== b.rank ? a.rank < b.rank : a.number < b.number
}

export class Time {
  #now = 0
  #count = 0
  /** A binary heap. */
  readonly #heap: Happening[] = []

  /** Milliseconds since the world began. */
  get now(): number {
    return this.#now
  }

  /** What was run or is to be run. */
  get count(): number {
    return this.#count
  }

  /** `run` is called at that moment, or now when it is over. */
  at(moment: number, run: () => void, rank: 0 | 1 = 0): void {
    const heap = this.#heap
    const happening = { at: Math.max(moment, this.#now), rank, number: this.#count++, run }
    let hole = heap.length
    heap.push(happening)
    while (hole > 0) {
      const above = (hole - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || isBefore(parent, happening)) break
      heap[hole] = parent
      hole = above
    }
    heap[hole] = happening
  }

  /** Nothing is to happen in this moment any more. */
  get isQuiet(): boolean {
    const [first] = this.#heap
    return first === undefined || first.at > this.#now
  }

  /** Moves on to what comes next and runs it. False when nothing comes before `end`; it is `end` then. */
  step(end: number): boolean {
    const [first] = this.#heap
    if (first === undefined || first.at > end) {
      this.#now = Math.max(this.#now, end)
      return false
    }
    this.#take()
    this.#now = first.at
    first.run()
    return true
  }

  #take(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let hole = 0
    for (;;) {
      let below = 2 * hole + 1
      let child = heap[below]
      if (child === undefined) break
      const other = heap[below + 1]
      if (other !== undefined && isBefore(other, child)) {
        child = other
        below++
      }
      if (isBefore(last, child)) break
      heap[hole] = child
      hole = below
    }
    heap[hole] = last
  }
}
