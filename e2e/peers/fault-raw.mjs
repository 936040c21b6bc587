// Something at one end of a link that is no pairlink, or one that misbehaves. As a listener it holds the address, as a
// dialer it dials it once. Those that speak the protocol do so by the protocol's own machines, and do their mischief when a
// line comes on standard input; the others at once.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, get } from 'node:http'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { completeLimits, CONTENT, idFromBytes, judgeClaim, judgeWelcome } from '@pairlink/core/protocol'
import { KIND, Link, NO_CLAIM, NO_ID, proofKey, Session } from '@pairlink/core/protocol'
import { aes256gcm } from '@pairlink/crypto'
import { hash, utf8 } from './fault-primitives.mjs'

const { place, side, mischief, secret, certificate } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\n')
const address = 'path' in place ? { path: place.path } : { port: place.port, host: '127.0.0.1' }
const DRIP_MS = 20
const PING_MS = 100
const HUGE_BYTES = 1_000_000
/** What a listener behind TLS says first. */
const ACCEPTED = Uint8Array.of(1)
const SPEAKING = new Set(['drip', 'half a frame', 'half a message', 'stop reading', 'stop reading, go on asking'])
/** Of a drip: what was said and not written yet. */
const waiting = []

const MISCHIEFS = {
  silent: () => {},
  garbage: (socket) => socket.write(Buffer.alloc(100_000, 0xa5)),
  'hang up': (socket) => socket.end(),
  drip: (socket) => speak(socket, drip),
  'half a frame': (socket) =>
    speak(socket, undefined, (link, session) => dieAfter(socket, half(ask(link, session, 1000)))),
  'half a message': (socket) =>
    speak(socket, undefined, (link, session) => {
      socket.end(ask(link, session, HUGE_BYTES))
    }),
  'stop reading': (socket) => speak(socket, undefined, (_, __, stop) => stop()),
  'stop reading, go on asking': (socket) =>
    speak(socket, undefined, (_, __, stop) => {
      stop()
      setInterval(() => socket.write(ping()), PING_MS)
    }),
}

/** Those that speak pairlink do so behind what protects it; the others know of no protection. */
const isBehindTls = place.shield === 'tls' && SPEAKING.has(mischief)
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

function begin(socket) {
  report({ event: 'link' })
  socket.on('error', () => {})
  socket.on('data', () => {})
  socket.once('close', () => report({ event: 'link ended', bytes: socket.bytesRead }))
  MISCHIEFS[mischief](socket)
}

function http() {
  if (side === 'listener') {
    createHttpServer((_, response) => response.end('hello')).listen(address, () => report({ event: 'ready' }))
    return
  }
  const request = get({ ...('path' in place ? { socketPath: place.path } : address), path: '/' })
  request.on('response', () => report({ event: 'link ended', bytes: 1 }))
  request.on('error', () => report({ event: 'link ended', bytes: request.socket?.bytesRead ?? 0 }))
}

/** Drives a link until it is told to do mischief. */
function speak(socket, write = (data) => socket.write(data), act = () => {}) {
  const limits = completeLimits({})
  const fresh = idFromBytes(randomBytes(16))
  const link = new Link({
    hello: {
      side,
      instance: idFromBytes(randomBytes(16)),
      process: idFromBytes(randomBytes(16)),
      nonce: randomBytes(32),
      features: 0,
      keepaliveMs: 200,
      limits,
      claim: side === 'dialer' ? { attempt: 1, session: NO_ID, received: 0, peer: NO_ID, fresh } : NO_CLAIM,
      about: new Uint8Array(0),
      cipherName: '',
    },
    key: proofKey(utf8.encode(secret), hash, utf8),
    encryption: place.shield === 'sealed' ? aes256gcm(new Uint8Array(32).fill(7)) : undefined,
    ephemeral: randomBytes(32),
    hash,
    utf8,
    silenceMs: 60_000,
    handshakeTimeoutMs: 60_000,
    now: performance.now(),
  })
  let session
  let isStopped = false
  const begun = (hello, judgement, attempt) => {
    const id = judgement.welcome.session
    session = new Session({ id, peer: hello.instance, attempt, limits, peerLimits: hello.limits, drainMs: 1000, utf8 })
    return session
  }
  const pump = () => {
    if (isStopped) return
    const now = performance.now()
    for (let event = link.poll(); event !== undefined; event = link.poll()) {
      if (event.type === 'proven') {
        const judgement = judgeClaim(undefined, event.hello.instance, event.hello.claim)
        link.welcome(begun(event.hello, judgement, event.hello.claim.attempt), judgement, now)
        report({ event: 'paired' })
      } else if (event.type === 'welcomed') {
        const judgement = judgeWelcome(undefined, fresh, event.welcome)
        link.attach(begun(event.hello, judgement, 0), judgement)
        report({ event: 'paired' })
      } else if (event.type === 'query') {
        report({ event: 'began' })
      } else if (event.type === 'ended') {
        report({ event: 'link over', by: event.end.by })
      }
    }
    const out = []
    link.takeWrite(2 ** 20, now, out)
    if (out.length > 0) write(Buffer.concat(out), socket)
  }
  socket.on('data', (chunk) => {
    link.receive(chunk, false, performance.now())
    pump()
  })
  const timer = setInterval(() => {
    link.tick(performance.now())
    pump()
  }, 10)
  const stop = () => {
    isStopped = true
    clearInterval(timer)
    socket.pause()
    report({ event: 'stopped' })
  }
  socket.once('close', () => clearInterval(timer))
  createInterface({ input: process.stdin }).once('line', () => {
    isStopped = true
    clearInterval(timer)
    act(link, session, stop)
  })
  pump()
}

/** The first bytes of a query of that size, in whole frames. */
function ask(link, session, bytes) {
  const now = performance.now()
  session.query(utf8.encode('never'), CONTENT.TEXT, Buffer.alloc(bytes, 'a'), 'own', Infinity, true, now)
  const out = []
  link.takeWrite(200_000, now, out)
  return Buffer.concat(out)
}

function half(bytes) {
  return bytes.subarray(0, bytes.length / 2)
}

function dieAfter(socket, bytes) {
  socket.write(bytes, () => process.kill(process.pid, 'SIGKILL'))
}

function ping() {
  const frame = Buffer.alloc(12 + 8)
  frame[0] = KIND.PING
  frame[11] = 8
  return frame
}

function drip(data, socket) {
  waiting.push(...data)
  if (waiting.length > data.length) return
  const timer = setInterval(() => {
    const byte = waiting.shift()
    if (byte === undefined || socket.destroyed) clearInterval(timer)
    else socket.write(Uint8Array.of(byte))
  }, DRIP_MS)
}
