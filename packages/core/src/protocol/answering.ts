/**
 * The peer's queries (PROTOCOL.md, section 6): which ids are taken, since when their time is up, and that each gets
 * exactly one ANSWER or FAIL. It knows the outbox and nothing of links or of how a handler runs.
 */
import { REFERENCE_BYTES_MIN } from './asking.js'
import { ProtocolError } from './errors.js'
import type { SessionEvent } from './events.js'
import type { AnnouncedLimits } from './hello.js'
import { NESTING_FACTOR } from './limits.js'
import { isEncoded, type Message, type Messages, type Ownership } from './messages.js'
import type { Outbox } from './outbox.js'
import type { Utf8 } from './primitives.js'
import type { Queue } from './queue.js'
import { Deadlines } from './timers.js'
import {
  CONTENT,
  cutText,
  FAIL_CODE_BYTES_MAX,
  FAIL_MESSAGE_BYTES_MAX,
  FAIL_REASON,
  HEADER_BYTES,
  KIND,
  REMAINING_FOREVER,
  writeU16,
} from './wire.js'

const STATE = {
  FREE: 0,
  /** Fragments are coming in. */
  ARRIVING: 1,
  /** Whole, and its handler not started: too many answers lie in the queue. */
  BACKLOG: 2,
  RUNNING: 3,
  /** Running although its caller has cancelled, or its time is up. */
  CANCELLED: 4,
  EXPIRED: 5,
  /** A large answer of which not all fragments are encoded. */
  SENDING: 6,
} as const

/** What becomes of a query whose caller is settled, however its handler ends. */
const OVER_REASON: ReadonlyMap<number, number> = new Map([
  [STATE.CANCELLED, FAIL_REASON.CANCELLED],
  [STATE.EXPIRED, FAIL_REASON.EXPIRED],
])

const NOTHING = new Uint8Array(0)

/** Handlers of all sessions of one driver that were started and have not ended. */
export interface HandlerCount {
  running: number
}

export class Answering {
  /** Handlers that were started and have not ended, with those that were given up. */
  running = 0

  readonly #outbox: Outbox
  readonly #messages: Messages
  readonly #peer: AnnouncedLimits
  readonly #handlersMax: number
  readonly #drainMs: number
  readonly #ofAll: HandlerCount
  readonly #utf8: Utf8
  readonly #events: Queue<SessionEvent>

  readonly #slots: number
  readonly #state: Uint8Array
  readonly #generation: Uint16Array
  /** The sequence number of the answer that freed the slot last. */
  readonly #answerSeq: Float64Array
  readonly #message: (Message | undefined)[] = []
  readonly #deadlines = new Deadlines()
  #taken = 0
  /** Bytes of small answers queued since the outbox was last empty. */
  #smallBytes = 0

  constructor(
    outbox: Outbox,
    messages: Messages,
    peer: AnnouncedLimits,
    own: { handlersMax: number; drainMs: number; handlerCount: HandlerCount },
    utf8: Utf8,
    events: Queue<SessionEvent>,
  ) {
    this.#outbox = outbox
    this.#messages = messages
    this.#peer = peer
    this.#handlersMax = own.handlersMax
    this.#drainMs = own.drainMs
    this.#ofAll = own.handlerCount
    this.#utf8 = utf8
    this.#events = events
    this.#slots = Math.min(65_536, NESTING_FACTOR * own.handlersMax)
    this.#state = new Uint8Array(this.#slots)
    this.#generation = new Uint16Array(this.#slots)
    this.#answerSeq = new Float64Array(this.#slots)
  }

  get deadline(): number {
    return this.#deadlines.soonest
  }

  /** Ids of the peer that wait for an ANSWER or FAIL, those being sent included. */
  get takenCount(): number {
    return this.#taken
  }

  /** Bytes of answers that wait to be written, without a large one that is under way. */
  get queuedBytes(): number {
    return this.#smallBytes + this.#messages.waitingBytes(KIND.ANSWER) + this.#messages.waitingBytes(KIND.FAIL)
  }

