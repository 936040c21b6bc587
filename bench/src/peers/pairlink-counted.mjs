// @ts-check
// pairlink that also says what it keeps for a replay and how many acknowledgements it has written. `--retention` runs it.

import { unix } from '@pairlink/transport-net'
import { openPairlink } from './pairlink.mjs'

/** An ACK is a chunk of its own: 12 bytes of header, of which the first is its kind, and two counts of 8 bytes. */
const ACK_KIND = 32
const ACK_BYTES = 28

/** @type {import('../workloads.mjs').Open} */
export async function open(options) {
  let ackCount = 0
  /** @param {import('@pairlink/core').Pipe} pipe */
  const counted = (pipe) => {
    const write = pipe.write.bind(pipe)
    pipe.write = (chunks) => {
      for (const chunk of chunks) if (chunk.length === ACK_BYTES && chunk[0] === ACK_KIND) ackCount++
      return write(chunks)
    }
    return pipe
  }
  const transport = unix(options.path)
  const dial = transport.dial.bind(transport)
  const listen = transport.listen.bind(transport)
  transport.dial = async (signal) => {
    const dialled = await dial(signal)
    return typeof dialled === 'string' ? dialled : counted(dialled)
  }
  transport.listen = (accept, ...more) => listen((pipe) => accept(counted(pipe)), ...more)

  const { stats, ...asker } = await openPairlink(options, { transport })
  return {
    ...asker,
    kept() {
      const { receivedFrames = 0, unacknowledgedBytes = 0 } = stats().session ?? {}
      return { ackCount, receivedFrames, unacknowledgedBytes }
    },
  }
}
