/**
 * One direction of one session: what its sender has written and what of it was given whole to its reader, judged by sections 6
 * and 7 of PROTOCOL.md. It is told of frames in order, with their numbers, and knows neither pipes nor handshakes.
 */
import type { Limits } from '@pairlink/core'
import { CONTENT, isRepeated, KIND, NO_LIMIT, type Frame } from './frames.js'

/** One process incarnation as the referee knows it. */
export interface Player {
  readonly name: string
  /** Its own clock, in milliseconds. */
  now(): number
  /** Since when, on its own clock, it has been running without being stopped or blocked. */
  awakeSince(): number
  /** Whether it listens at the address and does not close. */
  isOpen(): boolean
  readonly limits: Limits
}

/** What a lane shares with all others. */
export interface Court {
  readonly fault: (rule: string, text: string) => void
  /** The remaining time of call `call` was written by `asker`. */
  readonly judgeRemaining: (call: number, remainingMs: number, asker: Player) => void
  /** @returns false when that call was begun before, in whatever session */
  readonly begins: (call: number) => boolean
  /** All of that query or notification was given to its reader. @param hasTime false for a query that came with none left */
  readonly hasArrived: (call: number, hasTime: boolean) => void
}

/** A frame with its number, as it stays for all replays. */
export interface Sent {
  readonly number: number
  readonly frame: Frame
  readonly message: Message | undefined
  readonly query: Query | undefined
}

interface Message {
  readonly first: Frame
  gotBytes: number
  readonly head: Uint8Array
  call: number | undefined
}

interface Query {
  readonly id: number
  readonly message: Message
  /** A CANCEL was written before its last fragment. */
  isStopped: boolean
  isCancelled: boolean
  /** With what it was answered, or begins to be. */
  answeredBy: number | undefined
  isAnswered: boolean
  /** The asker has read the whole of its answer. */
  isOver: boolean
  // What its reader knows of it.
  arrivedAt: number | undefined
  hasArrivedWhole: boolean
  hasCancelArrived: boolean
  remainingMs: number
}

/** Section 6.6: each notification costs so much besides its content and its method. */
/** Section 10: so far may what is not acknowledged exceed its limit. */
const BLOCK_BYTES = 64 * 1024
const NOTIFY_BYTES = 64
/** Section 6.2. */
const SLOTS_PER_HANDLER = 16
const SLOT_BITS = 16
const SLOT_MASK = 0xffff
/** Of a FAIL. */
const CANCELLED = 4
const EXPIRED = 5
/** Timers may fire early by a part of a millisecond, and both clocks are read in between. */
const EARLY_MS = 3
/** No number of a call is longer. */
const HEAD_BYTES = 16
const COMMA = 0x2c
const SPACE = 0x20
const BRACKET_OPEN = 0x5b
const BRACKET_CLOSE = 0x5d

export class Lane {
  readonly sender: Player
  readonly reader: Player
  readonly #court: Court
  /** The other direction of the session, where the answers go. */
  #opposite!: Lane

  // ---- what the sender knows
  /** The number of the last frame written. */
  written = 0
  /** As far as the sender has read that frames were taken over. */
  #acknowledged = 0
  #mayRestart = false
  #unacknowledgedBytes = 0
  /** By number: what is not known to be acknowledged. */
  readonly #sent = new Map<number, Sent>()
  #notifiedCost = 0
  #consumedCost = 0
  /** By kind and id: messages of which a part was written. */
  readonly #open = new Map<number, Message>()
  #openBytes = 0
  #notify: Message | undefined
  #lastNotifyId: number | undefined
  /** By slot: the last query there. */
  readonly #queries = new Map<number, Query>()
  #asked = 0
  /** A CLOSE was written, on whichever link. */
  isClosed = false

  // ---- what the reader knows
  /** Sequenced frames that were given whole to the reader, on links that counted. */
  received = 0
  /** The highest count that the reader has stated. */
  #reported = 0
  #reportedCost = 0
  #arrivedCost = 0
  #owed = 0
  #hasCalls = false
  hasCloseArrived = false

  private constructor(sender: Player, reader: Player, court: Court) {
    this.sender = sender
    this.reader = reader
    this.#court = court
  }

  /** Both directions of a new session. */
  static pair(one: Player, other: Player, court: Court): readonly [fromOne: Lane, fromOther: Lane] {
    const fromOne = new Lane(one, other, court)
    const fromOther = new Lane(other, one, court)
    fromOne.#opposite = fromOther
    fromOther.#opposite = fromOne
    return [fromOne, fromOther]
  }

