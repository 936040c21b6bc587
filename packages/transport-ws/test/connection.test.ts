/** Whole connections over WebSocket, in both roles and from a browser's WebSocket: what a user sees of it. */
import { createServer as createRelay, connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { createHash, randomBytes } from 'node:crypto'
import { Connection, type ConnectionEvents, type Transport } from '@pairlink/core'
import { aes256gcm, generateKey } from '@pairlink/crypto'
import { tcp } from '@pairlink/transport-net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { webSocket as platformWebSocket } from '../src/browser.js'
import { attachWs, webSocket, ws } from '../src/index.js'
import { freePort, freshPlace, KINDS, ownCertificate, portOf, webServer } from './place.js'

const SECRET = 'the secret of these tests, long enough'
const KEY = generateKey()

function connection(transport: Transport, more: object = {}): Connection {
  const made = new Connection({
    secret: SECRET,
    transport,
    logger: { error: () => undefined },
    onQuery: (input: unknown) =>
      input instanceof Uint8Array ? createHash('sha256').update(input).digest('hex') : { echo: input },
    ...more,
  })
  onTestFinished(() => made.close())
  return made
}

function next<Name extends keyof ConnectionEvents>(of: Connection, name: Name): Promise<ConnectionEvents[Name]> {
  return new Promise((resolve) => {
    const stop = of.on(name, (event) => {
      if (typeof stop === 'function') (stop as () => void)()
      resolve(event)
    })
  })
}

/** Between two: TCP that can be cut. */
async function severable(port: number): Promise<{ readonly port: number; cut(): void; halt(): void }> {
  const sockets = new Set<Socket>()
  const relay = createRelay((near) => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        near.destroy()
        far.destroy()
        sockets.delete(socket)
      })
    }
    near.pipe(far)
    far.pipe(near)
  }).listen(0, '127.0.0.1')
  await once(relay, 'listening')
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  onTestFinished(() => {
    cut()
    relay.close()
  })
  return {
    port: portOf(relay),
    cut,
    halt() {
      for (const socket of sockets) {
        socket.unpipe()
        socket.pause()
      }
    },
  }
}

/** The first one listens before the other one dials: one who only dials would look again after a while. */
async function pairUp(listens: Connection, dials: Connection): Promise<void> {
  await listens.connect({ until: 'started' })
  await dials.connect()
  await listens.paired()
}

describe.each(KINDS)('at %s', (kind) => {
  describe.each([
    ['open', {}],
    ['sealed', { encryption: aes256gcm(KEY) }],
  ])('%s', (_name, more) => {
    test('two pair, query each other in both directions and close', async () => {
      const { listener, dialer } = await freshPlace(kind)
      const [one, two] = [connection(listener, more), connection(dialer, more)]
      await pairUp(one, two)
      expect(await one.query({ of: 'one' })).toEqual({ echo: { of: 'one' } })
      expect(await two.query({ of: 'two' })).toEqual({ echo: { of: 'two' } })
      const long = randomBytes(3_000_000)
      const hash = createHash('sha256').update(long).digest('hex')
      expect(await Promise.all([one.query(long), two.query(long)])).toEqual([hash, hash])
      const many = await Promise.all(Array.from({ length: 500 }, (_, at) => (at % 2 === 0 ? one : two).query(at)))
      expect(many).toEqual(Array.from({ length: 500 }, (_, at) => ({ echo: at })))
      await Promise.all([one.close(), two.close()])
      expect([one.state, two.state]).toEqual(['closed', 'closed'])
    })

    test('a wrong secret is told on both sides', async () => {
      const { listener, dialer } = await freshPlace(kind)
      const waits = connection(listener, more)
      await waits.connect({ until: 'started' })
      const refused = next(waits, 'refused')
      const wrong = connection(dialer, { ...more, secret: 'another secret of these tests, long enough' })
      await expect(wrong.connect()).rejects.toMatchObject({ code: 'SECRET_MISMATCH' })
      expect((await refused).reason).toBe('secret')
    })

    test('a third is told that two are paired', async () => {
      const { listener, dialer } = await freshPlace(kind)
      const [one, two] = [connection(listener, more), connection(dialer, more)]
      await pairUp(one, two)
      await expect(connection(dialer, more).connect()).rejects.toMatchObject({ code: 'PAIR_BUSY' })
      expect(await two.query('still')).toEqual({ echo: 'still' })
    })

    test('the one who only dials goes, and another one takes its place', async () => {
      const { listener, dialer } = await freshPlace(kind)
      const [one, two] = [connection(listener, more), connection(dialer, more)]
      await pairUp(one, two)
      await two.close()
      const three = connection(dialer, more)
      await three.connect()
      expect(await three.query('hello')).toEqual({ echo: 'hello' })
    })
  })
})

