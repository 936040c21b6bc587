/**
 * Two ends that talk, each a link with the session that it carries: how a test has them ask, tell and answer, passes on what
 * they write, reads it frame by frame, and writes frames of its own. It knows no single test and no driver.
 */
import { expect } from 'vitest'
import { utf8 } from '../../src/connection/text.js'
import {
  completeLimits,
  CONTENT,
  FAIL_REASON,
  KIND,
  ProtocolError,
  type Limits,
  type Link,
  type ProtocolEvent,
  type Session,
} from '../../src/protocol/index.js'
import { carry, endOf, feed, frame, join, opened, polled, proven, written } from './links.js'

export const NOTHING: Uint8Array = new Uint8Array(0)

// ---- ends

export interface End {
  link: Link
  readonly session: Session
  readonly limits: Limits
}

/** Two open links with a session each: `a` dialled, and has said so little that no ACK is due. */
export function pair(given: Partial<Limits> = {}, theirs: Partial<Limits> = given): { a: End; b: End } {
  const [own, other] = [completeLimits(given), completeLimits(theirs)]
  const { dialer, listener, asking, answering } = opened({ hello: { limits: own } }, { hello: { limits: other } })
  return {
    a: { link: dialer, session: asking, limits: own },
    b: { link: listener, session: answering, limits: other },
  }
}

/** The pipe is lost with what was on it, and another carries both sessions on. @returns what `b` wrote, from WELCOME on */
export function relink(a: End, b: End, now = 0): Uint8Array {
  const links = proven({ hello: { limits: a.limits } }, { hello: { limits: b.limits } }, now)
  const first = carry(links, { asking: a.session, answering: b.session }, 'resume', now)
  a.link = links.dialer
  b.link = links.listener
  return first
}

/** What `from` has to write arrives at once. */
export function send(from: End, to: End, now = 0): ProtocolEvent[] {
  return feed(to.link, written(from.link, now), now)
}

/** Both write and read until neither has anything to write. */
export function settle(a: End, b: End, now = 0): { atA: ProtocolEvent[]; atB: ProtocolEvent[] } {
  const events = { atA: polled(a.link), atB: polled(b.link) }
  for (let moved = true; moved; ) {
    const [there, back] = [written(a.link, now), written(b.link, now)]
    events.atB.push(...feed(b.link, there, now))
    events.atA.push(...feed(a.link, back, now))
    moved = there.length + back.length > 0
  }
  return events
}

// ---- what they say

interface Said {
  readonly method?: string
  readonly ownership?: 'copy' | 'borrow' | 'own'
  readonly expiresAt?: number
  readonly mayWait?: boolean
  readonly now?: number
}

type Arguments = Parameters<Session['query']>

function said(bytes: Uint8Array, more: Said): Arguments {
  const { method = '', ownership = 'own', expiresAt = Infinity, mayWait = true, now = 0 } = more
  return [utf8.encode(method), contentOf(bytes), bytes, ownership, expiresAt, mayWait, now]
}

function contentOf(bytes: Uint8Array): number {
  return bytes.length === 0 ? CONTENT.NONE : CONTENT.BYTES
}

export function ask(end: End, bytes = NOTHING, more: Said = {}): number {
  return end.session.query(...said(bytes, more))
}

export function tell(end: End, bytes = NOTHING, more: Said = {}): number {
  return end.session.notify(...said(bytes, more))
}

/** The handler of `id` ends with a result. */
export function reply(end: End, id: number, bytes = NOTHING, now = 0): boolean {
  end.session.handlerEnded()
  return end.session.answer(id, contentOf(bytes), bytes, 'own', now)
}

/** The handler of `id` ends with an error that carries `bytes`. */
export function failed(end: End, id: number, bytes = NOTHING, code = 'CODE', text = 'why', now = 0): boolean {
  end.session.handlerEnded()
  return end.session.fail(id, FAIL_REASON.HANDLER, code, text, contentOf(bytes), bytes, now)
}

// ---- what they hear

export const typesOf = (events: ProtocolEvent[]): string[] => events.map(({ type }) => type)

export function queriesOf(events: ProtocolEvent[]): Extract<ProtocolEvent, { type: 'query' }>[] {
  return events.filter((event) => event.type === 'query')
}

/** The id of the only query among `events`. */
export function idOf(events: ProtocolEvent[]): number {
  const [query, ...others] = queriesOf(events)
  if (query === undefined || others.length > 0) throw new Error(`expected one query, not ${JSON.stringify(events)}`)
  return query.id
}

/** The last of `events` is an end over a breach of this section of PROTOCOL.md. */
export function expectViolation(events: ProtocolEvent[], section: string): void {
  const end = endOf(events)
  if (end.by !== 'violation') throw new Error(`expected a violation, not ${JSON.stringify(events)}`)
  expect(end.error).toBeInstanceOf(ProtocolError)
  expect((end.error as ProtocolError).section).toBe(section)
}

/** What `stats()` says of a session on which nothing is open, beside its counts. */
export const AT_REST = {
  queuedBytes: 0,
  unacknowledgedBytes: 0,
  reassemblyBytes: 0,
  inboxBytes: 0,
  queriesInFlight: 0,
  callsWaiting: 0,
  handlersRunning: 0,
}

// ---- what lies on the wire

export interface Frame {
  readonly kind: number
  readonly flags: number
  readonly content: number
  readonly id: number
  readonly payload: Uint8Array
  /** All of it, header and payload. */
  readonly bytes: Uint8Array
}

export function framesOf(bytes: Uint8Array): Frame[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const frames: Frame[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 12 + view.getUint32(at + 8)
    const [kind = 0, flags = 0, content = 0] = bytes.subarray(at)
    const payload = bytes.slice(at + 12, end)
    frames.push({ kind, flags, content, id: view.getUint32(at + 4), payload, bytes: bytes.slice(at, end) })
    at = end
  }
  return frames
}

export const kindsOf = (bytes: Uint8Array): number[] => framesOf(bytes).map(({ kind }) => kind)

/** What `end` writes, of the frames that belong to calls. */
export function calls(end: End, now = 0): Frame[] {
  return framesOf(written(end.link, now)).filter(({ kind }) => kind < KIND.ACK)
}

export function filled(length: number, value = 7): Uint8Array {
  return new Uint8Array(length).fill(value)
}

/** The flags of the fragments of one message. */
export const [FIRST, MORE, LAST] = [7, 5, 1] as const

/** The payload of a QUERY with nothing but its fields. */
export function queryFields(remainingMs: number, method = NOTHING): Uint8Array {
  const fields = new Uint8Array(5)
  new DataView(fields.buffer).setUint32(0, remainingMs)
  fields[4] = method.length
  return join(fields, method)
}

export const QUERY_FIELDS = queryFields(0xffffffff)
export const FAIL_FIELDS = Uint8Array.of(FAIL_REASON.HANDLER, 0, 0, 0)
export const NOTIFY_FIELDS = Uint8Array.of(0)

export function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value))
  return bytes
}

/** A fragment of a message; the first also carries the total and what precedes the content. */
export function part(
  kind: number,
  id: number,
  flags: number,
  bytes: Uint8Array,
  total = 0,
  content: number = CONTENT.BYTES,
): Uint8Array {
  const fields = kind === KIND.QUERY ? QUERY_FIELDS : kind === KIND.FAIL ? FAIL_FIELDS : NOTIFY_FIELDS
  const front = flags === FIRST ? join(u64(total), kind === KIND.ANSWER ? NOTHING : fields) : NOTHING
  return frame(kind, join(front, bytes), { flags, id, content })
}
