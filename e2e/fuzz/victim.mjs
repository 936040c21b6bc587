// The side under test: a link and its session as a driver holds them, with everything checked that must hold whatever comes
// in. What it does meanwhile (answers, keeps still, writes little) is drawn from the seed and from what happens, never from
// how the bytes are cut, so that two runs with different chunks can be compared.
import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import {
  completeLimits,
  judgeClaim,
  judgeWelcome,
  Link,
  NO_CLAIM,
  NO_ID,
  ProtocolError,
  QUEUE_FULL,
  Session,
  TAKEN,
  TOO_LARGE,
} from '@pairlink/core/protocol'
import { join, text } from './bytes.mjs'
import { Finding } from './finding.mjs'
import { proofKeyOf, SECRET } from './insider.mjs'
import { below, drawn, seeded } from './random.mjs'

/**
 * @import { Encryption } from '@pairlink/core'
 * @import { Hash, Hello, LinkEnd, ProtocolEvent, Utf8 } from '@pairlink/core/protocol'
 * @import { Side } from './bytes.mjs'
 *
 * @typedef {object} VictimOptions
 * @property {Side} side
 * @property {Encryption | undefined} encryption
 * @property {number} seed
 * @property {boolean} [isPlain] does all at once and the same, whatever the seed; only the chunks are drawn
 * @property {number} [chunkBytes] of this size instead of drawn ones
 * @property {(link: Link) => Link} [wrap] puts something around each link: a fault that is to be found
 * @property {number} [nonceByte]
 */

/** @type {Hash} */
const hash = {
  sha256: (...parts) =>
    new Uint8Array(
      createHash('sha256')
        .update(join(...parts))
        .digest(),
    ),
  hmacSha256: (key, ...parts) =>
    new Uint8Array(
      createHmac('sha256', key)
        .update(join(...parts))
        .digest(),
    ),
  hkdfSha256: (input, salt, info, lengthBytes) => new Uint8Array(hkdfSync('sha256', input, salt, info, lengthBytes)),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
}
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** @type {Utf8} */
const utf8 = { encode: text, decode: (bytes) => decoder.decode(bytes) }

export const LIMITS = completeLimits({
  messageBytesMax: 8192,
  fragmentBytes: 4096,
  sendBytesMax: 8192,
  replayBytesMax: 16_384,
  inboxBytesMax: 4096,
  reassemblyBytesMax: 16_384,
  handlersMax: 4,
})
const SLOTS = 16 * LIMITS.handlersMax
/**
 * The most that a session may hold: what waits to be written and what is not acknowledged, messages being put together, the
 * inbox, with the room that blocks of the send buffer round up to.
 */
const HELD_BYTES_MAX = 512 * 1024
export const INSTANCE = { dialer: 'd'.repeat(32), listener: '1'.repeat(32) }
export const FRESH = ['f'.repeat(32), 'e'.repeat(32)]
const KEY = proofKeyOf(SECRET)
const EVENT_TYPES = ['query', 'answer', 'fail', 'timeout', 'taken', 'notify', 'cancel', 'close', 'write', 'time']
const ENDS = {
  dialer: ['close', 'pipe', 'foreign', 'violation', 'refused', 'mismatch', 'handshake-timeout', 'silence', 'drop'],
  listener: ['close', 'pipe', 'foreign', 'violation', 'refusing', 'handshake-timeout', 'silence', 'drop'],
}

export class Victim {
  /** What was delivered, as text. @type {string[]} */ delivered = []
  /** How many had been delivered after so many pieces of chunks. @type {number[]} */ deliveredBy = []
  /** @type {LinkEnd | undefined} */ end
  now = 1000
  polls = 0
  bytes = 0
  resumed = 0
  /** @type {Link | undefined} */ #link
  /** @type {Session | undefined} */ #session
  #begun = 0
  #steps = 0
  /** @type {VictimOptions} */ #options
  #chunks
  /** @type {Map<string, number>} */ #counts = new Map()
  /** Own calls without an end, by slot. @type {Set<number>} */ #calls = new Set()
  /** The peer's queries whose handlers run; what was given up is false. @type {Map<number, boolean>} */ #running =
    new Map()
  /** @type {(() => void)[]} */ #later = []
  /** Bytes that came with events, and a copy of them. @type {[Uint8Array, Uint8Array][]} */ #kept = []

  constructor(/** @type {VictimOptions} */ options) {
    this.#options = options
    this.#chunks = seeded(options.seed)
  }

  get session() {
    return this.#session
  }

  get isOpen() {
    return this.#link?.session !== undefined
  }

