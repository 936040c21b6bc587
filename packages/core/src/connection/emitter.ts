/**
 * Events of a Connection. A listener that throws changes nothing: it is reported once. Listeners are called in the order
 * in which they were added; one that is removed meanwhile is not called, and one that is added meanwhile is not yet called.
 * What a listener brings about is told after the event that it was told of, so that all listeners see one order.
 */
import { quietly } from './quietly.js'

/** An event and what is told with it. */
export type Emission<Events extends object> = {
  [Name in keyof Events]: readonly [name: Name, event: Events[Name]]
}[keyof Events]

export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => unknown>>()
  readonly #failed: (error: unknown, event: keyof Events) => void
  readonly #waiting: Emission<Events>[] = []
  #isEmitting = false

  constructor(failed: (error: unknown, event: keyof Events) => void) {
    this.#failed = failed
  }

  /** @returns the function that removes the listener; calling it again does nothing */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => unknown): () => void {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners)
    // A wrapper of its own, so that the same function added twice is called twice and removed one at a time.
    const entry = (event: never): unknown => listener(event)
    listeners.add(entry)
    return () => {
      listeners.delete(entry)
    }
  }

  /** What is given together is told together: nothing that a listener brings about comes in between. */
  emit(...emissions: Emission<Events>[]): void {
    this.#waiting.push(...emissions)
    if (this.#isEmitting) return
    this.#isEmitting = true
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) this.#tell(next)
    this.#isEmitting = false
  }

  #tell([name, event]: Emission<Events>): void {
    const listeners = this.#listeners.get(name)
    if (listeners === undefined) return
    // Those of this moment: one that adds itself anew each time would be called for ever.
    for (const listener of [...listeners]) {
      if (!listeners.has(listener)) continue
      quietly(
        () => listener(event as never),
        (error) => {
          this.#failed(error, name)
        },
      )
    }
  }
}
