// port-transport.mjs: a Transport between a thread and its worker. Each dial makes a MessageChannel and sends one of its two
// ports to the other side, so that one `parentPort` carries as many pipes as are needed, one after another.
import { MessageChannel } from 'node:worker_threads'

// #region pipe
/** The ordered stream of bytes between two ports. `null` says that a direction has ended. */
function portPipe(port) {
  let ended = false // by us
  let theyEnded = false
  return {
    start(sink) {
      port.on('message', (chunk) => {
        if (chunk !== null) {
          sink.bytes(chunk, false) // nobody overwrites it: the receiver owns it
          return
        }
        theyEnded = true
        sink.ended()
        if (ended) port.close()
      })
      port.once('close', () => sink.closed())
    },
    write(chunks) {
      if (ended) return true
      for (const chunk of chunks) {
        // A copy that is given away. Posting the chunk itself would copy all of the memory that it is a view of.
        const copy = chunk.slice()
        port.postMessage(copy, [copy.buffer])
      }
      return true // what has left cannot be told: the protocol stops at limits.replayBytesMax without an acknowledgement
    },
    end() {
      if (ended) return
      ended = true
      port.postMessage(null)
      if (theyEnded) port.close()
    },
    destroy() {
      ended = true
      port.close() // 'close' follows on both sides, never at once
    },
    ref: () => port.ref(),
    unref: () => port.unref(),
  }
}
// #endregion pipe

// #region dial
/** The side that only dials. `control` is the worker for its parent, and `parentPort` for the worker. */
export function dialsOver(control) {
  return {
    address: 'worker',
    reach: 'user',
    encrypted: false,
    dial(signal) {
      return new Promise((resolve, reject) => {
        signal.throwIfAborted()
        const { port1, port2 } = new MessageChannel()
        const settle = (answer) => {
          signal.removeEventListener('abort', aborted)
          port1.off('close', absent)
          port1.off('message', accepted)
          answer()
        }
        const accepted = () => settle(() => resolve(portPipe(port1))) // its first message; the pipe starts before the next
        const absent = () => settle(() => resolve('absent'))
        const aborted = () => {
          settle(() => reject(signal.reason))
          port1.close()
        }
        port1.once('message', accepted)
        port1.once('close', absent)
        signal.addEventListener('abort', aborted)
        control.postMessage(port2, [port2])
      })
    },
    listen: async () => 'cannot',
  }
}
// #endregion dial

// #region listen
/** The side that only listens. Make it before the other side dials: who dials while nobody listens is told so from here. */
export function listensOver(control) {
  let accept // while somebody listens
  control.on('message', (port) => {
    if (accept === undefined) {
      port.close()
    } else {
      port.postMessage('accepted')
      accept(portPipe(port))
    }
  })
  control.unref()
  return {
    address: 'worker',
    reach: 'user',
    encrypted: false,
    dial: async () => 'absent', // nobody can be dialled from here, so this side may listen
    async listen(onPipe, signal) {
      signal.throwIfAborted()
      if (accept !== undefined) return 'taken'
      accept = onPipe
      control.ref()
      let closed
      const close = async () => {
        accept = undefined
        control.unref()
      }
      return {
        close: () => (closed ??= close()), // the same promise each time
        ref: () => control.ref(),
        unref: () => control.unref(),
      }
    },
  }
}
// #endregion listen
