/**
 * Values to bytes and back (PROTOCOL.md, section 3.4). What arrives is what was sent: a value that JSON would change is
 * refused with its path, and text that UTF-8 would change travels as JSON.
 */
import { guarded } from '#runtime'
import { CONTENT, SLICE_BYTES_MAX, type Content, type Ownership, type Utf8 } from '../protocol/index.js'

/** Deeper JSON is refused on both sides: it is a mistake or an attack on whoever walks it. */
export const JSON_DEPTH_MAX = 1000

export interface Encoded {
  content: Content
  bytes: Uint8Array
  /** `copy` where the bytes are the caller's own, `own` where they were made here. */
  ownership: Ownership
}

const NOTHING = new Uint8Array(0)

/**
 * @param target filled in and returned, so that a call needs no object of its own
 * @throws TypeError with the path of what JSON would change
 */
export function encodePayload(value: unknown, utf8: Utf8, target: Encoded, name = 'payload'): Encoded {
  if (isBytes(value)) {
    if (value.length === 0 && isDetached(value.buffer)) throw new TypeError(`${name}: its ArrayBuffer was transferred`)
    target.content = CONTENT.BYTES
    target.bytes = value
    target.ownership = 'copy'
  } else if (typeof value === 'string' && value.isWellFormed()) {
    target.content = CONTENT.TEXT
    target.bytes = utf8.encode(value)
    target.ownership = 'own'
  } else if (value === undefined) {
    target.content = CONTENT.NONE
    target.bytes = NOTHING
    target.ownership = 'own'
  } else if (value instanceof ArrayBuffer) {
    if (value.byteLength === 0 && isDetached(value)) throw new TypeError(`${name}: the ArrayBuffer was transferred`)
    target.content = CONTENT.BYTES
    target.bytes = new Uint8Array(value)
    target.ownership = 'copy'
  } else {
    const fault = jsonFault(value, name)
    if (fault !== undefined) throw new TypeError(fault)
    // First the text: a getter in the value may make a call of its own, which uses the same target.
    const bytes = utf8.encode(JSON.stringify(value))
    target.content = CONTENT.JSON
    target.bytes = bytes
    target.ownership = 'own'
  }
  return target
}

/** The getter of all typed arrays: the kind of an array, which no property of its own can change. */
const kindOfTypedArray = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype) as object,
  Symbol.toStringTag,
) as { get(this: unknown): unknown }

/** Also for bytes of another realm, such as a Buffer in a test runner that has globals of its own. */
function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array || (ArrayBuffer.isView(value) && kindOfTypedArray.get.call(value) === 'Uint8Array')
}

/** `ArrayBuffer.prototype.detached` is not there in all runtimes that we support. */
function isDetached(buffer: ArrayBufferLike): boolean {
  try {
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
}

/** @throws Error for bytes that are not what `content` says. */
export function decodePayload(content: number, bytes: Uint8Array, utf8: Utf8): unknown {
  switch (content) {
    case CONTENT.BYTES:
      // Short ones have an ArrayBuffer of their own, and to look at it would make V8 move them out of its heap, at several
      // times the cost of a call.
      return bytes.length <= SLICE_BYTES_MAX || bytes.length === bytes.buffer.byteLength ? bytes : guarded(bytes)
    case CONTENT.TEXT:
      return utf8.decode(bytes)
    case CONTENT.JSON:
      if (jsonDepth(bytes) > JSON_DEPTH_MAX) throw new Error(`JSON nested more than ${JSON_DEPTH_MAX} deep`)
      return parsed(utf8.decode(bytes))
    default:
      return undefined
  }
}

/** @throws Error that does not quote the text, as that of `JSON.parse` does: it may be logged, or told to the peer */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new SyntaxError('it is not JSON')
  }
}

/** What of a payload may stand in a log: its kind and size, never its content. */
export function summarise(content: number, bytes: Uint8Array): string {
  const kind = ['nothing', 'text', 'bytes', 'json'][content] ?? 'unknown'
  return content === CONTENT.NONE ? kind : `${kind}, ${bytes.length} bytes`
}

/** The first place where JSON would change the value, as a sentence; undefined when it keeps all. */
export function jsonFault(root: unknown, name: string): string | undefined {
  // An explicit stack: recursion would end in a RangeError on the deep values that this is to refuse.
  const pending: { value: unknown; path: string; depth: number }[] = [{ value: root, path: name, depth: 1 }]
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    const { value, path, depth } = item
    if (value === null || typeof value === 'boolean' || typeof value === 'string') continue
    if (typeof value === 'number') {
      if (!Number.isFinite(value) || Object.is(value, -0))
        return `${path}: ${Object.is(value, -0) ? '-0' : value} is not kept by JSON`
      continue
    }
    if (typeof value !== 'object') return `${path}: ${typeof value} inside JSON`
    if (depth > JSON_DEPTH_MAX) return `${name}: nested more than ${JSON_DEPTH_MAX} deep, or in a circle`
    if (Object.getOwnPropertySymbols(value).length > 0) return `${path}: a symbol as key is not kept by JSON`
    if ('toJSON' in value) return `${path}: ${kindOf(value)} inside JSON`
    if (Array.isArray(value)) {
      if (Object.keys(value).length !== value.length) return `${path}: an array with holes or names is not kept by JSON`
      for (let at = value.length - 1; at >= 0; at--) {
        pending.push({ value: value[at] as unknown, path: `${path}[${at}]`, depth: depth + 1 })
      }
      continue
    }
    const prototype: unknown = Object.getPrototypeOf(value)
    const isPlain = prototype === null || (Object.getPrototypeOf(prototype) === null && kindOf(value) === 'Object')
    if (!isPlain) return `${path}: ${kindOf(value)} inside JSON`
    for (const [key, inner] of Object.entries(value)) {
      pending.push({ value: inner, path: `${path}.${key}`, depth: depth + 1 })
    }
  }
  return undefined
}

/** By its prototype: the value itself may have a key `constructor`. */
function kindOf(value: object): string {
  const prototype = Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null
  return prototype?.constructor?.name ?? 'object'
}

/** How deep the brackets of a JSON text go, in one pass and without building anything. */
function jsonDepth(bytes: Uint8Array): number {
  if (bytes.length <= JSON_DEPTH_MAX) return 0 // too short to be too deep
  let depth = 0
  let deepest = 0
  let inString = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (inString) {
      if (byte === 0x5c) at++
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > deepest) deepest = depth
    } else if (byte === 0x5d || byte === 0x7d) depth--
  }
  return deepest
}
