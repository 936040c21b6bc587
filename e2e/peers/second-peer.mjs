// A second peer, written from PROTOCOL.md alone, which tests use to talk to the real one, honestly and dishonestly.
//
//   const link = speak(socket, { side: 'dialer', mode: 'proof', secret: 'a secret' })
//   const { session, hello } = await link.paired
//   await link.query('', 'hello', { kind: 'text' })
//   link.close()
//   const { by, reason, text, bytesRead } = await link.ended
//
// `by` is one of: close (both said CLOSE), refused (a REFUSE was read), refusing (a REFUSE was written), violation
// (this side found a rule broken), foreign (not this protocol), timeout, silence, lost (an end without both CLOSEs).
// It resumes nothing and sends no fragments: values up to 32 KiB. A cipher's functions take and give bytes, at once.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import net from 'node:net'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const MAGIC = Buffer.from('PLNK')
const MODES = ['proof', 'sealed', 'custom']
const HELLO = 1,
  PROVE = 2,
  WELCOME = 3,
  REFUSE = 4
const QUERY = 16,
  ANSWER = 17,
  FAIL = 18,
  CANCEL = 19,
  NOTIFY = 20
const ACK = 32,
  PING = 33,
  PONG = 34,
  CLOSE = 35
const KINDS = { HELLO, PROVE, WELCOME, REFUSE, QUERY, ANSWER, FAIL, CANCEL, NOTIFY, ACK, PING, PONG, CLOSE }
const NAMES = Object.fromEntries(Object.entries(KINDS).map(([name, kind]) => [kind, name]))
const WITH_PARTS = [QUERY, ANSWER, FAIL, NOTIFY]
const WITH_ID = [QUERY, ANSWER, FAIL, CANCEL]
const SEQUENCED = [QUERY, ANSWER, FAIL, CANCEL, NOTIFY]
const PART = 1,
  FIRST = 2,
  MORE = 4
const CONTENTS = ['none', 'text', 'bytes', 'json']
const REASONS = ['', 'version', 'mode', 'secret', 'self', 'busy', 'protocol']
const FAILS = { handler: 1, nameless: 2, method: 3, cancelled: 4, expired: 5, handlers: 6, content: 7, large: 8 }
const NOTHING = Buffer.alloc(0)
const ZEROS = '00'.repeat(16)
const MESSAGE_MAX = 1024
const RECORD_STREAM_MAX = 60_000
const LIMITS = {
  messageBytesMax: 2 ** 26,
  replayBytesMax: 2 ** 24,
  inboxBytesMax: 2 ** 24,
  reassemblyBytesMax: 2 ** 27,
  fragmentBytes: 65_536,
  handlersMax: 1024,
}

// Every way to be dishonest: what it does, and where it makes sense (both sides and all modes where nothing is said).
// A name with `at` takes a number, as in record-flip:2; records are counted from 1, the first one behind the handshake.
const ENCRYPTED = ['sealed', 'custom']
export const FAULTS = {
  'wrong-proof': { does: 'PROVE or WELCOME with one bit of the proof flipped; sealed: another psk' },
  'skipped-proof': { does: 'dialer: ACK and QUERY instead of PROVE; listener: judges nothing, and proves with zeros' },
  'prove-twice': { does: 'PROVE (dialer) or WELCOME (listener) twice, in two writes' },
  'data-behind-prove': { does: 'a PING in the same write behind PROVE', sides: ['dialer'] },
  'old-version': { does: 'says version 0' },
  'new-version': { does: 'says version 2' },
  downgrade: { does: 'says mode 0, and goes on in proof mode, though configured otherwise', modes: ENCRYPTED },
  'oversized-first': { does: 'a preamble that announces 1,025 bytes, and so many bytes' },
  'oversized-first-65535': { does: 'a preamble that announces 65,535 bytes, and so many bytes' },
  'long-first': { does: 'a first message one byte longer than the preamble says' },
  drip: { does: 'writes one byte at a time, each after dripMs' },
  reflect: { does: 'sends every byte back that it gets (a dialer sends its own hello first)' },
  'record-flip': { does: 'flips one bit of record N', modes: ENCRYPTED, at: true },
  'record-repeat': { does: 'sends record N twice', modes: ENCRYPTED, at: true },
  'record-drop': { does: 'leaves record N out; a PING follows', modes: ENCRYPTED, at: true },
  'record-swap': { does: 'sends record N behind N+1, which is a PING', modes: ENCRYPTED, at: true },
  'record-truncate': { does: 'cuts a byte off record N, its length field too', modes: ENCRYPTED, at: true },
  'record-cut': { does: 'ends the pipe in the middle of record N', modes: ENCRYPTED, at: true },
  'record-empty': { does: 'a record without a byte of the stream, behind the first ACK', modes: ENCRYPTED },
  'record-zero': { does: 'a record of length 0, behind the first ACK', modes: ENCRYPTED },
  'record-long-early': {
    does: 'a record of more than 1,024 bytes before or as WELCOME (custom: behind PROVE)',
    modes: ENCRYPTED,
    not: 'custom listener',
  },
  'plain-after-handshake': { does: 'an ACK and a NOTIFY of 9,000 bytes without records', modes: ENCRYPTED },
  'low-order-key': { does: 'a public key of zeros', modes: ['sealed'] },
  'no-first-ack': { does: 'a PING instead of the first ACK' },
  'counter-end': { does: 'record N with the counter 2^64 - 1', modes: ENCRYPTED, at: true },
  'half-hello': { does: 'stops after half of the first message, and stays' },
  nothing: { does: 'never sends a byte' },
  'hello-of-own-side': { does: 'a hello that says to be of the side of its reader' },
  'claims-resume': { does: 'dialer: claims a random session with 5 received; listener: welcomes to one, so resumed' },
  'answer-to-nothing': { does: 'an ANSWER to an id that is not taken, behind the first ACK' },
  'query-slot-out-of-range': { does: 'a QUERY in slot 16 x handlersMax, behind the first ACK' },
  'bad-utf8-cipher-name': { does: 'a cipherName that is no UTF-8 (the bytes c3 28)' },
  'ack-too-high': { does: 'an ACK of 1,000 frames, behind the first ACK' },
}
const WITHOUT_OWN_TIMEOUT = ['drip', 'reflect', 'half-hello', 'nothing']

function readFault(fault, side, mode) {
  if (!fault) return { name: '', at: 0 }
  const [name, number] = fault.split(':')
  const known = FAULTS[name]
  if (!known) throw new Error(`No such fault: ${name}`)
  if (known.at && !(Number(number) >= 1)) throw new Error(`${name} needs a number from 1, as in ${name}:1`)
  const { sides = [side], modes = [mode], not } = known
  if (!sides.includes(side) || !modes.includes(mode) || not === `${mode} ${side}`) {
    throw new Error(`${name} makes no sense for a ${side} in ${mode} mode`)
  }
  return { name, at: Number(number) || 0 }
}

