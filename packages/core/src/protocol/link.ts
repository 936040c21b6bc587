/**
 * One pipe's worth of protocol (PROTOCOL.md, sections 2 to 5 and 8): preamble, handshake, keepalive, CLOSE. Bytes and a
 * time go in; events, bytes and one deadline come out. It carries at most one Session, which it is given when both sides
 * are proven, and knows nothing of calls, promises, sockets or clocks.
 */
import type { Judgement } from './claim.js'
import type { Encryption } from './encryption.js'
import { CipherError, MisuseError, ProtocolError } from './errors.js'
import type { LinkEnd, ProtocolEvent } from './events.js'
import { decodeHello, decodeRefusal, decodeWelcome, encodeHello, encodeRefusal, encodeWelcome } from './hello.js'
import { idFromBytes, type Hello, type Id, type Refusal, type Side } from './hello.js'
import { guardOf, type Guard } from './guard.js'
import { decodePreamble, encodePreamble, mayBePreamble } from './preamble.js'
import type { Hash, Utf8 } from './primitives.js'
import { Queue } from './queue.js'
import { FrameReader } from './reader.js'
import { RECORD_BYTES_MAX, RecordReader, sealStream } from './records.js'
import type { Session } from './session.js'
import { nextState, type LinkCause, type LinkState } from './state.js'
import { Timers } from './timers.js'
import {
  cutText,
  encodeFrame,
  HANDSHAKE_BYTES_MAX,
  HEADER_BYTES,
  KIND,
  PREAMBLE_BYTES,
  readU16,
  REASON_BYTES_MAX,
  VERSION,
  writeU16,
  writeU64,
  type RefuseReason,
} from './wire.js'

const TOKEN_BYTES = 8
/** A peer that pings rarely is still given so many chances before it counts as lost. */
export const SILENCE_KEEPALIVES_MIN = 3
/** For so long a peer that has answered a probe counts as alive. */
const PROBE_VALID_MS = 1000

export interface LinkOptions {
  /** What we say of ourselves; its `side` says which end of the pipe this is. */
  readonly hello: Hello
  /** From `proofKey`. */
  readonly key: Uint8Array
  /** Without it, the secret is proven and nothing is encrypted. */
  readonly encryption?: Encryption | undefined
  /** 32 random bytes that serve this link alone: a `sealed` encryption needs them. */
  readonly ephemeral?: Uint8Array | undefined
  readonly hash: Hash
  readonly utf8: Utf8
  readonly silenceMs: number
  readonly handshakeTimeoutMs: number
  readonly now: number
}

type LinkTimer = 'handshake' | 'keepalive' | 'silence'

export class Link {
  readonly side: Side
  #state: LinkState
  readonly #options: LinkOptions
  readonly #timers = new Timers<LinkTimer>()
  readonly #reader = new FrameReader(HANDSHAKE_BYTES_MAX)
  readonly #guard: Guard
  /** What is read when it does not go to the frame reader as it comes. */
  #records: RecordReader | undefined
  /** Whether what the records hold is to be decrypted: else it is the peer's first message. */
  #opens = false
  #seals = false
  readonly #events = new Queue<ProtocolEvent>()
  /** Whole messages of the handshake: those that go out as they are, and those that go into records. */
  readonly #clear: Uint8Array[] = []
  readonly #sealed: Uint8Array[] = []
  /** What is to be sealed next; empty in between. */
  readonly #stream: Uint8Array[] = []

  readonly #theirPreamble = new Uint8Array(PREAMBLE_BYTES)
  #theirPreambleFilled = 0
  #firstMessageBytes = 0
  #expectsRefuse = false
  #ownSent = false
  /** The first bytes of what both sides have agreed on. */
  #id: Id | undefined
  #peer: Hello | undefined

