/**
 * Our own queries and notifications (PROTOCOL.md, section 6): slots and ids, when each may go out, and what is known of
 * it when it ends. It knows the outbox and nothing of links, promises or handlers.
 *
 * Per call there are array elements by slot and no object: that is what makes a call cheap.
 */
import { copied } from './bytes.js'
import { MisuseError, ProtocolError } from './errors.js'
import type { Delivery, SessionEvent, TakenEvent, TimeoutEvent } from './events.js'
import type { AnnouncedLimits } from './hello.js'
import { NESTING_FACTOR } from './limits.js'
import { isEncoded, type Message, type Messages, type Ownership } from './messages.js'
import type { Outbox } from './outbox.js'
import { Queue } from './queue.js'
import { Deadlines } from './timers.js'
import { CONTENT, HEADER_BYTES, KIND, METHOD_BYTES_MAX, REMAINING_FOREVER, TOTAL_BYTES, writeU32 } from './wire.js'

/** Results of `query` and `notify` that are not a slot. */
export const QUEUE_FULL = -1
export const TOO_LARGE = -2
export const TAKEN = -3

/** What a notification costs beside its payload and method, so that empty ones are bounded too. */
export const NOTIFY_COST_BYTES = 64
/** Handed-over and borrowed payloads above this go by reference; below, copying them is cheaper than a chunk of their own. */
export const REFERENCE_BYTES_MIN = 2048

const STATE = {
  FREE: 0,
  /** Held back: not encoded, the payload lies in `#waiting`. */
  WAITING: 1,
  /** A large message of which not all fragments are encoded. */
  SENDING: 2,
  /** Encoded whole, not answered. */
  ASKED: 3,
  /** Settled for its caller; the id is taken until the answer comes. */
  ABANDONED: 4,
  /** A borrowed notification, encoded and not acknowledged. */
  LENT: 5,
  /** Over, and free once no event of it waits to be polled: a new call in this slot would be taken for the old one. */
  RETIRED: 6,
} as const

/** Whether an event that ends a call waits to be polled, and somebody still wants to hear it. */
const UNPOLLED = { NONE: 0, WANTED: 1, DISMISSED: 2 } as const

interface Held {
  readonly slot: number
  readonly method: Uint8Array
  readonly content: number
  readonly bytes: Uint8Array
  readonly ownership: Ownership
}

export class Asking {
  /** Queries whose id is taken. */
  inFlight = 0

  readonly #outbox: Outbox
  readonly #messages: Messages
  readonly #peer: AnnouncedLimits
  readonly #sendBytesMax: number
  readonly #handlersRunning: () => number
  readonly #events: Queue<SessionEvent>

  readonly #slots: number
  readonly #state: Uint8Array
  readonly #unpolled: Uint8Array
  /** What is known of a call whose end was reported and not polled: its slot does not tell any more. */
  readonly #reportedAs: (Delivery | undefined)[] = []
  readonly #generation: Uint16Array
  readonly #firstSeq: Float64Array
  readonly #lastSeq: Float64Array
  readonly #message: (Message | undefined)[] = []
  readonly #deadlines = new Deadlines()
  readonly #freed: Int32Array
  #freedCount = 0
  #slotsUsed = 0

  /** Queries that are held back, in order. */
  readonly #waiting = new Queue<Held>()
  /** Bytes of small frames queued since the outbox was last empty. */
  #queryBytes = 0
  #notifyBytes = 0

  /** Notifications that the send queue has taken and that wait for their turn or for room at the peer, in order. */
  readonly #taken = new Queue<Held>()
  #takenBytes = 0
  /** Those behind them, for which the send queue has no room: their callers wait. */
  readonly #hopeful = new Queue<Held>()
  /** A fragmented notification under way: later ones wait, so that the order is kept. */
  #notifying: Message | undefined
  #notifyingSlot = -1
  #notifyIds = 0
  #notifySentBytes = 0
  /** Where each notification ends in `notifySentBytes`, of those that are not known to be consumed. */
  readonly #notifyEnds = new Queue<number>()
  #notifyConsumedBytes = 0
  readonly #lent: number[] = []