// Why a link ends. `refuse` is the reason a listener gives while it may still give one.
class End extends Error {
  constructor(by, text, { reason, refuse, ...more } = {}) {
    super(text)
    Object.assign(this, { by, reason, refuse, more })
  }
}
const broken = (text, refuse) => new End('violation', text, { reason: refuse, refuse })
const check = (right, text, refuse) => {
  if (!right) throw broken(text, refuse)
}

// ------------------------------------------------------------------------------------------ bytes

function uint(bytes, value) {
  const out = Buffer.alloc(bytes)
  if (bytes === 8) out.writeBigUInt64BE(BigInt(value))
  else out.writeUIntBE(value, 0, bytes)
  return out
}
const hex = (text) => Buffer.from(text, 'hex')
const short = (value) => Buffer.concat([uint(1, Buffer.byteLength(value)), Buffer.from(value)])

function utf8(bytes, what = 'a text') {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw broken(`${what} is not UTF-8`, 'protocol')
  }
}

class Cursor {
  constructor(bytes) {
    Object.assign(this, { left: bytes })
  }

  bytes(count) {
    check(this.left.length >= count, 'shorter than its fields', 'protocol')
    const taken = this.left.subarray(0, count)
    this.left = this.left.subarray(count)
    return taken
  }

  u(bytes) {
    return bytes === 8 ? Number(this.bytes(8).readBigUInt64BE()) : this.bytes(bytes).readUIntBE(0, bytes)
  }
  id() {
    return this.bytes(16).toString('hex')
  }
  text(max, lengthBytes = 1) {
    const length = this.u(lengthBytes)
    check(length <= max, 'a text that is too long', 'protocol')
    return utf8(this.bytes(length))
  }

  rest() {
    return this.bytes(this.left.length)
  }
  end() {
    check(this.left.length === 0, 'longer than its fields', 'protocol')
  }
}

function frame(kind, payload = NOTHING, { flags = 0, content = 0, id = 0 } = {}) {
  return Buffer.concat([Buffer.from([kind, flags, content, 0]), uint(4, id), uint(4, payload.length), payload])
}

function readHeader(bytes, max) {
  const [kind, flags, content, reserved] = bytes
  const id = bytes.readUInt32BE(4)
  const length = bytes.readUInt32BE(8)
  const parts = WITH_PARTS.includes(kind)
  check(12 + length <= max, `a frame of ${12 + length} bytes, the limit is ${max}`, 'protocol')
  check(NAMES[kind], `unknown kind ${kind}`, 'protocol')
  check([0, PART + FIRST + MORE, PART + MORE, PART].includes(flags) && (parts || !flags), `flags ${flags}`, 'protocol')
  check(content <= 3 && (parts || !content), `content ${content} on ${NAMES[kind]}`, 'protocol')
  check(!flags || content, 'a fragment without content', 'protocol')
  check(reserved === 0, 'the reserved byte is not 0', 'protocol')
  check(WITH_ID.includes(kind) || !id || (kind === NOTIFY && flags), `an id on ${NAMES[kind]}`, 'protocol')
  return { kind, flags, content, id, length }
}

const preamble = (version, mode, length) => Buffer.concat([MAGIC, Buffer.from([version, mode]), uint(2, length)])

// The fields of a hello (5.1) in their order: bytes of a number, or how it is written; and its bounds.
const HELLO_FIELDS = [
  ['side', 1, 0, 1],
  ['instance', 'id'],
  ['process', 'id'],
  ['nonce', 'nonce'],
  ['features', 4],
  ['keepaliveMs', 4, 1],
  ['messageBytesMax', 8, 1],
  ['replayBytesMax', 8, 1],
  ['inboxBytesMax', 8, 1],
  ['reassemblyBytesMax', 8, 1],
  ['fragmentBytes', 4, 4096, 65_536],
  ['handlersMax', 4, 1, 4096],
  ['attempt', 8],
  ['session', 'id'],
  ['received', 8],
  ['peer', 'id'],
  ['fresh', 'id'],
  ['about', 'short', 0, 200],
  ['cipherName', 'short', 0, 64],
]

export function encodeHello(hello) {
  return Buffer.concat(
    HELLO_FIELDS.map(([name, type]) => {
      if (type === 'short') return short(hello[name])
      return typeof type === 'number' ? uint(type, hello[name]) : hex(hello[name])
    }),
  )
}

export function decodeHello(bytes) {
  const cursor = new Cursor(bytes)
  const hello = {}
  for (const [name, type, min = 0, max = Infinity] of HELLO_FIELDS) {
    if (type === 'id') hello[name] = cursor.id()
    else if (type === 'nonce') hello[name] = cursor.bytes(32).toString('hex')
    else if (type === 'short') hello[name] = cursor.text(max)
    else {
      hello[name] = cursor.u(type)
      check(hello[name] >= min && hello[name] <= max, `a hello with ${name} ${hello[name]}`, 'protocol')
    }
  }
  cursor.end()
  check(hello.instance !== ZEROS, 'a hello without an instance', 'protocol')
  check(hello.reassemblyBytesMax >= hello.messageBytesMax, 'reassemblyBytesMax below messageBytesMax', 'protocol')
  return hello
}

function encodeContent(value, kind) {
  if (kind === undefined) {
    if (value === undefined) kind = 'none'
    else if (typeof value === 'string') kind = 'text'
    else kind = value instanceof Uint8Array ? 'bytes' : 'json'
  }
  if (kind === 'none') return { content: 0, bytes: NOTHING }
  return { content: CONTENTS.indexOf(kind), bytes: Buffer.from(kind === 'json' ? JSON.stringify(value) : value) }
}

function decodeContent(content, bytes) {
  if (content === 0) return undefined
  if (content === 2) return Buffer.from(bytes)
  const text = utf8(bytes, 'the content')
  if (content === 1) return text
  const deep = (value) => {
    let level = [value]
    let depth = 0
    while (level.length) {
      level = level.filter((one) => one && typeof one === 'object').flatMap((one) => Object.values(one).concat(null))
      if (level.length) depth += 1
    }
    return depth
  }
  const value = JSON.parse(text)
  check(deep(value) <= 1000, 'JSON nested deeper than 1,000')
  return value
}

// ------------------------------------------------------------------------------------------ cryptography

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const hmac = (key, ...parts) => createHmac('sha256', key).update(Buffer.concat(parts)).digest()
const hkdf = (input, salt, info, bytes) => Buffer.from(hkdfSync('sha256', input, salt, info, bytes))
const equal = (a, b) => a.length === b.length && timingSafeEqual(a, b)
const nonceOf = (counter) => Buffer.concat([Buffer.alloc(4), uint(8, counter)])