  #session: Session | undefined
  #ackExpected = false
  #closeWanted: { readonly code: number; readonly reason: string; readonly whenIdle: boolean } | undefined
  #pingCount = 0
  #pingDue = false
  #pongDue: Uint8Array | undefined
  #heard = false
  #heardAt: number
  #probedAt = -Infinity
  #isProbing = false
  #now: number

  constructor(options: LinkOptions) {
    const { hello, now } = options
    this.#options = options
    this.side = hello.side
    this.#state = hello.side === 'dialer' ? 'calling' : 'waiting'
    this.#now = this.#heardAt = now
    this.#guard = guardOf({ side: hello.side, ...options })
    if (!this.#guard.isFramed) this.#records = new RecordReader(HANDSHAKE_BYTES_MAX)
    this.#timers.set('handshake', now + options.handshakeTimeoutMs)
    if (this.side === 'dialer') this.#sendHello()
  }

  get state(): LinkState {
    return this.#state
  }

  /** The peer's hello, once it was read. Not to be believed before the link is proven. */
  get peer(): Hello | undefined {
    return this.#peer
  }

  /** Names the link on both sides, once both hellos were read. */
  get id(): Id | undefined {
    return this.#id
  }

  /** Whether a byte has come in. */
  get heard(): boolean {
    return this.#heard
  }

  /** The session it carries, from `welcome` or `attach` until the link has ended. */
  get session(): Session | undefined {
    return this.#session
  }

  /** The soonest moment at which `tick` has something to do; Infinity when none. */
  get deadline(): number {
    return this.#timers.soonest
  }

  /** The soonest moment at which `takeWrite` has an acknowledgement to write. Of no interest while the pipe is full. */
  get writeDeadline(): number {
    return this.#session?.ackAt ?? Infinity
  }

  /** Takes the next bytes of the pipe. Those before must have been polled to the end. After the end they are dropped. */
  receive(chunk: Uint8Array, transient: boolean, now: number): void {
    if (this.#isOver()) return
    this.#setNow(now)
    if (chunk.length === 0) return
    this.#heard = true
    this.#heardAt = now
    this.#isProbing = false
    let at = 0
    while (this.#theirPreambleFilled < PREAMBLE_BYTES && at < chunk.length) {
      this.#theirPreamble[this.#theirPreambleFilled++] = chunk[at++] ?? 0
    }
    const intake = this.#records ?? this.#reader
    intake.feed(at === 0 ? chunk : chunk.subarray(at), transient)
  }

  /** The other direction of the pipe has ended, or the pipe broke. Everything received before must have been polled. */
  pipeEnded(now: number): void {
    this.#setNow(now)
    if (!this.#isOver()) this.#end({ by: 'pipe', heard: this.#heard })
  }

  /** The next event, or undefined when everything received was read. */
  poll(): ProtocolEvent | undefined {
    // What time and commands have brought comes before what is still to be read: a slot that is over must be known to be so
    // before its number serves again.
    const event = this.#events.shift() ?? this.#session?.poll()
    if (event !== undefined) return event
    if (this.#isOver()) return undefined
    try {
      if (this.#firstMessageBytes === 0 && !this.#readPreamble()) return this.#events.shift()
      while (this.#nextFrame()) {
        const read = this.#state === 'open' ? this.#readOpen() : this.#readFrame()
        if (read !== undefined) return read
        const queued = this.#events.shift()
        if (queued !== undefined) return queued
        if (this.#isOver()) return undefined
      }
    } catch (error) {
      this.#fail(error)
      return this.#events.shift()
    }
    const last = this.#events.shift() ?? this.#session?.poll()
    if (last !== undefined) return last
    if (this.#state === 'closed' && this.#session?.idle === true) {
      this.#end({ by: 'close' })
      return this.#events.shift()
    }
    return undefined
  }

  /** Appends to `out` what is to be written now, up to about `budgetBytes`. The chunks stay unchanged until acknowledged. */
  takeWrite(budgetBytes: number, now: number, out: Uint8Array[]): void {
    for (const message of this.#clear) out.push(message)
    this.#clear.length = 0
    const { sealer } = this.#guard
    if (!this.#seals || sealer === undefined) {
      this.#takeFrames(budgetBytes, now, out)
      return
    }
    this.#takeFrames(budgetBytes, now, this.#stream)
    try {
      // Each in a record of its own, which is as short as a stranger's must be.
      for (const message of this.#sealed.splice(0)) sealStream([message], sealer, out)
      sealStream(this.#stream, sealer, out)
    } catch (error) {
      if (!this.#isOver()) this.#fail(error)
    }
    this.#stream.length = 0
  }

  /** Whether there are events that neither time nor bytes have brought. */
  get hasEvents(): boolean {
    return this.#events.length > 0 || this.#session?.hasEvents === true
  }

  #takeFrames(budgetBytes: number, now: number, out: Uint8Array[]): void {
    const session = this.#session
    if (session === undefined || this.#isOver()) return
    this.#setNow(now)
    if (session.ackDue) out.push(encodeFrame(KIND.ACK, session.takeAck()))
    if (this.#pongDue !== undefined) {
      out.push(encodeFrame(KIND.PONG, this.#pongDue))
      this.#pongDue = undefined
    }
    if (this.#pingDue) {
      const token = new Uint8Array(TOKEN_BYTES)
      writeU64(token, 0, ++this.#pingCount)
      out.push(encodeFrame(KIND.PING, token))
      this.#pingDue = false
    }
    session.take(budgetBytes, now, out)
    const close = this.#closeWanted
    if (close !== undefined && (close.whenIdle ? session.idle : session.written)) {
      this.#closeWanted = undefined
      if (nextState(this.#state, 'write close') === undefined) return
      this.#move('write close')
      out.push(encodeFrame(KIND.CLOSE, this.#closePayload(close.code, close.reason)))
    }
  }

  /** Does what is due. The deadline is later than `now` afterwards. */
  tick(now: number): void {
    this.#setNow(now)
    for (let timer = this.#timers.takeDue(now); timer !== undefined; timer = this.#timers.takeDue(now)) {
      switch (timer) {
        case 'handshake':
          this.#end({ by: 'handshake-timeout', heard: this.#heard })
          break
        // Moments are compared with moments, never differences: a sum that was rounded must not come due and be set again
        // for ever.
        case 'keepalive': {
          const { keepaliveMs } = this.#options.hello
          const dueAt = this.#heardAt + keepaliveMs
          if (now >= dueAt) this.#pingDue = true
          this.#timers.set('keepalive', now >= dueAt ? now + keepaliveMs : dueAt)
          break
        }
        case 'silence': {
          const dueAt = this.#heardAt + this.#silenceMs
          if (now >= dueAt) this.#end({ by: 'silence', silentMs: now - this.#heardAt })
          else this.#timers.set('silence', dueAt)
          break
        }
      }
    }
  }

  /**
   * We were not awake for a while, so silence proves nothing: silence and handshake end a `keepaliveMs` from now at the
   * soonest, and the peer is pinged.
   */
  overslept(now: number): void {
    const freshMs = now + this.#options.hello.keepaliveMs
    for (const timer of ['handshake', 'silence'] as const) {
      const moment = this.#timers.at(timer)
      if (moment !== Infinity) this.#timers.set(timer, Math.max(moment, freshMs))
    }
    if (this.#session !== undefined) {
      this.#heardAt = Math.max(this.#heardAt, freshMs - this.#silenceMs)
      this.#pingDue = true
    }
  }

  /**
   * Asks the peer for a sign of life, unless it has just given one. Returns for how long silence may go on before the link
   * is lost; 0 for a peer that answered such a question within the last second.
   */
  probe(now: number): number {
    if (this.#session === undefined) return 0
    if (!this.#isProbing) {
      if (now - this.#probedAt < PROBE_VALID_MS) return 0
      this.#probedAt = now
      this.#isProbing = this.#pingDue = true
    }
    return Math.max(1, this.#timers.at('silence') - now, this.#heardAt + this.#silenceMs - now)
  }

  /** Listener, after `proven`: welcomes the dialer into `session` as the claim was judged. @throws MisuseError in any other state */
  welcome(session: Session, judgement: Extract<Judgement, { verdict: 'resume' | 'fresh' }>, now: number): void {
    this.#permit('write welcome')
    this.#setNow(now)
    this.#write(encodeFrame(KIND.WELCOME, this.#guard.welcome(encodeWelcome(judgement.welcome))))
    this.#startSealing()
    this.#move('write welcome')
    this.#carry(session, judgement.verdict === 'resume' ? judgement.received : 0)
  }

  /** Listener, before the link is open: says why not, and ends. @throws MisuseError in any other state */
  refuse(reason: RefuseReason, text: string, retryInMs = 0): void {
    this.#permit('write refuse')
    this.#refuse(reason, text, retryInMs)
  }

  /** Dialer, after `welcomed`: the session that this link carries. @throws MisuseError when there was no WELCOME, or twice */
  attach(session: Session, judgement: Extract<Judgement, { verdict: 'resume' | 'fresh' }>): void {
    if (this.#state !== 'open' || this.#session !== undefined) {
      throw new MisuseError(
        `attach() in state ${this.#state}${this.#session === undefined ? '' : ', which has a session'}`,
      )
    }
    this.#carry(session, judgement.verdict === 'resume' ? judgement.received : 0)
  }

  /** Ends the link for a reason of the driver's own. Nothing more is read; an ended link stays as it is. */
  drop(why: string): void {
    if (!this.#isOver()) this.#end({ by: 'drop', why })
  }

  /** Ends the link because what the peer has said, though it is well-formed, cannot be. */
  blame(why: string): void {
    if (!this.#isOver()) this.#end({ by: 'violation', error: new ProtocolError('5.4', why) })
  }

  /**
   * Says that we ask nothing more, once everything accepted is written, or with `whenIdle` once everything begun is done.
   * A link that is not open is left as it is.
   */
  close(code: number, reason: string, whenIdle: boolean): void {
    if (nextState(this.#state, 'write close') !== undefined) this.#closeWanted = { code, reason, whenIdle }
  }

  #isOver(): boolean {
    return this.#state === 'ended' || this.#state === 'refusing'
  }

  get #silenceMs(): number {
    return Math.max(this.#options.silenceMs, SILENCE_KEEPALIVES_MIN * (this.#peer?.keepaliveMs ?? 0))
  }

  #setNow(now: number): void {
    this.#now = now
    if (this.#session !== undefined) this.#session.now = now
  }

  #permit(cause: LinkCause): void {
    if (nextState(this.#state, cause) === undefined) throw new MisuseError(`Cannot ${cause} in state ${this.#state}`)
  }

  /** Makes a move; one that the table does not have is the peer's fault, since our own are checked before. */
  #move(cause: LinkCause): void {
    const next = nextState(this.#state, cause)
    if (next === undefined) throw new ProtocolError('4', `Cannot ${cause} in state ${this.#state}`)
    this.#state = next
  }

  #end(end: LinkEnd): void {
    this.#state = 'ended'
    this.#timers.clearAll()
    this.#discard()
    this.#session = undefined
    this.#events.push({ type: 'ended', end })
  }

  #fail(error: unknown): void {
    if (error instanceof CipherError) this.#end({ by: 'cipher', error })
    else if (!(error instanceof ProtocolError)) throw error
    else if (this.#state === 'waiting' && this.#firstMessageBytes > 0) this.#refuse('protocol', error.message, 0)
    else this.#end({ by: 'violation', error })
  }

  #discard(): void {
    this.#reader.discard()
    this.#records?.discard()
  }

  #sendHello(): void {
    this.#ownSent = true
    this.#clear.push(...this.#guard.writeFirst(encodeHello(this.#options.hello, this.#options.utf8)))
  }

  #write(frame: Uint8Array): void {
    const queue = this.#seals ? this.#sealed : this.#clear
    queue.push(frame)
  }

  #refusal(reason: RefuseReason, text: string, retryInMs: number): Refusal {
    const { mode } = this.#guard
    const { cipherName } = this.#options.hello
    return { reason, version: VERSION, mode, retryInMs: Math.ceil(retryInMs), cipherName, text }
  }

  #refuse(reason: RefuseReason, text: string, retryInMs: number): void {
    const refusal = this.#refusal(reason, text, retryInMs)
    const frame = encodeFrame(KIND.REFUSE, encodeRefusal(refusal, this.#options.utf8))
    if (!this.#ownSent) this.#clear.push(encodePreamble(this.#guard.mode, frame.length, true))
    this.#write(frame)
    this.#move('write refuse')
    this.#timers.clearAll()
    this.#discard()
    this.#events.push({ type: 'ended', end: { by: 'refusing', refusal } })
  }

  /** The other side is not one that we can talk to: the listener says so, the dialer only knows it. */
  #mismatch(reason: RefuseReason, text: string, theirs: Partial<Refusal>): void {
    if (this.#state === 'waiting') this.#refuse(reason, text, 0)
    else this.#end({ by: 'mismatch', refusal: { ...this.#refusal(reason, text, 0), ...theirs } })
  }

  /** False while the preamble is not whole, or when it ended the link. */
  #readPreamble(): boolean {
    if (!mayBePreamble(this.#theirPreamble, this.#theirPreambleFilled)) {
      this.#end({ by: 'foreign' })
      return false
    }
    if (this.#theirPreambleFilled < PREAMBLE_BYTES) return false
    const preamble = decodePreamble(this.#theirPreamble)
    this.#reader.frameBytesMax = this.#firstMessageBytes = preamble.messageBytes
    if (preamble.refuses) {
      if (this.side === 'listener') throw new ProtocolError('2', 'A dialer cannot refuse')
      this.#expectsRefuse = true
      // In clear, whatever the mode.
      this.#records?.handOver(this.#reader)
      this.#records = undefined
      return true
    }
    if (preamble.version !== VERSION) {
      const text = `version ${preamble.version} meets version ${VERSION}`
      this.#mismatch('version', text, { version: preamble.version })
      return false
    }
    if (preamble.mode !== this.#guard.mode) {
      const text = `mode ${preamble.mode} meets mode ${this.#guard.mode}`
      this.#mismatch('mode', text, { mode: preamble.mode, cipherName: '' })
      return false
    }
    this.#records?.expect(preamble.messageBytes)
    return true
  }

  /** Whether the frame reader holds a frame, after reading as many records as that takes. */
  #nextFrame(): boolean {
    for (;;) {
      if (this.#reader.next()) return true
      const record = this.#records?.next()
      if (record === undefined) return false
      if (this.#opens) {
        const plain = this.#guard.opener?.open(record)
        if (plain === undefined) {
          throw new ProtocolError('11.1', 'A record does not verify', this.#guard.opener?.failure)
        }
        if (plain.length === 0) throw new ProtocolError('11.1', 'A record without content')
        this.#reader.feed(plain, false)
      } else {
        this.#readFirst(record.slice())
        if (this.#isOver()) return false
      }
    }
  }

  /** What is read from now on is in records. */
  #openRecords(): void {
    if (this.#guard.opener === undefined) return
    this.#opens = true
    if (this.#records !== undefined) return
    this.#records = new RecordReader(HANDSHAKE_BYTES_MAX)
    this.#reader.handOver(this.#records)
  }

  /** Reads a frame in any state but `open`. */
  #readFrame(): ProtocolEvent | undefined {
    const { kind } = this.#reader
    if (this.#expectsRefuse && kind !== KIND.REFUSE) throw new ProtocolError('2', 'A REFUSE was announced')
    switch (kind) {
      case KIND.HELLO:
        this.#readHello()
        return undefined
      case KIND.PROVE:
        return this.#readProve()
      case KIND.WELCOME:
        return this.#readWelcome()
      case KIND.REFUSE:
        this.#readRefuse()
        return undefined
      default:
        return this.#readOpen()
    }
  }

  #readHello(): void {
    const reader = this.#reader
    if (!this.#guard.isFramed) throw new ProtocolError('11.2', 'A HELLO as a frame')
    if (HEADER_BYTES + reader.lengthBytes !== this.#firstMessageBytes) {
      throw new ProtocolError('2', 'A HELLO of another length than the preamble says')
    }
    this.#readFirst(encodeFrame(KIND.HELLO, reader.keep(reader.start)))
  }

  #readFirst(message: Uint8Array): void {
    const next = nextState(this.#state, 'read hello')
    if (next === undefined) throw new ProtocolError('4', `HELLO in state ${this.#state}`)
    const body = this.#guard.readFirst(this.#theirPreamble, message)
    if (body === undefined) {
      this.#mismatch('secret', 'the secrets or the keys differ', {})
      return
    }
    const { hello, utf8 } = this.#options
    const peer = decodeHello(body, utf8)
    // One's own hello can come back by reflection, with one's own side, so this comes before the check of the side.
    if (peer.instance === hello.instance) {
      this.#mismatch('self', 'both ends are the same instance', {})
      return
    }
    if (peer.side === this.side) throw new ProtocolError('5.1', `Both ends say that they are the ${this.side}`)
    if (peer.cipherName !== hello.cipherName) {
      this.#mismatch('mode', `cipher '${peer.cipherName}' meets cipher '${hello.cipherName}'`, {
        cipherName: peer.cipherName,
      })
      return
    }
    this.#peer = peer
    if (this.side === 'listener') this.#sendHello()
    this.#id = idFromBytes(this.#guard.agree())
    this.#reader.frameBytesMax = HANDSHAKE_BYTES_MAX
    this.#state = next
    if (this.#guard.isProofSealed) {
      this.#startSealing()
      this.#openRecords()
    }
    if (this.side === 'dialer') {
      this.#write(encodeFrame(KIND.PROVE, this.#guard.prove()))
      this.#startSealing()
    }
  }

  /** What is written from now on goes into records. */
  #startSealing(): void {
    this.#seals = this.#guard.sealer !== undefined
  }

  #readProve(): ProtocolEvent | undefined {
    this.#allow('read prove')
    const peer = this.#peer
    if (peer === undefined) throw new ProtocolError('4', 'A PROVE without a hello')
    if (!this.#guard.isProof(this.#reader.keep(this.#reader.start))) {
      this.#refuse('secret', 'the secrets or the keys differ', 0)
      return undefined
    }
    if (this.#reader.unreadBytes + (this.#records?.unreadBytes ?? 0) > 0)
      throw new ProtocolError('5', 'Bytes between PROVE and WELCOME')
    this.#move('read prove')
    this.#openRecords()
    // Whoever is proven may be kept waiting for the place of a peer that was lost.
    this.#timers.set('handshake', this.#now + this.#options.handshakeTimeoutMs)
    return { type: 'proven', hello: peer }
  }

  #readWelcome(): ProtocolEvent | undefined {
    this.#allow('read welcome')
    const peer = this.#peer
    if (peer === undefined) throw new ProtocolError('4', 'A WELCOME without a hello')
    const body = this.#guard.readWelcome(this.#reader.keep(this.#reader.start).slice())
    if (body === undefined) {
      this.#mismatch('secret', 'the listener does not know the secret', {})
      return undefined
    }
    const welcome = decodeWelcome(body)
    this.#move('read welcome')
    this.#openRecords()
    this.#widen()
    return { type: 'welcomed', hello: peer, welcome }
  }

  #readRefuse(): void {
    this.#allow('read refuse')
    const refusal = decodeRefusal(this.#reader.keep(this.#reader.start).slice(), this.#options.utf8)
    // Only who has proven the secret is told so: else anybody could keep us waiting.
    if (this.#expectsRefuse && refusal.reason === 'busy') throw new ProtocolError('5.5', 'Busy before a proof')
    this.#end({ by: 'refused', refusal })
  }

  /** Reads a frame of an open link; in any other state the table says whether it may come. */
  #readOpen(): ProtocolEvent | undefined {
    const reader = this.#reader
    const { kind } = reader
    const session = this.#session
    if (this.#state !== 'open') this.#allow(causeOf(kind))
    else if (kind < KIND.QUERY) throw new ProtocolError('4', `Frame kind ${kind} on an open link`)
    if (session === undefined) throw new ProtocolError('4', `Frame kind ${kind} before the session`)
    if (this.#ackExpected && kind !== KIND.ACK) {
      throw new ProtocolError('5.3', 'The first frame of a link must be an ACK')
    }
    if (kind <= KIND.NOTIFY) return session.receive(reader)
    switch (kind) {
      case KIND.ACK:
        this.#expectBytes(16)
        session.acknowledged(reader.bytes, reader.start, this.#now)
        this.#ackExpected = false
        return undefined
      case KIND.PING:
        this.#expectBytes(TOKEN_BYTES)
        this.#pongDue = reader.keep(reader.start).slice()
        return { type: 'keepalive', kind: 'ping' }
      case KIND.PONG:
        this.#expectBytes(TOKEN_BYTES)
        return { type: 'keepalive', kind: 'pong' }
      default:
        return this.#readClose()
    }
  }

  #readClose(): ProtocolEvent {
    const payload = this.#reader.keep(this.#reader.start)
    if (payload.length < 2 || payload.length > 2 + REASON_BYTES_MAX)
      throw new ProtocolError('8.1', 'A CLOSE of a wrong length')
    let reason: string
    try {
      reason = this.#options.utf8.decode(payload.subarray(2))
    } catch {
      throw new ProtocolError('8.1', 'The reason of a CLOSE is not UTF-8')
    }
    this.#move('read close')
    return { type: 'close', code: readU16(payload, 0), reason }
  }

  #closePayload(code: number, reason: string): Uint8Array {
    const text = cutText(this.#options.utf8.encode(reason), REASON_BYTES_MAX)
    const payload = new Uint8Array(2 + text.length)
    writeU16(payload, 0, code)
    payload.set(text, 2)
    return payload
  }

  #allow(cause: LinkCause): void {
    if (nextState(this.#state, cause) === undefined)
      throw new ProtocolError('4', `Cannot ${cause} in state ${this.#state}`)
  }

  #expectBytes(count: number): void {
    if (this.#reader.lengthBytes !== count) {
      throw new ProtocolError('3.2', `${this.#reader.lengthBytes} bytes in a frame of kind ${this.#reader.kind}`)
    }
  }

  /** The peer is proven: what it sends may be as large as we have announced. */
  #widen(): void {
    this.#reader.frameBytesMax = this.#options.hello.limits.fragmentBytes
    if (this.#records !== undefined) this.#records.bytesMax = RECORD_BYTES_MAX
  }

  #carry(session: Session, received: number): void {
    const { hello } = this.#options
    this.#session = session
    this.#ackExpected = true
    this.#widen()
    this.#reader.place = session.place
    session.attached(received)
    this.#setNow(this.#now)
    this.#timers.clear('handshake')
    this.#timers.set('keepalive', this.#now + hello.keepaliveMs)
    this.#timers.set('silence', this.#now + this.#silenceMs)
  }
}

/** For the frames of an open link; those of the handshake have readers of their own. */
function causeOf(kind: number): LinkCause {
  switch (kind) {
    case KIND.QUERY:
    case KIND.NOTIFY:
      return 'read ask'
    case KIND.CLOSE:
      return 'read close'
    default:
      return 'read reply'
  }
}
