/**
 * One session with one peer instance (PROTOCOL.md, sections 6 and 7): counts and acknowledgements, calls in both
 * directions, messages being put together. It outlives the links that carry it and knows no handshake, clock or promise.
 *
 * The driver gives commands and polls events; a Link hands it the sequenced frames it reads and takes what is to be written.
 */
import { Answering, type HandlerCount } from './answering.js'
import { Asking, costOf, NOTIFY_COST_BYTES } from './asking.js'
import { Assemblies, type Assembly } from './assembly.js'
import { ProtocolError } from './errors.js'
import { EventCell, type Delivery, type QueryEvent, type SessionEvent } from './events.js'
import type { HeldSession } from './claim.js'
import type { AnnouncedLimits, Id } from './hello.js'
import type { Limits } from './limits.js'
import { Messages, type Ownership } from './messages.js'
import { Outbox } from './outbox.js'
import type { Utf8 } from './primitives.js'
import { Queue } from './queue.js'
import type { FrameReader } from './reader.js'
import {
  CONTENT,
  FAIL_CODE_BYTES_MAX,
  FAIL_MESSAGE_BYTES_MAX,
  FLAG,
  HEADER_BYTES,
  KIND,
  readU16,
  readU32,
  readU64,
  writeU32,
  writeU64,
} from './wire.js'

/** An ACK goes out after this many frames or bytes taken over, or this long after the first of them (section 7.2). */
const ACK_FRAMES = 256
const ACK_BYTES = 256 * 1024
const ACK_DELAY_MS = 20
const ACK_PAYLOAD_BYTES = 16

const NO_BYTES = new Uint8Array(0)

export interface SessionOptions {
  readonly id: Id
  /** The instance of the peer. */
  readonly peer: Id
  /** The dialer's attempt that was welcomed; 0 on the side that dialled. */
  readonly attempt: number
  readonly limits: Limits
  readonly peerLimits: AnnouncedLimits
  /** How long a handler may outlive its query's time or a CANCEL. */
  readonly drainMs: number
  /** Shared by all sessions of a driver: a handler may outlive its session, too. Without it, this one counts alone. */
  readonly handlerCount?: HandlerCount
  readonly utf8: Utf8
}

interface QueryFixed {
  readonly method: string
  readonly remaining: number
}
interface FailFixed {
  readonly reason: number
  readonly code: string
  readonly message: string
}

/** How full each buffer of a session is, beside two counts that only rise. */
export interface SessionStats {
  /** Frames of queries, answers, notifications and cancels that were handed to a pipe, each once however often it was sent. */
  readonly sentFrames: number
  /** Such frames of the peer that were taken over. */
  readonly receivedFrames: number
  /** Bytes accepted into the send queue and not yet handed to a pipe, or to be handed to another one after a loss. */
  readonly queuedBytes: number
  /** Bytes handed to the pipe and kept until the peer acknowledges them; at most about `replayBytesMax`. */
  readonly unacknowledgedBytes: number
  /** Sizes of the messages of the peer that are being put together; at most `reassemblyBytesMax`. */
  readonly reassemblyBytes: number
  /** Cost in bytes of the peer's notifications whose handler has not returned; at most `inboxBytesMax`, or one that is larger. */
  readonly inboxBytes: number
  /** Cost in bytes of own notifications that were taken and are not known to be consumed by the peer. */
  readonly unconsumedBytes: number
  /** Own queries that hold a slot of the peer: encoded, and without an answer, also when their caller waits no longer. */
  readonly queriesInFlight: number
  /** Own queries and notifications that wait for room, here or at the peer; at most 16 × its `handlersMax`, and what `sendBytesMax` takes. */
  readonly callsWaiting: number
  /** Whole queries of the peer whose handler waits until answers before it are written. */
  readonly queriesWaiting: number
  /** Handlers of the peer's queries that have not ended, with those that were given up; at most 16 × `handlersMax`. */
  readonly handlersRunning: number
}

export class Session implements HeldSession {
  readonly id: Id
  readonly peer: Id
  attempt: number

