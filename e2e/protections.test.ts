/** The pair over each transport and with each protection: everything that can be combined is. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection, isPairlinkError, type ConnectionOptions, type Encryption, type Transport } from '@pairlink/core'
import { aes256gcm, custom, generateKey } from '@pairlink/crypto'
import { tcp, tcp6, unix } from '@pairlink/transport-net'
import { generateCertificate, tls } from '@pairlink/transport-tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { unusedPort } from './ports.js'

const LARGE_BYTES = 3_000_000
const KEY = generateKey()
const here = mkdtempSync(join(tmpdir(), 'plk-'))
const certificate = { certFile: join(here, 'cert.pem'), keyFile: join(here, 'key.pem') }
const foreign = { certFile: join(here, 'foreign.pem'), keyFile: join(here, 'foreign-key.pem') }

/** Each gives the two ends of one place that nobody has used. */
const PLACES: Record<string, () => Promise<() => Transport>> = {
  unix: async () => at((path) => unix(path)),
  tcp: async () => onPort((port) => tcp({ port })),
  tcp6: async () => onPort((port) => tcp6({ port })),
  tls: async () => onPort((port) => tls({ port }, certificate)),
  'tls over unix': async () => at((path) => tls({ path }, certificate)),
}
const PROTECTIONS: Record<string, () => Encryption | undefined> = {
  open: () => undefined,
  sealed: () => aes256gcm(KEY),
  custom: () => chacha(KEY),
}

let count = 0
function at(make: (path: string) => Transport): () => Transport {
  const path = join(here, `${++count}.sock`)
  return () => make(path)
}

async function onPort(make: (port: number) => Transport): Promise<() => Transport> {
  const port = await unusedPort()
  return () => make(port)
}

function chacha(key: Uint8Array, name = 'chacha20-poly1305'): Encryption {
  const options = { authTagLength: 16 }
  return custom({
    name,
    encrypt(plain) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('chacha20-poly1305', key, nonce, options)
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    },
    decrypt(record) {
      const decipher = createDecipheriv('chacha20-poly1305', key, record.subarray(0, 12), options)
      decipher.setAuthTag(record.subarray(-16))
      return Buffer.concat([decipher.update(record.subarray(12, -16)), decipher.final()])
    },
  })
}

const open: Connection[] = []
function make(transport: Transport, options: Partial<ConnectionOptions> = {}): Connection {
  const made = new Connection({
    transport,
    secret: 'a secret that is long enough',
    logger: { error: () => {} },
    ...options,
  })
  open.push(made)
  return made
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

beforeAll(async () => {
  await generateCertificate(certificate)
  await generateCertificate(foreign)
})
afterAll(() => {
  rmSync(here, { recursive: true })
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.close({ drainMs: 100 })))
})

describe.each(Object.keys(PLACES))('over %s', (place) => {
  it.each(Object.keys(PROTECTIONS))(
    '%s: both ask each other, small and large, and end in order',
    async (protection) => {
      const ends = await PLACES[place]?.()
      if (ends === undefined) throw new Error(place)
      const heard: unknown[] = []
      const options = (): Partial<ConnectionOptions> => ({
        encryption: PROTECTIONS[protection]?.(),
        onQuery: (query) => (query instanceof Uint8Array ? sha256(query) : query === 'large' ? large : query),
        onNotify: (message) => void heard.push(message),
      })
      const large = new Uint8Array(randomBytes(LARGE_BYTES))
      const [a, b] = [make(ends(), options()), make(ends(), options())]
      await Promise.all([a.connect(), b.connect()])
      for (const [one, other] of [
        [a, b],
        [b, a],
      ] as const) {
        expect(await one.query({ from: one.role, to: other.role })).toEqual({ from: one.role, to: other.role })
        expect(await one.query(large)).toBe(sha256(large))
        expect(sha256(await one.query<Uint8Array>('large'))).toBe(sha256(large))
      }
      await Promise.all(Array.from({ length: 500 }, (_, at) => a.notify(at)))
      const many = await Promise.all(Array.from({ length: 500 }, (_, at) => b.query(at)))
      expect(many).toEqual(Array.from({ length: 500 }, (_, at) => at))
      await Promise.all([a.close(), b.close()])
      expect(heard).toEqual(Array.from({ length: 500 }, (_, at) => at))
      expect(await Promise.all([a.closed, b.closed])).toEqual([undefined, undefined])
    },
  )
})

describe('protections that differ', () => {
  const different: [
    what: string,
    listener: Partial<ConnectionOptions>,
    dialer: Partial<ConnectionOptions>,
    code: string,
  ][] = [
    ['keys', { encryption: aes256gcm(KEY) }, { encryption: aes256gcm(generateKey()) }, 'SECRET_MISMATCH'],
    ['keys of a cipher', { encryption: chacha(KEY) }, { encryption: chacha(generateKey()) }, 'SECRET_MISMATCH'],
    ['names of a cipher', { encryption: chacha(KEY) }, { encryption: chacha(KEY, 'other') }, 'ENCRYPTION_MISMATCH'],
    ['sealed, open', { encryption: aes256gcm(KEY) }, {}, 'ENCRYPTION_MISMATCH'],
    ['open, sealed', {}, { encryption: aes256gcm(KEY) }, 'ENCRYPTION_MISMATCH'],
    ['sealed, custom', { encryption: aes256gcm(KEY) }, { encryption: chacha(KEY) }, 'ENCRYPTION_MISMATCH'],
  ]
  for (const place of Object.keys(PLACES)) {
    it.each(different)(
      `over ${place}, %s: both are told, and a right process pairs`,
      async (_, listening, dialling, code) => {
        const ends = await PLACES[place]?.()
        if (ends === undefined) throw new Error(place)
        const [listener, dialer] = [make(ends(), listening), make(ends(), dialling)]
        await listener.connect({ until: 'started' })
        const refused = new Promise<string>((resolve) => listener.on('refused', ({ reason }) => resolve(reason)))
        const error: unknown = await dialer.connect().catch((reason: unknown) => reason)
        expect(isPairlinkError(error) ? error.code : error).toBe(code)
        expect(await refused).toBe(code === 'SECRET_MISMATCH' ? 'secret' : 'mode')
        const right = make(ends(), listening)
        await right.connect()
        expect([listener.state, right.state]).toEqual(['paired', 'paired'])
      },
    )
  }

  it.each([
    ['tls', async () => ({ port: await unusedPort() })],
    ['tls over unix', async () => ({ path: join(here, `${++count}.sock`) })],
  ] as const)('over %s, a foreign certificate is told to the dialer, and a right process pairs', async (_, unused) => {
    const place = await unused()
    const listener = make(tls(place, certificate))
    await listener.connect({ until: 'started' })
    const error: unknown = await make(tls(place, foreign))
      .connect()
      .catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'CERTIFICATE', reason: 'foreign' })
    const right = make(tls(place, certificate))
    await right.connect()
    expect([listener.state, right.state]).toEqual(['paired', 'paired'])
  })
})
