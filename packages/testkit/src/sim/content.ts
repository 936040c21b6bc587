/** What calls carry: each content begins with the number of its call, and every further byte follows from that number. */
import type { CallPlan } from './schedule.js'

type Content = CallPlan['content']

const NUMBER_BYTES = 4
const CONTENT_BYTES_MAX = 256 * 1024
/** A prime: contents that follow one another are different at each place. */
const PATTERN_PERIOD = 4093
const pattern = Uint8Array.from({ length: CONTENT_BYTES_MAX + PATTERN_PERIOD }, (_, at) => at * 31 + (at >> 8) * 17)
const LETTERS = 'abcdefghijklmnopqrstuvwxyz'

/** @param salt tells an answer from its query */
export function contentOf(number: number, content: Content, sizeBytes: number, salt: number): unknown {
  switch (content) {
    case 'bytes': {
      const lengthBytes = Math.max(NUMBER_BYTES, sizeBytes)
      // Most bytes of Node.js are a Buffer, whose `slice` does not copy.
      const bytes = number % 2 === 0 ? new Uint8Array(lengthBytes) : Buffer.alloc(lengthBytes)
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, number)
      bytes.set(patternOf(number * 7 + salt, bytes.length), NUMBER_BYTES)
      return bytes
    }
    case 'text':
      return `${number} ${letters(number + salt, sizeBytes)}`.slice(0, Math.max(12, sizeBytes))
    case 'json':
      return [number, letters(number + salt, sizeBytes - 16)]
  }
}

/** The number of the call whose content this is; undefined for what no call has. */
export function numberOf(content: unknown): number | undefined {
  if (content instanceof Uint8Array) {
    if (content.length < NUMBER_BYTES) return undefined
    return new DataView(content.buffer, content.byteOffset).getUint32(0)
  }
  const number =
    typeof content === 'string'
      ? Number(content.split(' ', 1)[0])
      : Array.isArray(content)
        ? (content[0] as unknown)
        : NaN
  return Number.isInteger(number) ? (number as number) : undefined
}

/** Whether every byte of it is as it was sent. */
export function isContentOf(
  given: unknown,
  number: number,
  content: Content,
  sizeBytes: number,
  salt: number,
): boolean {
  const sent = contentOf(number, content, sizeBytes, salt)
  if (sent instanceof Uint8Array) {
    if (!(given instanceof Uint8Array) || given.length !== sent.length) return false
    return Buffer.compare(given, sent) === 0
  }
  return JSON.stringify(given) === JSON.stringify(sent)
}

/** The bytes that follow the number. Cut from one long pattern, since millions of contents are made. */
function patternOf(from: number, lengthBytes: number): Uint8Array {
  const start = from % PATTERN_PERIOD
  return pattern.subarray(start, start + lengthBytes - NUMBER_BYTES)
}

function letters(from: number, count: number): string {
  const start = from % LETTERS.length
  const turned = LETTERS.slice(start) + LETTERS.slice(0, start)
  return turned.repeat(Math.ceil(Math.max(0, count) / LETTERS.length)).slice(0, Math.max(0, count))
}
