// Frames, hellos and other bytes as PROTOCOL.md describes them, written here once more: what the fuzzer sends and expects must
// not come from the code that it looks at.

export const KIND = {
  HELLO: 1,
  PROVE: 2,
  WELCOME: 3,
  REFUSE: 4,
  QUERY: 16,
  ANSWER: 17,
  FAIL: 18,
  CANCEL: 19,
  NOTIFY: 20,
  ACK: 32,
  PING: 33,
  PONG: 34,
  CLOSE: 35,
}
export const KINDS = Object.values(KIND)
export const HEADER_BYTES = 12
export const PREAMBLE_BYTES = 8
export const MODE = { proof: 0, sealed: 1, custom: 2 }

/** @typedef {keyof typeof MODE} Mode */
/** @typedef {'dialer' | 'listener'} Side */

export const join = (/** @type {readonly Uint8Array[]} */ ...parts) => new Uint8Array(Buffer.concat(parts))
export const text = (/** @type {string} */ of) => new Uint8Array(new TextEncoder().encode(of))
export const fromHex = (/** @type {string} */ hex) => new Uint8Array(Buffer.from(hex, 'hex'))
export const toHex = (/** @type {Uint8Array} */ bytes) => Buffer.from(bytes).toString('hex')

/** An unsigned number in so many bytes, big-endian. */
export function number(/** @type {number} */ sizeBytes, /** @type {number} */ value) {
  const bytes = new Uint8Array(sizeBytes)
  for (let at = sizeBytes - 1, rest = value; at >= 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256
  return bytes
}

/** A frame, also one that no honest peer would write. */
export function frame(
  /** @type {number} */ kind,
  payload = new Uint8Array(0),
  { flags = 0, content = 0, reserved = 0, id = 0, length = payload.length } = {},
) {
  return join(Uint8Array.of(kind, flags, content, reserved), number(4, id), number(4, length), payload)
}

export function preamble(/** @type {Mode} */ mode, /** @type {number} */ messageBytes) {
  return join(text('PLNK'), Uint8Array.of(1, MODE[mode]), number(2, Math.min(messageBytes, 0xffff)))
}

/**
 * The body of a HELLO (section 5.1).
 * @param {object} fields
 * @param {Side} fields.side
 * @param {string} fields.instance 32 hexadecimal digits, as all ids
 * @param {number} fields.nonceByte
 * @param {string} [fields.cipherName]
 * @param {{ attempt: number, session: string, received: number, peer: string, fresh: string }} [fields.claim]
 */
export function helloBody({ side, instance, nonceByte, cipherName = '', claim }) {
  const id = (/** @type {string} */ of) => fromHex(of)
  const none = '0'.repeat(32)
  const { attempt, session, received, peer, fresh } = claim ?? {
    attempt: 0,
    session: none,
    received: 0,
    peer: none,
    fresh: none,
  }
  const name = text(cipherName)
  return join(
    Uint8Array.of(side === 'dialer' ? 0 : 1),
    id(instance),
    id('c'.repeat(32)),
    new Uint8Array(32).fill(nonceByte),
    number(4, 0),
    number(4, 2500),
    number(8, 65_536),
    number(8, 65_536),
    number(8, 65_536),
    number(8, 131_072),
    number(4, 4096),
    number(4, 4),
    number(8, attempt),
    id(session),
    number(8, received),
    id(peer),
    id(fresh),
    Uint8Array.of(2),
    text('{}'),
    Uint8Array.of(name.length),
    name,
  )
}

export function welcomeBody(/** @type {'new' | 'resumed'} */ status, /** @type {string} */ session, received = 0) {
  return join(Uint8Array.of(status === 'new' ? 0 : 1), fromHex(session), number(8, received))
}

const short = (/** @type {Uint8Array} */ bytes) => join(Uint8Array.of(bytes.length), bytes)
export const ackPayload = (/** @type {number} */ taken, /** @type {number} */ consumed) =>
  join(number(8, taken), number(8, consumed))
export const queryFixed = (/** @type {string} */ method, remaining = 0xffffffff) =>
  join(number(4, remaining), short(text(method)))
export const notifyFixed = (/** @type {string} */ method) => short(text(method))
export const failFixed = (/** @type {number} */ reason, code = '', message = '') =>
  join(Uint8Array.of(reason), short(text(code)), number(2, text(message).length), text(message))

/** A message in fragments of `partBytes` each (section 6.3). */
export function inParts(
  /** @type {number} */ kind,
  /** @type {number} */ id,
  /** @type {number} */ content,
  /** @type {Uint8Array} */ fixed,
  /** @type {Uint8Array} */ bytes,
  /** @type {number} */ partBytes,
) {
  const parts = []
  for (let at = 0; at < bytes.length; at += partBytes) {
    const isFirst = at === 0
    const flags = 1 | (isFirst ? 2 : 0) | (at + partBytes < bytes.length ? 4 : 0)
    const head = isFirst ? [number(8, bytes.length), fixed] : []
    parts.push(frame(kind, join(...head, bytes.subarray(at, at + partBytes)), { flags, content, id }))
  }
  return parts
}
