// cuttable.mjs: a transport whose link breaks in the middle of what it brings, like a cable that is pulled out. It knows
// nothing of what travels.

/** @typedef {import('@pairlink/core').Transport & { cutAfter: (bytes: number) => void }} Cuttable */

/** @param {import('@pairlink/core').Transport} transport what it dials from now on can be cut @returns {Cuttable} */
export function cuttable(transport) {
  let leftBytes = Infinity
  const dial = transport.dial.bind(transport)
  return Object.assign(transport, {
    /** Ends the link once it has brought so many more bytes. */
    cutAfter: (/** @type {number} */ bytes) => (leftBytes = bytes),
    dial: async (/** @type {AbortSignal} */ signal) => {
      const pipe = await dial(signal)
      if (typeof pipe === 'string') return pipe
      const start = pipe.start.bind(pipe)
      pipe.start = (sink) =>
        start({
          bytes(chunk, transient) {
            leftBytes -= chunk.length
            if (leftBytes > 0) return sink.bytes(chunk, transient)
            leftBytes = Infinity
            pipe.destroy()
          },
          drained: () => sink.drained(),
          ended: () => sink.ended(),
          closed: (error) => sink.closed(error),
        })
      return pipe
    },
  })
}
