/** Two processes: one that is killed or stopped is missed, and one that has closed ends by itself. */
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Connection, type ConnectionEvents, type Transport } from '@pairlink/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { programOf, watched, type Child } from '../../transport-net/test/children.js'
import { attachWs, webSocket, ws } from '../src/index.js'
import type { Order } from './child.js'
import { freePort, portOf, webServer } from './place.js'

// It looks for modules that need not be there, which a bundle cannot.
const wsModule = join(dirname(createRequire(import.meta.url).resolve('ws')), 'wrapper.mjs')

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url))

async function child(order: Order): Promise<Child> {
  const program = await programOf(CHILD, { ws: wsModule })
  return watched(
    spawn(process.execPath, [program, JSON.stringify(order)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  )
}

async function until(other: Child, line: string): Promise<void> {
  for (let read = await other.line(); read !== line; read = await other.line()) {
    if (read === undefined || read.startsWith('error'))
      throw new Error(`expected '${line}', got '${read ?? 'the end'}'`)
  }
}

function connection(transport: Transport): Connection {
  const made = new Connection({
    transport,
    secret: 'the secret of these tests, long enough',
    keepaliveMs: 100,
    silenceMs: 400,
    drainMs: 100,
    failover: false,
    logger: { error: () => undefined },
    onQuery: (query) => query,
  })
  onTestFinished(() => made.close())
  return made
}

function next<Name extends keyof ConnectionEvents>(of: Connection, name: Name): Promise<ConnectionEvents[Name]> {
  return new Promise((resolve) => of.on(name, resolve))
}

/** What the child does, and what is done here beside it. */
const pairs: [string, (port: number) => Order['at'], (port: number) => Transport][] = [
  ['that dials a port', () => 'url', (port) => ws({ port })],
  ['that listens at a port', () => 'port', (port) => webSocket(`ws://127.0.0.1:${port}/pairlink`)],
  ['that listens at a server', () => 'server', (port) => webSocket(`ws://127.0.0.1:${port}/pairlink`)],
]

describe.each(pairs)('a process %s', (_name, at, here) => {
  async function paired(then: Order['then']): Promise<[Connection, Child]> {
    const port = await freePort()
    const mine = connection(here(port))
    const isListener = at(port) === 'url'
    if (isListener) await mine.connect({ until: 'started' })
    const other = await child({ at: at(port), port, then })
    if (!isListener) {
      await until(other, 'listening')
      await mine.connect()
    }
    await until(other, 'paired')
    await mine.paired()
    return [mine, other]
  }

  test('and is killed is missed at once', async () => {
    const [mine, other] = await paired('stay')
    const apart = next(mine, 'apart')
    const killedAt = performance.now()
    await other.kill()
    expect((await apart).error?.code).toBe('PEER_LOST')
    // Sooner than by its silence.
    expect(performance.now() - killedAt).toBeLessThan(400)
  })

  test('and is stopped is missed by its silence', async () => {
    const [mine, other] = await paired('stay')
    const apart = next(mine, 'apart')
    other.process.kill('SIGSTOP')
    expect((await apart).error?.code).toBe('PEER_SILENT')
  })

  test.each(['close', 'unref'] as const)('and then does %s ends by itself: no handle is left', async (then) => {
    const [, other] = await paired(then)
    while ((await other.line()) !== undefined);
    await expect.poll(() => other.process.exitCode).toBe(0)
  })
})

test('a server of ours is left with nothing but itself when its connection has closed', async () => {
  const server = await webServer()
  const listens = connection(attachWs(server))
  const dials = connection(webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`))
  await Promise.all([listens.connect(), dials.connect()])
  await Promise.all([listens.close(), dials.close()])
  const count = (): Promise<number> =>
    new Promise((resolve, reject) =>
      server.getConnections((error, connections) => (error === null ? resolve(connections) : reject(error))),
    )
  await expect.poll(count).toBe(0)
})
