/**
 * Reads what is written to a pipe in proof mode: the preamble, then frame after frame, as sections 2, 3, 5 and 6.1 of
 * PROTOCOL.md have them. It judges what one frame shows by itself and remembers nothing of the frames before it.
 */

/** Section 3.2. */
export const KIND = {
  hello: 1,
  prove: 2,
  welcome: 3,
  refuse: 4,
  query: 16,
  answer: 17,
  fail: 18,
  cancel: 19,
  notify: 20,
  ack: 32,
  ping: 33,
  pong: 34,
  close: 35,
} as const

interface KindRow {
  readonly name: string
  readonly isSequenced?: true
  readonly id?: 'always' | 'in parts'
  readonly hasParts?: true
  readonly hasContent?: true
}

const ROWS: ReadonlyMap<number, KindRow> = new Map<number, KindRow>([
  [KIND.hello, { name: 'HELLO' }],
  [KIND.prove, { name: 'PROVE' }],
  [KIND.welcome, { name: 'WELCOME' }],
  [KIND.refuse, { name: 'REFUSE' }],
  [KIND.query, { name: 'QUERY', isSequenced: true, id: 'always', hasParts: true, hasContent: true }],
  [KIND.answer, { name: 'ANSWER', isSequenced: true, id: 'always', hasParts: true, hasContent: true }],
  [KIND.fail, { name: 'FAIL', isSequenced: true, id: 'always', hasParts: true, hasContent: true }],
  [KIND.cancel, { name: 'CANCEL', isSequenced: true, id: 'always' }],
  [KIND.notify, { name: 'NOTIFY', isSequenced: true, id: 'in parts', hasParts: true, hasContent: true }],
  [KIND.ack, { name: 'ACK' }],
  [KIND.ping, { name: 'PING' }],
  [KIND.pong, { name: 'PONG' }],
  [KIND.close, { name: 'CLOSE' }],
])

/** Section 3.3: the whole, the first fragment, a further one, the last one. */
const FLAGS = { whole: 0, first: 7, further: 5, last: 1 } as const
const LEGAL_FLAGS: readonly number[] = Object.values(FLAGS)

/** Section 3.4. */
export const CONTENT = { none: 0, text: 1, bytes: 2, json: 3 } as const

const PREAMBLE_BYTES = 8
const HEADER_BYTES = 12
const HANDSHAKE_BYTES_MAX = 1024
/** The first two frames of either side, and no others, belong to the handshake. */
const HANDSHAKE_FRAMES = 2
const MAGIC = 0x504c4e4b
const VERSION = 1
const REFUSING = 0x80
/** Section 6.1: no limit. */
export const NO_LIMIT = 0xffffffff

/** The rule that some bytes break, and how. */
export class Broken extends Error {
  readonly rule: string

  constructor(rule: string, text: string) {
    super(text)
    this.rule = rule
  }
}

export interface Frame {
  readonly kind: number
  readonly name: string
  readonly isSequenced: boolean
  readonly content: number
  readonly id: number
  /** The whole frame, a copy of its own. */
  readonly bytes: Uint8Array
  readonly isFirst: boolean
  readonly isLast: boolean
  /** Bytes of content over all fragments, where they are told: in the first frame. */
  readonly totalBytes: number
  /** Where the content begins in `bytes`; what is behind it is content. */
  readonly contentAt: number
  /** Of the first frame of a QUERY. */
  readonly remainingMs: number
  /** Of the first frame of a QUERY or a NOTIFY. */
  readonly methodBytes: number
  /** Of the first frame of a FAIL. */
  readonly reason: number
}

export interface Hello {
  readonly side: number
  readonly instance: string
  readonly process: string
  readonly nonce: string
  readonly keepaliveMs: number
  readonly messageBytesMax: number
  readonly replayBytesMax: number
  readonly inboxBytesMax: number
  readonly reassemblyBytesMax: number
  readonly fragmentBytes: number
  readonly handlersMax: number
  readonly attempt: number
  readonly session: string
  readonly received: number
  readonly peer: string
  readonly fresh: string
}

export const ZEROS = '0'.repeat(32)

/** Takes the bytes of one direction of one pipe in pieces and gives them back as frames. Throws {@link Broken}. */
export class FrameReader {
  readonly #fragmentBytesMax: number
  readonly #onPreamble: (isRefusing: boolean) => void
  readonly #onFrame: (frame: Frame) => void
  /** What was begun: the preamble, a header, or a whole frame. */
  #part = new Uint8Array(PREAMBLE_BYTES)
  #partBytes = 0
  #awaits: 'preamble' | 'header' | 'payload' = 'preamble'
  #firstBytes = 0
  #frames = 0
  #endBytes = 0

