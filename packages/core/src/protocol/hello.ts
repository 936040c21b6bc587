/**
 * The bodies of the handshake messages (PROTOCOL.md, section 5): HELLO, WELCOME, REFUSE. Bytes to values and back, with
 * every length checked; what the values mean for the link or the session is decided elsewhere.
 */
import { ProtocolError } from './errors.js'
import type { Limits } from './limits.js'
import { modeName } from './preamble.js'
import type { Utf8 } from './primitives.js'
import {
  ABOUT_BYTES_MAX,
  CIPHER_NAME_BYTES_MAX,
  cutText,
  MODES,
  readU32,
  readU64,
  REASON_BYTES_MAX,
  REFUSE_REASON,
  writeU32,
  writeU64,
  type Mode,
  type RefuseReason,
} from './wire.js'

export type Side = 'dialer' | 'listener'

/** 16 random bytes as 32 hexadecimal digits: a string compares by value. */
export type Id = string
export const NO_ID: Id = '0'.repeat(32)

/** What the receiver of frames announces; the rest of `Limits` stays at home. */
export type AnnouncedLimits = Pick<
  Limits,
  'messageBytesMax' | 'fragmentBytes' | 'replayBytesMax' | 'inboxBytesMax' | 'reassemblyBytesMax' | 'handlersMax'
>

/** The dialer's wish about the session (section 5.4). A listener's hello carries `NO_CLAIM`. */
export interface SessionClaim {
  /** Rises with every dial of this process. */
  readonly attempt: number
  /** The session to resume, or `NO_ID`. */
  readonly session: Id
  /** Sequenced frames of that session taken over by the dialer. */
  readonly received: number
  /** The instance that the session is with, or `NO_ID`. */
  readonly peer: Id
  /** The id for a new session, kept over all attempts until a WELCOME is read. */
  readonly fresh: Id
}
export const NO_CLAIM: SessionClaim = { attempt: 0, session: NO_ID, received: 0, peer: NO_ID, fresh: NO_ID }

export interface Hello {
  readonly side: Side
  readonly instance: Id
  /** The same for all connections of one process. */
  readonly process: Id
  /** 32 random bytes, new for each link. */
  readonly nonce: Uint8Array
  readonly features: number
  readonly keepaliveMs: number
  readonly limits: AnnouncedLimits
  readonly claim: SessionClaim
  /** Up to 200 bytes of JSON for the application, or empty. */
  readonly about: Uint8Array
  /** The name of the custom cipher; empty in the other modes. */
  readonly cipherName: string
}

export interface Welcome {
  readonly status: 'new' | 'resumed'
  readonly session: Id
  /** Sequenced frames of the session taken over by the listener; 0 for a new one. */
  readonly received: number
}

export interface Refusal {
  readonly reason: RefuseReason
  readonly version: number
  readonly mode: Mode | number
  /** How long to wait before another try is worth it; 0 when nothing is known. */
  readonly retryInMs: number
  readonly cipherName: string
  readonly text: string
}

const SIDE_BYTE: Record<Side, number> = { dialer: 0, listener: 1 }
const ID_BYTES = 16
const NONCE_BYTES = 32
/** Everything of a HELLO but the two texts at its end. */
const HELLO_FIXED_BYTES = 1 + 16 + 16 + 32 + 4 + 4 + 4 * 8 + 4 + 4 + 8 + 16 + 8 + 16 + 16

export function idFromBytes(bytes: Uint8Array): Id {
  let id = ''
  for (let at = 0; at < ID_BYTES; at++) id += (bytes[at] ?? 0).toString(16).padStart(2, '0')
  return id
}

/** Appends fields one after another; the body is cut to what was written. */
class Writer {
  readonly #bytes = new Uint8Array(1024)
  #at = 0