  /**
   * Takes the id of a query whose first frame was read.
   * @throws ProtocolError for an id out of range or taken: the peer asks more at once than it may, or again before it can
   * have read the answer, without which a peer that reads nothing could fill the outbox
   */
  arriving(id: number): void {
    const slot = id & 0xffff
    if (slot >= this.#slots) throw new ProtocolError('6.2', `Query slot ${slot}; the limit is ${this.#slots}`)
    const isAnswered = this.#state[slot] === STATE.FREE && (this.#answerSeq[slot] ?? 0) <= this.#outbox.handedSeq
    if (!isAnswered) throw new ProtocolError('6.2', `Query ${id} while its slot is taken`)
    this.#state[slot] = STATE.ARRIVING
    this.#generation[slot] = id >>> 16
    this.#taken++
  }

  /** The query is whole: its time runs, as far as it has a limit. It still waits for `start`. */
  arrived(id: number, remaining: number, now: number): void {
    const slot = id & 0xffff
    this.#state[slot] = STATE.BACKLOG
    if (remaining !== REMAINING_FOREVER) this.#deadlines.set(slot, now + remaining)
  }

  /**
   * True when the handler of the query may be started now, which this call says it is. Otherwise it was answered with a
   * FAIL (`false`): its time is up, it was cancelled, or handlers that were given up fill the house.
   */
  start(id: number, now: number): boolean {
    const slot = this.#slotOf(id)
    if (slot < 0 || this.#state[slot] !== STATE.BACKLOG) return false
    if (this.#deadlines.at(slot) <= now) {
      this.fail(id, FAIL_REASON.EXPIRED, '', '', CONTENT.NONE, NOTHING, now)
      return false
    }
    if (this.#ofAll.running >= NESTING_FACTOR * this.#handlersMax) {
      this.fail(id, FAIL_REASON.QUEUE_FULL, '', '', CONTENT.NONE, NOTHING, now)
      return false
    }
    this.#state[slot] = STATE.RUNNING
    this.running++
    this.#ofAll.running++
    return true
  }

  /** A handler has ended: its result was given before by `answer` or `fail`, or is dropped because it was given up. */
  ended(): void {
    this.running--
    this.#ofAll.running--
  }

  /** Whether the query is whole and waits for its handler. */
  waits(id: number): boolean {
    const slot = this.#slotOf(id)
    return slot >= 0 && this.#state[slot] === STATE.BACKLOG
  }

  /** What is left of the caller's time; Infinity for no limit. */
  remainingMs(id: number, now: number): number {
    return this.#deadlines.at(id & 0xffff) - now
  }

  /** Answers. False when the id is not open any more: the result is dropped. */
  answer(id: number, content: number, bytes: Uint8Array, ownership: Ownership, now: number): boolean {
    const slot = this.#slotOf(id)
    if (slot < 0) return false
    const state = this.#state[slot] ?? STATE.FREE
    // The caller is settled: the answer would be read and thrown away.
    const over = OVER_REASON.get(state)
    if (over !== undefined) return this.fail(id, over, '', '', CONTENT.NONE, NOTHING, now)
    if (state !== STATE.RUNNING) return false
    if (bytes.length > this.#peer.messageBytesMax) {
      const text = `The answer has ${bytes.length} bytes; the other side takes ${this.#peer.messageBytesMax}`
      return this.fail(id, FAIL_REASON.TOO_LARGE, '', text, CONTENT.NONE, NOTHING, now)
    }
    this.#reply(slot, KIND.ANSWER, id, content, NOTHING, bytes, ownership, now)
    return true
  }

  /** Fails a query. Texts that are too long are cut. False when the id is not open any more. */
  fail(
    id: number,
    reason: number,
    code: string,
    message: string,
    content: number,
    bytes: Uint8Array,
    now: number,
  ): boolean {
    const slot = this.#slotOf(id)
    if (slot < 0 || this.#state[slot] === STATE.SENDING) return false
    const over = OVER_REASON.get(this.#state[slot] ?? STATE.FREE)
    if (over !== undefined && reason !== over) return this.fail(id, over, '', '', CONTENT.NONE, NOTHING, now)
    const codeBytes = cutText(this.#utf8.encode(code), FAIL_CODE_BYTES_MAX)
    const messageBytes = cutText(this.#utf8.encode(message), FAIL_MESSAGE_BYTES_MAX)
    const fixed = new Uint8Array(4 + codeBytes.length + messageBytes.length)
    fixed[0] = reason
    fixed[1] = codeBytes.length
    fixed.set(codeBytes, 2)
    writeU16(fixed, 2 + codeBytes.length, messageBytes.length)
    fixed.set(messageBytes, 4 + codeBytes.length)
    const tooLarge = bytes.length > this.#peer.messageBytesMax
    this.#reply(slot, KIND.FAIL, id, tooLarge ? CONTENT.NONE : content, fixed, tooLarge ? NOTHING : bytes, 'own', now)
    return true
  }

  /**
   * The peer cancels. An id that is not open is normal: the answer has crossed the CANCEL.
   * @returns true for a query that waited for its handler and does so no more
   */
  cancel(id: number, now: number): boolean {
    const slot = this.#slotOf(id)
    if (slot < 0) return false
    const state = this.#state[slot]
    if (state === STATE.RUNNING) {
      this.#state[slot] = STATE.CANCELLED
      this.#deadlines.set(slot, now + this.#drainMs)
      this.#events.push({ type: 'cancel', id, why: 'cancelled' })
    } else if (state === STATE.ARRIVING || state === STATE.BACKLOG) {
      this.fail(id, FAIL_REASON.CANCELLED, '', '', CONTENT.NONE, NOTHING, now)
    } else if (state === STATE.SENDING) {
      const message = this.#message[slot]
      if (message === undefined) return false
      this.#state[slot] = STATE.CANCELLED
      this.#message[slot] = undefined
      // The FAIL stands in front of whatever the dropped answer makes room for.
      this.fail(id, FAIL_REASON.CANCELLED, '', '', CONTENT.NONE, NOTHING, now)
      this.#messages.drop(message)
    }
    return state === STATE.BACKLOG
  }

  /** A fragment of `message` was queued as the last frame of the outbox. */
  encoded(message: Message): void {
    const slot = message.id & 0xffff
    if (this.#message[slot] === message && isEncoded(message)) this.#free(slot)
  }

  /** The outbox has run empty: nothing small is held any more. */
  drained(): void {
    this.#smallBytes = 0
  }

  /** Aborts the handlers whose time is up, and gives up those that did not end in the time they were given then. */
  expire(now: number): void {
    this.#deadlines.expire(now, (slot) => {
      const id = (slot | ((this.#generation[slot] ?? 0) << 16)) >>> 0
      const state = this.#state[slot] ?? STATE.FREE
      const over = OVER_REASON.get(state)
      if (state === STATE.RUNNING) {
        this.#state[slot] = STATE.EXPIRED
        this.#deadlines.set(slot, now + this.#drainMs)
        this.#events.push({ type: 'cancel', id, why: 'expired' })
      } else if (over !== undefined) {
        this.fail(id, over, '', '', CONTENT.NONE, NOTHING, now)
        this.#events.push({ type: 'cancel', id, why: 'given-up' })
      } else if (state === STATE.BACKLOG) {
        this.fail(id, FAIL_REASON.EXPIRED, '', '', CONTENT.NONE, NOTHING, now)
      }
    })
  }

  /** The slot of an id that is open, or -1. */
  #slotOf(id: number): number {
    const slot = id & 0xffff
    if (slot >= this.#slots) return -1
    return this.#state[slot] !== STATE.FREE && this.#generation[slot] === id >>> 16 ? slot : -1
  }

  #reply(
    slot: number,
    kind: typeof KIND.ANSWER | typeof KIND.FAIL,
    id: number,
    content: number,
    fixed: Uint8Array,
    bytes: Uint8Array,
    ownership: Ownership,
    now: number,
  ): void {
    const outbox = this.#outbox
    const frameBytes = HEADER_BYTES + fixed.length + bytes.length
    this.#deadlines.clear(slot)
    if (frameBytes > this.#peer.fragmentBytes) {
      this.#state[slot] = STATE.SENDING
      this.#message[slot] = this.#messages.add(kind, id, content, fixed, bytes, ownership, -1)
      return
    }
    const external = ownership !== 'copy' && bytes.length > REFERENCE_BYTES_MIN
    const inlineBytes = external ? fixed.length : fixed.length + bytes.length
    outbox.frame(kind, 0, content, id, inlineBytes, external ? bytes.length : 0, now)
    if (fixed.length > 0) outbox.bytes.set(fixed, outbox.at)
    if (external) outbox.refer(bytes, -1)
    else outbox.bytes.set(bytes, outbox.at + fixed.length)
    this.#smallBytes += frameBytes
    this.#free(slot)
  }

  /** The last frame of the answer was queued. */
  #free(slot: number): void {
    this.#answerSeq[slot] = this.#outbox.queuedSeq
    this.#state[slot] = STATE.FREE
    this.#message[slot] = undefined
    this.#taken--
  }
}
