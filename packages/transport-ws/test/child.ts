/** What the other process of a test does: one order from its arguments, and a line on stdout for all that happens. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Connection, type Transport } from '@pairlink/core'
import { attachWs, webSocket, ws } from '../src/index.js'

export interface Order {
  readonly at: 'port' | 'server' | 'url'
  readonly port: number
  /** Pairs and stays; or pairs, closes, and should end by itself; or stays unheld, and should end by itself. */
  readonly then: 'stay' | 'close' | 'unref'
}

const order = JSON.parse(process.argv[2] ?? '') as Order

function tell(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function transport(): Promise<{ readonly transport: Transport; readonly release: () => void }> {
  const nothing = (): void => undefined
  if (order.at === 'port') return { transport: ws({ port: order.port }), release: nothing }
  if (order.at === 'url') return { transport: webSocket(`ws://127.0.0.1:${order.port}/pairlink`), release: nothing }
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(order.port, '127.0.0.1', resolve))
  if ((server.address() as AddressInfo).port !== order.port) throw new Error('another port')
  return { transport: attachWs(server), release: () => void server.close() }
}

const { transport: place, release } = await transport()
const connection = new Connection({
  transport: place,
  secret: 'the secret of these tests, long enough',
  keepaliveMs: 100,
  silenceMs: 400,
  logger: { error: (fields, message) => tell(`error ${message} ${JSON.stringify(fields)}`) },
  onQuery: (query) => query,
})
connection.on('listening', () => {
  tell('listening')
})
await connection.connect()
tell('paired')
if (order.then === 'close') {
  tell(`answer ${String(await connection.query('over'))}`)
  await connection.close()
  release()
  tell('closed')
} else if (order.then === 'unref') {
  connection.unref()
  release()
  tell('unheld')
}
