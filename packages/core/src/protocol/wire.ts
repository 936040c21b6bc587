/**
 * The numbers of the wire (PROTOCOL.md, sections 2 to 4) and big-endian access to them. Nothing here has state.
 */

/** `PLNK`, the first four bytes that each side sends. */
export const MAGIC = 0x504c4e4b
export const VERSION = 1
export const PREAMBLE_BYTES = 8
export const HEADER_BYTES = 12

/** The most that a handshake message may take, its header included: a stranger is given no more memory than this. */
export const HANDSHAKE_BYTES_MAX = 1024
export const METHOD_BYTES_MAX = 255
/** The total in front of a message's first fragment. */
export const TOTAL_BYTES = 8
export const ABOUT_BYTES_MAX = 200
export const CIPHER_NAME_BYTES_MAX = 64
export const REASON_BYTES_MAX = 200
export const FAIL_CODE_BYTES_MAX = 64
export const FAIL_MESSAGE_BYTES_MAX = 1024
/** In a QUERY: no limit on the time. */
export const REMAINING_FOREVER = 0xffffffff

/** How the bytes after the preamble are protected. Local configuration, never negotiated. */
export const MODES = { proof: 0, sealed: 1, custom: 2 } as const
export type Mode = keyof typeof MODES
/** Set in the preamble's mode byte when the message that follows is a REFUSE in clear, whatever the mode. */
export const MODE_REFUSE = 0x80

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
} as const

export const FLAG = { PART: 1, FIRST: 2, MORE: 4 } as const

export const CONTENT = { NONE: 0, TEXT: 1, BYTES: 2, JSON: 3 } as const
export type Content = (typeof CONTENT)[keyof typeof CONTENT]

/** Why a FAIL was sent; `HANDLER` is the application's own failure, the others are pairlink's. */
export const FAIL_REASON = {
  HANDLER: 1,
  NO_HANDLER: 2,
  NO_METHOD: 3,
  CANCELLED: 4,
  EXPIRED: 5,
  QUEUE_FULL: 6,
  UNREADABLE: 7,
  TOO_LARGE: 8,
} as const

export const REFUSE_REASON = { version: 1, mode: 2, secret: 3, self: 4, busy: 5, protocol: 6 } as const
export type RefuseReason = keyof typeof REFUSE_REASON

/** Why a side closes; the table is closed, and what failed inside a process stays at home. */
export const CLOSE_CODE = { done: 0, goingAway: 1 } as const

export function readU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  )
}

/** Values above 2^53 lose their last bits, which makes them larger than any limit and so refused. */
export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 4)
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, Math.floor(value / 0x1_0000_0000))
  writeU32(bytes, at + 4, value % 0x1_0000_0000)
}

export function writeHeader(
  bytes: Uint8Array,
  at: number,
  kind: number,
  flags: number,
  content: number,
  id: number,
  lengthBytes: number,
): void {
  bytes[at] = kind
  bytes[at + 1] = flags
  bytes[at + 2] = content
  bytes[at + 3] = 0
  writeU32(bytes, at + 4, id)
  writeU32(bytes, at + 8, lengthBytes)
}

/** One whole frame in bytes of its own, for the frames that are rare: handshake, ACK, PING, PONG, CLOSE. */
export function encodeFrame(kind: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length)
  writeHeader(frame, 0, kind, 0, CONTENT.NONE, 0, payload.length)
  frame.set(payload, HEADER_BYTES)
  return frame
}

/** At most `bytesMax` bytes, cut between characters. */
export function cutText(bytes: Uint8Array, bytesMax: number): Uint8Array {
  if (bytes.length <= bytesMax) return bytes
  let end = bytesMax
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.slice(0, end)
}
