// own-transport.mjs: a Transport between a thread and its worker. Each dial makes a MessageChannel and sends one of its two
// ports to the other side, so that one `parentPort` carries as many pipes as are needed, one after another.
import assert from 'node:assert/strict'
import { MessageChannel, parentPort, Worker } from 'node:worker_threads'
import { Connection } from '@pairlink/core'

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
      // A message is a copy, so the chunks are free when this returns. What is under way stays bounded without our help: the
      // protocol stops at limits.replayBytesMax without an acknowledgement.
      if (!ended) for (const chunk of chunks) port.postMessage(chunk)
      return true
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

// #region transport
/** `control` is the worker for its parent, and `parentPort` for the worker. One of the two sides listens. */
function portTransport(control, side) {
  return {
    address: 'worker',
    reach: 'user',
    encrypted: false,
    async dial(signal) {
      signal.throwIfAborted()
      if (side === 'listens') return 'absent' // nobody can be dialled from here, so this side may listen
      const { port1, port2 } = new MessageChannel()
      control.postMessage(port2, [port2])
      return portPipe(port1)
    },
    async listen(accept, signal) {
      signal.throwIfAborted()
      if (side !== 'listens') return 'cannot' // it may only dial
      const incoming = (port) => accept(portPipe(port))
      control.on('message', incoming)
      return {
        close: async () => void control.off('message', incoming),
        ref: () => control.ref(),
        unref: () => control.unref(),
      }
    },
  }
}
// #endregion transport

// #region use
const isWorker = parentPort !== null
const control = isWorker ? parentPort : new Worker(new URL(import.meta.url))
const connection = new Connection({
  transport: portTransport(control, isWorker ? 'dials' : 'listens'),
  secret: 'super-secret',
  handlers: { double: (bytes) => new Uint8Array([...bytes, ...bytes]) },
})
await connection.connect()
assert.deepEqual(await connection.call('double', new Uint8Array([1, 2])), new Uint8Array([1, 2, 1, 2]))
const megabytes = new Uint8Array(2_000_000).fill(7)
assert.equal((await connection.call('double', megabytes)).length, 4_000_000)
await connection.close()
if (!isWorker) console.log('done')
// #endregion use
