/**
 * The link is cut again and again under load, by a proxy in between and at either end: nothing is lost, nothing happens twice,
 * nothing comes out of order, and no call fails.
 */
import { randomBytes } from 'node:crypto'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { Connection, type ConnectionOptions } from '@pairlink/core'
import { aes256gcm, generateKey } from '@pairlink/crypto'
import { tcp, unix } from '@pairlink/transport-net'
import { afterEach, expect, it } from 'vitest'
import { unusedPort } from './ports.js'
import { folder, seeded } from './processes.js'

const CUTS = 60
const AT_ONCE = 20
const LARGE_BYTES = 300_000

type Place = { readonly path: string } | { readonly port: number }
const ends: (() => unknown)[] = []

afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

/** Passes on what comes, until it cuts. */
class Proxy {
  readonly #sockets = new Set<Socket>()
  readonly #server: Server

  constructor(from: Place, to: Place) {
    this.#server = createServer((near) => {
      const far = connect({ ...to, host: '127.0.0.1' } as { path: string })
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one)
        one.on('error', () => undefined)
        one.once('close', () => {
          this.#sockets.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
    this.#server.listen({ ...from, host: '127.0.0.1' } as { path: string })
    ends.push(() => {
      this.#server.close()
      this.cut()
    })
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

it.each([
  ['unix', undefined],
  ['tcp', undefined],
  ['unix, sealed', aes256gcm(generateKey())],
])('cut again and again over %s, under load from both sides', async (name, encryption) => {
  const random = seeded(`cuts over ${name}`)
  const [own, proxied]: Place[] = name.startsWith('unix')
    ? [{ path: join(folder(), 'a') }, { path: join(folder(), 'b') }]
    : [{ port: await unusedPort() }, { port: await unusedPort() }]
  if (own === undefined || proxied === undefined) throw new Error('no place')
  const proxy = new Proxy(proxied, own)
  const at = (place: Place) => ('path' in place ? unix(place.path) : tcp(place))

  const handled = [new Map<unknown, number>(), new Map<unknown, number>()]
  const heard: unknown[][] = [[], []]
  let resumed = 0
  const make = (side: number, place: Place, options: Partial<ConnectionOptions>): Connection => {
    const connection = new Connection({
      transport: at(place),
      secret: 'a secret that is long enough',
      encryption,
      queryTimeoutMs: 120_000,
      failover: false,
      reconnect: { delayMs: 20 },
      logger: { error: () => undefined },
      onQuery: (query) => {
        const { id } = query as { id: string }
        handled[side]?.set(id, (handled[side].get(id) ?? 0) + 1)
        return query
      },
      onNotify: (message) => void heard[side]?.push(message),
      ...options,
    })
    connection.on('paired', (event) => (resumed += event.resumed ? 1 : 0))
    ends.push(() => connection.close({ drainMs: 0 }))
    return connection
  }
  const pair = [make(0, own, {}), make(1, proxied, {})] as const
  const resets: unknown[] = []
  for (const connection of pair) connection.on('reset', (event) => resets.push(event))
  await pair[0].connect({ until: 'started' })
  await pair[1].connect()

  let isOver = false
  let asked = 0
  const notified = [0, 0]
  const failures: unknown[] = []
  const large = randomBytes(LARGE_BYTES).toString('base64')
  const ask = async (side: 0 | 1): Promise<void> => {
    while (!isOver) {
      const query = { id: `${side} ${asked++}`, text: random() < 0.05 ? large : 'small' }
      try {
        const answer = await pair[side].query(query, { whenApart: 'wait' })
        if (JSON.stringify(answer) !== JSON.stringify(query)) failures.push('another answer')
      } catch (error) {
        failures.push(error)
      }
    }
  }
  const tell = async (side: 0 | 1): Promise<void> => {
    for (let number = 0; !isOver; number++) {
      await pair[side].notify(number, { whenApart: 'wait', timeoutMs: 120_000 })
      notified[side] = number + 1
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const asking = [...Array.from({ length: AT_ONCE }, (_, index) => ask((index % 2) as 0 | 1)), tell(0), tell(1)]
  for (let cut = 0; cut < CUTS; cut++) {
    await pair[1].paired()
    await new Promise((resolve) => setTimeout(resolve, random() * 20))
    proxy.cut()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await pair[1].paired()
  isOver = true
  await Promise.all(asking)
  expect(failures).toEqual([])
  expect(resets).toEqual([])
  const counts = handled.flatMap((of) => [...of.values()])
  expect(counts).toHaveLength(asked)
  expect(counts.every((count) => count === 1)).toBe(true)
  expect(resumed).toBeGreaterThan(CUTS / 4)
  await Promise.all(pair.map((connection) => connection.close()))
  for (const side of [0, 1] as const) {
    expect(heard[1 - side]).toEqual(Array.from({ length: notified[side] ?? 0 }, (_, number) => number))
  }
  console.log(
    `MEASURED ${name}: ${CUTS} cuts, ${asked} calls, ${heard.flat().length} notifications, ${resumed} resumes told`,
  )
})