  /** A new link; the session of the one before is held. */
  begin() {
    const { side, encryption, wrap = (link) => link, nonceByte = 1 } = this.#options
    const held = this.#session
    const fresh = FRESH[this.#begun++] ?? NO_ID
    this.end = undefined
    this.#calls = this.#session === undefined ? new Set() : this.#calls
    /** @type {Hello} */
    const hello = {
      side,
      instance: INSTANCE[side],
      process: 'c'.repeat(32),
      nonce: new Uint8Array(32).fill(nonceByte + this.#begun),
      features: 0,
      keepaliveMs: 2500,
      limits: LIMITS,
      claim:
        side === 'listener'
          ? NO_CLAIM
          : {
              attempt: this.#begun,
              session: held?.id ?? NO_ID,
              received: held?.received ?? 0,
              peer: held?.peer ?? NO_ID,
              fresh,
            },
      about: new Uint8Array(0),
      cipherName: encryption?.mode === 'custom' ? encryption.cipherName : '',
    }
    const ephemeral = new Uint8Array(32).fill(0x40 + 2 * nonceByte + 20 * this.#begun + (side === 'dialer' ? 0 : 1))
    const options = { hello, encryption, ephemeral, key: KEY, hash, utf8 }
    this.#link = wrap(new Link({ ...options, silenceMs: 20_000, handshakeTimeoutMs: 5000, now: this.now }))
    this.#drain()
  }

  /** Delivers a piece in chunks, as a pipe would, and reads everything that they bring. */
  feed(/** @type {Uint8Array} */ piece) {
    const { chunkBytes } = this.#options
    for (let at = 0; at < piece.length; ) {
      const random = this.#chunks
      const drawnBytes = random() < 0.5 ? piece.length : 1 + below(random, random() < 0.3 ? 20 : 5000)
      const end = Math.min(piece.length, at + (chunkBytes ?? drawnBytes))
      const isTransient = random() < 0.5
      // As a part of a larger buffer, and now and then a Buffer, as sockets give them.
      const around = random() < 0.5 ? Buffer.alloc(end - at + 7) : new Uint8Array(end - at + 7)
      const chunk = around.subarray(3, 3 + end - at)
      chunk.set(piece.subarray(at, end))
      this.bytes += chunk.length
      this.#link?.receive(chunk, isTransient, this.now)
      this.#drain()
      if (isTransient) chunk.fill(0xee)
      if (chunkBytes === 1) this.deliveredBy.push(this.delivered.length)
      at = end
    }
    for (const act of this.#later.splice(0)) act()
    this.#drain()
    this.#checkHeld()
  }

  /** What it has to write now. */
  write() {
    const draw = this.#draw('write')
    if (draw > 0.97) return new Uint8Array(0)
    const budgetBytes = draw > 0.85 ? Math.ceil((draw - 0.85) * 20_000) : 1 << 20
    /** @type {Uint8Array[]} */
    const out = []
    for (let count = -1; count !== out.length; ) {
      count = out.length
      this.#step()
      this.#link?.takeWrite(budgetBytes, this.now, out)
    }
    this.#drain()
    return join(...out)
  }

  /** Time goes on, mostly a little. */
  pass() {
    const draw = this.#draw('time')
    this.passMs(draw < 0.7 ? 0 : draw < 0.95 ? 25 : draw < 0.98 ? 600 : draw < 0.99 ? 3000 : 21_000)
  }

  passMs(/** @type {number} */ ms) {
    this.now += ms
    this.#link?.tick(this.now)
    this.#session?.tick(this.now)
    this.#drain()
    const { deadline = Infinity } = this.#link ?? {}
    if (deadline <= this.now) throw new Finding(`its deadline is in the past: ${deadline} at ${this.now}`)
  }

  /** Asks for the end in order. */
  close() {
    this.#link?.close(0, 'bye', false)
  }

  /** The pipe has ended. Nothing may come after that. */
  cut() {
    this.#link?.pipeEnded(this.now)
    this.#drain()
    if (this.#link !== undefined && this.end === undefined) throw new Finding('no end after the end of the pipe')
    const count = this.delivered.length
    this.#link?.receive(new Uint8Array(20), false, this.now)
    this.#drain()
    if (this.delivered.length !== count) throw new Finding('delivered something after its end')
    this.passMs(1)
    this.#session?.tick(this.now)
    for (const [bytes, copy] of this.#kept)
      if (Buffer.compare(bytes, copy) !== 0) throw new Finding('what was delivered has changed afterwards')
    this.#link = undefined
  }

  /** A fraction for the next thing of this type to be decided. 0 where nothing is left to the seed. */
  #draw(/** @type {string} */ type) {
    const nth = (this.#counts.get(type) ?? 0) + 1
    this.#counts.set(type, nth)
    return this.#options.isPlain === true ? 0 : drawn(this.#options.seed, EVENT_TYPES.indexOf(type), nth)
  }

  /** Linear in what has come in: no frame brings more than three events, and none is shorter than its header. */
  #step() {
    // As many chunks as bytes, each with a step that finds nothing more; and a few for each time that nothing came.
    const stepsMax = 500 + 4 * this.bytes + 20 * (this.#counts.get('time') ?? 0)
    if (++this.#steps > stepsMax) throw new Finding(`${this.#steps} steps for ${this.bytes} bytes`)
  }

  #drain() {
    for (;;) {
      this.#step()
      this.polls++
      const link = this.#link
      const event = link === undefined ? this.#session?.poll() : link.poll()
      if (event === undefined) return
      this.#handle(event)
    }
  }

  #handle(/** @type {ProtocolEvent} */ event) {
    if (this.end !== undefined) throw new Finding(`an event of type ${event.type} after its end`)
    if (event.type === 'ended') {
      this.#ended(event.end)
      return
    }
    this.delivered.push(told(event))
    switch (event.type) {
      case 'proven':
        this.#proven(event)
        return
      case 'welcomed':
        this.#welcomed(event)
        return
      case 'query':
        this.#keep(event)
        this.#query(event)
        return
      case 'notify':
        this.#keep(event)
        this.#notify(event)
        return
      case 'answer':
      case 'fail':
        this.#keep(event)
        this.#settled(event)
        return
      case 'timeout':
      case 'taken':
        this.#settled(event)
        return
      case 'cancel':
        this.#cancelled(event)
        return
      case 'close':
        if (event.code > 0xffff) throw new Finding(`a CLOSE with code ${event.code}`)
        if (this.#draw('close') < 0.8) this.#link?.close(0, '', false)
        return
      case 'keepalive':
        return
      default:
        throw new Finding(`an event that nobody knows: ${told(event)}`)
    }
  }

  #ended(/** @type {LinkEnd} */ end) {
    const { side } = this.#options
    this.end = end
    if (!ENDS[side].includes(end.by)) throw new Finding(`a ${side} ended by ${end.by}`)
    if (end.by !== 'violation') return
    if (!(end.error instanceof ProtocolError) || !/^\d+(\.\d+)?$/.test(end.error.section))
      throw new Finding(`a violation that names no section: ${String(end.error)}`)
  }

  #proven(/** @type {Extract<ProtocolEvent, { type: 'proven' }>} */ { hello }) {
    const link = this.#link
    const judgement = judgeClaim(this.#session, hello.instance, hello.claim)
    if (judgement.verdict === 'drop') link?.drop(judgement.why)
    else if (judgement.verdict === 'violation') link?.blame(judgement.why)
    else {
      const isFresh = judgement.verdict === 'fresh' || this.#session === undefined
      if (isFresh) this.#newSession(judgement.welcome.session, hello, hello.claim.attempt)
      if (this.#session === undefined) return
      this.#session.attempt = hello.claim.attempt
      link?.welcome(this.#session, judgement, this.now)
      this.#carried(isFresh)
    }
  }

  #welcomed(/** @type {Extract<ProtocolEvent, { type: 'welcomed' }>} */ { hello, welcome }) {
    const link = this.#link
    const judgement = judgeWelcome(this.#session, FRESH[this.#begun - 1] ?? NO_ID, welcome)
    if (judgement.verdict === 'drop') link?.drop(judgement.why)
    else if (judgement.verdict === 'violation') link?.blame(judgement.why)
    else {
      const isFresh = judgement.verdict === 'fresh' || this.#session === undefined
      if (isFresh) this.#newSession(welcome.session, hello, 0)
      if (this.#session === undefined) return
      link?.attach(this.#session, judgement)
      this.#carried(isFresh)
    }
  }

  #newSession(/** @type {string} */ id, /** @type {Hello} */ hello, /** @type {number} */ attempt) {
    const options = { id, peer: hello.instance, attempt, limits: LIMITS, peerLimits: hello.limits, drainMs: 500, utf8 }
    this.#session = new Session(options)
    this.#calls.clear()
    this.#running.clear()
    this.#later = []
  }

  /** The calls of an ordinary application. */
  #carried(/** @type {boolean} */ isFresh) {
    if (!isFresh) {
      this.resumed++
      return
    }
    const session = this.#session
    if (session === undefined) return
    const ask = (/** @type {number} */ content, /** @type {Uint8Array} */ bytes, forMs = Infinity) =>
      this.#called(session.query(text('m'), content, bytes, 'copy', this.now + forMs, true, this.now))
    const tell = (/** @type {number} */ count) =>
      session.notify(text('n'), 2, new Uint8Array(count), 'borrow', Infinity, true, this.now)
    ask(1, text('what?'))
    const abandoned = ask(3, text('{"a":1}'))
    ask(2, new Uint8Array(this.#options.isPlain === true ? 20 : 5000).fill(5))
    ask(0, new Uint8Array(0), 50)
    if (abandoned >= 0 && this.#draw('answer') > 0.3) {
      session.abandon(abandoned, this.now)
      this.#calls.delete(abandoned)
    }
    this.#called(tell(3))
    this.#called(tell(this.#options.isPlain === true ? 5 : 3000))
  }

  #called(/** @type {number} */ slot) {
    if (slot === TAKEN || slot === QUEUE_FULL || slot === TOO_LARGE) return slot
    if (slot < 0 || this.#calls.has(slot)) throw new Finding(`a call in slot ${slot}, which is taken`)
    this.#calls.add(slot)
    return slot
  }

  #settled(/** @type {Extract<ProtocolEvent, { slot: number }>} */ { type, slot }) {
    if (!this.#calls.delete(slot))
      throw new Finding(`an event of type ${type} for slot ${slot}, in which nothing was asked`)
  }

  #query(/** @type {Extract<ProtocolEvent, { type: 'query' }>} */ { id, remainingMs }) {
    const session = this.#session
    if (this.#running.get(id) === true || (id & 0xffff) >= SLOTS)
      throw new Finding(`a query in id ${id}, which is taken`)
    if (!(remainingMs > 0)) throw new Finding(`a query with ${remainingMs} ms left`)
    this.#running.set(id, true)
    const draw = this.#draw('query')
    const end = () => {
      if (session !== this.#session || !this.#running.has(id)) return
      const isWanted = this.#running.get(id) === true
      this.#running.delete(id)
      const size = this.#options.isPlain === true || draw > 0.2 ? 3 : draw < 0.1 ? 6000 : 3000
      const isTaken =
        draw < 0.7
          ? session?.answer(id, 2, new Uint8Array(size), 'own', this.now)
          : session?.fail(id, 1, 'E', 'no', 0, new Uint8Array(0), this.now)
      session?.handlerEnded()
      if (isTaken !== isWanted) throw new Finding(`the answer to ${id} was ${isWanted ? 'not taken' : 'taken'}`)
    }
    if (draw < 0.5) end()
    else if (draw < 0.9) this.#later.push(end)
  }

  #cancelled(/** @type {Extract<ProtocolEvent, { type: 'cancel' }>} */ { id, why }) {
    if (this.#running.get(id) !== true) throw new Finding(`a cancel of ${id}, which does not run`)
    if (why === 'given-up') this.#running.set(id, false)
  }

  #notify(/** @type {Extract<ProtocolEvent, { type: 'notify' }>} */ { costBytes }) {
    const session = this.#session
    const draw = this.#draw('notify')
    const consume = () => {
      if (session === this.#session) session?.consumed(costBytes, this.now)
    }
    if (draw < 0.6) consume()
    else if (draw < 0.95) this.#later.push(consume)
  }

  #keep(/** @type {Extract<ProtocolEvent, { bytes: Uint8Array }>} */ { bytes, content }) {
    if (!(bytes instanceof Uint8Array) || content < 0 || content > 3) throw new Finding(`content ${content}`)
    if (bytes.length > LIMITS.messageBytesMax) throw new Finding(`a message of ${bytes.length} bytes was delivered`)
    this.#kept.push([bytes, bytes.slice()])
  }

  #checkHeld() {
    const stats = this.#session?.stats()
    if (stats === undefined) return
    const { queuedBytes, unacknowledgedBytes, reassemblyBytes, inboxBytes, handlersRunning } = stats
    if (reassemblyBytes > LIMITS.reassemblyBytesMax || reassemblyBytes < 0)
      throw new Finding(`${reassemblyBytes} bytes in messages being put together`)
    // One that is larger by itself goes when nothing else is there.
    if (inboxBytes > Math.max(LIMITS.inboxBytesMax, LIMITS.messageBytesMax + 400) || inboxBytes < 0)
      throw new Finding(`${inboxBytes} bytes in the inbox`)
    if (handlersRunning > SLOTS || handlersRunning < 0) throw new Finding(`${handlersRunning} handlers run`)
    if (queuedBytes + unacknowledgedBytes > HELD_BYTES_MAX)
      throw new Finding(`${queuedBytes} bytes wait and ${unacknowledgedBytes} are not acknowledged`)
  }
}

/** An event as text. */
function told(/** @type {ProtocolEvent} */ event) {
  return JSON.stringify(event, (_key, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value === Infinity ? 'Infinity' : value,
  )
}

/** Who ended a link and why, without the numbers in it: what makes one end another kind than the next. */
export function endKind(/** @type {LinkEnd | undefined} */ end) {
  switch (end?.by) {
    case undefined:
      return 'open'
    case 'violation':
      return `violation: ${end.error.message.replace(/\d+ bytes/g, '# bytes').replace(/(?<![.\d])\d+(?![.\d]|\))/g, '#')}`
    case 'refused':
    case 'refusing':
    case 'mismatch':
      return `${end.by}: ${end.refusal.reason}`
    default:
      return end.by
  }
}
