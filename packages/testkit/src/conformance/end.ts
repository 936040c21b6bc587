/**
 * One end of a pipe in a case: it writes the stream, checks what arrives of it, and remembers what it was told. It judges
 * nothing: that is left to the case which asks.
 */
import type { Pipe, PipeSink } from '@pairlink/core'
import { firstDifference, streamBytes } from './bytes.js'

/** One piece that `paced` writes. */
const PIECE_BYTES = 64 * 1024

export type Told = 'bytes' | 'drained' | 'ended' | 'closed'

export class End implements PipeSink {
  readonly pipe: Pipe
  /** What it was told, without repetitions of 'bytes'. */
  readonly told: Told[] = []
  /** What happens with each chunk, beside being counted. */
  onBytes: ((chunk: Uint8Array, transient: boolean) => void) | undefined
  /** What happens with each call. */
  onTold: ((told: Told) => void) | undefined
  writtenBytes = 0
  readBytes = 0
  /** Where what was read is not what was written; undefined when it is. */
  wrongAt: number | undefined
  drains = 0
  hasEnded = false
  closes = 0
  error: Error | undefined

  constructor(pipe: Pipe) {
    this.pipe = pipe
  }

  // ---- PipeSink

  bytes(chunk: Uint8Array, transient: boolean): void {
    if (this.wrongAt === undefined) {
      const wrong = firstDifference(chunk, this.readBytes)
      if (wrong >= 0) this.wrongAt = this.readBytes + wrong
    }
    this.readBytes += chunk.length
    this.onBytes?.(chunk, transient)
    this.#tell('bytes')
  }

  drained(): void {
    this.drains++
    this.#tell('drained')
  }

  ended(): void {
    this.hasEnded = true
    this.#tell('ended')
  }

  closed(error?: Error): void {
    this.closes++
    this.error ??= error
    this.#tell('closed')
  }

  get isClosed(): boolean {
    return this.closes > 0
  }

  /** How it ended, for messages. */
  get story(): string {
    const told = this.told.filter((call) => call !== 'bytes' && call !== 'drained')
    const end = told.length === 0 ? 'is open' : `was told ${told.join(', ')}`
    return `${end}${this.error === undefined ? '' : ` (${this.error.message})`}, ${this.readBytes} bytes read`
  }

  #tell(told: Told): void {
    if (told !== 'bytes' || this.told.at(-1) !== 'bytes') this.told.push(told)
    this.onTold?.(told)
  }

  // ---- writing the stream

  /** Writes the next bytes of the stream, in chunks of these sizes, with one call. */
  write(...sizes: number[]): boolean {
    const chunks = sizes.map((size) => {
      const chunk = streamBytes(this.writtenBytes, size)
      this.writtenBytes += size
      return chunk
    })
    return this.pipe.write(chunks)
  }

  /** Writes one piece. */
  writePiece(bytesMax = PIECE_BYTES): boolean {
    return this.write(Math.min(PIECE_BYTES, bytesMax))
  }
}
