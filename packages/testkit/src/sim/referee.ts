/**
 * The referee of a simulated wire: reads every byte that real processes write, knows which of them were given to whom, and finds
 * what PROTOCOL.md does not allow. It is a model of its own, made from that text and from no code; its sections stand at the
 * rules.
 *
 * Judged is what is written, by what its writer had been given before. What an application or a clock decides inside a process
 * cannot be seen here, and where a rule hangs on that, only what no honest process could have done is found.
 */
import { NO_LIMIT } from './frames.js'
import type { Player } from './lane.js'
import { newWorld, WatchedLink, type WatchedPipe, type World } from './watched.js'

export type { Player } from './lane.js'
export type { Side, WatchedPipe } from './watched.js'

export interface RefereeOptions {
  /** Called for each rule that is found broken. The name of a rule does not change. */
  readonly fault: (rule: string, text: string) => void
  /** When the caller of that call stops waiting, on the asker's clock; Infinity: never; undefined: not known, not judged. */
  readonly expiresAt: (call: number) => number | undefined
}

/** Section 6.1: a remaining time may be 10 ms old when it is written; and it is rounded. */
const REMAINING_SLACK_MS = 12
export class Referee {
  readonly #options: RefereeOptions
  readonly #links = new Set<WatchedLink>()
  readonly #arrived = new Set<number>()
  readonly #runnable = new Set<number>()
  readonly #begun = new Set<number>()
  /** Remaining times of 0 that nobody has explained yet: the caller may be told in this very moment that it is gone. */
  #unexplained: { readonly call: number; readonly at: number; readonly text: string }[] = []
  readonly #world: World

  constructor(options: RefereeOptions) {
    this.#options = options
    this.#world = newWorld({
      fault: options.fault,
      judgeRemaining: (call, remainingMs, asker) => {
        this.#judgeRemaining(call, remainingMs, asker)
      },
      begins: (call) => {
        const isNew = !this.#begun.has(call)
        this.#begun.add(call)
        return isNew
      },
      hasArrived: (call, hasTime) => {
        this.#arrived.add(call)
        if (hasTime) this.#runnable.add(call)
      },
    })
  }

  /** Complete frames seen written. */
  get frames(): number {
    return this.#world.frames
  }

  /** A pipe in proof mode was opened. */
  watch(dialer: Player, listener: Player): WatchedPipe {
    const link = new WatchedLink(this.#world, dialer, listener)
    this.#links.add(link)
    return link
  }

  /** Whether every frame of the query or notification was given whole to the other process, on the link that counted for it. */
  hasArrived(call: number): boolean {
    return this.#arrived.has(call)
  }

  /** The same, but not for a query that came with no time left: it cannot become a call any more (sections 7.3, 7.4). */
  mayHaveRun(call: number): boolean {
    return this.#runnable.has(call)
  }

  /** Finds what is due by now and was not written. To be called when all that could run has run. */
  look(): void {
    for (const link of this.#links) {
      link.look()
      if (link.isOver) this.#links.delete(link)
    }
    if (this.#unexplained.length === 0) return
    for (const { call, at, text } of this.#unexplained.splice(0)) {
      const expiresAt = this.#options.expiresAt(call) ?? 0
      if (expiresAt > at) this.#options.fault('wire-remaining', text)
    }
  }

  /** Sections 6.1 and 7.3. */
  #judgeRemaining(call: number, remainingMs: number, asker: Player): void {
    const expiresAt = this.#options.expiresAt(call)
    if (expiresAt === undefined) return
    const at = asker.now()
    const leftMs = Math.max(0, expiresAt - at)
    const isTrue = leftMs === Infinity ? remainingMs === NO_LIMIT : Math.abs(remainingMs - leftMs) <= REMAINING_SLACK_MS
    // Of one whose time has been over for a while, or whose caller is gone, only 0 is true.
    if (isTrue && (remainingMs === 0 || expiresAt > at - REMAINING_SLACK_MS)) return
    const text = `${asker.name}: call ${call} goes out with ${remainingMs} ms, and it has ${leftMs}`
    if (remainingMs === 0) this.#unexplained.push({ call, at, text })
    else this.#options.fault('wire-remaining', text)
  }
}
