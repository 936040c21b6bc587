// Something at one end of a link that is no pairlink, or one that misbehaves. As a listener it holds the address, as a
// dialer it dials it once. Those that speak the protocol do so by the protocol's own machines, and do their mischief when a
// line comes on standard input; the others at once.
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, get } from 'node:http'
import { connect, createServer } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { answer, headOf, openWebSocket, request } from './fault-websocket.mjs'

const { place, side, mischief, secret, certificate } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\n')
const address = 'path' in place ? { path: place.path } : { port: place.port, host: '127.0.0.1' }
const DRIP_MS = 20
const PING_MS = 100
const HUGE_BYTES = 1_000_000
/** What a listener behind TLS says first. */
const ACCEPTED = Uint8Array.of(1)
const who = { side, secret, isSealed: place.shield === 'sealed', report }

/** What knows of no protection and no WebSocket. */
const STRANGE = {
  silent: () => {},
  garbage: (socket) => socket.write(Buffer.alloc(100_000, 0xa5)),
  'hang up': (socket) => socket.end(),
  /** Over WebSocket alone. */
  'drip the opening': async (socket) => {
    if (side === 'listener') drip(socket, Buffer.from(answer((await headOf(socket))[0])))
    else drip(socket, Buffer.from(request(address)))
  },
}
/** What speaks pairlink, and at last its mischief, behind what protects the link and a WebSocket. */
const SPEAKING = {
  drip: ({ speak }, stream) => speak(who, stream, dripping(stream)),
  'half a frame': ({ speak }, stream) =>
    speak(who, stream, undefined, ({ ask }) => {
      dieAfter(stream, ask(1000))
    }),
  'half a message': ({ speak }, stream) =>
    speak(who, stream, undefined, ({ ask }) => {
      stream.end(ask(HUGE_BYTES))
    }),
  'stop reading': ({ speak }, stream) => speak(who, stream, undefined, ({ stop }) => stop()),
  'stop reading, go on asking': ({ speak, ping }, stream) =>
    speak(who, stream, undefined, ({ stop }) => {
      stop()
      setInterval(() => stream.write(ping()), PING_MS)
    }),
}
const IN_A_WEBSOCKET = / in a WebSocket$/
const isBehindTls = place.shield === 'tls' && mischief in SPEAKING
const isBehindWebSocket = place.transport === 'ws' && (mischief in SPEAKING || IN_A_WEBSOCKET.test(mischief))

const speaker = mischief in SPEAKING ? await import('./fault-speaker.mjs') : undefined
if (mischief === 'HTTP') http()
else if (side === 'dialer') dial()
else listen()

function dial() {
  if (isBehindTls) connectTls({ ...tlsOptions(), ...address }).once('data', believed)
  else begin(connect(address))
}

function listen() {
  const server = isBehindTls
    ? createTlsServer(tlsOptions(), (socket) => {
        socket.write(ACCEPTED)
        begin(socket)
      })
    : createServer(begin)
  server.listen(address, () => report({ event: 'ready' }))
}

/** The listener's verdict is the first byte; pairlink's follow when we have spoken. */
function believed() {
  begin(this)
}

function tlsOptions() {
  const [cert, key] = [readFileSync(certificate.certFile), readFileSync(certificate.keyFile)]
  return { cert, key, ca: cert, ALPNProtocols: ['pairlink/1'], requestCert: true, rejectUnauthorized: false }
}

async function begin(socket) {
  report({ event: 'link' })
  socket.on('error', () => {})
  const stream = isBehindWebSocket ? await openWebSocket(socket, side, address) : socket
  stream.on('error', () => {})
  stream.on('data', () => {})
  stream.once('close', () => report({ event: 'link ended', bytes: stream.bytesRead }))
  if (speaker === undefined) STRANGE[mischief.replace(IN_A_WEBSOCKET, '')](stream)
  else SPEAKING[mischief](speaker, stream)
}

function http() {
  if (side === 'listener') {
    createHttpServer((_, response) => response.end('hello')).listen(address, () => report({ event: 'ready' }))
    return
  }
  const asking = get({ ...('path' in place ? { socketPath: place.path } : address), path: '/' })
  asking.on('response', () => report({ event: 'link ended', bytes: 1 }))
  asking.on('error', () => report({ event: 'link ended', bytes: asking.socket?.bytesRead ?? 0 }))
}

/** Writes half of what it was given, which over WebSocket is half of a frame there as well, and dies. */
function dieAfter(stream, bytes) {
  const sent = isBehindWebSocket ? stream.framed(bytes) : bytes
  const half = sent.subarray(0, sent.length / 2)
  const gone = () => process.kill(process.pid, 'SIGKILL')
  if (isBehindWebSocket) stream.writeRaw(half, gone)
  else stream.write(half, gone)
}

/** Writes what it was given a byte at a time. */
function drip(stream, bytes) {
  dripping(stream)(bytes)
}

function dripping(stream) {
  const waiting = []
  return (bytes) => {
    waiting.push(...bytes)
    if (waiting.length > bytes.length) return
    const timer = setInterval(() => {
      const byte = waiting.shift()
      if (byte === undefined || stream.destroyed) clearInterval(timer)
      else stream.write(Uint8Array.of(byte))
    }, DRIP_MS)
  }
}