function gcmSeal(key, nonce, plain, associated = NOTHING) {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(associated)
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

function gcmOpen(key, nonce, sealed, associated = NOTHING) {
  if (sealed.length < 16) throw new Error('no room for a tag')
  const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(associated)
  cipher.setAuthTag(sealed.subarray(-16))
  return Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()])
}

const keyOf = (secret) => hkdf(Buffer.from(secret), 'pairlink 1', 'proof key', 32)
const pskOf = (encryptionKey, key) => hkdf(Buffer.concat([encryptionKey, key]), 'pairlink 1', 'sealed psk', 32)

// A cipher for custom mode where the caller has none, as in the program: AES-256-GCM with a random nonce in front.
export function plainCipher(key, name = 'second-peer') {
  return {
    name,
    encrypt: (plain) => {
      const nonce = randomBytes(12)
      return Buffer.concat([nonce, gcmSeal(key, nonce, plain)])
    },
    decrypt: (sealed) => gcmOpen(key, sealed.subarray(0, 12), sealed.subarray(12)),
  }
}

const PKCS8 = hex('302e020100300506032b656e04220420')
const SPKI = hex('302a300506032b656e032100')

// Noise_NN(psk0)_25519_AESGCM_SHA256, revision 34, either role.
export class Noise {
  constructor({ psk, prologue, ephemeral = randomBytes(32), zeroKey = false }) {
    Object.assign(this, { psk, zeroKey, k: undefined, n: 0, theirs: undefined })
    this.ck = this.h = Buffer.alloc(32)
    this.h.write(`Noise_NN${psk ? 'psk0' : ''}_25519_AESGCM_SHA256`)
    this.private = createPrivateKey({ key: Buffer.concat([PKCS8, ephemeral]), format: 'der', type: 'pkcs8' })
    const real = createPublicKey(this.private).export({ format: 'der', type: 'spki' }).subarray(-32)
    this.public = zeroKey ? Buffer.alloc(32) : real
    this.mixHash(prologue)
  }

  mixHash(data) {
    this.h = sha256(this.h, data)
  }
  mixKey(input) {
    const out = hkdf(input, this.ck, '', 64)
    Object.assign(this, { ck: out.subarray(0, 32), k: out.subarray(32), n: 0 })
  }

  mixPsk() {
    if (!this.psk) return
    const out = hkdf(this.psk, this.ck, '', 96)
    this.mixHash(out.subarray(32, 64))
    Object.assign(this, { ck: out.subarray(0, 32), k: out.subarray(64), n: 0 })
  }

  mixPublic(key) {
    this.mixHash(key)
    if (this.psk) this.mixKey(key)
  }

  mixShared() {
    let shared = Buffer.alloc(32)
    if (!this.zeroKey) {
      const publicKey = createPublicKey({ key: Buffer.concat([SPKI, this.theirs]), format: 'der', type: 'spki' })
      shared = diffieHellman({ privateKey: this.private, publicKey })
      if (shared.every((byte) => byte === 0)) throw new Error('a public key of low order')
    }
    this.mixKey(shared)
  }

  seal(plain) {
    const sealed = this.k ? gcmSeal(this.k, nonceOf(this.n++), plain, this.h) : plain
    this.mixHash(sealed)
    return sealed
  }

  open(sealed) {
    const before = this.h
    this.mixHash(sealed)
    return this.k ? gcmOpen(this.k, nonceOf(this.n++), sealed, before) : sealed
  }

  write(second, payload) {
    if (!second) this.mixPsk()
    this.mixPublic(this.public)
    if (second) this.mixShared()
    return Buffer.concat([this.public, this.seal(payload)])
  }

  read(second, message) {
    if (message.length < 32) throw new Error('no room for a public key')
    if (!second) this.mixPsk()
    this.theirs = message.subarray(0, 32)
    this.mixPublic(this.theirs)
    if (second) this.mixShared()
    return this.open(message.subarray(32))
  }

  split() {
    const out = hkdf(NOTHING, this.ck, '', 64)
    return [out.subarray(0, 32), out.subarray(32)]
  }
}

// ------------------------------------------------------------------------------------------ a link

class Link {
  constructor(socket, options) {
    const { side, mode, secret, fault } = options
    if (!['dialer', 'listener'].includes(side) || !MODES.includes(mode)) throw new Error('side and mode are needed')
    this.fault = readFault(fault, side, mode)
    Object.assign(this, { socket, options, side, mode, dialer: side === 'dialer', cipher: options.cipher })
    this.key = keyOf(secret)
    this.limits = { ...LIMITS, ...options.limits }
    this.drainMs = options.drainMs ?? 5000
    Object.assign(this, { raw: NOTHING, stream: NOTHING, bytesRead: 0, ended: false, timers: new Set() })
    Object.assign(this, { counterOut: 0n, counterIn: 0n, recordsOut: 0, open: false })
    Object.assign(this, { takenOver: 0, consumed: 0, sequencedOut: 0, notifiedOut: 0, acked: 0, ackedCost: 0 })
    Object.assign(this, { unreported: 0, unreportedBytes: 0, firstAckRead: false })
    Object.assign(this, { closeRead: false, closeWritten: false, calls: new Map(), generations: new Map() })
    Object.assign(this, { running: new Map(), parts: new Map(), received: [], dripping: Promise.resolve() })
    const settles = (pairedWith, unpaired) => Object.assign(this, { pairedWith, unpaired })
    this.pairedPromise = new Promise(settles)
    this.endedPromise = new Promise((resolve) => Object.assign(this, { resolveEnded: resolve }))
    this.pairedPromise.catch(() => {})
    socket.allowHalfOpen = true
    socket.on('data', (chunk) => this.arrived(chunk))
    socket.on('end', () => this.pipeEnded('the pipe ended'))
    socket.on('error', (error) => this.pipeEnded(error.code ?? error.message))
    socket.on('close', () => this.pipeEnded('the pipe is closed'))
    this.run().catch((error) => this.finish(error))
  }

  // ------------------------------------------------------------------------------------------- bytes in and out

  arrived(chunk) {
    this.bytesRead += chunk.length
    this.lastByteAt = Date.now()
    if (this.ended || this.discarding) return
    if (this.fault.name === 'reflect') return this.write(chunk)
    this.raw = Buffer.concat([this.raw, chunk])
    this.wake?.()
  }

  pipeEnded(text) {
    this.pipeOver ??= text
    if (this.discarding) this.discarding()
    else if (this.fault.name === 'reflect') this.finish(new End('lost', text))
    else this.wake?.()
  }

  async takeRaw(count) {
    while (this.raw.length < count) {
      if (this.ended || this.pipeOver) throw new End('lost', this.pipeOver)
      await new Promise((resolve) => {
        this.wake = resolve
      })
    }
    const taken = this.raw.subarray(0, count)
    this.raw = this.raw.subarray(count)
    return taken
  }

