/**
 * Peers that have said goodbye: what was begun with each is finished over its own link, while the next one may come already.
 * It knows no states and no rendezvous.
 */
import type { Pair } from './pair.js'
import type { Pump } from './pump.js'

/** They hold the secret, and could still say goodbye and stay for ever. */
const LEAVING_MAX = 16

export class Leaving {
  readonly #pairs = new Map<Pump, Pair>()

  get count(): number {
    return this.#pairs.size
  }

  get pairs(): Pair[] {
    return [...this.#pairs.values()]
  }

  /** Whose link it is. */
  of(pump: Pump): Pair | undefined {
    return this.#pairs.get(pump)
  }

  /** Should there be too many, the one that has taken longest is not waited for any more. */
  add(pump: Pump, pair: Pair): void {
    this.#pairs.set(pump, pair)
    if (this.#pairs.size <= LEAVING_MAX) return
    const [[oldest] = []] = this.#pairs
    oldest?.destroy()
  }

  remove(pump: Pump): void {
    this.#pairs.delete(pump)
  }

  drive(now: number): void {
    for (const pump of this.#pairs.keys()) pump.pump(now)
  }
}