describe('at a port', () => {
  test('two that start at the same moment pair', async () => {
    const port = await freePort()
    const [one, two] = [connection(ws({ port })), connection(ws({ port }))]
    await Promise.all([one.connect(), two.connect()])
    expect(await one.query(1)).toEqual({ echo: 1 })
    expect(await two.query(2)).toEqual({ echo: 2 })
  })

  test('the listener goes, and the other one takes its place and pairs anew', async () => {
    const port = await freePort()
    const first = connection(ws({ port }))
    const listens = next(first, 'listening')
    await first.connect({ until: 'started' })
    await listens
    const second = connection(ws({ port }))
    await second.connect()
    const takes = next(second, 'listening')
    await first.close()
    await takes
    const third = connection(ws({ port }))
    await third.connect()
    expect(await third.query('hello')).toEqual({ echo: 'hello' })
  })

  test('who dials without WebSocket fails to connect, and the listener goes on', async () => {
    const port = await freePort()
    const waits = connection(ws({ port }))
    await waits.connect({ until: 'started' })
    const refused = next(waits, 'refused')
    await expect(connection(tcp({ port })).connect()).rejects.toMatchObject({ code: 'NOT_PAIRLINK' })
    expect(await refused).toMatchObject({
      reason: 'not-pairlink',
      error: { code: 'NOT_PAIRLINK', reason: 'malformed' },
    })
    const right = connection(ws({ port }))
    await right.connect()
    expect(await right.query(1)).toEqual({ echo: 1 })
  })

  test('who dials with WebSocket at one without fails to connect', async () => {
    const port = await freePort()
    const waits = connection(tcp({ port }))
    await waits.connect({ until: 'started' })
    await expect(connection(ws({ port })).connect()).rejects.toMatchObject({ code: 'NOT_PAIRLINK' })
  })

  test('beyond this host nothing is done without encryption', async () => {
    const transport = ws({ port: await freePort(), host: '0.0.0.0', allowNetwork: true })
    await expect(connection(transport).connect()).rejects.toMatchObject({ code: 'NOT_LOCAL' })
    await expect(connection(webSocket('ws://192.0.2.1/x')).connect()).rejects.toMatchObject({ code: 'NOT_LOCAL' })
    await expect(connection(platformWebSocket('ws://192.0.2.1/x')).connect()).rejects.toMatchObject({
      code: 'NOT_LOCAL',
    })
    const [one, two] = [0, 1].map(() => connection(transport, { encryption: aes256gcm(KEY) }))
    await Promise.all([one?.connect(), two?.connect()])
    expect(await one?.query(1)).toEqual({ echo: 1 })
  })

  test('a path that is wrong fails to connect, with the sentence of the listener', async () => {
    const port = await freePort()
    await connection(ws({ port })).connect({ until: 'started' })
    await expect(connection(webSocket(`ws://127.0.0.1:${port}/wrong`)).connect()).rejects.toThrow(
      'There is no pairlink at this path.',
    )
  })
})