  /** @param fragmentBytesMax what the reader of these frames accepts */
  constructor(fragmentBytesMax: number, onPreamble: (isRefusing: boolean) => void, onFrame: (frame: Frame) => void) {
    this.#fragmentBytesMax = fragmentBytesMax
    this.#onPreamble = onPreamble
    this.#onFrame = onFrame
  }

  /** Where, in bytes from the beginning, the last complete frame has ended. */
  get endBytes(): number {
    return this.#endBytes
  }

  push(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const taken = Math.min(this.#part.length - this.#partBytes, bytes.length - at)
      this.#part.set(bytes.subarray(at, at + taken), this.#partBytes)
      this.#partBytes += taken
      at += taken
      if (this.#partBytes === this.#part.length) this.#complete()
    }
  }

  #complete(): void {
    const part = this.#part
    switch (this.#awaits) {
      case 'preamble':
        this.#endBytes += part.length
        this.#preamble(part)
        this.#expectHeader()
        return
      case 'header': {
        const lengthBytes = this.#lengthOf(part)
        if (lengthBytes === 0) {
          this.#frame(part)
          return
        }
        this.#part = new Uint8Array(HEADER_BYTES + lengthBytes)
        this.#part.set(part)
        this.#awaits = 'payload'
        return
      }
      case 'payload':
        this.#frame(part)
    }
  }

  #expectHeader(): void {
    this.#part = new Uint8Array(HEADER_BYTES)
    this.#partBytes = 0
    this.#awaits = 'header'
  }

  /** Section 2. */
  #preamble(bytes: Uint8Array): void {
    const rule = 'wire-preamble'
    const view = viewOf(bytes)
    if (view.getUint32(0) !== MAGIC) throw new Broken(rule, 'the first four bytes are not PLNK')
    if (view.getUint8(4) !== VERSION) throw new Broken(rule, `version ${view.getUint8(4)}`)
    const mode = view.getUint8(5)
    if (mode !== 0 && mode !== REFUSING) throw new Broken(rule, `mode ${mode} on a pipe in proof mode`)
    this.#firstBytes = view.getUint16(6)
    if (this.#firstBytes < 1 || this.#firstBytes > HANDSHAKE_BYTES_MAX) {
      throw new Broken(rule, `a first message of ${this.#firstBytes} bytes`)
    }
    this.#onPreamble(mode === REFUSING)
  }

  /** The length is judged before the payload has come: section 3.1. */
  #lengthOf(header: Uint8Array): number {
    const frameBytes = HEADER_BYTES + viewOf(header).getUint32(8)
    if (this.#frames === 0 && frameBytes !== this.#firstBytes) {
      throw new Broken('wire-preamble', `a first message of ${frameBytes} bytes, announced as ${this.#firstBytes}`)
    }
    const most = this.#frames < HANDSHAKE_FRAMES ? HANDSHAKE_BYTES_MAX : this.#fragmentBytesMax
    if (frameBytes > most) throw new Broken('wire-frame-length', `a frame of ${frameBytes} bytes; ${most} are accepted`)
    return frameBytes - HEADER_BYTES
  }

  #frame(bytes: Uint8Array): void {
    this.#frames++
    this.#endBytes += bytes.length
    this.#expectHeader()
    this.#onFrame(frameOf(bytes))
  }
}