  async take(count) {
    if (!this.unseal) return this.takeRaw(count)
    while (this.stream.length < count) {
      const length = (await this.takeRaw(2)).readUInt16BE()
      check(length >= 1 && (this.open || length <= MESSAGE_MAX), `a record of ${length} bytes`)
      const sealed = await this.takeRaw(length)
      let plain
      try {
        plain = this.unseal(this.counterIn++, sealed)
      } catch (error) {
        throw broken(`a record does not verify: ${error.message}`)
      }
      check(plain.length, 'a record without a byte of the stream')
      this.stream = Buffer.concat([this.stream, plain])
    }
    const taken = this.stream.subarray(0, count)
    this.stream = this.stream.subarray(count)
    return taken
  }

  async takeFrame() {
    const header = readHeader(await this.take(12), this.open ? this.limits.fragmentBytes : MESSAGE_MAX)
    return { ...header, payload: await this.take(header.length) }
  }

  write(bytes) {
    const raw = (part) => {
      if (this.socket.writable) this.socket.write(part)
    }
    if (this.fault.name === 'nothing') return
    if (this.fault.name !== 'drip') return raw(bytes)
    for (const byte of bytes) {
      const slow = () => this.wait(this.options.dripMs ?? 1000)
      this.dripping = this.dripping.then(slow).then(() => raw(Buffer.from([byte])))
    }
  }

