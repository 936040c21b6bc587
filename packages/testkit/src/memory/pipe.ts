/**
 * A pipe within one process: ordered bytes, half-close, backpressure, and ends that can be broken from outside. What is
 * written arrives in an event of its own, as from a socket. It knows no addresses.
 */
import type { Pipe, PipeSink } from '@pairlink/core'
import { later } from '../timers.js'

export interface MemoryPipeOptions {
  /** Bytes arrive in chunks of at most this size. */
  readonly chunkBytes: number
  /** From here on a writer is told *enough*, in bytes. */
  readonly capacityBytes: number
  /** Delivered chunks are overwritten afterwards, as by a socket that uses its buffer again; else the receiver owns them. */
  readonly transient: boolean
}

export class MemoryPipe implements Pipe {
  declare readonly holder?: string
  readonly #options: MemoryPipeOptions
  readonly #over: (pipe: MemoryPipe) => void
  /** Itself until it is joined. */
  #other: MemoryPipe = this
  #sink: PipeSink | undefined
  /** What has been written to here and was not delivered. */
  #incoming: (Uint8Array | 'end')[] = []
  #incomingBytes = 0
  #isDelivering = false
  #isStalled = false
  /** Nothing that is written here arrives, and nobody says so. */
  #isDead = false
  #isFull = false
  #hasEnded = false
  #otherHasEnded = false
  #isClosed = false

  /** @param over called when `closed` has been told */
  constructor(options: MemoryPipeOptions, holder: string | undefined, over: (pipe: MemoryPipe) => void) {
    this.#options = options
    this.#over = over
    if (holder !== undefined) this.holder = holder
  }

  join(other: MemoryPipe): void {
    this.#other = other
  }

  // ---- Pipe

  start(sink: PipeSink): void {
    this.#sink = sink
    this.#deliverLater()
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#isClosed || this.#hasEnded) return true
    const other = this.#other
    if (other.#isClosed && !this.#isDead) this.break(new Error('the other end has gone'))
    for (const chunk of chunks) {
      // An empty chunk is nothing.
      if (chunk.length > 0 && !this.#isDead) other.#push(new Uint8Array(chunk))
    }
    if (other.#incomingBytes < this.#options.capacityBytes) return true
    this.#isFull = true
    return false
  }

  end(): void {
    if (this.#hasEnded || this.#isClosed) return
    this.#hasEnded = true
    if (!this.#isDead) this.#other.#push('end')
    this.#closeWhenOver()
  }

  destroy(): void {
    if (this.#isClosed) return
    if (!this.#hasEnded && !this.#isDead) this.#other.#push('end')
    this.#close()
  }

  ref(): void {}
  unref(): void {}

  // ---- what a test does to it

  /** Ends this end with an error; what was under way to it is lost. */
  break(error: Error): void {
    if (!this.#isClosed) this.#close(error)
  }

  /** What is written here from now on is lost, and nobody is told. */
  die(): void {
    this.#isDead = true
  }

  /** Delivers nothing to here until it is told to go on. */
  stall(isStalled: boolean): void {
    this.#isStalled = isStalled
    if (!isStalled) this.#deliverLater()
  }

  // ---- the way here

  #push(item: Uint8Array | 'end'): void {
    if (this.#isClosed) return
    this.#incoming.push(item)
    if (item !== 'end') this.#incomingBytes += item.length
    this.#deliverLater()
  }

  #deliverLater(): void {
    if (this.#isDelivering || this.#sink === undefined || this.#isStalled || this.#isClosed) return
    this.#isDelivering = true
    later(() => {
      this.#isDelivering = false
      this.#deliver()
    })
  }

  #deliver(): void {
    // What is written meanwhile arrives in another event.
    for (const item of this.#incoming.splice(0)) {
      if (this.#isClosed) return
      if (item === 'end') {
        this.#otherHasEnded = true
        this.#sink?.ended()
        this.#closeWhenOver()
      } else {
        this.#incomingBytes -= item.length
        this.#deliverBytes(item)
      }
    }
    if (this.#incomingBytes === 0) this.#other.#drain()
  }

  #deliverBytes(bytes: Uint8Array): void {
    const { chunkBytes, transient } = this.#options
    for (let at = 0; at < bytes.length && !this.#isClosed; at += chunkBytes) {
      const chunk = bytes.slice(at, Math.min(bytes.length, at + chunkBytes))
      this.#sink?.bytes(chunk, transient)
      if (transient) chunk.fill(0xaa)
    }
  }

  /** Called from the event that has emptied the other end. */
  #drain(): void {
    if (!this.#isFull || this.#isClosed) return
    this.#isFull = false
    this.#sink?.drained()
  }

  #closeWhenOver(): void {
    if (this.#hasEnded && this.#otherHasEnded && !this.#isClosed) this.#close()
  }

  #close(error?: Error): void {
    this.#isClosed = true
    this.#incoming = []
    this.#incomingBytes = 0
    later(() => {
      this.#sink?.closed(error)
      this.#over(this)
    })
  }
}