  constructor(
    outbox: Outbox,
    messages: Messages,
    peer: AnnouncedLimits,
    sendBytesMax: number,
    handlersRunning: () => number,
    events: Queue<SessionEvent>,
  ) {
    this.#outbox = outbox
    this.#messages = messages
    this.#peer = peer
    this.#sendBytesMax = sendBytesMax
    this.#handlersRunning = handlersRunning
    this.#events = events
    this.#slots = Math.min(65_536, NESTING_FACTOR * peer.handlersMax)
    this.#state = new Uint8Array(this.#slots)
    this.#unpolled = new Uint8Array(this.#slots)
    this.#generation = new Uint16Array(this.#slots)
    this.#firstSeq = new Float64Array(this.#slots)
    this.#lastSeq = new Float64Array(this.#slots)
    this.#freed = new Int32Array(this.#slots)
  }

  get deadline(): number {
    return this.#deadlines.soonest
  }

  /** Queries and notifications that were accepted and are not wholly in the outbox. */
  get unsent(): boolean {
    return this.waitingCount > 0 || this.#sendingCount > 0
  }
  /** Large messages of which not all fragments are encoded. */
  #sendingCount = 0

  get waitingCount(): number {
    return this.#waiting.length + this.#taken.length + this.#hopeful.length
  }

  /** How many notifications were accepted and are not known to be consumed. */
  get unconsumedCount(): number {
    return this.#notifyEnds.length + this.#taken.length
  }

  /** Notifications accepted whose consumption the peer has not reported, in bytes of cost. */
  get unconsumedBytes(): number {
    return this.#notifySentBytes - this.#notifyConsumedBytes + this.#takenBytes
  }