  wait(ms) {
    return new Promise((resolve) => this.later(ms, resolve))
  }
  later(ms, action) {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      action()
    }, ms)
    this.timers.add(timer)
    return timer
  }

  // One frame, or a few that belong together: in one record, where there are records.
  send(...frames) {
    const bytes = Buffer.concat(frames)
    if (this.ended || this.discarding || !this.socket.writable) return
    if (!this.seal || (this.open && this.fault.name === 'plain-after-handshake')) return this.write(bytes)
    for (let at = 0; at < bytes.length; at += RECORD_STREAM_MAX) this.record(bytes.subarray(at, at + RECORD_STREAM_MAX))
  }

  record(stream) {
    const hit = this.open && ++this.recordsOut === this.fault.at ? this.fault.name : ''
    const counter = this.counterOut++
    let sealed = this.seal(hit === 'counter-end' ? 2n ** 64n - 1n : counter, stream)
    if (hit === 'record-flip') sealed[sealed.length >> 1] ^= 1
    if (hit === 'record-truncate') sealed = sealed.subarray(0, -1)
    const boxed = Buffer.concat([uint(2, sealed.length), sealed])
    if (hit === 'record-drop') return this.ping()
    if (hit === 'record-swap') this.ping()
    if (hit === 'record-cut') return this.socket.end(boxed.subarray(0, boxed.length >> 1))
    this.write(boxed)
    if (hit === 'record-repeat') this.write(boxed)
  }

  // ------------------------------------------------------------------------------------------- the handshake

  async run() {
    const { name } = this.fault
    if (!WITHOUT_OWN_TIMEOUT.includes(name)) {
      const late = () => this.finish(new End('timeout', 'the handshake took too long'))
      this.handshakeTimer = this.later(this.options.handshakeTimeoutMs ?? 5000, late)
    }
    if (name === 'downgrade' && this.dialer) this.mode = 'proof'
    this.hello = this.ownHello()
    try {
      if (this.dialer) await this.dial()
      else await this.listen()
    } catch (error) {
      // 'protocol' is a reason for the first message alone (5.5).
      if (this.dialer || !error.refuse || (error.refuse === 'protocol' && !this.refuseWithPreamble)) throw error
      return this.refuse(error)
    }
    clearTimeout(this.handshakeTimer)
    this.opened()
    for (;;) {
      const one = await this.takeFrame()
      if (this.ended || this.discarding) return
      this.handle(one)
    }
  }

  ownHello() {
    const { options, dialer } = this
    const { name } = this.fault
    const id = (value) => (Buffer.isBuffer(value) ? value.toString('hex') : value)
    const claims = dialer && name === 'claims-resume'
    return {
      side: dialer === (name !== 'hello-of-own-side') ? 0 : 1,
      instance: id(options.instance) ?? randomBytes(16).toString('hex'),
      process: id(options.process) ?? randomBytes(16).toString('hex'),
      nonce: id(options.nonce) ?? randomBytes(32).toString('hex'),
      features: 0,
      keepaliveMs: options.keepaliveMs ?? 2500,
      ...this.limits,
      attempt: dialer ? (options.attempt ?? 1) : 0,
      session: claims ? randomBytes(16).toString('hex') : ZEROS,
      received: claims ? 5 : 0,
      peer: claims ? randomBytes(16).toString('hex') : ZEROS,
      fresh: dialer ? (id(options.fresh) ?? randomBytes(16).toString('hex')) : ZEROS,
      about: options.about === undefined ? '' : JSON.stringify(options.about),
      cipherName: this.ownCipherName(),
    }
  }

  ownCipherName() {
    if (this.fault.name === 'bad-utf8-cipher-name') return Buffer.from([0xc3, 0x28])
    return this.mode === 'custom' ? this.cipher.name : ''
  }

  version() {
    return { 'old-version': 0, 'new-version': 2 }[this.fault.name] ?? 1
  }

  // Makes the preamble for a first message, and writes both.
  sendFirst(message) {
    const { name } = this.fault
    const announced = { 'oversized-first': 1025, 'oversized-first-65535': 65_535 }[name] ?? message.length
    const own = preamble(this.version(), MODES.indexOf(this.mode), announced)
    let body = Buffer.concat([message, Buffer.alloc(announced - message.length + (name === 'long-first' ? 1 : 0))])
    if (name === 'half-hello') body = body.subarray(0, body.length >> 1)
    if (name !== 'reflect' || this.dialer) this.write(Buffer.concat([own, body]))
    return own
  }

  async readPreamble() {
    for (const byte of MAGIC) if ((await this.takeRaw(1))[0] !== byte) throw new End('foreign', 'not a preamble')
    const rest = await this.takeRaw(4)
    const length = rest.readUInt16BE(2)
    check(length >= 1 && length <= MESSAGE_MAX, `a first message of ${length} bytes`)
    return { bytes: Buffer.concat([MAGIC, rest]), version: rest[0], mode: rest[1], length }
  }

  // A first message in clear: a frame that is exactly as long as announced.
  readFirstFrame(message, kind) {
    check(message.length >= 12, 'a first message shorter than a header', 'protocol')
    const header = readHeader(message, message.length)
    check(header.kind === kind, `${NAMES[header.kind]} as the first message`, 'protocol')
    check(header.length === message.length - 12, 'a first message shorter than announced', 'protocol')
    return message.subarray(12)
  }

  judgeHello(hello) {
    check(hello.instance !== this.hello.instance, 'both ends are the same instance', 'self')
    check(hello.side === (this.dialer ? 1 : 0), 'a hello of the own side', 'protocol')
    const name = this.mode === 'custom' ? this.cipher.name : ''
    check(hello.cipherName === name, 'the names of the ciphers differ', 'mode')
    if (!this.dialer) check(hello.fresh !== ZEROS, 'a hello without a fresh id', 'protocol')
    this.peer = hello
    return hello
  }

  newNoise(dialerPreamble) {
    const psk = pskOf(this.options.key, this.key)
    if (this.fault.name === 'wrong-proof') psk[0] ^= 1
    const prologue = Buffer.concat([Buffer.from('pairlink 1 sealed'), dialerPreamble.subarray(0, 6)])
    const { ephemeral } = this.options
    return new Noise({ psk, prologue, ephemeral, zeroKey: this.fault.name === 'low-order-key' })
  }

  sealWithNoise(noise) {
    const keys = noise.split()
    const [own, theirs] = this.dialer ? keys : keys.reverse()
    this.linkId = noise.h.subarray(0, 16)
    this.seal = (counter, stream) => gcmSeal(own, nonceOf(counter), stream)
    this.unseal = (counter, sealed) => gcmOpen(theirs, nonceOf(counter), sealed)
  }

  bindTranscript(...parts) {
    this.transcript = sha256(...parts)
    this.linkId = this.transcript.subarray(0, 16)
    const label = (dialer, counter) => Buffer.concat([this.linkId, Buffer.from([dialer ? 0 : 1]), uint(8, counter)])
    this.sealCustom = (counter, stream) =>
      Buffer.from(this.cipher.encrypt(Buffer.concat([label(this.dialer, counter), stream])))
    this.unsealCustom = (counter, sealed) => {
      const plain = Buffer.from(this.cipher.decrypt(sealed))
      if (!plain.subarray(0, 25).equals(label(!this.dialer, counter))) throw new Error('of another link, side or place')
      return plain.subarray(25)
    }
  }

  dialerProof() {
    return hmac(this.key, Buffer.from('pairlink 1 dialer proof'), this.transcript)
  }
  listenerProof(body) {
    return hmac(this.key, Buffer.from('pairlink 1 listener proof'), this.transcript, body)
  }

  async dial() {
    const body = encodeHello(this.hello)
    const noise = this.mode === 'sealed' && this.newNoise(preamble(this.version(), 1, 0))
    const first = noise ? noise.write(false, body) : frame(HELLO, body)
    const ownPreamble = this.sendFirst(first)

    const theirs = await this.readPreamble()
    if (theirs.mode & 0x80) throw this.refused(this.readFirstFrame(await this.takeRaw(theirs.length), REFUSE))
    check(theirs.version === 1, `version ${theirs.version}`)
    check(theirs.mode === MODES.indexOf(this.mode), `mode ${theirs.mode}`)
    const message = await this.takeRaw(theirs.length)
    let answer = message
    if (noise) {
      try {
        answer = noise.read(true, message)
      } catch (error) {
        throw broken(`it does not verify: ${error.message}`)
      }
      this.judgeHello(decodeHello(answer))
      this.sealWithNoise(noise)
    } else {
      this.judgeHello(decodeHello(this.readFirstFrame(message, HELLO)))
      this.bindTranscript(ownPreamble, first, theirs.bytes, message)
    }
    this.prove()
    await this.readWelcome()
  }

  prove() {
    const { name } = this.fault
    const custom = this.mode === 'custom'
    const ping = frame(PING, randomBytes(8))
    if (name === 'skipped-proof') {
      if (custom) Object.assign(this, { seal: this.sealCustom, counterOut: 1n })
      const query = Buffer.concat([uint(4, 0xffffffff), short(''), Buffer.from('hello')])
      return this.send(this.ackFrame(), frame(QUERY, query, { content: 1, id: 0x10000 }))
    }
    if (this.mode === 'sealed') {
      const padding = Buffer.alloc(name === 'record-long-early' ? 1009 - 12 : 0)
      this.send(frame(PROVE), name === 'data-behind-prove' ? ping : padding)
      if (name === 'prove-twice') this.send(frame(PROVE))
      return
    }
    const proof = this.dialerProof()
    if (name === 'wrong-proof') proof[0] ^= 1
    const sealed = custom ? this.sealCustom(this.counterOut++, NOTHING) : NOTHING
    const bytes = frame(PROVE, Buffer.concat([proof, sealed]))
    let behind = NOTHING
    if (name === 'data-behind-prove') behind = custom ? this.boxed(ping) : ping
    if (name === 'record-long-early') behind = this.boxed(Buffer.concat([ping, Buffer.alloc(1024)]))
    this.write(Buffer.concat([bytes, behind]))
    if (name === 'prove-twice') this.write(bytes)
  }

  boxed(stream) {
    const sealed = this.sealCustom(this.counterOut++, stream)
    return Buffer.concat([uint(2, sealed.length), sealed])
  }

  async readWelcome() {
    const { kind, payload } = await this.takeFrame()
    if (kind === REFUSE) throw this.refused(payload)
    check(kind === WELCOME, `${NAMES[kind]} instead of WELCOME`)
    check(this.stream.length === 0, 'more than WELCOME in its record')
    const body = payload.subarray(0, 25)
    const cursor = new Cursor(body)
    const status = cursor.u(1)
    this.session = cursor.id()
    const count = cursor.u(8)
    if (this.mode !== 'sealed') check(equal(payload.subarray(25), this.listenerProof(body)), 'a wrong proof')
    else check(payload.length === 25, 'a WELCOME that is too long')
    check(status === 0 && count === 0, 'resumed, of a session that is not held')
    check(this.session === this.hello.fresh, 'a new session under an id that was not offered')
    if (this.mode === 'custom') Object.assign(this, { seal: this.sealCustom, unseal: this.unsealCustom })
  }

  refused(payload) {
    const cursor = new Cursor(payload)
    const [reason, version, mode, retryInMs] = [cursor.u(1), cursor.u(1), cursor.u(1), cursor.u(4)]
    const [cipherName, text] = [cursor.text(64), cursor.text(200)]
    return new End('refused', text, { reason: REASONS[reason] ?? String(reason), version, mode, retryInMs, cipherName })
  }

  async listen() {
    const { name } = this.fault
    if (name === 'nothing') return this.takeRaw(Infinity)
    this.refuseWithPreamble = true
    const theirs = await this.readPreamble()
    check(theirs.version === 1, `version ${theirs.version} meets version 1`, 'version')
    check(theirs.mode === MODES.indexOf(this.mode), `mode ${theirs.mode} meets mode ${this.mode}`, 'mode')
    const message = await this.takeRaw(theirs.length)

    const noise = this.mode === 'sealed' && this.newNoise(theirs.bytes)
    if (name === 'downgrade') Object.assign(this, { mode: 'proof', hello: { ...this.hello, cipherName: '' } })
    let answer
    if (noise) {
      try {
        const body = noise.read(false, message)
        this.judgeHello(decodeHello(body))
        if (this.mode === 'sealed') answer = noise.write(true, encodeHello(this.hello))
      } catch (error) {
        if (error.refuse) throw error
        if (name !== 'wrong-proof') throw broken(`the first message does not verify: ${error.message}`, 'secret')
        answer = noise.write(true, encodeHello(this.hello))
      }
    } else if (name === 'downgrade') {
      this.peer = decodeHello(this.readFirstFrame(message, HELLO))
    } else {
      this.judgeHello(decodeHello(this.readFirstFrame(message, HELLO)))
    }
    answer ??= frame(HELLO, encodeHello(this.hello))
    this.refuseWithPreamble = false
    const ownPreamble = this.sendFirst(answer)
    if (this.mode === 'sealed') this.sealWithNoise(noise)
    else this.bindTranscript(theirs.bytes, message, ownPreamble, answer)

    await this.readProve()
    this.welcome()
  }

  async readProve() {
    const { kind, payload } = await this.takeFrame()
    check(kind === PROVE, `${NAMES[kind]} instead of PROVE`)
    check(this.raw.length + this.stream.length === 0, 'more than PROVE')
    if (this.fault.name === 'skipped-proof') {
      this.counterIn = 1n
      return
    }
    if (this.mode === 'sealed') return check(payload.length === 0, 'a PROVE with a payload')
    check(equal(payload.subarray(0, 32), this.dialerProof()), 'the proof is wrong', 'secret')
    if (this.mode === 'proof') return check(payload.length === 32, 'a PROVE that is too long')
    let nothing
    try {
      nothing = this.unsealCustom(this.counterIn++, payload.subarray(32))
    } catch (error) {
      throw broken(`the cipher's key is another: ${error.message}`, 'secret')
    }
    check(nothing.length === 0, 'a PROVE with bytes of the stream')
  }

  welcome() {
    const { name } = this.fault
    const claims = name === 'claims-resume'
    this.session = claims ? randomBytes(16).toString('hex') : this.peer.fresh
    const body = Buffer.concat([uint(1, claims ? 1 : 0), hex(this.session), uint(8, claims ? 5 : 0)])
    if (this.mode === 'sealed') {
      const padding = Buffer.alloc(name === 'record-long-early' ? 1009 - 37 : 0)
      if (name === 'skipped-proof') this.write(Buffer.concat([uint(2, 53), Buffer.alloc(53)]))
      else this.send(frame(WELCOME, body), padding)
      if (name === 'prove-twice') this.send(frame(WELCOME, body))
      return
    }
    let proof = this.listenerProof(body)
    if (name === 'wrong-proof') proof[0] ^= 1
    if (name === 'skipped-proof') proof = Buffer.alloc(32)
    const bytes = frame(WELCOME, Buffer.concat([body, proof]))
    this.write(bytes)
    if (this.mode === 'custom') Object.assign(this, { seal: this.sealCustom, unseal: this.unsealCustom })
    if (name === 'prove-twice') this.send(bytes)
  }

  refuse(error) {
    const text = short(Buffer.from(error.message).subarray(0, 200))
    const own = Buffer.from([REASONS.indexOf(error.refuse), 1, MODES.indexOf(this.mode), 0, 0, 0, 0])
    const bytes = frame(REFUSE, Buffer.concat([own, short(this.mode === 'custom' ? this.cipher.name : ''), text]))
    const before = preamble(1, 0x80 | MODES.indexOf(this.mode), bytes.length)
    if (this.refuseWithPreamble) this.write(Buffer.concat([before, bytes]))
    else this.send(bytes)
    this.leave(new End('refusing', error.message, { reason: error.refuse }), 1000)
  }

  // ------------------------------------------------------------------------------------------- the open link

  opened() {
    const { name } = this.fault
    this.open = true
    this.lastByteAt ??= Date.now()
    this.alive = setInterval(() => this.keepAlive(), 250)
    if (name === 'no-first-ack') this.ping()
    else this.send(this.ackFrame())
    if (name === 'record-empty') this.record(NOTHING)
    if (name === 'record-zero') this.write(Buffer.alloc(2))
    // An ACK in clear begins with 20 00, which a reader of records takes for a length of 8,192: it needs so many bytes.
    if (name === 'plain-after-handshake') this.notify('', Buffer.alloc(9000))
    if (name === 'answer-to-nothing') this.send(frame(ANSWER, NOTHING, { id: 0x10007 }))
    if (name === 'ack-too-high') this.send(frame(ACK, Buffer.concat([uint(8, 1000), uint(8, 0)])))
    if (name === 'query-slot-out-of-range') {
      const slot = 16 * this.peer.handlersMax
      if (slot > 0xffff) throw new Error('every slot is in range: the peer has 4,096 handlers')
      this.send(frame(QUERY, Buffer.concat([uint(4, 0xffffffff), short('')]), { id: 0x10000 + slot }))
    }
    this.pairedWith({ session: this.session, hello: this.peer })
  }

  keepAlive() {
    const silent = Date.now() - this.lastByteAt
    if (silent >= Math.max(20_000, 3 * this.peer.keepaliveMs)) return this.finish(new End('silence', 'nothing came'))
    if (silent < this.hello.keepaliveMs) this.pinged = false
    else if (!this.pinged) {
      this.pinged = true
      this.ping()
    }
  }

  ping() {
    this.send(frame(PING, randomBytes(8)))
  }

  answerPing(token) {
    const waiting = this.pong !== undefined
    this.pong = token
    if (waiting) return
    const answer = () => {
      this.send(frame(PONG, this.pong))
      this.pong = undefined
    }
    if (this.socket.writableNeedDrain) this.socket.once('drain', answer)
    else answer()
  }

  ackFrame() {
    Object.assign(this, { unreported: 0, unreportedBytes: 0 })
    clearTimeout(this.ackTimer)
    this.ackTimer = undefined
    return frame(ACK, Buffer.concat([uint(8, this.takenOver), uint(8, this.consumed)]))
  }

  acknowledgeSoon(frames, bytes) {
    this.unreported += frames
    this.unreportedBytes += bytes
    const most = Math.max(1, Math.min(2 ** 18, this.peer.replayBytesMax / 4, this.limits.inboxBytesMax / 4))
    if (this.unreported >= 256 || this.unreportedBytes >= most) this.send(this.ackFrame())
    else this.ackTimer ??= this.later(20, () => this.send(this.ackFrame()))
  }

  sendSequenced(bytes) {
    if (bytes.length > this.peer.fragmentBytes) throw new Error('too large: this peer sends no fragments')
    this.sequencedOut += 1
    this.send(bytes)
  }

  handle(one) {
    const { kind, payload, id } = one
    check(this.firstAckRead || kind === ACK, `${NAMES[kind]} before the first ACK`)
    check(kind >= QUERY, `${NAMES[kind]} on an open link`)
    if (this.closeRead) check(![QUERY, NOTIFY, CLOSE].includes(kind), `${NAMES[kind]} after CLOSE`)
    if (kind === ACK) this.handleAck(new Cursor(payload))
    if (kind === PING || kind === PONG) check(payload.length === 8, `${NAMES[kind]} of ${payload.length} bytes`)
    if (kind === PING) this.answerPing(payload)
    if (kind === CLOSE) {
      check(payload.length >= 2 && payload.length <= 202, `a CLOSE of ${payload.length} bytes`)
      this.closeRead = { code: payload.readUInt16BE(), text: utf8(payload.subarray(2)) }
    }
    if (SEQUENCED.includes(kind)) {
      if (kind === CANCEL) {
        check(payload.length === 0, 'a CANCEL with a payload')
        this.handleCancel(id)
      } else {
        const message = this.readMessage(one)
        if (message) this.handleMessage(message)
      }
      this.takenOver += 1
      this.acknowledgeSoon(1, 12 + payload.length)
    }
    this.closeIfDone()
  }

  handleAck(cursor) {
    const [count, cost] = [cursor.u(8), cursor.u(8)]
    cursor.end()
    check(count >= this.acked && count <= this.sequencedOut, `an ACK of ${count} frames of ${this.sequencedOut}`)
    check(cost >= this.ackedCost && cost <= this.notifiedOut, `an ACK of ${cost} consumed of ${this.notifiedOut}`)
    Object.assign(this, { acked: count, ackedCost: cost, firstAckRead: true })
  }

  // A whole message, or what has become one with this fragment; undefined while it is not whole.
  readMessage({ kind, flags, content, id, payload }) {
    const key = `${kind}:${id}`
    const cursor = new Cursor(payload)
    let message = this.parts.get(key)
    const openNotify = [...this.parts.values()].some((part) => part.kind === NOTIFY)
    if (!flags || flags & FIRST) {
      check(!message, 'a message begins in the middle of itself')
      check(kind !== NOTIFY || !openNotify, 'a NOTIFY in the middle of another')
      message = { kind, id, content, chunks: [], got: 0, total: flags ? cursor.u(8) : undefined }
      if (kind === QUERY) message.remaining = cursor.u(4)
      if (kind === QUERY || kind === NOTIFY) message.method = cursor.text(255)
      const failure = () => ({ reason: cursor.u(1), code: cursor.text(64), text: cursor.text(1024, 2) })
      if (kind === FAIL) Object.assign(message, failure())
      message.total ??= cursor.left.length
      check(message.total <= this.limits.messageBytesMax, `a message of ${message.total} bytes`)
      this.checkBegin(message)
    }
    check(message, 'a fragment of nothing')
    check(content === message.content, 'a fragment of another content')
    check(content || !cursor.left.length, 'bytes where the content is none')
    check(!flags || cursor.left.length, 'a fragment without a byte of content')
    message.got += cursor.left.length
    message.chunks.push(cursor.rest())
    check(message.got <= message.total, 'more bytes than the total')
    if (flags & MORE) {
      check(message.got < message.total, 'a further fragment is announced, and nothing is left')
      this.parts.set(key, message)
      const totals = [...this.parts.values()].reduce((sum, part) => sum + part.total, 0)
      check(totals <= this.limits.reassemblyBytesMax, 'more than reassemblyBytesMax in open messages')
      return undefined
    }
    check(message.got === message.total, 'an end before the total')
    this.parts.delete(key)
    return message
  }

  checkBegin({ kind, id }) {
    const slot = id & 0xffff
    if (kind === QUERY) {
      check(slot < 16 * this.limits.handlersMax, `slot ${slot} is out of range`)
      check(!this.running.has(slot), `slot ${slot} is taken`)
      this.running.set(slot, { id, whole: false })
    }
    if (kind === ANSWER || kind === FAIL) {
      check(this.calls.has(id), `${NAMES[kind]} to nothing`)
      if (kind === FAIL) this.parts.delete(`${ANSWER}:${id}`)
      else check(!this.parts.has(`${FAIL}:${id}`), 'an ANSWER in the middle of a FAIL')
    }
  }

  handleMessage(message) {
    const { kind, id, content, method, total } = message
    const call = this.calls.get(id)
    let value, unreadable
    try {
      value = decodeContent(content, Buffer.concat(message.chunks))
    } catch (error) {
      unreadable = error
    }
    if (kind === QUERY) return this.runQuery(message, value, unreadable)
    if (kind === NOTIFY) {
      if (!unreadable) this.received.push({ type: 'notify', method, value, kind: CONTENTS[content] })
      const cost = total + Buffer.byteLength(method) + 64
      this.consumed += cost
      return this.acknowledgeSoon(0, cost)
    }
    this.calls.delete(id)
    if (unreadable) call.reject(new Error(`the content cannot be read: ${unreadable.message}`))
    else if (kind === ANSWER) call.resolve(value)
    else call.reject(Object.assign(new Error(message.text), { reason: message.reason, code: message.code, value }))
  }

  runQuery({ id, method, content, remaining }, value, unreadable) {
    const run = this.running.get(id & 0xffff)
    run.whole = true
    if (unreadable) return this.fail(run, FAILS.content)
    if (remaining === 0) return this.fail(run, FAILS.expired)
    this.received.push({ type: 'query', method, value, kind: CONTENTS[content] })
    const { answer } = this.options
    if (!answer) return this.fail(run, method ? FAILS.method : FAILS.nameless)
    if (remaining !== 0xffffffff) this.later(Math.min(remaining, 2 ** 31 - 1), () => this.stopRun(run, FAILS.expired))
    Promise.resolve()
      .then(() => answer(method, value))
      .then(
        (result) => (run.stopped ? this.fail(run, run.stopped) : this.answerQuery(run, result)),
        (error) => this.fail(run, run.stopped ?? FAILS.handler, error),
      )
      .catch((error) => this.finish(error))
  }

  stopRun(run, reason) {
    if (run.stopped || this.running.get(run.id & 0xffff) !== run) return
    run.stopped = reason
    this.later(this.drainMs, () => this.fail(run, reason))
  }

  handleCancel(id) {
    const run = this.running.get(id & 0xffff)
    if (run?.id !== id) return
    if (run.whole) return this.stopRun(run, FAILS.cancelled)
    this.parts.delete(`${QUERY}:${id}`)
    this.fail(run, FAILS.cancelled)
  }

  settleRun(run, bytes) {
    if (this.ended || this.running.get(run.id & 0xffff) !== run) return
    this.running.delete(run.id & 0xffff)
    this.sendSequenced(bytes)
    this.closeIfDone()
  }

  answerQuery(run, result) {
    const { content, bytes } = encodeContent(result)
    this.settleRun(run, frame(ANSWER, bytes, { content, id: run.id }))
  }

  fail(run, reason, error) {
    const own = reason === FAILS.handler
    const { content, bytes } = encodeContent(own ? error?.value : undefined)
    const text = Buffer.from(own ? (error?.message ?? '') : '').subarray(0, 1024)
    const payload = [uint(1, reason), short(own ? (error?.code ?? '') : ''), uint(2, text.length), text, bytes]
    this.settleRun(run, frame(FAIL, Buffer.concat(payload), { content, id: run.id }))
  }

  query(method = '', value, { kind, timeoutMs = 0xffffffff } = {}) {
    if (!this.open || this.ended || this.closeWritten) return Promise.reject(new Error('the link is not open'))
    if (this.calls.size >= this.peer.handlersMax) return Promise.reject(new Error('too many queries at once'))
    const taken = new Set([...this.calls.keys()].map((id) => id & 0xffff))
    let slot = 0
    while (taken.has(slot)) slot += 1
    const generation = ((this.generations.get(slot) ?? 0) % 0xffff) + 1
    const id = generation * 0x10000 + slot
    const { content, bytes } = encodeContent(value, kind)
    return new Promise((resolve, reject) => {
      this.sendSequenced(frame(QUERY, Buffer.concat([uint(4, timeoutMs), short(method), bytes]), { content, id }))
      this.generations.set(slot, generation)
      this.calls.set(id, { resolve, reject })
    })
  }

  notify(method = '', value, { kind } = {}) {
    if (!this.open || this.ended || this.closeWritten) throw new Error('the link is not open')
    const { content, bytes } = encodeContent(value, kind)
    const cost = bytes.length + Buffer.byteLength(method) + 64
    const waiting = this.notifiedOut - this.ackedCost
    if (waiting && waiting + cost > this.peer.inboxBytesMax) throw new Error('the inbox of the peer is full')
    this.sendSequenced(frame(NOTIFY, Buffer.concat([short(method), bytes]), { content }))
    this.notifiedOut += cost
  }

  // ------------------------------------------------------------------------------------------- the end

  close(text = '') {
    if (!this.open || this.ended || this.closeWritten) return
    const last = this.unreported || this.unreportedBytes ? [this.ackFrame()] : []
    this.closeWritten = true
    this.send(...last, frame(CLOSE, Buffer.concat([uint(2, 0), Buffer.from(text)])))
    this.closeIfDone()
  }

  closeIfDone() {
    if (!this.closeRead || this.calls.size || this.running.size || this.ended || this.discarding) return
    if (this.raw.length || this.stream.length) return // what has arrived is judged before anything is discarded
    if (!this.closeWritten) return this.close()
    if (this.ackTimer) this.send(this.ackFrame())
    this.leave(new End('close', this.closeRead.text), this.drainMs)
  }

  // Half-closes the pipe, and reads and discards until the other's end.
  leave(end, ms) {
    this.discarding = () => this.finish(end)
    this.dripping.then(() => {
      this.socket.end()
      this.later(ms, this.discarding)
    })
    if (this.pipeOver) this.discarding()
  }

  finish(error) {
    if (this.ended) return
    this.ended = true
    clearInterval(this.alive)
    for (const timer of this.timers) clearTimeout(timer)
    this.wake?.()
    this.socket.destroy()
    const { by = 'failed', reason, message: text, more } = error
    const gone = new Error(`the link has ended: ${by} ${reason ?? ''} ${text}`)
    this.unpaired(gone)
    for (const { reject } of this.calls.values()) reject(gone)
    if (by === 'failed') console.error(error)
    this.resolveEnded({ by, ...(reason && { reason }), ...(text && { text }), ...more, bytesRead: this.bytesRead })
  }
}

