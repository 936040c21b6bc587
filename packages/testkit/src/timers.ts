/** Timers as they were when this module was loaded, so that fake ones in an application's tests stop nothing here. */
const { clearTimeout, performance, setTimeout } = globalThis

export { clearTimeout, setTimeout }

/** Calls back in an event of its own, behind what is ready to run now. Browsers have no `setImmediate`. */
export const later: (callback: () => void) => unknown =
  typeof globalThis.setImmediate === 'function' ? globalThis.setImmediate : (callback) => setTimeout(callback, 0)

/** Monotonic milliseconds. */
export const clock = (): number => performance.now()

/** One turn of the loop. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    later(resolve)
  })
