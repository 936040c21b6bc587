// One of a pair that a fault strikes, over any transport, and one of another pair after that. It does what it is told on
// standard input, one line of JSON for each command, and reports what happens in the same way, with the moment.
import { createInterface } from 'node:readline'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { Connection } from '@pairlink/core'
import { aes256gcm } from '@pairlink/crypto'

const STUCK_MS = 100
const LOOK_MS = 5
const LEFT_MS_MAX = 10_000
/** Loaded where it is needed, as most processes begin for one row. */
const PACKAGES = {
  unix: '@pairlink/transport-net',
  tcp: '@pairlink/transport-net',
  ws: '@pairlink/transport-ws',
  tls: '@pairlink/transport-tls',
}
const TRANSPORTS = {
  unix: ({ unix }, { path }) => unix(path),
  tcp: ({ tcp }, { port }) => tcp({ port }),
  ws: ({ ws }, { port }) => ws({ port }),
  tls: ({ tls }, { path, port }, certificate) => tls(path === undefined ? { port } : { path }, certificate),
}
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\n')
const told = (error) =>
  error && { name: error.name, code: error.code, message: error.message, delivery: error.delivery }

/** @type {Connection} */
let connection
let begun
async function begin({ place, secret, options, certificate }) {
  await usual
  const kind = place.shield === 'tls' ? 'tls' : place.transport
  const exported = await import(PACKAGES[kind])
  try {
    connection = new Connection({
      transport: TRANSPORTS[kind](exported, place, certificate),
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
    return
  }
  for (const name of ['state', 'listening', 'waiting', 'paired', 'apart', 'refused', 'closed']) {
    connection.on(name, (event) => report({ ...event, event: name, error: told(event.error) }))
  }
  report({ event: 'ready' })
}

/** What keeps this process alive, the timer of this look among it. */
async function active() {
  await setTimeout(LOOK_MS)
  return process.getActiveResourcesInfo().sort().join(' ')
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
  /** Resolves when nothing of a connection keeps this process alive any more: without the next command it would end. */
  left: async () => {
    const deadline = performance.now() + LEFT_MS_MAX
    for (let now = await active(); now !== (await usual); now = await active()) {
      if (performance.now() > deadline) throw new Error(`alive because of ${now}, instead of ${await usual}`)
    }
  },
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, command, input = {} } = JSON.parse(line)
  if (command === 'begin') {
    begun = begin(input)
    return
  }
  await begun
  try {
    report({ event: 'done', id, result: await commands[command](input) })
  } catch (error) {
    report({ event: 'done', id, error: told(error), state: connection.state })
  }
})
// Each is there, and counts, from when it is used first.
void [process.stdout, process.stderr]
/** Without a connection. */
const usual = active()