  /**
   * Asks. Returns the slot that answer, fail and timeout will name, or QUEUE_FULL or TOO_LARGE, which change nothing.
   * @param method at most `METHOD_BYTES_MAX` bytes of UTF-8
   * @param expiresAt when the call times out; Infinity for never
   * @throws MisuseError for a method that is too long
   */
  query(
    method: Uint8Array,
    content: number,
    bytes: Uint8Array,
    ownership: Ownership,
    expiresAt: number,
    mayWait: boolean,
    now: number,
  ): number {
    checkMethod(method)
    if (bytes.length > this.#peer.messageBytesMax) return TOO_LARGE
    // A query that is nested in a handler must not wait behind others, which may be waiting for that handler's end.
    if (this.#waiting.length > 0 && this.#mayAsk()) this.admit(now)
    const direct = this.#waiting.length === 0 && this.#mayAsk()
    if (!direct && !mayWait) return QUEUE_FULL
    const slot = this.#takeSlot()
    if (slot < 0) return QUEUE_FULL
    if (expiresAt !== Infinity) this.#deadlines.set(slot, expiresAt)
    if (direct) {
      this.#ask(slot, method, content, bytes, ownership, now)
    } else {
      this.#state[slot] = STATE.WAITING
      this.#waiting.push(hold(slot, method, content, bytes, ownership))
    }
    return slot
  }

  /**
   * Notifies. Returns TAKEN, or the slot that the `taken` event will name, or QUEUE_FULL or TOO_LARGE, which change
   * nothing. A borrowed one is always a slot.
   * @throws MisuseError for a method that is too long
   */
  notify(
    method: Uint8Array,
    content: number,
    bytes: Uint8Array,
    ownership: Ownership,
    expiresAt: number,
    mayWait: boolean,
    now: number,
  ): number {
    checkMethod(method)
    if (bytes.length > this.#peer.messageBytesMax) return TOO_LARGE
    const cost = costOf(method, bytes)
    const direct = this.#taken.length === 0 && this.#hopeful.length === 0 && this.#mayNotify(cost)
    const taken = direct || (this.#hopeful.length === 0 && this.#notifyRoom)
    if (!taken && !mayWait) return QUEUE_FULL
    let slot = -1
    if (!taken || ownership === 'borrow') {
      slot = this.#takeSlot()
      if (slot < 0) return QUEUE_FULL
      this.#state[slot] = STATE.WAITING
      if (expiresAt !== Infinity) this.#deadlines.set(slot, expiresAt)
    }
    if (direct) {
      this.#send(slot, method, content, bytes, ownership, cost, now)
    } else {
      const held = hold(slot, method, content, bytes, ownership)
      if (taken) this.#takenBytes += cost
      ;(taken ? this.#taken : this.#hopeful).push(held)
    }
    return slot < 0 ? TAKEN : slot
  }

  /** Moves the end of the time of what waits in `slot`. Nothing that is settled, or has no end, is changed. */
  expireAt(slot: number, moment: number): void {
    if (this.#deadlines.at(slot) !== Infinity) this.#deadlines.set(slot, moment)
  }

  /**
   * The caller of `slot` is settled without an answer: what was not sent never goes out as a query to be handled, and for
   * what was sent a CANCEL follows. Returns what is known of the call.
   */
  abandon(slot: number, now: number): Delivery {
    const delivery = this.#deliveryOnceLeft(slot)
    if (this.#unpolled[slot] === UNPOLLED.WANTED) {
      this.#unpolled[slot] = UNPOLLED.DISMISSED
      return delivery
    }
    this.#end(slot, delivery, now)
    if (this.#state[slot] === STATE.RETIRED) this.#freeSlot(slot)
    return delivery
  }

  /** The event that ends the call in `slot` is being polled. False when its caller has gone meanwhile. */
  reported(slot: number): boolean {
    const isWanted = this.#unpolled[slot] === UNPOLLED.WANTED
    this.#unpolled[slot] = UNPOLLED.NONE
    if (this.#state[slot] === STATE.RETIRED) this.#freeSlot(slot)
    return isWanted
  }

  #report(event: TimeoutEvent | TakenEvent, delivery: Delivery): void {
    this.#reportedAs[event.slot] = delivery
    this.#unpolled[event.slot] = UNPOLLED.WANTED
    this.#events.push(event)
  }

  /** Ends a call without an answer: its slot is retired, or abandoned to the answer that is still to come. */
  #end(slot: number, delivery: Delivery, now: number): void {
    const state = this.#state[slot]
    this.#deadlines.clear(slot)
    if (state === STATE.WAITING) {
      const inSlot = (held: Held): boolean => held.slot === slot
      const taken = this.#taken.remove(inSlot)
      if (taken !== undefined) this.#takenBytes -= costOf(taken.method, taken.bytes)
      else if (this.#waiting.remove(inSlot) === undefined) this.#hopeful.remove(inSlot)
      this.#state[slot] = STATE.RETIRED
      // What stood behind it may go now.
      this.admit(now)
      return
    }
    if (state === STATE.LENT) {
      this.#outbox.unborrow(slot)
      this.#lent.splice(this.#lent.indexOf(slot), 1)
      // A fragmented notification that was begun is always finished, from a copy of what its caller takes back.
      if (slot === this.#notifyingSlot && this.#notifying?.bytes !== undefined) {
        this.#notifying.bytes = copied(this.#notifying.bytes)
        this.#notifyingSlot = -1
      }
      this.#state[slot] = STATE.RETIRED
      return
    }
    if (state !== STATE.SENDING && state !== STATE.ASKED) return
    const message = this.#message[slot]
    if (state === STATE.SENDING && message !== undefined) {
      this.#message[slot] = undefined
      this.#sendingCount--
      if (message.fragments === 0) {
        this.#messages.drop(message)
        this.inFlight--
        this.#state[slot] = STATE.RETIRED
        this.admit(now)
        return
      }
    }
    this.#outbox.unborrow(slot)
    this.#state[slot] = STATE.ABANDONED
    if (state === STATE.ASKED && delivery === 'not-sent') {
      this.#outbox.withdrawn = true
    } else {
      // The CANCEL stands in front of whatever the dropped message made room for.
      this.#outbox.frame(KIND.CANCEL, 0, CONTENT.NONE, this.#id(slot), 0, 0, now)
      if (state === STATE.SENDING && message !== undefined) this.#messages.drop(message)
    }
  }

  /** What will be true of `slot` when its caller leaves it while the session goes on: what was lent goes out all the same. */
  #deliveryOnceLeft(slot: number): Delivery {
    const delivery = this.delivery(slot)
    return delivery === 'not-sent' && this.#state[slot] === STATE.LENT ? 'unknown' : delivery
  }

  /** What is known of the call or notification in `slot` if the session ends now. */
  delivery(slot: number): Delivery {
    if (this.#unpolled[slot] === UNPOLLED.WANTED) return this.#reportedAs[slot] ?? 'unknown'
    const state = this.#state[slot]
    if (state === STATE.WAITING || state === STATE.FREE) return 'not-sent'
    const message = this.#message[slot]
    if (message !== undefined && message.fragments === 0) return 'not-sent'
    if ((this.#firstSeq[slot] ?? 0) > this.#outbox.handedSeq) return 'not-sent'
    if (state === STATE.SENDING) return 'unknown'
    return (this.#lastSeq[slot] ?? 0) <= this.#outbox.ackedSeq ? 'delivered' : 'unknown'
  }

  /**
   * The peer answers `id`: returns its slot, still taken, for `settle`.
   * @throws ProtocolError when nothing was asked under this id
   */
  answered(id: number): number {
    const slot = id & 0xffff
    const state = this.#state[slot]
    if (
      (state !== STATE.ASKED && state !== STATE.ABANDONED) ||
      this.#generation[slot] !== id >>> 16 ||
      // One that was given up may never be sent as a whole; any other must be.
      ((state === STATE.ASKED ? this.#lastSeq[slot] : this.#firstSeq[slot]) ?? 0) > this.#outbox.handedSeq
    ) {
      throw new ProtocolError('6.2', `An answer to ${id}, which was not asked`)
    }
    return slot
  }

  /** True when nobody waits for the answer in `slot` any more. */
  isAbandoned(slot: number): boolean {
    return this.#state[slot] === STATE.ABANDONED
  }

  /** The whole answer for `slot` was read: the slot is free. */
  settle(slot: number, now: number): void {
    this.#deadlines.clear(slot)
    this.inFlight--
    this.#freeSlot(slot)
    if (this.#waiting.length > 0) this.admit(now)
  }

  /** A fragment of `message` was queued as the last frame of the outbox. */
  encoded(message: Message, now: number): void {
    const seq = this.#outbox.queuedSeq
    if (message === this.#notifying) {
      const slot = this.#notifyingSlot
      if (message.fragments === 1 && slot >= 0) this.#firstSeq[slot] = seq
      if (!isEncoded(message)) return
      this.#notifying = undefined
      this.#notifyingSlot = -1
      this.#sendingCount--
      if (slot >= 0) this.#lastSeq[slot] = seq
      this.admit(now)
      return
    }
    const slot = message.id & 0xffff
    if (message.kind !== KIND.QUERY || this.#message[slot] !== message) return
    if (message.fragments === 1) {
      this.#firstSeq[slot] = seq
      // It may have waited long behind others for its first turn.
      writeU32(this.#outbox.bytes, this.#outbox.at + TOTAL_BYTES, this.remaining(message.id, now))
    }
    if (!isEncoded(message)) return
    this.#message[slot] = undefined
    this.#sendingCount--
    this.#lastSeq[slot] = seq
    this.#state[slot] = STATE.ASKED
  }

  /** The peer's ACK moved on: borrowed notifications that it covers are taken, and there may be room again. */
  acknowledged(consumedBytes: number, now: number): void {
    if (consumedBytes > this.#notifySentBytes) {
      throw new ProtocolError('7.2', 'More notifications consumed than were sent')
    }
    if (consumedBytes < this.#notifyConsumedBytes)
      throw new ProtocolError('7.2', 'Fewer notifications consumed than before')
    this.#notifyConsumedBytes = consumedBytes
    while ((this.#notifyEnds.peek() ?? Infinity) <= consumedBytes) this.#notifyEnds.shift()
    while (this.#lent.length > 0) {
      const slot = this.#lent[0] ?? -1
      if (slot === this.#notifyingSlot || (this.#lastSeq[slot] ?? 0) > this.#outbox.ackedSeq) break
      this.#lent.shift()
      this.#deadlines.clear(slot)
      this.#state[slot] = STATE.RETIRED
      this.#report({ type: 'taken', slot }, 'delivered')
    }
    this.admit(now)
  }

  /** The outbox has run empty: nothing small is held any more. */
  drained(now: number): void {
    this.#queryBytes = 0
    this.#notifyBytes = 0
    if (this.waitingCount > 0) this.admit(now)
  }

  /** Lets out what waited and may go now, in the order in which it came. */
  admit(now: number): void {
    while (this.#waiting.length > 0 && this.#mayAsk()) {
      const held = this.#waiting.shift()
      if (held !== undefined) this.#ask(held.slot, held.method, held.content, held.bytes, held.ownership, now)
    }
    for (;;) {
      this.#takeHopeful()
      const next = this.#taken.peek()
      if (next === undefined) return
      const cost = costOf(next.method, next.bytes)
      if (!this.#mayNotify(cost)) return
      this.#taken.shift()
      this.#takenBytes -= cost
      this.#send(next.slot, next.method, next.content, next.bytes, next.ownership, cost, now)
    }
  }

  /** Ends what is due. */
  expire(now: number): void {
    this.#deadlines.expire(now, (slot) => {
      const delivery = this.#deliveryOnceLeft(slot)
      this.#end(slot, delivery, now)
      this.#report({ type: 'timeout', slot, delivery }, delivery)
    })
  }

  /** The remaining time to be written into the QUERY `id` that was not handed over yet. */
  remaining(id: number, now: number): number {
    const slot = id & 0xffff
    if (this.#state[slot] === STATE.ABANDONED) return 0
    return remainingField(this.#deadlines.at(slot) - now)
  }

  #mayAsk(): boolean {
    return (
      (this.inFlight < this.#peer.handlersMax || this.#handlersRunning() > 0) &&
      this.#queryBytes + this.#messages.waitingBytes(KIND.QUERY) < this.#sendBytesMax
    )
  }

  #mayNotify(cost: number): boolean {
    const open = this.#notifySentBytes - this.#notifyConsumedBytes
    return (
      (open === 0 || open + cost <= this.#peer.inboxBytesMax) &&
      this.#notifying === undefined &&
      this.#queuedNotifyBytes < this.#sendBytesMax
    )
  }

  /** Bytes of notifications that were encoded, or are being cut into fragments, and not written. */
  get #queuedNotifyBytes(): number {
    return this.#notifyBytes + (this.#messages.heldBytes[KIND.NOTIFY] ?? 0)
  }

  /** The send queue takes another notification. */
  get #notifyRoom(): boolean {
    return this.#queuedNotifyBytes + this.#takenBytes < this.#sendBytesMax
  }

  #ask(slot: number, method: Uint8Array, content: number, bytes: Uint8Array, ownership: Ownership, now: number): void {
    const id = this.#id(slot)
    const fixedBytes = 5 + method.length
    const frameBytes = HEADER_BYTES + fixedBytes + bytes.length
    const outbox = this.#outbox
    const remaining = remainingField(this.#deadlines.at(slot) - now)
    this.inFlight++
    if (frameBytes > this.#peer.fragmentBytes) {
      const fixed = new Uint8Array(fixedBytes)
      writeQueryFixed(fixed, 0, remaining, method)
      this.#state[slot] = STATE.SENDING
      this.#sendingCount++
      this.#message[slot] = this.#messages.add(KIND.QUERY, id, content, fixed, bytes, ownership, slot)
      return
    }
    const external = ownership !== 'copy' && bytes.length > REFERENCE_BYTES_MIN
    outbox.frame(
      KIND.QUERY,
      0,
      content,
      id,
      external ? fixedBytes : fixedBytes + bytes.length,
      external ? bytes.length : 0,
      now,
    )
    writeQueryFixed(outbox.bytes, outbox.at, remaining, method)
    if (external) outbox.refer(bytes, ownership === 'borrow' ? slot : -1)
    else outbox.bytes.set(bytes, outbox.at + fixedBytes)
    this.#queryBytes += frameBytes
    this.#state[slot] = STATE.ASKED
    this.#firstSeq[slot] = this.#lastSeq[slot] = outbox.queuedSeq
  }

  #send(
    slot: number,
    method: Uint8Array,
    content: number,
    bytes: Uint8Array,
    ownership: Ownership,
    cost: number,
    now: number,
  ): void {
    const fixedBytes = 1 + method.length
    const frameBytes = HEADER_BYTES + fixedBytes + bytes.length
    const outbox = this.#outbox
    this.#notifySentBytes += cost
    this.#notifyEnds.push(this.#notifySentBytes)
    if (frameBytes > this.#peer.fragmentBytes) {
      const fixed = new Uint8Array(fixedBytes)
      fixed[0] = method.length
      fixed.set(method, 1)
      this.#notifyIds = (this.#notifyIds + 1) >>> 0
      this.#sendingCount++
      this.#notifyingSlot = slot
      this.#notifying = this.#messages.add(KIND.NOTIFY, this.#notifyIds, content, fixed, bytes, ownership, slot)
    } else {
      const external = ownership !== 'copy' && bytes.length > REFERENCE_BYTES_MIN
      const inlineBytes = external ? fixedBytes : fixedBytes + bytes.length
      outbox.frame(KIND.NOTIFY, 0, content, 0, inlineBytes, external ? bytes.length : 0, now)
      outbox.bytes[outbox.at] = method.length
      if (method.length > 0) outbox.bytes.set(method, outbox.at + 1)
      if (external) outbox.refer(bytes, ownership === 'borrow' ? slot : -1)
      else outbox.bytes.set(bytes, outbox.at + fixedBytes)
      this.#notifyBytes += frameBytes
      if (slot >= 0) this.#firstSeq[slot] = this.#lastSeq[slot] = outbox.queuedSeq
    }
    if (slot < 0) return
    if (ownership === 'borrow') {
      this.#state[slot] = STATE.LENT
      this.#lent.push(slot)
    } else {
      this.#deadlines.clear(slot)
      this.#state[slot] = STATE.RETIRED
      this.#report({ type: 'taken', slot }, 'unknown')
    }
  }

  /** The send queue has room for notifications behind its limit: their callers wait no longer. */
  #takeHopeful(): void {
    while (this.#hopeful.length > 0 && this.#notifyRoom) {
      const held = this.#hopeful.shift()
      if (held === undefined) return
      this.#takenBytes += costOf(held.method, held.bytes)
      if (held.ownership === 'borrow') {
        this.#taken.push(held)
        continue
      }
      this.#taken.push({ ...held, slot: -1 })
      this.#deadlines.clear(held.slot)
      this.#state[held.slot] = STATE.RETIRED
      this.#report({ type: 'taken', slot: held.slot }, 'unknown')
    }
  }

  #id(slot: number): number {
    return (slot | ((this.#generation[slot] ?? 0) << 16)) >>> 0
  }

  #takeSlot(): number {
    let slot: number
    if (this.#freedCount > 0) slot = this.#freed[--this.#freedCount] ?? -1
    else if (this.#slotsUsed < this.#slots) slot = this.#slotsUsed++
    else return -1
    this.#generation[slot] = (this.#generation[slot] ?? 0) + 1
    this.#firstSeq[slot] = this.#lastSeq[slot] = Infinity
    return slot
  }

  #freeSlot(slot: number): void {
    this.#state[slot] = STATE.FREE
    this.#message[slot] = undefined
    this.#freed[this.#freedCount++] = slot
  }
}

/** @throws MisuseError for a name whose length does not fit its byte on the wire */
function checkMethod(method: Uint8Array): void {
  if (method.length > METHOD_BYTES_MAX) {
    throw new MisuseError(`A method of ${method.length} bytes; the limit is ${METHOD_BYTES_MAX}`)
  }
}

export function costOf(method: Uint8Array, bytes: Uint8Array): number {
  return method.length + bytes.length + NOTIFY_COST_BYTES
}

function hold(slot: number, method: Uint8Array, content: number, bytes: Uint8Array, ownership: Ownership): Held {
  const owned = ownership === 'copy'
  return { slot, method, content, bytes: owned ? copied(bytes) : bytes, ownership: owned ? 'own' : ownership }
}

function remainingField(remainingMs: number): number {
  if (remainingMs === Infinity) return REMAINING_FOREVER
  return remainingMs <= 0 ? 0 : Math.min(Math.ceil(remainingMs), REMAINING_FOREVER - 1)
}

function writeQueryFixed(bytes: Uint8Array, at: number, remaining: number, method: Uint8Array): void {
  writeU32(bytes, at, remaining)
  bytes[at + 4] = method.length
  if (method.length > 0) bytes.set(method, at + 5)
}
