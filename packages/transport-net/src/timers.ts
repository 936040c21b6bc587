/** Timers as they are when this module is loaded, so that fake ones in an application's tests do not freeze a socket. */
export const { clearTimeout, setImmediate, setTimeout } = globalThis
export const now = performance.now.bind(performance)