function frameOf(bytes: Uint8Array): Frame {
  const cursor = new Cursor(bytes, 'wire-frame')
  const kind = cursor.u8()
  const flags = cursor.u8()
  const content = cursor.u8()
  const reserved = cursor.u8()
  const id = cursor.u32()
  cursor.u32()
  const row = ROWS.get(kind)
  if (row === undefined) throw new Broken('wire-frame', `kind ${kind}`)
  const { name } = row
  const fail = (text: string): never => {
    throw new Broken('wire-frame', `${name} ${text}`)
  }
  if (!LEGAL_FLAGS.includes(flags)) fail(`with flags ${flags}`)
  if (flags !== FLAGS.whole && row.hasParts === undefined) fail(`with flags ${flags}: it has no parts`)
  if (reserved !== 0) fail(`with ${reserved} in its reserved byte`)
  if (content > CONTENT.json) fail(`of content ${content}`)
  if (content !== CONTENT.none && row.hasContent === undefined) fail(`of content ${content}: it has none`)
  const mayHaveId = row.id === 'always' || (row.id === 'in parts' && flags !== FLAGS.whole)
  if (id !== 0 && !mayHaveId) fail(`with id ${id}`)

  const isWhole = flags === FLAGS.whole
  const isFirst = isWhole || flags === FLAGS.first
  let totalBytes = flags === FLAGS.first ? cursor.u64() : 0
  const prefix = isFirst ? prefixOf(kind, cursor) : NO_PREFIX
  const contentAt = cursor.at
  const contentBytes = bytes.length - contentAt
  if (isWhole) totalBytes = contentBytes
  if (content === CONTENT.none && row.hasContent === true && contentBytes > 0) {
    fail(`of content none with ${contentBytes} bytes of it`)
  }
  if (kind === KIND.cancel && contentBytes > 0) fail(`with a payload of ${contentBytes} bytes`)
  judgeFixed(kind, bytes.length - HEADER_BYTES, fail)
  if (!isWhole) {
    // Section 6.3.
    if (content === CONTENT.none) throw new Broken('wire-fragments', `${name} in parts without content`)
    if (contentBytes < 1) throw new Broken('wire-fragments', `${name}: a fragment without a byte of content`)
    if (isFirst && contentBytes >= totalBytes) {
      throw new Broken('wire-fragments', `${name}: a first fragment with all ${totalBytes} bytes of its message`)
    }
  }
  return {
    kind,
    name,
    isSequenced: row.isSequenced === true,
    content,
    id,
    bytes,
    isFirst,
    isLast: isWhole || flags === FLAGS.last,
    totalBytes,
    contentAt,
    ...prefix,
  }
}

interface Prefix {
  readonly remainingMs: number
  readonly methodBytes: number
  readonly reason: number
}

const NO_PREFIX: Prefix = { remainingMs: 0, methodBytes: 0, reason: 0 }
const FAIL_REASON_MAX = 8

/** Sections 6.1, 8.1: what stands in front of the content. */
function prefixOf(kind: number, cursor: Cursor): Prefix {
  switch (kind) {
    case KIND.query: {
      const remainingMs = cursor.u32()
      return { ...NO_PREFIX, remainingMs, methodBytes: cursor.text(cursor.u8()) }
    }
    case KIND.notify:
      return { ...NO_PREFIX, methodBytes: cursor.text(cursor.u8()) }
    case KIND.fail: {
      const reason = cursor.u8()
      // A reader takes an unknown one for 1; no writer of this version has another.
      if (reason < 1 || reason > FAIL_REASON_MAX) throw new Broken('wire-frame', `FAIL with reason ${reason}`)
      cursor.text(cursor.u8(), 64)
      cursor.text(cursor.u16(), 1024)
      return { ...NO_PREFIX, reason }
    }
    case KIND.close:
      // Section 8.1. Its text goes to the end of the frame.
      cursor.u16()
      cursor.text(cursor.leftBytes, 200)
      return NO_PREFIX
    default:
      return NO_PREFIX
  }
}

/** The payloads of one length. WELCOME and PROVE are those of proof mode: sections 5.2, 5.3. */
const FIXED_BYTES: ReadonlyMap<number, number> = new Map<number, number>([
  [KIND.prove, 32],
  [KIND.welcome, 57],
  [KIND.ack, 16],
  [KIND.ping, 8],
  [KIND.pong, 8],
])

function judgeFixed(kind: number, payloadBytes: number, fail: (text: string) => never): void {
  const expected = FIXED_BYTES.get(kind)
  if (expected !== undefined && payloadBytes !== expected) fail(`with a payload of ${payloadBytes} bytes`)
}

/** Section 5.1, but for what the side and the time before decide. */
export function helloOf({ bytes }: Frame): Hello {
  const rule = 'wire-hello'
  const cursor = new Cursor(bytes, rule, HEADER_BYTES)
  const side = cursor.u8()
  const instance = cursor.id()
  const process = cursor.id()
  const nonce = cursor.hex(32)
  const features = cursor.u32()
  const hello: Hello = {
    side,
    instance,
    process,
    nonce,
    keepaliveMs: cursor.u32(),
    messageBytesMax: cursor.u64(),
    replayBytesMax: cursor.u64(),
    inboxBytesMax: cursor.u64(),
    reassemblyBytesMax: cursor.u64(),
    fragmentBytes: cursor.u32(),
    handlersMax: cursor.u32(),
    attempt: cursor.u64(),
    session: cursor.id(),
    received: cursor.u64(),
    peer: cursor.id(),
    fresh: cursor.id(),
  }
  cursor.text(cursor.u8(), 200)
  const cipherBytes = cursor.text(cursor.u8(), 64)
  const judge = (isRight: boolean, text: string): void => {
    if (!isRight) throw new Broken(rule, text)
  }
  judge(cursor.at === bytes.length, 'it is longer than its fields')
  judge(cipherBytes === 0, 'it has a cipherName')
  judge(instance !== ZEROS, 'its instance is all zeros')
  judge(features === 0, `features ${features}`)
  for (const name of ['keepaliveMs', 'messageBytesMax', 'replayBytesMax', 'inboxBytesMax'] as const) {
    judge(hello[name] >= 1, `${name} ${hello[name]}`)
  }
  judge(hello.reassemblyBytesMax >= hello.messageBytesMax, 'reassemblyBytesMax is below messageBytesMax')
  judge(hello.fragmentBytes >= 4096 && hello.fragmentBytes <= 65_536, `fragmentBytes ${hello.fragmentBytes}`)
  judge(hello.handlersMax >= 1 && hello.handlersMax <= 4096, `handlersMax ${hello.handlersMax}`)
  return hello
}

