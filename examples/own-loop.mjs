// own-loop.mjs: the pure protocol without a Connection. Two sides, a wire that is an array, and a clock that is a number:
// what a driver for another event loop does, in one file. It asks one query and checks the answer.
import assert from 'node:assert/strict'
import { createHash, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  CLOSE_CODE,
  completeLimits,
  CONTENT,
  idFromBytes,
  judgeClaim,
  judgeWelcome,
  Link,
  NO_CLAIM,
  NO_ID,
  proofKey,
  Session,
} from '@pairlink/core/protocol'

// #region world
// What the protocol takes from the world: a hash, a coder of text, random bytes, and the time.
const bytesOf = (buffer) => new Uint8Array(buffer)
const hash = {
  sha256: (...parts) => bytesOf(parts.reduce((h, part) => h.update(part), createHash('sha256')).digest()),
  hmacSha256: (key, ...parts) => bytesOf(parts.reduce((h, part) => h.update(part), createHmac('sha256', key)).digest()),
  hkdfSha256: (input, salt, info, length) => bytesOf(hkdfSync('sha256', input, salt, info, length)),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
}
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const utf8 = { encode: (text) => encoder.encode(text), decode: (bytes) => decoder.decode(bytes) }
const randomId = () => idFromBytes(randomBytes(16))
let now = 0 // milliseconds, from any beginning
// #endregion world

// #region side
const limits = completeLimits({})
const key = proofKey(utf8.encode('super-secret'), hash, utf8)

/** One side: a link, the session that it will carry, and what is done about each event. */
class Driver {
  session
  answers = []
  end
  #fresh = randomId()

  constructor(side) {
    const claim = { attempt: 1, session: NO_ID, received: 0, peer: NO_ID, fresh: this.#fresh }
    this.link = new Link({
      hello: {
        side,
        instance: randomId(),
        process: randomId(),
        nonce: bytesOf(randomBytes(32)),
        features: 0,
        keepaliveMs: 2500,
        limits,
        claim: side === 'dialer' ? claim : NO_CLAIM,
        about: new Uint8Array(0),
        cipherName: '',
      },
      key,
      hash,
      utf8,
      silenceMs: 20_000,
      handshakeTimeoutMs: 5000,
      now,
    })
  }

  /** After bytes, a timer or a command: reads events and takes what is to be written, until there is neither. */
  turn() {
    const chunks = []
    for (let before = -1; before < chunks.length; ) {
      before = chunks.length
      for (let event = this.link.poll(); event !== undefined; event = this.link.poll()) this.#event(event)
      this.link.takeWrite(256 * 1024, now, chunks)
    }
    return chunks
  }

  get deadline() {
    return Math.min(this.link.deadline, this.link.writeDeadline, this.session?.deadline ?? Infinity)
  }

  tick() {
    this.link.tick(now)
    this.session?.tick(now)
  }

  #event(event) {
    switch (event.type) {
      case 'proven': {
        // We listen, and the dialer holds the secret. A link that is not wanted would be refused here.
        const judgement = judgeClaim(undefined, event.hello.instance, event.hello.claim)
        assert.equal(judgement.verdict, 'fresh')
        this.session = this.#newSession(judgement.welcome.session, event.hello)
        this.link.welcome(this.session, judgement, now)
        break
      }
      case 'welcomed': {
        // We dialled, and the listener holds the secret too.
        const judgement = judgeWelcome(undefined, this.#fresh, event.welcome)
        assert.equal(judgement.verdict, 'fresh')
        this.session = this.#newSession(judgement.welcome.session, event.hello)
        this.link.attach(this.session, judgement)
        break
      }
      case 'query':
        assert.equal(event.method, 'shout')
        this.session.answer(event.id, CONTENT.TEXT, utf8.encode(utf8.decode(event.bytes).toUpperCase()), 'own', now)
        this.session.handlerEnded()
        break
      case 'answer':
        this.answers.push(utf8.decode(event.bytes))
        break
      case 'close':
        this.link.close(CLOSE_CODE.done, '', true) // the other side asks nothing more, and neither do we
        break
      case 'ended':
        this.end = event.end
        break
      default:
        throw new Error(`not expected here: ${event.type}`)
    }
  }

  #newSession(id, hello) {
    return new Session({ id, peer: hello.instance, attempt: 1, limits, peerLimits: hello.limits, drainMs: 5000, utf8 })
  }
}
// #endregion side

// #region loop
const dialer = new Driver('dialer')
const listener = new Driver('listener')

/** Moves bytes until nothing more moves. A real loop would write to a socket, and read from it. */
function exchange() {
  const wire = []
  const turn = (from, to) => from.turn().forEach((chunk) => wire.push({ from, to, chunk }))
  turn(dialer, listener)
  turn(listener, dialer)
  for (let item = wire.shift(); item !== undefined; item = wire.shift()) {
    const { from, to, chunk } = item
    to.link.receive(chunk.slice(), false, now) // what is received is read to the end, in `turn`, before more is
    turn(to, from)
  }
}

exchange()
assert.equal(dialer.link.state, 'open')
assert.equal(listener.link.state, 'open')

const slot = dialer.session.query(
  utf8.encode('shout'),
  CONTENT.TEXT,
  utf8.encode('hello'),
  'own',
  now + 5000,
  true,
  now,
)
assert.ok(slot >= 0)
exchange()
assert.deepEqual(dialer.answers, ['HELLO'])

// Nothing happens until the soonest deadline. A real loop would set one timer to it.
now = Math.min(dialer.deadline, listener.deadline)
dialer.tick()
listener.tick()
exchange()

dialer.link.close(CLOSE_CODE.done, '', false)
exchange()
assert.deepEqual([dialer.end, listener.end], [{ by: 'close' }, { by: 'close' }])
console.log('done')
// #endregion loop
