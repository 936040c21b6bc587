/**
 * The first eight bytes of each side (PROTOCOL.md, section 2): magic, version, mode, length of the first message. They
 * never change between versions, so that any two implementations can at least tell each other why not.
 */
import { ProtocolError } from './errors.js'
import { HANDSHAKE_BYTES_MAX, MAGIC, MODES, MODE_REFUSE, PREAMBLE_BYTES, readU16, readU32, VERSION } from './wire.js'
import { writeU16, writeU32, type Mode } from './wire.js'

export interface Preamble {
  readonly version: number
  /** A name where this version knows the mode, else its number. */
  readonly mode: Mode | number
  /** True when a REFUSE in clear follows instead of the first message of that mode. */
  readonly refuses: boolean
  /** Bytes of the first message, its header included. */
  readonly messageBytes: number
}

export function encodePreamble(mode: Mode, messageBytes: number, refuses = false): Uint8Array {
  const bytes = new Uint8Array(PREAMBLE_BYTES)
  writeU32(bytes, 0, MAGIC)
  bytes[4] = VERSION
  bytes[5] = MODES[mode] | (refuses ? MODE_REFUSE : 0)
  writeU16(bytes, 6, messageBytes)
  return bytes
}

/** True while the bytes read so far can still become a preamble, so that garbage is known at its first wrong byte. */
export function mayBePreamble(bytes: Uint8Array, filled: number): boolean {
  for (let at = 0; at < Math.min(filled, 4); at++) {
    if (bytes[at] !== ((MAGIC >>> (24 - 8 * at)) & 0xff)) return false
  }
  return true
}

/** @throws ProtocolError for a message length that no version allows. The version and the mode are the caller's to judge. */
export function decodePreamble(bytes: Uint8Array): Preamble {
  if (readU32(bytes, 0) !== MAGIC) throw new ProtocolError('2', 'These bytes are not a pairlink preamble')
  const messageBytes = readU16(bytes, 6)
  if (messageBytes === 0 || messageBytes > HANDSHAKE_BYTES_MAX) {
    throw new ProtocolError(
      '2',
      `A first message of ${messageBytes} bytes was announced; the limit is ${HANDSHAKE_BYTES_MAX}`,
    )
  }
  const modeByte = bytes[5] ?? 0
  const modeNumber = modeByte & ~MODE_REFUSE
  return {
    version: bytes[4] ?? 0,
    mode: modeName(modeNumber),
    refuses: (modeByte & MODE_REFUSE) !== 0,
    messageBytes,
  }
}

export function modeName(modeNumber: number): Mode | number {
  for (const name of Object.keys(MODES) as Mode[]) if (MODES[name] === modeNumber) return name
  return modeNumber
}