  /** Queries of which the sender has not read the answer. */
  get asked(): number {
    return this.#asked
  }

  /** Queries of which the reader has something and has not written the whole answer. */
  get owed(): number {
    return this.#owed
  }

  get acknowledged(): number {
    return this.#acknowledged
  }

  // ---- written by the sender

  /** The sender writes the frame with that number, for the first time or again. */
  write(frame: Frame, number: number): Sent {
    if (this.#mayRestart) this.#restartUnlessSame(frame, number)
    const sent = number > this.written ? this.#new(frame, number) : this.#again(frame, number)
    const call = sent.message?.call
    if (frame.kind === KIND.query && frame.isFirst && call !== undefined) {
      this.#court.judgeRemaining(call, frame.remainingMs, this.sender)
    }
    return sent
  }

  /**
   * The sender has said WELCOME to the same fresh id again (5.4, items 3 and 4). Either it has held the session since, and goes
   * on from frame 1; or it had given the session up, and another one begins. What it writes first tells.
   */
  mayRestart(): void {
    this.#mayRestart = true
  }

  #restartUnlessSame(frame: Frame, number: number): void {
    const sent = this.#sent.get(number)
    if (sent !== undefined && !isRepeated(frame, sent.frame)) this.#restart()
    this.#mayRestart = false
  }