export interface Welcome {
  readonly isResumed: boolean
  readonly session: string
  readonly received: number
}

/** Section 5.3. */
export function welcomeOf({ bytes }: Frame): Welcome {
  const cursor = new Cursor(bytes, 'wire-frame', HEADER_BYTES)
  const status = cursor.u8()
  if (status > 1) throw new Broken('wire-frame', `WELCOME with status ${status}`)
  return { isResumed: status === 1, session: cursor.id(), received: cursor.u64() }
}

/** Section 5.5. @returns the reason */
export function refusalOf({ bytes }: Frame): number {
  const cursor = new Cursor(bytes, 'wire-frame', HEADER_BYTES)
  const reason = cursor.u8()
  const version = cursor.u8()
  const mode = cursor.u8()
  cursor.u32()
  const cipherBytes = cursor.text(cursor.u8(), 64)
  cursor.text(cursor.u8(), 200)
  if (reason < 1 || reason > 6) throw new Broken('wire-frame', `REFUSE with reason ${reason}`)
  if (version !== VERSION || mode !== 0 || cipherBytes !== 0) {
    throw new Broken('wire-frame', 'REFUSE with another version, mode or cipherName than the own')
  }
  if (cursor.at !== bytes.length) throw new Broken('wire-frame', 'REFUSE is longer than its fields')
  return reason
}

/** Section 7.2. */
export function ackOf({ bytes }: Frame): { readonly received: number; readonly consumed: number } {
  const cursor = new Cursor(bytes, 'wire-frame', HEADER_BYTES)
  return { received: cursor.u64(), consumed: cursor.u64() }
}

/** What a PONG repeats of a PING. */
export function tokenOf({ bytes }: Frame): string {
  return new Cursor(bytes, 'wire-frame', HEADER_BYTES).hex(8)
}

/** Whether two frames are the same but for the remaining time of a QUERY's first one: section 7.3. */
export function isRepeated(frame: Frame, earlier: Frame): boolean {
  const { bytes } = frame
  if (bytes.length !== earlier.bytes.length) return false
  // The total of a first fragment comes before the remaining time.
  const timeAt = HEADER_BYTES + (frame.isLast ? 0 : 8)
  const isTimed = frame.kind === KIND.query && frame.isFirst
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === earlier.bytes[at]) continue
    if (!isTimed || at < timeAt || at >= timeAt + 4) return false
  }
  return true
}

const UTF8 = new TextDecoder('utf-8', { fatal: true })

/** Reads fields one after another. */
class Cursor {
  at: number
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #rule: string

  constructor(bytes: Uint8Array, rule: string, at = 0) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#rule = rule
    this.at = at
  }

  get leftBytes(): number {
    return this.#bytes.length - this.at
  }

  u8(): number {
    return this.#view.getUint8(this.#move(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#move(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#move(4))
  }

  /** Exact up to 2⁵³, beyond which nothing is counted here. */
  u64(): number {
    return this.u32() * 2 ** 32 + this.u32()
  }

  id(): string {
    return this.hex(16)
  }

  hex(length: number): string {
    const from = this.#move(length)
    let text = ''
    for (let at = from; at < this.at; at++) text += this.#view.getUint8(at).toString(16).padStart(2, '0')
    return text
  }

  /** Skips a text. @returns its length in bytes */
  text(length: number, bytesMax = 255): number {
    if (length > bytesMax) throw new Broken(this.#rule, `a text of ${length} bytes where ${bytesMax} are allowed`)
    const from = this.#move(length)
    if (length === 0) return 0
    try {
      UTF8.decode(this.#bytes.subarray(from, this.at))
    } catch {
      throw new Broken(this.#rule, 'a text that is not UTF-8')
    }
    return length
  }

  #move(length: number): number {
    const from = this.at
    if (from + length > this.#bytes.length) throw new Broken(this.#rule, 'a frame that is shorter than its fields')
    this.at = from + length
    return from
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
