// The protocol's own machines over any stream of bytes, until they are told to do mischief: something that says what a right
// process would say, and is none. It knows no transport.
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { completeLimits, CONTENT, idFromBytes, judgeClaim, judgeWelcome } from '@pairlink/core/protocol'
import { KIND, Link, NO_CLAIM, NO_ID, proofKey, Session } from '@pairlink/core/protocol'
import { aes256gcm } from '@pairlink/crypto'
import { hash, utf8 } from './fault-primitives.mjs'

/**
 * Drives a link until a line comes on standard input.
 * @param {{ side: string, secret: string, isSealed: boolean, report: (line: object) => void }} who
 * @param {(data: Uint8Array) => void} [write]
 * @param {(said: { ask: (bytes: number) => Buffer, stop: () => void }) => void} [act] what is done then
 */
export function speak(
  { side, secret, isSealed, report },
  stream,
  write = (data) => stream.write(data),
  act = () => {},
) {
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
    encryption: isSealed ? aes256gcm(new Uint8Array(32).fill(7)) : undefined,
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
    if (out.length > 0) write(Buffer.concat(out))
  }
  stream.on('data', (chunk) => {
    link.receive(chunk, false, performance.now())
    pump()
  })
  const timer = setInterval(() => {
    link.tick(performance.now())
    pump()
  }, 10)
  const stop = () => {
    stream.pause()
    report({ event: 'stopped' })
  }
  stream.once('close', () => clearInterval(timer))
  createInterface({ input: process.stdin }).once('line', () => {
    isStopped = true
    clearInterval(timer)
    act({ ask: (bytes) => ask(link, session, bytes), stop })
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

/** A frame that asks for a sign of life. */
export function ping() {
  const frame = Buffer.alloc(12 + 8)
  frame[0] = KIND.PING
  frame[11] = 8
  return frame
}