  #restart(): void {
    this.written = 0
    this.#unacknowledgedBytes = 0
    this.#sent.clear()
    this.#notifiedCost = 0
    this.#open.clear()
    this.#openBytes = 0
    this.#notify = undefined
    this.#lastNotifyId = undefined
    this.#queries.clear()
    this.#asked = 0
  }

  /** The sender writes CLOSE, when the next sequenced frame of this link has that number. */
  close(frame: Frame, nextNumber: number): void {
    // Whoever has held the session would have begun with frame 1.
    if (this.#mayRestart) this.#restart()
    this.#mayRestart = false
    this.isClosed = true
    // Sections 8.1 and 8.3. What an application has accepted and is not begun yet cannot be seen.
    const isAsking = ({ first: { kind } }: Message): boolean => kind === KIND.query || kind === KIND.notify
    if (nextNumber <= this.written || [...this.#open.values()].some(isAsking)) {
      this.#fault('wire-close-early', frame, 'before the end of what was asked')
    }
  }

  /** Section 7.3. */
  #again(frame: Frame, number: number): Sent {
    const sent = this.#sent.get(number)
    // Nothing is kept of what was acknowledged: that the link begins behind it is judged by the counts of the handshake.
    if (sent === undefined) return { number, frame, message: undefined, query: undefined }
    if (!isRepeated(frame, sent.frame)) {
      const other = [...this.#sent.values()].find((one) => isRepeated(frame, one.frame))
      const what = other === undefined ? 'is not what it was' : `is what ${other.number} was`
      this.#fault('wire-replay', frame, `frame ${number}, written before as ${sent.frame.name}, ${what}`)
    }
    return sent
  }

  #new(frame: Frame, number: number): Sent {
    const { replayBytesMax } = this.sender.limits
    // Section 10. What lies in one block goes out together.
    if (this.#unacknowledgedBytes > replayBytesMax + BLOCK_BYTES) {
      const text = `${this.#unacknowledgedBytes} bytes are not acknowledged; the limit is ${replayBytesMax}`
      this.#fault('wire-window', frame, text)
    }
    this.written = number
    this.#unacknowledgedBytes += frame.bytes.length
    const sent = { number, frame, ...this.#judge(frame) }
    this.#sent.set(number, sent)
    return sent
  }

  #judge(frame: Frame): Pick<Sent, 'message' | 'query'> {
    switch (frame.kind) {
      case KIND.query: {
        const message = this.#assemble(frame)
        const query = frame.isFirst && message !== undefined ? this.#ask(frame, message) : this.#queryOf(frame.id)
        return { message, query }
      }
      case KIND.cancel:
        return { message: undefined, query: this.#cancel(frame) }
      case KIND.notify:
        return { message: this.#notification(frame), query: undefined }
      default:
        return this.#answer(frame)
    }
  }

  /** Sections 6.2 and 6.6. */
  #ask(frame: Frame, message: Message): Query {
    const { handlersMax } = this.reader.limits
    const slot = frame.id & SLOT_MASK
    const before = this.#queries.get(slot)
    if (slot >= SLOTS_PER_HANDLER * handlersMax) {
      this.#fault('wire-slot', frame, `slot ${slot}, and the reader has ${SLOTS_PER_HANDLER * handlersMax}`)
    }
    if (before !== undefined && !before.isOver) {
      this.#fault('wire-slot', frame, `slot ${slot} is taken: the asker has not read its answer`)
    }
    if (before?.id === frame.id) {
      this.#fault('wire-slot', frame, `the generation ${frame.id >>> SLOT_BITS} for the second time running`)
    }
    // A query that was allowed because a handler ran may wait for long until it is written, and the handler be over then. So
    // only a side that has never had a handler to run is judged.
    if (this.#asked >= handlersMax && !this.#opposite.#hasCalls) {
      this.#fault(
        'wire-query-held',
        frame,
        `${this.#asked} queries are without an answer; handlersMax is ${handlersMax}`,
      )
    }
    this.#asked++
    const query: Query = {
      id: frame.id,
      message,
      isStopped: false,
      isCancelled: false,
      answeredBy: undefined,
      isAnswered: false,
      isOver: false,
      arrivedAt: undefined,
      hasArrivedWhole: false,
      hasCancelArrived: false,
      remainingMs: NO_LIMIT,
    }
    this.#queries.set(slot, query)
    return query
  }

  #queryOf(id: number): Query | undefined {
    const query = this.#queries.get(id & SLOT_MASK)
    return query?.id === id ? query : undefined
  }

  /** Sections 6.3 and 6.5. One of an id that is not open is normal: it may cross the answer. */
  #cancel(frame: Frame): Query | undefined {
    const query = this.#queryOf(frame.id)
    if (query === undefined) return undefined
    if (query.isStopped) this.#fault('wire-stop', frame, 'a second one, for a query that ended with the first')
    query.isCancelled = true
    query.isStopped = this.#drop(KIND.query, frame.id) || query.isStopped
    return query
  }

  /** Sections 6.4 and 6.6. */
  #notification(frame: Frame): Message | undefined {
    if (this.#notify !== undefined && (frame.isFirst || frame.id !== this.#notify.first.id)) {
      this.#fault('wire-notify-order', frame, 'between the fragments of another')
    }
    const message = this.#assemble(frame)
    if (message === undefined) return undefined
    this.#notify = frame.isLast ? undefined : message
    if (!frame.isFirst) return message
    if (!frame.isLast) {
      if (frame.id === this.#lastNotifyId)
        this.#fault('wire-notify-order', frame, 'the same id for the second time running')
      this.#lastNotifyId = frame.id
    }
    const { inboxBytesMax } = this.reader.limits
    const before = this.#notifiedCost - this.#consumedCost
    const cost = costOf(frame)
    if (before > 0 && before + cost > inboxBytesMax) {
      this.#fault(
        'wire-credit',
        frame,
        `it costs ${cost} and ${before} are not consumed; the limit is ${inboxBytesMax}`,
      )
    }
    this.#notifiedCost += cost
    return message
  }

  /** Sections 6.2, 6.3, 6.5. */
  #answer(frame: Frame): Pick<Sent, 'message' | 'query'> {
    const query = this.#opposite.#queryOf(frame.id)
    if (query === undefined) {
      this.#fault('wire-answer', frame, 'nothing was asked under this id')
      return { message: undefined, query }
    }
    if (frame.isFirst) this.#judgeAnswer(frame, query)
    else if (query.answeredBy === KIND.fail && frame.kind === KIND.answer) {
      this.#fault('wire-stop', frame, 'it goes on behind a FAIL')
      return { message: undefined, query }
    }
    // A FAIL stops an answer in the middle and takes its place.
    if (frame.isFirst && frame.kind === KIND.fail) this.#drop(KIND.answer, frame.id)
    query.answeredBy = frame.kind
    const message = this.#assemble(frame)
    if (message === undefined) return { message, query }
    const { call } = message
    const asked = query.message.call
    if (frame.kind === KIND.answer && call !== undefined && asked !== undefined && call !== asked) {
      this.#fault('wire-answer-number', frame, `it answers call ${asked} with what is meant for call ${call}`)
    }
    if (frame.isLast && !query.isAnswered) {
      query.isAnswered = true
      if (query.arrivedAt !== undefined) this.#opposite.#owed--
    }
    return { message, query }
  }

  #judgeAnswer(frame: Frame, query: Query): void {
    const mayFollow =
      query.answeredBy === undefined ||
      (query.answeredBy === KIND.answer && !query.isAnswered && frame.kind === KIND.fail)
    if (!mayFollow) {
      this.#fault('wire-answer', frame, 'the query has its answer')
      return
    }
    if (!query.hasArrivedWhole && !(query.arrivedAt !== undefined && query.hasCancelArrived)) {
      this.#fault('wire-answer', frame, 'the query has not been read whole')
      return
    }
    const { reason } = frame
    const asked = query.remainingMs
    if (frame.kind === KIND.fail && reason === CANCELLED && !query.hasCancelArrived) {
      this.#fault('wire-fail-reason', frame, 'cancelled, and no CANCEL has been read')
    }
    if (frame.kind === KIND.fail && reason === EXPIRED) {
      const elapsedMs = this.sender.now() - (query.arrivedAt ?? 0)
      if (asked === NO_LIMIT || elapsedMs < asked - EARLY_MS) {
        this.#fault('wire-fail-reason', frame, `expired ${elapsedMs} ms after it came with ${asked} ms`)
      }
    }
    // Section 7.3: answered without a handler. Cancelled is as true, when it was.
    const isFit = frame.kind === KIND.fail && (reason === EXPIRED || (reason === CANCELLED && query.hasCancelArrived))
    if (asked === 0 && !isFit) this.#fault('wire-expired', frame, 'it answers a query that came with no time left')
  }

  // ---- fragments: section 6.3

  #assemble(frame: Frame): Message | undefined {
    const key = keyOf(frame.kind, frame.id)
    const { messageBytesMax, reassemblyBytesMax } = this.reader.limits
    let message = frame.kind === KIND.notify && frame.isFirst && frame.isLast ? undefined : this.#open.get(key)
    const contentBytes = frame.bytes.length - frame.contentAt
    if (frame.isFirst) {
      if (message !== undefined) this.#fault('wire-fragments', frame, 'it begins for the second time')
      if (frame.totalBytes > messageBytesMax) {
        this.#fault('wire-message-bytes', frame, `${frame.totalBytes} bytes; messageBytesMax is ${messageBytesMax}`)
      }
      message = { first: frame, gotBytes: 0, head: new Uint8Array(HEAD_BYTES), call: undefined }
      if (!frame.isLast) {
        this.#open.set(key, message)
        this.#openBytes += frame.totalBytes
        if (this.#openBytes > reassemblyBytesMax) {
          const text = `${this.#openBytes} bytes are being put together; reassemblyBytesMax is ${reassemblyBytesMax}`
          this.#fault('wire-reassembly', frame, text)
        }
      }
    } else if (message === undefined) {
      this.#fault('wire-fragments', frame, 'a further fragment of nothing')
      return undefined
    }
    this.#number(message, frame)
    message.gotBytes += contentBytes
    const { content, totalBytes } = message.first
    if (frame.content !== content) {
      this.#fault('wire-fragments', frame, `a fragment of content ${frame.content} in a message of content ${content}`)
    }
    const isComplete = message.gotBytes === totalBytes
    if (message.gotBytes > totalBytes || isComplete !== frame.isLast) {
      const where = frame.isLast ? 'at its end' : 'and more to come'
      this.#fault('wire-fragments', frame, `${message.gotBytes} of ${totalBytes} bytes ${where}`)
    }
    if (frame.isLast && !frame.isFirst) this.#drop(frame.kind, frame.id)
    return message
  }

  /** @returns whether a part of that message was there */
  #drop(kind: number, id: number): boolean {
    const key = keyOf(kind, id)
    const message = this.#open.get(key)
    if (message === undefined) return false
    this.#open.delete(key)
    this.#openBytes -= message.first.totalBytes
    return true
  }

  /** Finds the number of the call, which may lie in several fragments. */
  #number(message: Message, frame: Frame): void {
    if (message.call !== undefined || message.gotBytes >= HEAD_BYTES || frame.kind === KIND.fail) return
    const { head, gotBytes } = message
    head.set(frame.bytes.subarray(frame.contentAt, frame.contentAt + HEAD_BYTES - gotBytes), gotBytes)
    const got = Math.min(HEAD_BYTES, gotBytes + frame.bytes.length - frame.contentAt)
    const call = callOf(frame.content, head.subarray(0, got))
    if (call === undefined) return
    message.call = call
    // Section 7.4: what was handed to a pipe once never becomes a second call.
    if (frame.kind !== KIND.answer && !this.#court.begins(call)) {
      this.#fault('wire-call-once', frame, `call ${call} was written before`)
    }
  }

  // ---- given whole to the reader

  arrive({ number, message, query }: Sent, frame: Frame, now: number): void {
    this.received = number
    switch (frame.kind) {
      case KIND.query:
        this.#hasCalls = true
        if (query === undefined) return
        if (query.arrivedAt === undefined) {
          query.arrivedAt = now
          query.remainingMs = frame.remainingMs
          this.#owed++
        }
        if (!frame.isLast) return
        query.hasArrivedWhole = true
        if (message?.call !== undefined) this.#court.hasArrived(message.call, query.remainingMs > 0)
        return
      case KIND.cancel:
        if (query !== undefined) query.hasCancelArrived = true
        return
      case KIND.notify:
        this.#hasCalls = true
        if (!frame.isLast || message === undefined) return
        this.#arrivedCost += costOf(message.first)
        if (message.call !== undefined) this.#court.hasArrived(message.call, true)
        return
      default:
        if (!frame.isLast || query === undefined || query.isOver) return
        query.isOver = true
        this.#opposite.#asked--
    }
  }

  // ---- counts: section 7

  /** The sender has read, in an ACK or a handshake, that frames up to this one were taken over. */
  acknowledge(count: number): void {
    for (let number = this.#acknowledged + 1; number <= count; number++) {
      const sent = this.#sent.get(number)
      if (sent === undefined) continue
      this.#sent.delete(number)
      this.#unacknowledgedBytes -= sent.frame.bytes.length
    }
    this.#acknowledged = Math.max(this.#acknowledged, count)
  }

  /** The sender has read that notifications of that cost were consumed. */
  consume(cost: number): void {
    this.#consumedCost = Math.max(this.#consumedCost, cost)
  }

  /** The reader has stated its count in a handshake that was accepted. */
  state(count: number): void {
    this.#reported = Math.max(this.#reported, count)
  }

  /** The reader writes an ACK. */
  report(count: number, cost: number): void {
    const judge = (isRight: boolean, rule: string, text: string): void => {
      if (!isRight) this.#court.fault(rule, `${this.reader.name}: an ACK ${text}`)
    }
    judge(count <= this.received, 'wire-ack-honest', `of ${count} frames, and ${this.received} were given to it`)
    judge(count >= this.#reported, 'wire-ack-back', `of ${count} frames after one of ${this.#reported}`)
    judge(
      cost <= this.#arrivedCost,
      'wire-consumed-honest',
      `of ${cost} consumed, and ${this.#arrivedCost} were notified`,
    )
    judge(cost >= this.#reportedCost, 'wire-ack-back', `of ${cost} consumed after one of ${this.#reportedCost}`)
    this.#reported = Math.max(this.#reported, count)
    this.#reportedCost = Math.max(this.#reportedCost, cost)
  }

  #fault(rule: string, frame: Frame, text: string): void {
    this.#court.fault(rule, `${this.sender.name}: ${frame.name} ${frame.id.toString(16)}: ${text}`)
  }
}

function keyOf(kind: number, id: number): number {
  return kind * 2 ** 32 + id
}

function costOf({ totalBytes, methodBytes }: Frame): number {
  return totalBytes + methodBytes + NOTIFY_BYTES
}

/** The number of the call in the first bytes of a content; undefined where there is none, or not the whole of it. */
function callOf(content: number, head: Uint8Array): number | undefined {
  if (content === CONTENT.bytes) {
    return head.length < 4 ? undefined : new DataView(head.buffer, head.byteOffset).getUint32(0)
  }
  if (content === CONTENT.none) return undefined
  const from = content === CONTENT.json ? 1 : 0
  if (content === CONTENT.json && head[0] !== BRACKET_OPEN) return undefined
  const ends = content === CONTENT.json ? [COMMA, BRACKET_CLOSE] : [SPACE]
  const to = head.findIndex((byte) => ends.includes(byte))
  if (to <= from) return undefined
  const digits = String.fromCharCode(...head.subarray(from, to))
  return /^[0-9]+$/.test(digits) ? Number(digits) : undefined
}
