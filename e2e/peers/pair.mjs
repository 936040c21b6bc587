// A peer that does what it is told on standard input, one line of JSON for each command, and reports what happens in the
// same way. It ends by itself when its input has ended and nothing of pairlink keeps it.
import { createInterface } from 'node:readline'
import { Connection } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'

const { path, options = {} } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\n')
const told = (error) =>
  error && {
    name: error.name,
    code: error.code,
    message: error.message,
    delivery: error.delivery,
    remoteCode: error.remoteCode,
  }

const connection = new Connection({
  transport: unix(path),
  secret: 'super-secret',
  logger: {
    error: (fields, message) => report({ event: 'log', message, fields: String(fields.error ?? fields.code) }),
  },
  handlers: {
    echo: (payload) => payload,
    pid: () => process.pid,
    never: (_, { signal }) =>
      new Promise(() => {
        signal.addEventListener('abort', () => report({ event: 'told to stop', reason: signal.reason.code }))
      }),
  },
  ...options,
})
for (const name of ['state', 'listening', 'paired', 'apart', 'refused', 'closed']) {
  connection.on(name, (event) => report({ ...event, event: name, error: told(event.error) }))
}

// Asks all the time, so that whatever disturbs the pair is seen.
let asking = false
let asked = 0
let longestMs = 0
let asksUntil = Promise.resolve()
async function ask() {
  while (asking) {
    const startedAt = performance.now()
    const answer = await connection.call('echo', asked)
    if (answer !== asked) throw new Error(`asked ${asked}, was told ${answer}`)
    asked++
    longestMs = Math.max(longestMs, performance.now() - startedAt)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

const commands = {
  connect: (input) => connection.connect(input),
  call: ({ method, input, options: more }) => connection.call(method, input, more),
  stats: () => ({ ...connection.stats(), rss: process.memoryUsage().rss }),
  startAsking: () => {
    asking = true
    asksUntil = ask().catch((error) => report({ event: 'asking failed', error: told(error) }))
  },
  stopAsking: async () => {
    asking = false
    await asksUntil // what is under way is answered first
    return { asked, longestMs }
  },
  close: () => connection.close(),
  unref: () => connection.unref(),
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, command, input = {} } = JSON.parse(line)
  try {
    report({ event: 'done', id, result: await commands[command](input) })
  } catch (error) {
    report({ event: 'done', id, error: told(error) })
  }
})
report({ event: 'ready' })
