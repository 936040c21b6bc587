/**
 * Large messages coming in (PROTOCOL.md, section 6.3): fragments go straight to their final place in a buffer that is
 * allocated once. It knows totals and limits, and nothing of what a message means.
 */
import { ProtocolError } from './errors.js'
import { CONTENT } from './wire.js'

/** A message being put together. `Fixed` is what its first fragment carries in front of the content. */
export interface Assembly<Fixed> {
  readonly fixed: Fixed
  readonly id: number
  readonly content: number
  readonly totalBytes: number
  filledBytes: number
  /** Undefined when nobody wants the message any more; it still counts until its end. */
  bytes: Uint8Array | undefined
}

/** The messages being put together of one session, bounded in their sum. */
export class Assemblies {
  /** Sum of the totals of all open messages. */
  openBytes = 0
  readonly #messageBytesMax: number
  readonly #reassemblyBytesMax: number

  constructor(limits: { messageBytesMax: number; reassemblyBytesMax: number }) {
    this.#messageBytesMax = limits.messageBytesMax
    this.#reassemblyBytesMax = limits.reassemblyBytesMax
  }

  /**
   * Whether a message may be opened; a frame that breaks a rule must leave nothing behind, so this comes before all else.
   * @param freedBytes the total of an open message that this one replaces
   * @throws ProtocolError for a total, or a sum of totals, over the limits that were announced
   */
  check(content: number, totalBytes: number, partBytes: number, freedBytes = 0): void {
    if (content === CONTENT.NONE) throw new ProtocolError('3.4', 'A message in fragments without content')
    if (totalBytes > this.#messageBytesMax) {
      throw new ProtocolError('6.3', `A message of ${totalBytes} bytes; the limit is ${this.#messageBytesMax}`)
    }
    const openBytes = this.openBytes - freedBytes + totalBytes
    if (openBytes > this.#reassemblyBytesMax) {
      throw new ProtocolError('6.3', `${openBytes} bytes in open messages; the limit is ${this.#reassemblyBytesMax}`)
    }
    if (partBytes === 0 || partBytes >= totalBytes) {
      throw new ProtocolError('6.3', `A first fragment with ${partBytes} of ${totalBytes} bytes`)
    }
  }

  /** Opens a message that was checked. */
  open<Fixed>(
    fixed: Fixed,
    id: number,
    content: number,
    totalBytes: number,
    part: Uint8Array,
    wanted: boolean,
  ): Assembly<Fixed> {
    this.openBytes += totalBytes
    const bytes = wanted ? new Uint8Array(totalBytes) : undefined
    bytes?.set(part)
    return { fixed, id, content, totalBytes, filledBytes: part.length, bytes }
  }

  /**
   * Where the next fragment goes; undefined when the message is not wanted any more. It counts with `added` alone.
   * @throws ProtocolError for a fragment over the total, or without content
   */
  place(assembly: Assembly<unknown>, lengthBytes: number): Uint8Array | undefined {
    if (lengthBytes === 0) throw new ProtocolError('6.3', 'A fragment without content')
    const end = assembly.filledBytes + lengthBytes
    if (end > assembly.totalBytes) {
      throw new ProtocolError('6.3', `Fragments of ${end} bytes in a message of ${assembly.totalBytes}`)
    }
    return assembly.bytes?.subarray(assembly.filledBytes, end)
  }

  /** A further fragment is whole. True when it was the last. */
  added(assembly: Assembly<unknown>, content: number, lengthBytes: number, more: boolean): boolean {
    if (content !== assembly.content) throw new ProtocolError('6.3', 'A fragment of another content than the first')
    const filledBytes = assembly.filledBytes + lengthBytes
    if (more === (filledBytes === assembly.totalBytes)) {
      throw new ProtocolError('6.3', `The message ends after ${filledBytes} of ${assembly.totalBytes} bytes`)
    }
    assembly.filledBytes = filledBytes
    if (more) return false
    this.close(assembly)
    return true
  }

  /** The message is whole or given up: its buffer is no longer ours. */
  close(assembly: Assembly<unknown>): void {
    this.openBytes -= assembly.totalBytes
  }
}