describe('at a server', () => {
  test('the one who listens there may begin after the other, and end before it', async () => {
    const server = await webServer()
    const dials = connection(webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`), { reconnect: { delayMs: 10 } })
    // A server that has nobody for the path yet answers as a server does, and is asked again for a while.
    const paired = dials.connect()
    const listens = connection(attachWs(server))
    await Promise.all([listens.connect(), paired])
    const apart = next(dials, 'apart')
    await listens.close()
    await apart
    const again = connection(attachWs(server))
    await again.connect()
    expect(await again.query('back')).toEqual({ echo: 'back' })
  })

  test('with a certificate that is not trusted it fails to connect', async () => {
    const { createServer } = await import('node:https')
    const { cert, key } = await ownCertificate()
    const server = await webServer(createServer({ cert, key }))
    server.on('tlsClientError', () => undefined)
    await connection(attachWs(server)).connect({ until: 'started' })
    const dials = connection(webSocket(`wss://localhost:${portOf(server)}/pairlink`))
    await expect(dials.connect()).rejects.toMatchObject({ code: 'CERTIFICATE', reason: 'foreign' })
  })
})

describe.each([
  ['Node.js', webSocket],
  ['a browser', platformWebSocket],
])('between a listener and %s', (_name, dial) => {
  test.each([
    ['open', {}],
    ['sealed', { encryption: aes256gcm(KEY) }],
  ])('a cut in the middle of calls loses none of them, %s', async (_mode, more) => {
    const port = await freePort()
    const between = await severable(port)
    const handled: unknown[] = []
    const options = { ...more, reconnect: { delayMs: 10 }, queryTimeoutMs: 15_000 }
    const listens = connection(ws({ port }), {
      ...options,
      onQuery: (input: unknown) => {
        handled.push(input)
        return input
      },
    })
    const dials = connection(dial(`ws://127.0.0.1:${between.port}/pairlink`), { ...options, failover: false })
    await pairUp(listens, dials)
    const big = randomBytes(100_000).toString('hex')
    const answers: Promise<unknown>[] = []
    for (let round = 0; round < 3; round++) {
      const apart = next(dials, 'apart')
      const paired = next(dials, 'paired')
      for (let at = 0; at < 100; at++) {
        answers.push(dials.query(`${round}.${at}`))
        answers.push(listens.query(`${round}.${at}`))
      }
      answers.push(dials.query(`${round} ${big}`), listens.query(`${round} ${big}`))
      await new Promise((resolve) => setImmediate(resolve))
      between.cut()
      await apart
      expect(await paired).toMatchObject({ resumed: true, peer: 'same' })
    }
    await Promise.all(answers)
    expect(handled).toHaveLength(303)
    expect(new Set(handled).size).toBe(303)
  })

  test('a peer that is cut off without a word is found by its silence, and comes back', async () => {
    const port = await freePort()
    const between = await severable(port)
    const options = { keepaliveMs: 50, silenceMs: 200, reconnect: { delayMs: 10 } }
    const listens = connection(ws({ port }), options)
    const dials = connection(dial(`ws://127.0.0.1:${between.port}/pairlink`), { ...options, failover: false })
    await pairUp(listens, dials)
    const lost = Promise.all([next(listens, 'apart'), next(dials, 'apart')])
    const back = Promise.all([next(listens, 'paired'), next(dials, 'paired')])
    between.halt()
    for (const { error } of await lost) expect(error?.code).toBe('PEER_SILENT')
    for (const { resumed } of await back) expect(resumed).toBe(true)
    expect(await dials.query('here')).toEqual({ echo: 'here' })
  })

  test('a peer that stops reading holds back who writes, and memory stays bounded', async () => {
    const port = await freePort()
    const between = await severable(port)
    const options = { keepaliveMs: 60_000, silenceMs: 200_000, drainMs: 0 }
    const listens = connection(ws({ port }), options)
    const dials = connection(dial(`ws://127.0.0.1:${between.port}/pairlink`), { ...options, failover: false })
    await pairUp(listens, dials)
    between.halt()
    const before = process.memoryUsage()
    const turns = async (): Promise<'waits'> => {
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve))
      return 'waits'
    }
    const takenBytes = await Promise.all(
      [listens, dials].map(async (from) => {
        let bytes = 0
        // The last one is never taken, and settles when the test closes its connection.
        const next = (): Promise<'taken' | 'waits'> => {
          const taken = from.notify(Buffer.alloc(500_000)).then(() => 'taken' as const)
          taken.catch(() => undefined)
          return Promise.race([taken, turns()])
        }
        while ((await next()) === 'taken' && bytes < 200_000_000) bytes += 500_000
        return bytes
      }),
    )
    const { heapUsed, external } = process.memoryUsage()
    // What may wait is sendBytesMax, 16 MiB, and what may be under way inboxBytesMax, 16 MiB as well.
    for (const bytes of takenBytes) expect(bytes).toBeLessThan(40 * 1024 * 1024)
    expect(heapUsed + external - before.heapUsed - before.external).toBeLessThan(100 * 1024 * 1024)
  })
})

describe('a browser', () => {
  test('that finds nobody goes on looking, is told what it can be, and pairs when somebody comes', async () => {
    const port = await freePort()
    const warnings: string[] = []
    const dials = connection(platformWebSocket(`ws://127.0.0.1:${port}/pairlink`), {
      reconnect: { delayMs: 10 },
      logger: { error: () => undefined, warn: (_fields: object, message: string) => void warnings.push(message) },
    })
    const waiting = next(dials, 'waiting')
    const paired = dials.connect()
    const { error } = await waiting
    expect(error?.code).toBe('PEER_LOST')
    expect(error?.message).toContain('nobody listens there, or the listener refuses this page')
    expect(warnings.join()).toContain('refuses this page')
    await Promise.all([connection(ws({ port })).connect(), paired])
    expect(await dials.query('at last')).toEqual({ echo: 'at last' })
  })
})
