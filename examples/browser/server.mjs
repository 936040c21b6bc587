// server.mjs: the Node process of this example. It serves the page, and is the page's peer at a path of the same server.
// `node server.mjs [port]`; 0 takes any port that is free.
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { Connection } from '@pairlink/core'
import { attachWs } from '@pairlink/transport-ws'
import { createServer as createVite } from 'vite'

const TICK_MS = 250
/** So many of its numbers may be without an answer, then it pauses. */
const TICKS_OPEN_MAX = 80

const port = Number(process.argv[2] ?? 4720)
// A new one each time. An application hands out one for each user, behind its login.
const secret = randomBytes(32).toString('base64url')

const server = createServer((request, response) => vite.middlewares(request, response))
const vite = await createVite({
  configFile: false,
  root: import.meta.dirname,
  appType: 'mpa',
  // No other page may read this one, which has the secret in it.
  server: { middlewareMode: true, cors: false, hmr: { server } },
  plugins: [
    {
      name: 'secret',
      transformIndexHtml: () => [
        { tag: 'meta', attrs: { name: 'pairlink-secret', content: secret }, injectTo: 'head' },
      ],
    },
  ],
})
server.once('error', (error) => {
  console.error(error.code === 'EADDRINUSE' ? `Port ${port} is taken. Name another: npm run browser -- 4721` : error)
  process.exit(1)
})
await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
const origins = ['localhost', '127.0.0.1'].map((host) => `http://${host}:${server.address().port}`)

/** The numbers of the present page that have come in. */
const seen = new Set()
const connection = new Connection({
  transport: attachWs(server, { origins }),
  secret,
  whenApart: 'wait',
  queryTimeoutMs: 20_000,
  handlers: {
    /** The page asks. */
    hello: (text) => `Node.js ${process.version}, process ${process.pid}, heard “${text}”`,
    /** The page wants to be asked, and hears what it has answered. */
    askMe: (question, context) => context.call('question', question),
    /** One of the numbers that the page counts. True for one that was here before. */
    tick: (number) => {
      const isTwice = seen.has(number)
      seen.add(number)
      return isTwice
    },
  },
})
connection.on('paired', ({ peer }) => {
  if (peer === 'new') seen.clear()
  say(peer === 'new' ? 'Paired with a new page.' : 'The same page is back, and everything goes on.')
})
connection.on('apart', ({ error }) => {
  say(error === undefined ? 'The page was closed.' : `Apart: ${error.message}`)
})
connection.on('refused', ({ reason, error }) => {
  say(`Refused: ${error?.message ?? reason}`)
})

let number = 0
let open = 0
const ticking = setInterval(() => {
  if (connection.peer === undefined && connection.stats().session === undefined) return
  if (open >= TICKS_OPEN_MAX) return
  open += 1
  connection
    .call('tick', ++number)
    .catch(() => undefined) // the page shows what is missing
    .finally(() => (open -= 1))
}, TICK_MS)

process.once('SIGINT', close).once('SIGTERM', close)
say(`Open ${origins[0]}`)
await connection.connect({ timeoutMs: Infinity })

async function close() {
  clearInterval(ticking)
  await connection.close({ drainMs: 200 })
  await vite.close()
  server.close()
  server.closeAllConnections()
}

function say(text) {
  console.log(text)
}
