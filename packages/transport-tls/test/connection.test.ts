/** Whole connections over TLS: what a user sees of it. */
import { Connection, type ConnectionEvents, type Transport } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { generateCertificate } from '../src/index.js'
import { certificate, freshNames, type Files } from './certificates.js'
import { at, freshPlace, KINDS, plainServer, rejectionOf, type Place } from './place.js'

const files = freshNames()
let other: Files
beforeAll(async () => {
  await generateCertificate(files)
  const { certFile, keyFile } = await certificate()
  other = { certFile, keyFile }
})

function connection(transport: Transport, more: object = {}): Connection {
  const made = new Connection({
    secret: 'the secret of these tests, long enough',
    transport,
    logger: { error: () => undefined },
    onQuery: (input: unknown) => ({ echo: input }),
    ...more,
  })
  onTestFinished(() => made.close())
  return made
}

function next<Name extends keyof ConnectionEvents>(of: Connection, name: Name): Promise<ConnectionEvents[Name]> {
  return new Promise((resolve) => of.on(name, resolve))
}

describe.each(KINDS)('at %s', (kind) => {
  const plain = (place: Place): Transport => ('port' in place ? tcp({ port: place.port }) : unix(place.path))

  async function listener(transport: Transport): Promise<Connection> {
    const made = connection(transport)
    const listens = next(made, 'listening')
    await made.connect({ until: 'started' })
    await listens
    return made
  }

  test('two that start at the same moment pair, query each other and close', async () => {
    const place = await freshPlace(kind)
    const [one, two] = [connection(at(place, files)), connection(at(place, files))]
    await Promise.all([one.connect(), two.connect()])
    await Promise.all([one.paired(), two.paired()])
    expect(await one.query({ of: 'one' })).toEqual({ echo: { of: 'one' } })
    const long = 'x'.repeat(500_000)
    expect(await two.query(long)).toEqual({ echo: long })
    await Promise.all([one.close(), two.close()])
  })

  test('the listener goes, and the other one takes its place and pairs anew', async () => {
    const place = await freshPlace(kind)
    const first = await listener(at(place, files))
    const second = connection(at(place, files))
    await second.connect()
    const listens = next(second, 'listening')
    await first.close()
    await listens
    const third = connection(at(place, files))
    await third.connect()
    expect(await third.query('hello')).toEqual({ echo: 'hello' })
  })

  test('a dialer with other files fails to connect, and says why', async () => {
    const place = await freshPlace(kind)
    await listener(at(place, files))
    expect(await rejectionOf(connection(at(place, other)).connect())).toBe('CERTIFICATE foreign')
  })

  test('a listener tells of a dialer that dials without TLS, and goes on', async () => {
    const place = await freshPlace(kind)
    const waits = await listener(at(place, files))
    const refused = next(waits, 'refused')
    expect(await rejectionOf(connection(plain(place)).connect())).toBe('NOT_PAIRLINK')
    expect(await refused).toMatchObject({ reason: 'not-pairlink', error: { code: 'NOT_PAIRLINK' } })
    const right = connection(at(place, files))
    await right.connect()
    expect(await right.query(1)).toEqual({ echo: 1 })
  })

  test('our own files, where they are wrong, fail connect', async () => {
    const transport = at(await freshPlace(kind), { ...files, certFile: other.certFile })
    expect(await rejectionOf(connection(transport).connect())).toBe('CERTIFICATE mismatched')
  })

  test('a dialer at a listener without TLS fails to connect', async () => {
    const place = await freshPlace(kind)
    await listener(plain(place))
    expect(await rejectionOf(connection(at(place, files)).connect())).toBe('NOT_PAIRLINK')
  })

  test('a listener that says nothing is given up when the time of the handshake is up', async () => {
    const place = await freshPlace(kind)
    await plainServer(place, (socket) => void socket.resume())
    const dialer = connection(at(place, files), { handshakeTimeoutMs: 300 })
    void dialer.connect().catch(() => undefined)
    const { error } = await next(dialer, 'waiting')
    expect(error?.code).toBe('PEER_SILENT')
  })
})
