/** Where tests meet, who meets there, and strangers that are made by hand. */
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Transport } from '@pairlink/core'
import { onTestFinished } from 'vitest'
import { bothEnds as bothEndsOf, freePort, portOf, type End } from '../../transport-net/test/place.js'
import { generateCertificate } from '../../transport-tls/src/index.js'
import { webSocket as platformWebSocket } from '../src/browser.js'
import { attachWs, webSocket, ws, type AttachOptions } from '../src/index.js'

export {
  dialEnd,
  endOf,
  freePort,
  listening,
  listeningOnce,
  never,
  pipeOf,
  portOf,
  Recorder,
  type End,
} from '../../transport-net/test/place.js'

/** A web server of an application, closed after the test. */
export async function webServer(server: Server = createServer()): Promise<Server> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return server
}

let certificate: Promise<{ cert: Buffer; key: Buffer }> | undefined

/** For localhost and the addresses of loopback, signed by itself. */
export function ownCertificate(): Promise<{ cert: Buffer; key: Buffer }> {
  certificate ??= makeCertificate()
  return certificate
}

async function makeCertificate(): Promise<{ cert: Buffer; key: Buffer }> {
  const folder = mkdtempSync(join(tmpdir(), 'pl-wss-'))
  try {
    const files = { certFile: join(folder, 'c.pem'), keyFile: join(folder, 'c.key') }
    await generateCertificate(files)
    return { cert: readFileSync(files.certFile), key: readFileSync(files.keyFile) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export interface Place {
  readonly listener: Transport
  readonly dialer: Transport
}

export const KINDS = ['a port', 'a server', 'a server with TLS', 'a port and a browser'] as const

/** Of each kind, two who meet at a place that nobody has. */
export async function freshPlace(kind: (typeof KINDS)[number], more: AttachOptions = {}): Promise<Place> {
  switch (kind) {
    case 'a port': {
      const both = ws({ port: await freePort(), ...more })
      return { listener: both, dialer: both }
    }
    case 'a server': {
      const server = await webServer()
      return { listener: attachWs(server, more), dialer: webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`) }
    }
    case 'a server with TLS': {
      const { cert, key } = await ownCertificate()
      const server = await webServer(createSecureServer({ cert, key }))
      const url = `wss://localhost:${portOf(server)}/pairlink`
      return { listener: attachWs(server, more), dialer: webSocket(url, { ca: cert }) }
    }
    case 'a port and a browser': {
      const port = await freePort()
      return { listener: ws({ port, ...more }), dialer: platformWebSocket(`ws://127.0.0.1:${port}/pairlink`) }
    }
  }
}

/** Both ends of one pipe, the dialer's first. */
export function bothEnds({ listener, dialer }: Place): Promise<[End, End]> {
  return bothEndsOf(listener, dialer)
}

/** What a browser asks for; a header that is undefined is left out. */
export interface Ask {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | undefined>>
}

export function requestOf(port: number, { method = 'GET', path = '/pairlink', headers = {} }: Ask = {}): string {
  const all: Record<string, string | undefined> = {
    Host: `127.0.0.1:${port}`,
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': 'pairlink.1',
    ...headers,
  }
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]))
  return [`${method} ${path} HTTP/1.1`, ...lines, '', ''].join('\r\n')
}

/** A client that is made by hand, destroyed after the test. */
export interface Stranger {
  readonly socket: Socket
  read(): Buffer
  /** Resolves when so much was read, or the socket has closed. */
  until(test: (read: Buffer) => boolean): Promise<Buffer>
  readonly closed: Promise<void>
}

export function stranger(port: number): Stranger {
  const socket = connect(port, '127.0.0.1')
  let read = Buffer.alloc(0)
  const looks = new Set<() => void>()
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    read = Buffer.concat([read, chunk])
    for (const look of looks) look()
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  onTestFinished(() => void socket.destroy())
  return {
    socket,
    read: () => read,
    closed,
    async until(test) {
      await Promise.race([
        closed,
        new Promise<void>((resolve) => {
          const look = (): void => {
            if (test(read)) resolve()
          }
          looks.add(look)
          look()
        }),
      ])
      return read
    },
  }
}

/** One whose WebSocket is open; what it has read begins behind the answer. */
export async function openStranger(port: number, ask?: Ask): Promise<Stranger> {
  const one = stranger(port)
  one.socket.write(requestOf(port, ask))
  const read = await one.until((all) => all.includes('\r\n\r\n'))
  if (!read.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(`not opened: ${read.toString('latin1')}`)
  return one
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** A frame as a client sends it, with a mask of zeros unless told otherwise. */
export function frame(
  opcode: number,
  payload: Uint8Array,
  { fin = true, masked = true, length = payload.length, reserved = 0 } = {},
): Buffer {
  const head = [opcode | (fin ? 0x80 : 0) | reserved]
  const maskBit = masked ? 0x80 : 0
  if (length < 126) head.push(maskBit | length)
  else if (length < 65_536) head.push(maskBit | 126, length >> 8, length & 0xff)
  else {
    const long = Buffer.alloc(8)
    long.writeBigUInt64BE(BigInt(length))
    head.push(maskBit | 127, ...long)
  }
  return Buffer.concat([Buffer.from(head), masked ? Buffer.alloc(4) : Buffer.alloc(0), payload])
}

/** What a request is answered, when the answer is not a WebSocket. */
export async function answerTo(
  port: number,
  ask?: Ask,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string }> {
  const one = stranger(port)
  one.socket.write(requestOf(port, ask))
  await one.closed
  const [head = '', body = ''] = one.read().toString().split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  )
  return { status: Number(first.split(' ')[1]), headers, body }
}
