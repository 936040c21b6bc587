/**
 * The TLS handshake of each side over a socket, and what its failures mean. It ends with a secure socket between two that
 * speak pairlink, whoever they are: certificates are not judged here.
 */
import type { Socket } from 'node:net'
import { connect, createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls'
import { PairlinkError } from '@pairlink/core'
import type { Credentials } from './files.js'

export type Side = 'dialer' | 'listener'

export interface HandshakeSink {
  /** Called while the handshake ends: what comes in is lost if nobody reads from here on. */
  secured(socket: TLSSocket): void
  /** The handshake failed; the raw socket is to be destroyed. */
  failed(error: Error): void
}

/** The name of what is spoken inside, by which other programs that use TLS are told apart. */
const ALPN = 'pairlink/1'

/** What OpenSSL says of first bytes that are no TLS. */
const NOT_TLS = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_HTTPS_PROXY_REQUEST',
  'ERR_SSL_UNKNOWN_PROTOCOL',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_LENGTH_TOO_SHORT',
])

export const HANDSHAKES: Readonly<
  Record<Side, (socket: Socket, credentials: Credentials, address: string, sink: HandshakeSink) => void>
> = {
  dialer(socket, { context }, address, sink) {
    const tls = connect({
      socket,
      secureContext: context,
      ALPNProtocols: [ALPN],
      // Judged by us, on both sides alike.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
    const failed = (error: Error): void => sink.failed(handshakeError('dialer', address, error))
    tls.on('error', failed)
    tls.once('secureConnect', () => {
      tls.off('error', failed)
      finish(tls, address, sink)
    })
  },

  listener(socket, credentials, address, sink) {
    const server = serverOf(credentials)
    server.once('secureConnection', (tls) => {
      tls.allowHalfOpen = true
      finish(tls, address, sink)
    })
    server.on('tlsClientError', (error) => {
      sink.failed(handshakeError('listener', address, error))
    })
    // Otherwise a dialer that ends its direction during the handshake would go unnoticed.
    socket.allowHalfOpen = false
    server.emit('connection', socket)
  },
}

/**
 * Calls back once the dialer has sent something, or has hung up without. What was read by then stays in the socket, and the
 * secure one takes it from there. A socket that breaks calls nothing.
 */
export function onFirstByte(socket: Socket, arrived: () => void, left: (error: Error) => void): void {
  socket.once('readable', () => {
    if (socket.readableLength > 0) arrived()
    else left(new Error('the dialer hung up before its first byte'))
  })
}

/**
 * A server that never listens: it makes the sockets secure that it is given. One for each of them, since it does not say
 * which of them it speaks of.
 *
 * It would make a context of its own, with all of the CA. So it makes an empty one, and gets the one that is ready in its
 * place, by a name that Node does not document; where that is missing, it makes its own. A TLSSocket without a server would
 * need more such names: for the end of the handshake, its errors, and what is said of the chain.
 */
function serverOf({ context, options }: Credentials): Server {
  const asking = { ALPNProtocols: [ALPN], requestCert: true, rejectUnauthorized: false }
  const server: Server & { _sharedCreds?: SecureContext } = createServer({ ...asking, ca: [] })
  if (server._sharedCreds === undefined) return createServer({ ...asking, ...options })
  server._sharedCreds = context
  return server
}

function finish(tls: TLSSocket, address: string, sink: HandshakeSink): void {
  tls.disableRenegotiation()
  if (tls.alpnProtocol === ALPN) {
    sink.secured(tls)
    return
  }
  // Whoever fails hears no more of this socket, and an 'error' that nobody hears ends the process.
  tls.on('error', () => undefined)
  sink.failed(notPairlink(`${address}: the other side speaks TLS, and inside it something else than pairlink`))
}

/** What a failure before the first byte of pairlink means: the peer's doing, or an error of the system as it is. */
export function handshakeError(side: Side, address: string, cause: Error): Error {
  const { code = '' } = cause as NodeJS.ErrnoException
  if (NOT_TLS.has(code)) {
    const who = side === 'dialer' ? 'what answers does' : 'somebody dialled without TLS: the first bytes do'
    return notPairlink(`${address}: ${who} not speak TLS. Both processes must use the same transport`, cause)
  }
  if (code.startsWith('ERR_SSL_')) {
    return notPairlink(`${address}: no TLS of pairlink was agreed on (${code}). Both processes must be pairlink`, cause)
  }
  // A dialer that hangs up has changed its mind; a listener that does has another reason.
  return side === 'dialer' ? hungUp(address, cause) : cause
}

/** The listener has gone before it let us in. */
export function hungUp(address: string, cause?: Error): PairlinkError {
  const text = `${address}: the other side hung up in the TLS handshake. It may not use TLS, or be ending; see its log`
  return notPairlink(text, cause)
}

function notPairlink(text: string, cause?: Error): PairlinkError {
  return new PairlinkError('NOT_PAIRLINK', text, cause === undefined ? {} : { cause })
}
