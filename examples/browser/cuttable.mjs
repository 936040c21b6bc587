// cuttable.mjs: a transport whose link can be cut, like a cable that is pulled out, and is put in again later. It knows
// nothing of what travels.

/** @param {import('@pairlink/core').Transport} transport */
export function cuttable(transport) {
  let pipe
  let isCut = false
  let mend = () => {}
  return {
    ...transport,
    async dial(signal) {
      if (isCut) await mended(signal)
      pipe = await transport.dial(signal)
      return pipe
    },
    /** Ends the link at once; none comes before `mend`. */
    cut() {
      isCut = true
      pipe?.destroy?.()
    },
    mend() {
      isCut = false
      mend()
    },
  }

  function mended(signal) {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      mend = resolve
    })
  }
}
