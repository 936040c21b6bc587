/** Numbers that look random and are the same for the same seed. It knows nothing of what they decide. */
import type { Random } from '@pairlink/core'

/** Mulberry32 (Tommy Ettinger): 32 bits of state, far more than a simulated session draws. */
export class Dice implements Random {
  #state: number

  /** @param seed any number of 32 bits */
  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** Dice of their own for what `name` names: what is drawn there changes nothing here, and the other way round. */
  static of(seed: number, name: string): Dice {
    let hash = seed ^ 0x9e3779b9
    for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193)
    return new Dice(hash)
  }

  /** From 0 inclusive to 1 exclusive. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.fraction() * 256)
  }

  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  /** A whole number from 0, below `end`. */
  below(end: number): number {
    return Math.floor(this.fraction() * end)
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  pick<Value>(values: readonly Value[]): Value {
    const value = values[this.below(values.length)]
    if (value === undefined) throw new RangeError('Nothing to pick from')
    return value
  }

  /** One of the names, each as likely as its weight. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const entries = Object.entries<number>(weights) as [Name, number][]
    let left = this.fraction() * entries.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of entries) {
      left -= weight
      if (left < 0) return name
    }
    throw new RangeError('Nothing to pick from')
  }
}
