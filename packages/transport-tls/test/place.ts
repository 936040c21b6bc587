/** Where tests meet, who meets there, and peers that are made by hand. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectNet, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Transport } from '@pairlink/core'
import { onTestFinished } from 'vitest'
import { describeError, freePort, freshDirectory } from '../../transport-net/test/place.js'
import { tls, type TlsFiles, type TlsPlace } from '../src/index.js'
import type { Files } from './certificates.js'

export {
  bothEnds,
  describeError,
  dialEnd,
  endOf,
  freshDirectory,
  listening,
  listeningOnce,
  never,
  Recorder,
  type End,
} from '../../transport-net/test/place.js'

export const ALPN = 'pairlink/1'
export const KINDS = ['a port', 'a path'] as const

/** A place that nobody has, as tls() and as node:net take it. */
export type Place = TlsPlace & ({ readonly port: number } | { readonly path: string })

export async function freshPlace(kind: (typeof KINDS)[number]): Promise<Place> {
  if (kind === 'a path') return { path: join(freshDirectory(), 's') }
  return { port: await freePort(), host: '127.0.0.1' }
}

export const at = (place: TlsPlace, files: TlsFiles): Transport => tls(place, files)

export async function rejectionOf(work: Promise<unknown>): Promise<string> {
  return describeError(
    await work.then(
      (value) => new Error(`resolved to ${String(value)}`),
      (error: unknown) => error,
    ),
  )
}

/** What `node:tls` takes for a peer with these files. */
export function optionsOf({ certFile, keyFile }: Files): TlsOptions {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), ALPNProtocols: [ALPN], rejectUnauthorized: false }
}

/** A client of node:tls without this package, destroyed after the test. Its errors are collected. */
export function tlsClient(
  place: Place,
  options: TlsOptions,
): { socket: TLSSocket; read: () => Buffer; end: Promise<void> } {
  const socket = connectTls({ ...place, rejectUnauthorized: false, ...(options as object) })
  const chunks: Buffer[] = []
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  const end = new Promise<void>((resolve) => socket.once('close', resolve))
  onTestFinished(() => void socket.destroy())
  return { socket, read: () => Buffer.concat(chunks), end }
}

async function listenAt(server: Server, place: Place): Promise<void> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  })
  server.listen(place)
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
}

/** A server of node:tls without this package, closed after the test. */
export async function tlsServer(
  place: Place,
  options: TlsOptions,
  onSecure: (socket: TLSSocket) => void,
): Promise<void> {
  const server = createTlsServer({ requestCert: true, rejectUnauthorized: false, ...options }, onSecure)
  server.on('tlsClientError', () => undefined)
  await listenAt(server, place)
}

/** A server without TLS, closed after the test. */
export async function plainServer(place: Place, onSocket: (socket: Socket) => void): Promise<void> {
  await listenAt(createServer(onSocket), place)
}

/** A client without TLS, destroyed after the test. */
export function plainClient(place: Place): Socket {
  const socket = connectNet(place)
  socket.on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
  return socket
}
