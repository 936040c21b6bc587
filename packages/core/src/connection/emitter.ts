/**
 * Events of a Connection. A listener that throws changes nothing: it is reported once. Listeners are called in the order
 * in which they were added; one that is removed meanwhile is not called, and one that is added meanwhile is not yet called.
 */
import { quietly } from './quietly.js'

export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => unknown>>()
  readonly #failed: (error: unknown, event: keyof Events) => void

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

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
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
