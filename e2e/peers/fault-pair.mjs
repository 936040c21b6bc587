// One of a pair that a fault strikes, over any transport. It does what it is told on standard input, one line of JSON for
// each command, and reports what happens in the same way, with the moment.
import { createInterface } from 'node:readline'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { Connection } from '@pairlink/core'
import { aes256gcm } from '@pairlink/crypto'
import { tcp, unix } from '@pairlink/transport-net'
import { tls } from '@pairlink/transport-tls'

const { place, secret, options, certificate } = JSON.parse(process.argv[2])
const STUCK_MS = 100
function transportAt({ shield, path, port }) {
  if (shield === 'tls') return tls(path === undefined ? { port } : { path }, certificate)
  return path === undefined ? tcp({ port }) : unix(path)
}
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\n')
const told = (error) =>
  error && { name: error.name, code: error.code, message: error.message, delivery: error.delivery }

/** @type {Connection} */
let connection
try {
  connection = new Connection({
    transport: transportAt(place),
    secret,
    encryption: place.shield === 'sealed' ? aes256gcm(new Uint8Array(32).fill(7)) : undefined,
    logger: {
      error: (fields, message) => report({ event: 'log', message, fields: String(fields.error ?? fields.code) }),
    },
    handlers: {
      pid: () => process.pid,
      size: (bytes) => bytes.length,
      never: (tag, { signal }) => {
        report({ event: 'began', tag })
        signal.addEventListener('abort', () => report({ event: 'told to stop', tag, reason: signal.reason.code }))
        return new Promise(() => {})
      },
    },
    ...options,
  })
} catch (error) {
  report({ event: 'unfit', error: told(error) })
  process.exit(0)
}
for (const name of ['state', 'listening', 'waiting', 'paired', 'apart', 'refused', 'closed']) {
  connection.on(name, (event) => report({ ...event, event: name, error: told(event.error) }))
}

const commands = {
  connect: (input) => connection.connect(input),
  call: ({ method, input, options: more }) => connection.call(method, input, more),
  sendBytes: ({ bytes, options: more }) => connection.call('size', new Uint8Array(bytes), more),
  stats: () => ({ ...connection.stats() }),
  /** Resolves when the peer has acknowledged everything that was sent. */
  acknowledged: async () => {
    while (connection.stats().session.unacknowledgedBytes > 0) await setImmediate()
  },
  /** Resolves when the system has taken all that it takes: nothing more was written for a while. */
  stuck: async () => {
    const written = () => connection.stats().session.sentFrames
    for (let before = -1; before !== written(); ) {
      before = written()
      await setTimeout(STUCK_MS)
    }
  },
  close: () => connection.close(),
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, command, input = {} } = JSON.parse(line)
  try {
    report({ event: 'done', id, result: await commands[command](input) })
  } catch (error) {
    report({ event: 'done', id, error: told(error), state: connection.state })
  }
})
report({ event: 'ready' })
