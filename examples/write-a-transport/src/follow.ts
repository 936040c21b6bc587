/** Looks at a path whenever it has changed: `fs.watch` is fast, and a timer finds what that misses. It knows no content. */
import { watch, type FSWatcher } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'

const LOOK_AGAIN_MS = 200

export interface Follower {
  /** Whether it keeps the process alive, as it does at first. */
  keep(keeps: boolean): void
  /** Nothing is called from now on; resolves when no handle is left. Called once. */
  close(): Promise<void>
}

/** @param look does not throw; `isTime` is said by the timer, and else something has changed */
export function follow(path: string, look: (isTime: boolean) => void): Follower {
  const first = setImmediate(look, true) // what was there before the watch
  const timer = setInterval(look, LOOK_AGAIN_MS, true)
  let watcher: FSWatcher | undefined
  try {
    watcher = watch(path, () => look(false))
    watcher.on('error', () => undefined)
  } catch {
    // The system has no watches left, or the path has just gone: the timer finds out.
  }
  return {
    keep(keeps) {
      for (const handle of [timer, watcher]) handle?.[keeps ? 'ref' : 'unref']()
    },
    async close() {
      clearImmediate(first)
      clearInterval(timer)
      watcher?.close()
      // Node.js closes handles behind the immediates of a turn.
      await turn()
      await turn()
    },
  }
}
