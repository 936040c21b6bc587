/** The dialer's half of the opening handshake over a socket that is connected, with TLS before it where asked for. */
import type { IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { connect, type ConnectionOptions } from 'node:tls'
import { PairlinkError } from '@pairlink/core'
import { WebSocket, type ClientOptions } from 'ws'
import { SUBPROTOCOL } from './messages.js'
import { printable } from './text.js'
import { LIMITS, type UpgradeSink } from './upgrade.js'

/**
 * A mask of zeros changes nothing, so neither side copies or computes. Masks are random to keep what stands between two hosts
 * from taking a page's bytes for requests of its own. Only for processes of one host that meet each other directly.
 */
export const ZERO_MASK: Pick<ClientOptions, 'generateMask'> = {
  generateMask: (mask) => {
    mask.fill(0)
  },
}

/** Asks for a WebSocket at `url`, whatever the socket is connected to. Masks are random unless `masks` says otherwise. */
export function open(
  socket: Socket,
  url: URL,
  address: string,
  sink: UpgradeSink,
  masks: Pick<ClientOptions, 'generateMask'> = {},
): void {
  const request = new URL(url)
  // Whether it is encrypted is decided by the socket.
  request.protocol = 'ws:'
  const webSocket = new WebSocket(request, SUBPROTOCOL, {
    ...LIMITS,
    ...masks,
    createConnection: () => socket,
  })
  const failed = (error: NodeJS.ErrnoException): void => {
    sink.failed(openingError(address, error))
  }
  webSocket.on('error', failed)
  webSocket.once('open', () => {
    webSocket.off('error', failed)
    sink.opened(webSocket, socket)
  })
  webSocket.once('unexpected-response', (_request, response) => {
    void sentenceOf(response).then((sentence) => {
      const said = printable(`${response.statusCode ?? 0} ${response.statusMessage ?? ''}${sentence}`)
      const text = `${address}: what answers speaks HTTP and opens no WebSocket of pairlink: ${said}`
      sink.failed(new PairlinkError('NOT_PAIRLINK', text))
    })
  })
}

/** The same over TLS. The server's certificate must fit its name. */
export function openSecurely(
  raw: Socket,
  url: URL,
  address: string,
  ca: ConnectionOptions['ca'],
  sink: UpgradeSink,
): void {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const socket = connect({
    socket: raw,
    servername: isIP(host) === 0 ? host : '',
    host,
    ALPNProtocols: ['http/1.1'],
    ...(ca !== undefined && { ca }),
  })
  const failed = (error: NodeJS.ErrnoException): void => {
    sink.failed(securingError(address, error))
  }
  socket.on('error', failed)
  socket.once('secureConnect', () => {
    socket.off('error', failed)
    open(socket, url, address, sink)
  })
}

/** What a server says beside its status, where it is short. */
async function sentenceOf(response: IncomingMessage): Promise<string> {
  if (!response.headers['content-type']?.startsWith('text/plain')) return ''
  response.setEncoding('utf8')
  try {
    // The first chunk has what is worth telling.
    for await (const chunk of response) return `: ${String(chunk).trim()}`
  } catch {
    // It broke off, and its status is known.
  }
  return ''
}

function openingError(address: string, cause: NodeJS.ErrnoException): PairlinkError {
  const { code = '', message } = cause
  const what = code.startsWith('HPE_')
    ? `what answers does not speak HTTP (${code}). Both processes must use the same transport`
    : code === 'ECONNRESET' || code === 'EPIPE'
      ? 'the other side hung up in the opening handshake. It may speak no WebSocket, or be ending; see its log'
      : `no WebSocket of pairlink was agreed on (${printable(message)})`
  return new PairlinkError('NOT_PAIRLINK', `${address}: ${what}`, { cause })
}

/** What is wrong with a certificate is told by codes without a prefix of their own; those of TLS have one. */
function securingError(address: string, cause: NodeJS.ErrnoException): PairlinkError {
  const { code = '' } = cause
  if (code === 'ECONNRESET' || code === 'EPIPE' || code.startsWith('ERR_SSL_')) {
    const text = `${address}: no TLS was agreed on (${code}). What answers may not speak TLS, or be ending`
    return new PairlinkError('NOT_PAIRLINK', text, { cause })
  }
  const text = `${address}: the certificate of the server is not trusted (${code}). Where a CA of your own has signed it, give that as ca`
  return new PairlinkError('CERTIFICATE', text, { reason: 'foreign', cause })
}
