/**
 * How a request for a WebSocket becomes one, or is refused with a status and a sentence: the listener's half of the opening
 * handshake. It is told what a socket carries, and tells what came of it; pipes and places are not known here.
 */
import { createServer, STATUS_CODES, type IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { PairlinkError } from '@pairlink/core'
import { WebSocketServer, type WebSocket } from 'ws'
import { FAULTS, type Guests, type Refusal } from './guests.js'
import { FRAGMENTS_MAX, MESSAGE_BYTES_MAX, SUBPROTOCOL } from './messages.js'
import { printable } from './text.js'

export interface UpgradeSink {
  /** What comes in is lost if nobody reads from here on. `stream` is what the messages travel on. */
  opened(socket: WebSocket, stream: Socket): void
  /** There will be none. `answer` is still to be sent, as it is. */
  failed(error: Error, answer?: string): void
}

/** Of every WebSocket, on both sides. */
export const LIMITS = {
  maxPayload: MESSAGE_BYTES_MAX,
  maxFragments: FRAGMENTS_MAX,
  // Each piece in which a message comes in costs far more than its bytes. A stranger could send them one by one.
  maxBufferedChunks: 4096,
  perMessageDeflate: false,
  /** Both directions are over by then: nothing is waited for but the end of the socket. */
  closeTimeout: 1000,
} as const

/** What a broken request is answered, and what the listener is told, where it is not that it is none. */
const BROKEN: Readonly<Record<string, { readonly status: number; readonly answer: string; readonly text: string }>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    answer: 'The headers of this request are too long.',
    text: 'a stranger sent longer headers than Node.js reads; its option --max-http-header-size says how long they may be',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    answer: 'The request took too long.',
    text: 'a stranger did not finish its request in time',
  },
}

/** Makes WebSockets of sockets whose requests were read elsewhere, or are read by it. It listens nowhere. */
export class Upgrader {
  readonly #guests: Guests
  readonly #address: string
  readonly #http: Server
  readonly #webSockets: WebSocketServer
  readonly #sinks = new WeakMap<object, UpgradeSink>()

  constructor(guests: Guests, address: string) {
    this.#guests = guests
    this.#address = address
    this.#webSockets = new WebSocketServer({
      ...LIMITS,
      noServer: true,
      clientTracking: false,
      handleProtocols: () => SUBPROTOCOL,
    })
    this.#webSockets.on('wsClientError', (error, socket) => {
      this.#fail(socket, { reason: 'malformed', found: error.message })
    })
    this.#http = createServer((request) => {
      this.#fail(request.socket, guests.judge(request) ?? { reason: 'upgrade', found: request.method })
    })
    this.#http.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      this.#upgrade(request, socket, head)
    })
    this.#http.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      this.#broken(error, socket)
    })
  }

  /** Reads the request from a socket that nothing was read from. A socket that closes before that calls nothing. */
  read(socket: Socket, sink: UpgradeSink): void {
    this.#sinks.set(socket, sink)
    this.#http.emit('connection', socket)
  }

  /** Goes on with a request that a server has read. */
  take(request: IncomingMessage, socket: Socket, head: Buffer, sink: UpgradeSink): void {
    this.#sinks.set(socket, sink)
    this.#upgrade(request, socket, head)
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const refusal = this.#guests.judge(request)
    if (refusal !== undefined) {
      this.#fail(socket, refusal)
      return
    }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#sinks.get(socket)?.opened(webSocket, socket)
    })
  }

  refuse(sink: UpgradeSink, { reason, found }: Refusal): void {
    const { status, answer, text } = FAULTS[reason]
    const shown = found === undefined ? '' : ` (${JSON.stringify(printable(found))})`
    const error = new PairlinkError('NOT_PAIRLINK', `${this.#address}: a stranger ${text}${shown}`, { reason })
    sink.failed(error, response(status, answer))
  }

  #fail(socket: object, refusal: Refusal): void {
    const sink = this.#sinks.get(socket)
    if (sink !== undefined) this.refuse(sink, refusal)
  }

  #broken(error: NodeJS.ErrnoException, socket: object): void {
    const { code = '' } = error
    const known = BROKEN[code]
    if (known === undefined && !code.startsWith('HPE_')) {
      this.#sinks.get(socket)?.failed(error)
      return
    }
    const { status, answer, text } = known ?? {
      ...FAULTS.malformed,
      text: `somebody dialled without WebSocket: the first bytes are no request of HTTP (${code}). Both processes must use the same transport`,
    }
    const failure = new PairlinkError('NOT_PAIRLINK', `${this.#address}: ${text}`, {
      reason: 'malformed',
      cause: error,
    })
    this.#sinks.get(socket)?.failed(failure, response(status, answer))
  }
}

function response(status: number, answer: string): string {
  const body = `${answer}\n`
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    'X-Content-Type-Options: nosniff',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 426 ? ['Upgrade: websocket', 'Sec-WebSocket-Version: 13'] : []),
  ]
  return `${lines.join('\r\n')}\r\n\r\n${body}`
}