  readonly #limits: Limits
  readonly #utf8: Utf8
  readonly #outbox: Outbox
  readonly #messages: Messages
  readonly #asking: Asking
  readonly #answering: Answering
  readonly #events = new Queue<SessionEvent>()
  readonly #cell = new EventCell()

  readonly #assemblies: Assemblies
  /** Messages being put together: queries by the peer's slot, answers by our own; one notification at a time. */
  readonly #queryParts: (Assembly<QueryFixed> | undefined)[] = []
  readonly #answerParts: (Assembly<FailFixed | undefined> | undefined)[] = []
  #notifyPart: Assembly<string> | undefined
  /** Whole queries whose handler may not start yet. */
  readonly #backlog = new Queue<Omit<QueryEvent, 'type' | 'remainingMs'>>()

  #receivedSeq = 0
  #reportedSeq = 0
  #bytesSinceAck = 0
  #notifyReceivedBytes = 0
  #consumedBytes = 0
  #reportedConsumedBytes = 0
  #ackAt = Infinity
  readonly #ackBytes: number

  #now = 0
  /** The method read last, as bytes and text: most calls of a program name the same few. */
  #methodBytes = NO_BYTES
  #method = ''

  constructor(options: SessionOptions) {
    const { limits, peerLimits, utf8, handlerCount = { running: 0 } } = options
    this.id = options.id
    this.peer = options.peer
    this.attempt = options.attempt
    this.#limits = limits
    this.#utf8 = utf8
    // At least 1: a peer that announces next to nothing gets an ACK for each frame, and none for no frame.
    const quarter = Math.floor(Math.min(peerLimits.replayBytesMax, limits.inboxBytesMax) / 4)
    this.#ackBytes = Math.max(1, Math.min(ACK_BYTES, quarter))
    this.#outbox = new Outbox((bytes, at, id) => {
      writeU32(bytes, at, this.#asking.remaining(id, this.#now))
    })
    this.#messages = new Messages(this.#outbox, peerLimits, (message, now) => {
      this.#asking.encoded(message, now)
      this.#answering.encoded(message)
    })
    this.#assemblies = new Assemblies(limits)
    this.#answering = new Answering(
      this.#outbox,
      this.#messages,
      peerLimits,
      { handlersMax: limits.handlersMax, drainMs: options.drainMs, handlerCount },
      utf8,
      this.#events,
    )
    this.#asking = new Asking(
      this.#outbox,
      this.#messages,
      peerLimits,
      limits.sendBytesMax,
      () => this.#answering.running,
      this.#events,
    )
  }

  // ---- what the claim is judged by

  get received(): number {
    return this.#receivedSeq
  }
  get acked(): number {
    return this.#outbox.ackedSeq
  }
  get handed(): number {
    return this.#outbox.cursorSeq
  }

  // ---- commands of the driver: asking

  /** Asks; see `Asking.query`. @returns the slot, or QUEUE_FULL or TOO_LARGE, which change nothing */
  query(
    method: Uint8Array,
    content: number,
    bytes: Uint8Array,
    ownership: Ownership,
    expiresAt: number,
    mayWait: boolean,
    now: number,
  ): number {
    // It may let handlers start, whose time is counted from here.
    this.#now = now
    return this.#asking.query(method, content, bytes, ownership, expiresAt, mayWait, now)
  }

  /** Notifies; see `Asking.notify`. @returns TAKEN, a slot, or QUEUE_FULL or TOO_LARGE, which change nothing */
  notify(
    method: Uint8Array,
    content: number,
    bytes: Uint8Array,
    ownership: Ownership,
    expiresAt: number,
    mayWait: boolean,
    now: number,
  ): number {
    return this.#asking.notify(method, content, bytes, ownership, expiresAt, mayWait, now)
  }

  /** Moves the end of the time of what waits in `slot`. */
  expireAt(slot: number, moment: number): void {
    this.#asking.expireAt(slot, moment)
  }

  /** The caller of `slot` waits no longer. @returns what is known of the call */
  abandon(slot: number, now: number): Delivery {
    const part = this.#answerParts[slot]
    if (part !== undefined) part.bytes = undefined
    return this.#asking.abandon(slot, now)
  }

  /** What is known of the call in `slot` if it ends now. */
  delivery(slot: number): Delivery {
    return this.#asking.delivery(slot)
  }

  // ---- commands of the driver: answering

  /** Answers query `id`. @returns false when the id is not open any more and the result was dropped */
  answer(id: number, content: number, bytes: Uint8Array, ownership: Ownership, now: number): boolean {
    return this.#answering.answer(id, content, bytes, ownership, now)
  }

  /** Fails query `id`. @returns false when the id is not open any more */
  fail(
    id: number,
    reason: number,
    code: string,
    message: string,
    content: number,
    bytes: Uint8Array,
    now: number,
  ): boolean {
    return this.#answering.fail(id, reason, code, message, content, bytes, now)
  }

  /** A handler that a `query` event started has ended, whatever became of its result. */
  handlerEnded(): void {
    this.#answering.ended()
  }

  /** The handler of a notification has returned: the peer may send as much again. */
  consumed(costBytes: number, now: number): void {
    this.#consumedBytes += costBytes
    if (this.#ackAt === Infinity) this.#ackAt = now + ACK_DELAY_MS
  }

  // ---- time

  /** The soonest moment at which `tick` has something to do. */
  get deadline(): number {
    return Math.min(this.#asking.deadline, this.#answering.deadline)
  }

  /** When an acknowledgement is due, on whatever link there is. */
  get ackAt(): number {
    return this.#ackAt
  }

  tick(now: number): void {
    this.#now = now
    this.#asking.expire(now)
    this.#answering.expire(now)
    this.#sweepBacklog()
  }

  // ---- what ends a link in order

  /** Nothing that was accepted is still to be written. */
  get written(): boolean {
    return !this.#asking.unsent && !this.#messages.pending && !this.#outbox.pending
  }

  /** Nothing is asked and unanswered, or begun and unfinished, in either direction. */
  get idle(): boolean {
    return this.written && this.#asking.inFlight === 0 && this.#answering.takenCount === 0
  }

  /** Idle, and all that was sent is known to have arrived. */
  get settled(): boolean {
    return this.idle && this.#outbox.ackedSeq === this.#outbox.handedSeq
  }

  stats(): SessionStats {
    const heldBytes = this.#messages.heldBytes.reduce((sum, bytes) => sum + bytes, 0)
    return {
      sentFrames: this.#outbox.handedSeq,
      receivedFrames: this.#receivedSeq,
      queuedBytes: this.#outbox.unhandedBytes + heldBytes,
      unacknowledgedBytes: this.#outbox.retainedBytes,
      reassemblyBytes: this.#assemblies.openBytes,
      inboxBytes: this.#notifyReceivedBytes - this.#consumedBytes,
      unconsumedBytes: this.#asking.unconsumedBytes,
      queriesInFlight: this.#asking.inFlight,
      callsWaiting: this.#asking.waitingCount,
      queriesWaiting: this.#backlog.length,
      handlersRunning: this.#answering.running,
    }
  }

  /** How many notifications were accepted and are not known to be consumed by the peer. */
  get unconsumedCount(): number {
    return this.#asking.unconsumedCount
  }

  // ---- the side of the link

  /** A new link carries the session; the peer has `received` of our frames, and what it lacks is to be sent again. */
  attached(received: number): void {
    this.#outbox.rewind(received)
    this.#ackAt = -Infinity // the first frame on a link reports both counts
  }

  get ackDue(): boolean {
    return (
      this.#receivedSeq - this.#reportedSeq >= ACK_FRAMES ||
      this.#bytesSinceAck >= this.#ackBytes ||
      this.#consumedBytes - this.#reportedConsumedBytes >= this.#ackBytes ||
      this.#ackAt <= this.#now
    )
  }

  /** The payload of an ACK with the present counts, which counts as sent. */
  takeAck(): Uint8Array {
    const payload = new Uint8Array(ACK_PAYLOAD_BYTES)
    writeU64(payload, 0, this.#receivedSeq)
    writeU64(payload, 8, this.#consumedBytes)
    this.#reportedSeq = this.#receivedSeq
    this.#reportedConsumedBytes = this.#consumedBytes
    this.#bytesSinceAck = 0
    this.#ackAt = Infinity
    return payload
  }

  /** @throws ProtocolError for counts that go back or beyond what was sent */
  acknowledged(payload: Uint8Array, start: number, now: number): void {
    const seq = readU64(payload, start)
    if (seq < this.#outbox.ackedSeq || seq > this.#outbox.cursorSeq) {
      throw new ProtocolError(
        '7.2',
        `ACK ${seq}; acknowledged were ${this.#outbox.ackedSeq}, sent ${this.#outbox.cursorSeq}`,
      )
    }
    this.#outbox.acknowledge(seq)
    this.#asking.acknowledged(readU64(payload, start + 8), now)
  }

  /** Appends to `out` what is to be written next, up to about `budgetBytes`; nothing while the replay window is full. */
  take(budgetBytes: number, now: number, out: Uint8Array[]): void {
    this.#now = now
    const outbox = this.#outbox
    if (!outbox.pending && !this.#messages.pending) return
    const unacknowledged = outbox.ackedSeq < outbox.cursorSeq
    // Slabs that are acknowledged in part still count, but must not stop the last of them from being freed.
    const windowBytes = this.#limits.replayBytesMax - (unacknowledged ? outbox.retainedBytes : 0)
    const budget = Math.min(budgetBytes, windowBytes)
    if (budget <= 0) return
    while (this.#messages.pending && outbox.unhandedBytes < budget) this.#messages.encodeNext(now)
    outbox.take(budget, now, out)
    if (!outbox.pending) {
      this.#asking.drained(now)
      this.#answering.drained()
    }
  }

  /** The time that counts for what the next frames bring. */
  set now(now: number) {
    this.#now = now
  }

  /** Whether `poll` may have something that neither time nor a frame has brought. */
  get hasEvents(): boolean {
    return this.#events.length > 0
  }

  /** An event that no frame brings, or undefined. */
  poll(): SessionEvent | undefined {
    this.#cell.bytes = NO_BYTES // the event polled before is over, and what it brought is the driver's alone
    for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
      if (event.type !== 'timeout' && event.type !== 'taken') return event
      if (this.#asking.reported(event.slot)) return event
    }
    while (this.#backlog.length > 0 && this.#mayStart()) {
      const query = this.#backlog.shift()
      if (query !== undefined && this.#answering.start(query.id, this.#now)) {
        return { type: 'query', ...query, remainingMs: this.#answering.remainingMs(query.id, this.#now) }
      }
    }
    return undefined
  }

  /** Where a fragment that is not the first goes. @throws ProtocolError when no such message is open */
  readonly place = (kind: number, id: number, lengthBytes: number): Uint8Array | undefined =>
    this.#assemblies.place(this.#partOf(kind, id), lengthBytes)

  /**
   * Takes over the sequenced frame that `reader` stands on.
   * @returns the event it brings, if any
   * @throws ProtocolError when it breaks a rule; it was not taken over then
   */
  receive(reader: FrameReader): SessionEvent | undefined {
    const event = this.#dispatch(reader)
    this.#receivedSeq++
    this.#bytesSinceAck += HEADER_BYTES + reader.lengthBytes
    if (this.#ackAt === Infinity) this.#ackAt = this.#now + ACK_DELAY_MS
    return event
  }

  #dispatch(reader: FrameReader): SessionEvent | undefined {
    switch (reader.kind) {
      case KIND.QUERY:
        return this.#receiveQuery(reader)
      case KIND.ANSWER:
        return this.#receiveAnswer(reader)
      case KIND.FAIL:
        return this.#receiveFail(reader)
      case KIND.NOTIFY:
        return this.#receiveNotify(reader)
      default: {
        this.#receiveCancel(reader)
        return
      }
    }
  }

  #receiveQuery(reader: FrameReader): SessionEvent | undefined {
    const { id, flags, content } = reader
    const slot = id & 0xffff
    if (flags !== 0 && (flags & FLAG.FIRST) === 0) {
      const part = this.#queryPart(id)
      if (!this.#assemblies.added(part, content, reader.lengthBytes, (flags & FLAG.MORE) !== 0)) return undefined
      this.#queryParts[slot] = undefined
      this.#answering.arrived(id, part.fixed.remaining, this.#now)
      return this.#started(id, part.fixed.method, content, part.bytes ?? NO_BYTES)
    }
    const at = flags === 0 ? reader.start : reader.start + 8
    if (reader.end - at < 5) throw new ProtocolError('6.1', 'A QUERY shorter than its fields')
    const remaining = readU32(reader.bytes, at)
    const methodBytes = reader.bytes[at + 4] ?? 0
    const contentAt = at + 5 + methodBytes
    if (contentAt > reader.end) throw new ProtocolError('6.1', 'A QUERY shorter than its method')
    const method = methodBytes === 0 ? '' : this.#readMethod(reader.bytes, at + 5, contentAt)
    const total = flags === 0 ? 0 : readU64(reader.bytes, reader.start)
    if (flags === 0) this.#checkWhole(content, reader.end - contentAt)
    else this.#assemblies.check(content, total, reader.end - contentAt)
    this.#answering.arriving(id)
    if (flags !== 0) {
      this.#queryParts[slot] = this.#assemblies.open(
        { method, remaining },
        id,
        content,
        total,
        reader.keep(contentAt),
        true,
      )
      return undefined
    }
    this.#answering.arrived(id, remaining, this.#now)
    return this.#started(id, method, content, reader.keep(contentAt))
  }

  #started(id: number, method: string, content: number, bytes: Uint8Array): SessionEvent | undefined {
    if (this.#backlog.length > 0 || !this.#mayStart()) {
      this.#backlog.push({ id, method, content, bytes })
      return undefined
    }
    if (!this.#answering.start(id, this.#now)) return undefined
    const cell = this.#cell
    cell.type = 'query'
    cell.id = id
    cell.method = method
    cell.content = content
    cell.bytes = bytes
    cell.remainingMs = this.#answering.remainingMs(id, this.#now)
    return cell
  }

  #receiveAnswer(reader: FrameReader): SessionEvent | undefined {
    const { id, flags, content } = reader
    const slot = this.#asking.answered(id)
    let bytes: Uint8Array
    if (flags === 0) {
      if (this.#answerParts[slot] !== undefined) throw new ProtocolError('6.3', 'A whole answer among its fragments')
      this.#checkWhole(content, reader.lengthBytes)
      bytes = reader.keep(reader.start)
    } else if ((flags & FLAG.FIRST) !== 0) {
      if (this.#answerParts[slot] !== undefined)
        throw new ProtocolError('6.3', 'A first fragment among those of an answer')
      if (reader.lengthBytes < 8) throw new ProtocolError('6.3', 'A first fragment shorter than its fields')
      const total = readU64(reader.bytes, reader.start)
      this.#assemblies.check(content, total, reader.lengthBytes - 8)
      this.#openAnswer(slot, reader, undefined, total, reader.start + 8)
      return undefined
    } else {
      const part = this.#answerPart(slot)
      if (part.fixed !== undefined) throw new ProtocolError('6.3', 'A fragment of an ANSWER among those of a FAIL')
      if (!this.#assemblies.added(part, content, reader.lengthBytes, (flags & FLAG.MORE) !== 0)) return undefined
      this.#answerParts[slot] = undefined
      bytes = part.bytes ?? NO_BYTES
    }
    const abandoned = this.#asking.isAbandoned(slot)
    this.#asking.settle(slot, this.#now)
    if (abandoned) return undefined
    const cell = this.#cell
    cell.type = 'answer'
    cell.slot = slot
    cell.content = content
    cell.bytes = bytes
    return cell
  }

  #receiveFail(reader: FrameReader): SessionEvent | undefined {
    const { id, flags, content } = reader
    const slot = this.#asking.answered(id)
    let fixed: FailFixed
    let bytes: Uint8Array
    if (flags === 0 || (flags & FLAG.FIRST) !== 0) {
      const begun = this.#answerParts[slot]
      const read = this.#readFail(reader, flags === 0 ? reader.start : reader.start + 8)
      fixed = read.fixed
      const total = flags === 0 ? 0 : readU64(reader.bytes, reader.start)
      if (flags === 0) this.#checkWhole(content, reader.end - read.contentAt)
      else this.#assemblies.check(content, total, reader.end - read.contentAt, begun?.totalBytes)
      if (begun !== undefined) {
        // A FAIL instead of the rest of an answer.
        this.#assemblies.close(begun)
        this.#answerParts[slot] = undefined
      }
      if (flags !== 0) {
        this.#openAnswer(slot, reader, fixed, total, read.contentAt)
        return undefined
      }
      bytes = reader.keep(read.contentAt)
    } else {
      const part = this.#answerPart(slot)
      if (part.fixed === undefined) throw new ProtocolError('6.3', 'A fragment of a FAIL among those of an ANSWER')
      if (!this.#assemblies.added(part, content, reader.lengthBytes, (flags & FLAG.MORE) !== 0)) return undefined
      this.#answerParts[slot] = undefined
      fixed = part.fixed
      bytes = part.bytes ?? NO_BYTES
    }
    const abandoned = this.#asking.isAbandoned(slot)
    this.#asking.settle(slot, this.#now)
    return abandoned ? undefined : { type: 'fail', slot, ...fixed, content, bytes }
  }

  #receiveNotify(reader: FrameReader): SessionEvent | undefined {
    const { flags, content } = reader
    let method: string
    let bytes: Uint8Array
    let costBytes: number
    if (flags !== 0 && (flags & FLAG.FIRST) === 0) {
      const part = this.#notifyPartOf(reader.id)
      if (!this.#assemblies.added(part, content, reader.lengthBytes, (flags & FLAG.MORE) !== 0)) return undefined
      this.#notifyPart = undefined
      method = part.fixed
      bytes = part.bytes ?? NO_BYTES
      costBytes = costOf(this.#utf8.encode(method), bytes)
    } else {
      if (this.#notifyPart !== undefined) throw new ProtocolError('6.4', 'A NOTIFY among the fragments of another')
      const at = flags === 0 ? reader.start : reader.start + 8
      const methodBytes = reader.bytes[at] ?? 0
      const contentAt = at + 1 + methodBytes
      if (contentAt > reader.end) throw new ProtocolError('6.4', 'A NOTIFY shorter than its method')
      if (flags === 0 && reader.id !== 0) throw new ProtocolError('6.4', 'An id on a NOTIFY in one piece')
      method = methodBytes === 0 ? '' : this.#readMethod(reader.bytes, at + 1, contentAt)
      if (flags !== 0) {
        const total = readU64(reader.bytes, reader.start)
        this.#assemblies.check(content, total, reader.end - contentAt)
        this.#admitNotify(total + methodBytes + NOTIFY_COST_BYTES)
        this.#notifyPart = this.#assemblies.open(method, reader.id, content, total, reader.keep(contentAt), true)
        return undefined
      }
      this.#checkWhole(content, reader.end - contentAt)
      bytes = reader.keep(contentAt)
      costBytes = methodBytes + bytes.length + NOTIFY_COST_BYTES
      this.#admitNotify(costBytes)
    }
    const cell = this.#cell
    cell.type = 'notify'
    cell.method = method
    cell.content = content
    cell.bytes = bytes
    cell.costBytes = costBytes
    return cell
  }

  /** @throws ProtocolError for the content of a message in one piece that cannot be */
  #checkWhole(content: number, lengthBytes: number): void {
    if (content === CONTENT.NONE && lengthBytes > 0) {
      throw new ProtocolError('3.4', 'Bytes of content where the header says that there is none')
    }
    if (lengthBytes > this.#limits.messageBytesMax) {
      throw new ProtocolError('6.3', `A message of ${lengthBytes} bytes; the limit is ${this.#limits.messageBytesMax}`)
    }
  }

  #receiveCancel(reader: FrameReader): void {
    const { id } = reader
    if (reader.lengthBytes !== 0) throw new ProtocolError('6.5', 'A CANCEL with a payload')
    const slot = id & 0xffff
    const part = this.#queryParts[slot]
    if (part?.id === id) {
      this.#assemblies.close(part)
      this.#queryParts[slot] = undefined
    }
    if (this.#answering.cancel(id, this.#now)) this.#backlog.remove((query) => query.id === id)
  }

  /** Lets go of queries that were answered while they waited for their handler. */
  #sweepBacklog(): void {
    while (this.#backlog.remove((query) => !this.#answering.waits(query.id)) !== undefined);
  }

  #openAnswer(slot: number, reader: FrameReader, fixed: FailFixed | undefined, total: number, contentAt: number): void {
    const { id, content } = reader
    const wanted = !this.#asking.isAbandoned(slot)
    this.#answerParts[slot] = this.#assemblies.open(fixed, id, content, total, reader.keep(contentAt), wanted)
  }

  #readFail(reader: FrameReader, at: number): { fixed: FailFixed; contentAt: number } {
    const { bytes, end } = reader
    const codeAt = at + 2
    const codeBytes = bytes[at + 1] ?? 0
    const messageAt = codeAt + codeBytes + 2
    const messageBytes = readU16(bytes, codeAt + codeBytes)
    const contentAt = messageAt + messageBytes
    const tooLong = codeBytes > FAIL_CODE_BYTES_MAX || messageBytes > FAIL_MESSAGE_BYTES_MAX
    if (messageAt > end || contentAt > end || tooLong) throw new ProtocolError('6.1', 'A FAIL whose fields do not fit')
    const code = this.#text(bytes.slice(codeAt, codeAt + codeBytes))
    const message = this.#text(bytes.slice(messageAt, contentAt))
    return { fixed: { reason: bytes[at] ?? 0, code, message }, contentAt }
  }

  #readMethod(bytes: Uint8Array, from: number, to: number): string {
    const known = this.#methodBytes
    let same = known.length === to - from
    for (let i = 0; same && i < known.length; i++) same = known[i] === bytes[from + i]
    if (same) return this.#method
    this.#methodBytes = bytes.slice(from, to)
    this.#method = this.#text(this.#methodBytes)
    return this.#method
  }

  #text(bytes: Uint8Array): string {
    try {
      return this.#utf8.decode(bytes)
    } catch {
      throw new ProtocolError('6.1', 'A name or message is not UTF-8')
    }
  }

  #admitNotify(costBytes: number): void {
    const open = this.#notifyReceivedBytes - this.#consumedBytes
    if (open > 0 && open + costBytes > this.#limits.inboxBytesMax) {
      throw new ProtocolError(
        '6.6',
        `Notifications of ${open + costBytes} bytes; the limit is ${this.#limits.inboxBytesMax}`,
      )
    }
    this.#notifyReceivedBytes += costBytes
  }

  /** While answers fill the queue and nothing of ours waits at the peer, no further handler is started. */
  #mayStart(): boolean {
    return this.#answering.queuedBytes <= this.#limits.sendBytesMax || this.#asking.inFlight > 0
  }

  #partOf(kind: number, id: number): Assembly<unknown> {
    if (kind === KIND.QUERY) return this.#queryPart(id)
    if (kind === KIND.NOTIFY) return this.#notifyPartOf(id)
    return this.#answerPart(this.#asking.answered(id))
  }

  #queryPart(id: number): Assembly<QueryFixed> {
    const part = this.#queryParts[id & 0xffff]
    if (part?.id !== id) throw new ProtocolError('6.3', `A fragment of query ${id}, which was not begun`)
    return part
  }

  #answerPart(slot: number): Assembly<FailFixed | undefined> {
    const part = this.#answerParts[slot]
    if (part === undefined) throw new ProtocolError('6.3', 'A fragment of an answer that was not begun')
    return part
  }

  #notifyPartOf(id: number): Assembly<string> {
    const part = this.#notifyPart
    if (part?.id !== id) throw new ProtocolError('6.4', `A fragment of notification ${id}, which was not begun`)
    return part
  }
}
