// Connects, asks and is asked, and closes or lets go when it is told to. It never calls process.exit: that it ends at all is
// what the test waits for.
import { setImmediate } from 'node:timers/promises'
import { Connection, isPairlinkError } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'

const { path, closeAfterMs, closePairedAfterMs, twice, unref, until } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const expected = new Set(['CLOSED', 'PEER_LOST', 'NOT_CONNECTED', 'TIMEOUT'])
/** @param {unknown} error */
const settled = (error) => {
  if (!isPairlinkError(error) || !expected.has(error.code)) throw error
  counts[error.code] = (counts[error.code] ?? 0) + 1
}
const counts = {}
/** @type {NodeJS.Timeout | undefined} */
let timer

const connection = new Connection({
  transport: unix(path),
  secret: 'super-secret',
  handlers: {
    echo: (payload) => payload,
    later: (payload) => new Promise((resolve) => setTimeout(resolve, 3, payload)),
  },
})

if (closeAfterMs === 0)
  close() // before connect()
else if (closeAfterMs !== undefined) timer = setTimeout(close, closeAfterMs)

const connecting = connection.connect(until === undefined ? {} : { until })
if (unref === 'at once') connection.unref()
connecting.then(async () => {
  report({ event: 'connected', state: connection.state })
  if (unref === 'connected') {
    connection.unref()
    return
  }
  if (closeAfterMs === undefined) return
  if (closePairedAfterMs !== undefined) {
    clearTimeout(timer)
    timer = setTimeout(close, closePairedAfterMs)
  }
  const bytes = new Uint8Array(300_000)
  while (connection.state === 'paired') {
    const calls = [connection.call('echo', bytes), connection.call('later', 1), connection.call('echo', 'small')]
    await Promise.all(calls.map((call) => call.catch(settled)))
    await setImmediate() // a call fails at once when the other side has said goodbye
  }
}, settled)

function close() {
  clearTimeout(timer)
  const before = connection.state
  connection.close().then(() => {
    report({ event: 'closed', before, state: connection.state, counts })
  })
  if (twice) void connection.close()
}