export function speak(socket, options) {
  const link = new Link(socket, options)
  return {
    paired: link.pairedPromise,
    ended: link.endedPromise,
    received: link.received,
    query: (...args) => link.query(...args),
    notify: (...args) => link.notify(...args),
    close: (text) => link.close(text),
    values: () => ({ key: link.key, transcript: link.transcript, linkId: link.linkId }),
  }
}

// ------------------------------------------------------------------------------------------ the program

const USAGE =
  'node second-peer.mjs --side dialer|listener --path P | --port N --mode M --secret S [--key HEX] ' +
  '[--cipher NAME] [--fault NAME] [--drip-ms N] [--instance HEX] [--links N]'

function program() {
  const names = ['side', 'path', 'port', 'mode', 'secret', 'key', 'cipher', 'fault', 'drip-ms', 'instance', 'links']
  const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) })
  const { side, path, port, mode = 'proof', secret, fault, instance } = values
  if (!side || !secret || !(path || port) || (mode !== 'proof' && !values.key)) throw new Error(USAGE)
  const print = (event, fields) => console.log(JSON.stringify({ event, ...fields }))
  const key = values.key && hex(values.key)
  const cipher = mode === 'custom' ? plainCipher(key, values.cipher) : undefined
  const answer = (method, value) => {
    print('query', { method, value })
    if (!method && typeof value === 'string') return `second: ${value}`
    throw new Error('only nameless texts are answered')
  }
  const dripMs = Number(values['drip-ms'] ?? 1000)
  const options = { side, mode, secret, key, cipher, fault, instance, answer, dripMs }
  readFault(fault, side, mode)

  const talk = async (socket) => {
    const link = speak(socket, options)
    const paired = await link.paired.catch(() => undefined)
    if (paired) print('paired', paired)
    if (paired && side === 'dialer') {
      const asked = link.query('', 'hello', { kind: 'text' })
      print(
        'answer',
        await asked.then(
          (value) => ({ value }),
          (error) => ({ error: error.message }),
        ),
      )
      link.close()
    }
    print('ended', await link.ended)
  }

  const address = path ? { path } : { port: Number(port), host: '127.0.0.1' }
  if (side === 'dialer') {
    const socket = net.connect({ ...address, allowHalfOpen: true })
    socket.once('error', (error) => {
      if (!socket.bytesRead) print('error', { text: error.message })
    })
    socket.once('connect', () => talk(socket))
    return
  }
  let left = Number(values.links ?? 1)
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    talk(socket).then(() => {
      left -= 1
      if (left === 0) server.close()
    })
  })
  server.listen(address, () => print('ready', server.address()?.port ? { port: server.address().port } : {}))
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) program()
