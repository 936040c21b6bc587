/** Connections in this process and what tests ask of them, in all three modes; everything is closed after each test. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  Connection,
  type ConnectionEvents,
  type ConnectionOptions,
  type Encryption,
  type PairlinkError,
  type Transport,
} from '@pairlink/core'
import { aes256gcm, custom, generateKey, type CustomCipher } from '@pairlink/crypto'
import { unix } from '@pairlink/transport-net'
import { afterEach } from 'vitest'

export const SECRET = 'the secret of these tests'
export type Options = Partial<ConnectionOptions>
export type ModeName = 'proof' | 'sealed' | 'custom'

const opened = new Set<Connection>()
const sockets = new Set<Socket>()
const closers = new Set<() => void>()

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  for (const close of closers) close()
  await Promise.all([...opened].map((connection) => connection.close({ drainMs: 0 })))
  sockets.clear()
  closers.clear()
  opened.clear()
})

/** Destroyed after the test. */
export function kept(socket: Socket): Socket {
  sockets.add(socket)
  socket.on('error', () => undefined)
  return socket
}

export function afterwards(close: () => void): void {
  closers.add(close)
}

/** A session ends with its link, unless the test says otherwise. */
export function connection(place: string | Transport, options: Options = {}): Connection {
  const transport = typeof place === 'string' ? unix(place) : place
  const made = new Connection({
    secret: SECRET,
    logger: { error: () => undefined },
    holdMs: 0,
    resumeWindowMs: 0,
    ...options,
    transport,
  })
  opened.add(made)
  return made
}

export async function listening(place: string | Transport, options: Options = {}): Promise<Connection> {
  const made = connection(place, options)
  await made.connect({ until: 'started' })
  return made
}

export async function meets(one: Connection, other: Connection): Promise<void> {
  await Promise.all([one.paired({ timeoutMs: 10_000 }), other.connect({ timeoutMs: 10_000 })])
}

/** The next event of that name. Ask before what brings it about. */
export function next<Name extends keyof ConnectionEvents>(of: Connection, name: Name): Promise<ConnectionEvents[Name]> {
  return new Promise((resolve) => {
    const stop = of.on(name, (event) => {
      stop()
      resolve(event)
    })
  })
}

/** What a connection tells from now on, in few words: `paired`, `refused secret`, `apart PROTOCOL`, `apart`. */
export function toldBy(of: Connection): string[] {
  const told: string[] = []
  of.on('paired', () => told.push('paired'))
  of.on('refused', ({ reason }) => told.push(`refused ${reason}`))
  of.on('apart', ({ error }) => told.push(error === undefined ? 'apart' : `apart ${error.code}`))
  return told
}

/** A promise and what resolves it, for handlers that last until the test says so. */
export function later<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}

/** Resolves when both have told that they are apart, with what the first one says. Ask before what brings it about. */
export async function partingOf(one: Connection, other: Connection): Promise<string | undefined> {
  const [{ error }] = await Promise.all([next(one, 'apart'), next(other, 'apart')])
  return error?.code
}

/** What a promise fails with. @throws Error when it does not fail */
export async function failure(promise: Promise<unknown>): Promise<PairlinkError> {
  const result = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('error' in result) return result.error as PairlinkError
  throw new Error(`It should have failed, and gave ${JSON.stringify(result.value)}`)
}

/** A cipher as a careful user writes one. */
export function chacha(key: Uint8Array, name = 'chacha20-poly1305'): CustomCipher {
  return sealedBy(key, name, () => randomBytes(12))
}

/** As one is written in haste: the same nonce for every record, so it is deterministic, and knows no order. */
export function hasty(key: Uint8Array): CustomCipher {
  return sealedBy(key, 'hasty', () => Buffer.alloc(12))
}

function sealedBy(key: Uint8Array, name: string, nonceOf: () => Buffer): CustomCipher {
  const algorithm = 'chacha20-poly1305'
  const options = { authTagLength: 16 }
  return {
    name,
    encrypt(plain) {
      const nonce = nonceOf()
      const cipher = createCipheriv(algorithm, key, nonce, options)
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    },
    decrypt(record) {
      if (record.length < 28) return undefined
      const decipher = createDecipheriv(algorithm, key, record.subarray(0, 12), options)
      decipher.setAuthTag(record.subarray(-16))
      return Buffer.concat([decipher.update(record.subarray(12, -16)), decipher.final()])
    },
  }
}

/** A mode with one key, as options for both sides. */
export interface Mode {
  readonly name: ModeName
  readonly options: Options
  /** What a peer that is not a Connection needs. */
  readonly material: { readonly key?: Uint8Array; readonly cipher?: CustomCipher }
}

/** With a key of its own each time. */
export function modeOf(name: ModeName): Mode {
  const key = generateKey()
  if (name === 'proof') return { name, options: {}, material: {} }
  if (name === 'sealed') return { name, options: encrypted(aes256gcm(key)), material: { key } }
  const cipher = chacha(key)
  return { name, options: encrypted(custom(cipher)), material: { cipher } }
}

function encrypted(encryption: Encryption): Options {
  return { encryption }
}

export const MODE_NAMES: readonly ModeName[] = ['proof', 'sealed', 'custom']
