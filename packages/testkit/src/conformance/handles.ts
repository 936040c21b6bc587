/** What only the runtime and the system can tell: handles and descriptors that are open, and promises that reject unseen. */
import { clearTimeout, setTimeout } from '../timers.js'
import type { Place } from './manifest.js'

/** They come and go with the runtime's own work, and with the clock of a case. */
const PASSING = /^(Timeout|Immediate|TickObject|FSReq|CloseReq|GetAddrInfoReq|ConnectWrap|ShutdownWrap|WriteWrap)/

/** Whether the runtime knows of its handles. Some have the function, and it knows of none. */
export function countsHandles(): boolean {
  if (typeof process === 'undefined' || typeof process.getActiveResourcesInfo !== 'function') return false
  const timer = setTimeout(() => undefined, 0)
  const isKnown = process.getActiveResourcesInfo().length > 0
  clearTimeout(timer)
  return isKnown
}

/** Handles that keep the process alive. */
export function handlesOf(place: Place): number {
  if (place.handles !== undefined) return place.handles()
  return process.getActiveResourcesInfo().filter((name) => !PASSING.test(name)).length
}

/** File descriptors of this process, with the one that counts them; undefined where the system does not list them. */
export function descriptors(): number | undefined {
  try {
    return process.getBuiltinModule('node:fs').readdirSync('/proc/self/fd').length
  } catch {
    return undefined
  }
}

/** Collects what would end the process: rejections and errors that nobody has caught. Call `stop` once. */
export function watchUncaught(): { readonly seen: readonly unknown[]; stop(): void } {
  const seen: unknown[] = []
  const note = (reason: unknown): void => {
    seen.push(reason)
  }
  process.on('unhandledRejection', note)
  process.on('uncaughtExceptionMonitor', note)
  return {
    seen,
    stop() {
      process.off('unhandledRejection', note)
      process.off('uncaughtExceptionMonitor', note)
    },
  }
}
