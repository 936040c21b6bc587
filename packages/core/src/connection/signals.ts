/** Watches AbortSignals, each with one listener, however many calls share it: Node warns of more than ten. */

type Aborted = (signal: AbortSignal) => void

/** The first of them that has fired. */
export function abortedOf(signals: readonly AbortSignal[]): AbortSignal | undefined {
  return signals.find((signal) => signal.aborted)
}

export class Signals {
  readonly #watched = new Map<AbortSignal, { readonly waiting: Set<Aborted>; readonly listener: () => void }>()

  /** Calls back once when one of several signals, none of which has fired yet, does. @returns the function that ends the watch */
  watch(signals: readonly AbortSignal[], aborted: Aborted): () => void {
    const unwatch = (): void => {
      for (const end of ends) end()
    }
    const ends = signals.map((signal) =>
      this.#watch(signal, (fired) => {
        unwatch()
        aborted(fired)
      }),
    )
    return unwatch
  }

  #watch(signal: AbortSignal, aborted: Aborted): () => void {
    const entry = this.#watched.get(signal) ?? this.#begin(signal)
    entry.waiting.add(aborted)
    return () => {
      if (!entry.waiting.delete(aborted) || entry.waiting.size > 0) return
      signal.removeEventListener('abort', entry.listener)
      this.#watched.delete(signal)
    }
  }

  #begin(signal: AbortSignal): { waiting: Set<Aborted>; listener: () => void } {
    const waiting = new Set<Aborted>()
    const listener = (): void => {
      this.#watched.delete(signal)
      const all = [...waiting]
      waiting.clear()
      for (const aborted of all) aborted(signal)
    }
    const entry = { waiting, listener }
    this.#watched.set(signal, entry)
    signal.addEventListener('abort', listener, { once: true })
    return entry
  }
}