  u8(value: number): this {
    this.#bytes[this.#at++] = value
    return this
  }
  u32(value: number): this {
    writeU32(this.#bytes, this.#at, value)
    this.#at += 4
    return this
  }
  u64(value: number): this {
    writeU64(this.#bytes, this.#at, value)
    this.#at += 8
    return this
  }
  id(id: Id): this {
    for (let at = 0; at < ID_BYTES; at++) this.u8(Number.parseInt(id.slice(2 * at, 2 * at + 2), 16))
    return this
  }
  raw(bytes: Uint8Array): this {
    this.#bytes.set(bytes, this.#at)
    this.#at += bytes.length
    return this
  }
  /** A length byte and the bytes. */
  short(bytes: Uint8Array): this {
    return this.u8(bytes.length).raw(bytes)
  }
  done(): Uint8Array {
    return this.#bytes.slice(0, this.#at)
  }
}

/** Reads fields one after another and ends in a ProtocolError where the body is shorter or longer than its fields. */
class Reader {
  readonly #bytes: Uint8Array
  readonly #section: string
  #at = 0

  constructor(bytes: Uint8Array, section: string) {
    this.#bytes = bytes
    this.#section = section
  }

  u8(): number {
    return this.#bytes[this.#skip(1)] ?? 0
  }
  u32(): number {
    return readU32(this.#bytes, this.#skip(4))
  }
  u64(): number {
    return readU64(this.#bytes, this.#skip(8))
  }
  id(): Id {
    return idFromBytes(this.raw(ID_BYTES))
  }
  raw(length: number): Uint8Array {
    const at = this.#skip(length)
    return this.#bytes.slice(at, at + length)
  }
  short(lengthMax: number): Uint8Array {
    const length = this.u8()
    if (length > lengthMax) this.fail(`A field of ${length} bytes where ${lengthMax} are allowed`)
    return this.raw(length)
  }
  text(lengthMax: number, utf8: Utf8): string {
    const bytes = this.short(lengthMax)
    try {
      return utf8.decode(bytes)
    } catch {
      return this.fail('A text is not UTF-8')
    }
  }
  end(): void {
    if (this.#at !== this.#bytes.length) this.fail('The message is longer than its fields')
  }
  fail(message: string): never {
    throw new ProtocolError(this.#section, message)
  }
  #skip(length: number): number {
    const at = this.#at
    if (at + length > this.#bytes.length) this.fail('The message is shorter than its fields')
    this.#at += length
    return at
  }
}

export function encodeHello(hello: Hello, utf8: Utf8): Uint8Array {
  const { limits, claim } = hello
  return new Writer()
    .u8(SIDE_BYTE[hello.side])
    .id(hello.instance)
    .id(hello.process)
    .raw(hello.nonce)
    .u32(hello.features)
    .u32(hello.keepaliveMs)
    .u64(limits.messageBytesMax)
    .u64(limits.replayBytesMax)
    .u64(limits.inboxBytesMax)
    .u64(limits.reassemblyBytesMax)
    .u32(limits.fragmentBytes)
    .u32(limits.handlersMax)
    .u64(claim.attempt)
    .id(claim.session)
    .u64(claim.received)
    .id(claim.peer)
    .id(claim.fresh)
    .short(hello.about)
    .short(utf8.encode(hello.cipherName))
    .done()
}

/** @throws ProtocolError for a body that is not exactly a HELLO with limits that a peer can have. */
export function decodeHello(body: Uint8Array, utf8: Utf8): Hello {
  const reader = new Reader(body, '5.1')
  if (body.length < HELLO_FIXED_BYTES) reader.fail('A HELLO is too short')
  const sideByte = reader.u8()
  if (sideByte > 1) reader.fail(`Unknown side ${sideByte}`)
  const hello: Hello = {
    side: sideByte === 0 ? 'dialer' : 'listener',
    instance: reader.id(),
    process: reader.id(),
    nonce: reader.raw(NONCE_BYTES),
    features: reader.u32(),
    keepaliveMs: reader.u32(),
    limits: {
      messageBytesMax: reader.u64(),
      replayBytesMax: reader.u64(),
      inboxBytesMax: reader.u64(),
      reassemblyBytesMax: reader.u64(),
      fragmentBytes: reader.u32(),
      handlersMax: reader.u32(),
    },
    claim: {
      attempt: reader.u64(),
      session: reader.id(),
      received: reader.u64(),
      peer: reader.id(),
      fresh: reader.id(),
    },
    about: reader.short(ABOUT_BYTES_MAX),
    cipherName: reader.text(CIPHER_NAME_BYTES_MAX, utf8),
  }
  reader.end()
  const { limits } = hello
  const sane =
    limits.messageBytesMax >= 1 &&
    limits.replayBytesMax >= 1 &&
    limits.inboxBytesMax >= 1 &&
    limits.reassemblyBytesMax >= limits.messageBytesMax &&
    limits.fragmentBytes >= 4096 &&
    limits.fragmentBytes <= 65_536 &&
    limits.handlersMax >= 1 &&
    limits.handlersMax <= 4096 &&
    hello.keepaliveMs >= 1
  if (!sane) reader.fail('A HELLO announces limits that no peer can have')
  if (hello.instance === NO_ID) reader.fail('A HELLO without an instance')
  if (hello.side === 'dialer' && hello.claim.fresh === NO_ID) reader.fail('A dialer without an id for a fresh session')
  return hello
}

const STATUS_BYTE: Record<Welcome['status'], number> = { new: 0, resumed: 1 }

export function encodeWelcome(welcome: Welcome): Uint8Array {
  return new Writer().u8(STATUS_BYTE[welcome.status]).id(welcome.session).u64(welcome.received).done()
}

/** @throws ProtocolError for a body that is not exactly a WELCOME (without the proof that follows it on the wire). */
export function decodeWelcome(body: Uint8Array): Welcome {
  const reader = new Reader(body, '5.3')
  const statusByte = reader.u8()
  if (statusByte > 1) reader.fail(`Unknown status ${statusByte} in a WELCOME`)
  const welcome: Welcome = {
    status: statusByte === 0 ? 'new' : 'resumed',
    session: reader.id(),
    received: reader.u64(),
  }
  reader.end()
  if (welcome.status === 'new' && welcome.received !== 0) reader.fail('A new session has received nothing')
  return welcome
}

export function encodeRefusal(refusal: Refusal, utf8: Utf8): Uint8Array {
  return new Writer()
    .u8(REFUSE_REASON[refusal.reason])
    .u8(refusal.version)
    .u8(typeof refusal.mode === 'number' ? refusal.mode : MODES[refusal.mode])
    .u32(refusal.retryInMs)
    .short(utf8.encode(refusal.cipherName))
    .short(cutText(utf8.encode(refusal.text), REASON_BYTES_MAX))
    .done()
}

/** @throws ProtocolError for a body that is not exactly a REFUSE. */
export function decodeRefusal(body: Uint8Array, utf8: Utf8): Refusal {
  const reader = new Reader(body, '5.5')
  const reasonByte = reader.u8()
  // A later version may have more reasons, and its text says which.
  const reason =
    (Object.keys(REFUSE_REASON) as RefuseReason[]).find((name) => REFUSE_REASON[name] === reasonByte) ?? 'protocol'
  const refusal: Refusal = {
    reason,
    version: reader.u8(),
    mode: modeName(reader.u8()),
    retryInMs: reader.u32(),
    cipherName: reader.text(CIPHER_NAME_BYTES_MAX, utf8),
    text: reader.text(REASON_BYTES_MAX, utf8),
  }
  reader.end()
  return refusal
}
