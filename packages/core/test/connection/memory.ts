/** A transport within one process for the tests of core: ordered bytes, half-close, an address that can be taken. */
import type { PairlinkError } from '../../src/index.js'
import type { Listener, Pipe, PipeSink, SilentHolder, Transport } from '../../src/transport.js'

/** One end of a pipe. What is written arrives in a later microtask, joined or split as `chunkBytes` says. */
export class MemoryPipe implements Pipe {
  other: MemoryPipe | undefined
  /** Who accepted, for the dialer's end. */
  declare holder?: string
  /** Everything that was written here, chunk by chunk. */
  written: Uint8Array[] | undefined
  /** Deliver in chunks of this size. */
  chunkBytes = Infinity
  /** Overwrite what was delivered, as a socket does with a buffer that it uses again; else the receiver owns it. */
  transient = true
  /** Say "enough" at every write, and deliver nothing until `release`. */
  stalled = false
  /** So many bytes more are delivered. What is behind them waits as if stalled, and is lost when the pipe vanishes. */
  passBytes = Infinity
  isClosed = false
  #sink: PipeSink | undefined
  #incoming: (Uint8Array | 'end')[] = []
  #scheduled = false
  #ended = false
  #otherEnded = false
  #full = false

  start(sink: PipeSink): void {
    this.#sink = sink
    this.#schedule()
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.isClosed || this.#ended) return true
    this.written?.push(...chunks.map((chunk) => chunk.slice()))
    for (const chunk of chunks) this.other?.push(chunk.slice())
    if (this.other?.isFull !== true) return true
    this.#full = true
    return false
  }

  end(): void {
    if (this.#ended || this.isClosed) return
    this.#ended = true
    this.other?.push('end')
    this.#closeWhenOver()
  }

  destroy(): void {
    if (this.isClosed) return
    this.isClosed = true
    queueMicrotask(() => {
      this.#sink?.closed()
    })
    this.other?.push('end')
  }

  /** Ends without a word to the other side: a half-open link. */
  vanish(): void {
    this.other = undefined
    this.destroy()
  }

  ref(): void {}
  unref(): void {}

  push(item: Uint8Array | 'end'): void {
    this.#incoming.push(item)
    this.#schedule()
  }

  release(): void {
    this.stalled = false
    this.#schedule()
  }

  /** Bytes that arrived here and were not delivered. */
  get waitingBytes(): number {
    return this.#incoming.reduce((sum, item) => sum + (item === 'end' ? 0 : item.length), 0)
  }

  get isFull(): boolean {
    return this.stalled || this.waitingBytes > this.passBytes
  }

  /** Delivers so many bytes more than were let through. */
  pass(bytes: number): void {
    this.passBytes += bytes
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#sink === undefined || this.stalled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#deliver()
    })
  }

  #deliver(): void {
    while (!this.stalled && !this.isClosed && this.passBytes > 0) {
      let item = this.#incoming.shift()
      if (item === undefined) break
      if (item === 'end') {
        this.#otherEnded = true
        this.#sink?.ended()
        this.#closeWhenOver()
        break
      }
      if (item.length > this.passBytes) {
        this.#incoming.unshift(item.subarray(this.passBytes))
        item = item.subarray(0, this.passBytes)
      }
      this.passBytes -= item.length
      for (let at = 0; at < item.length && !this.isClosed; at += this.chunkBytes) {
        const chunk = item.slice(at, Math.min(item.length, at + this.chunkBytes))
        this.#sink?.bytes(chunk, this.transient)
        if (this.transient) chunk.fill(0xaa)
        if (this.chunkBytes === Infinity) break
      }
    }
    if (this.#incoming.length === 0) this.other?.drain()
  }

  drain(): void {
    if (!this.#full) return
    this.#full = false
    this.#sink?.drained()
  }

  #closeWhenOver(): void {
    if (!this.#ended || !this.#otherEnded || this.isClosed) return
    this.isClosed = true
    queueMicrotask(() => {
      this.#sink?.closed()
    })
  }
}

/** A place where transports meet, and the hooks of a test. */
export class MemoryAddress {
  accept: ((pipe: Pipe) => void) | undefined
  /** Every pipe that was dialled, as [dialer's end, listener's end]. */
  readonly pipes: [MemoryPipe, MemoryPipe][] = []
  chunkBytes = Infinity
  listenCount = 0
  /** What the dialer's ends of new pipes say of who accepted them. */
  holder: string | undefined
  /** Listeners say whether the address is still theirs. */
  canBeLost = false
  /** What has kept a transport from dialling or listening. */
  obstacle: string | PairlinkError | undefined
  /** The holder that has refused the last dial. */
  refusedBy: string | undefined
  /** Called at each dial; what it gives replaces the result. */
  onDial: (() => Pipe | 'absent' | 'again' | 'full' | undefined) | undefined
  /** Called at each listen; what it gives replaces the result. */
  onListen: ((silent: SilentHolder | undefined) => Promise<Pipe | 'taken' | 'cannot'> | undefined) | undefined

  transport(): Transport {
    return {
      address: 'memory:test',
      reach: 'user',
      encrypted: false,
      dial: async (signal) => {
        await Promise.resolve()
        signal.throwIfAborted()
        const dialled = this.onDial?.()
        if (dialled !== undefined) return dialled
        if (this.accept === undefined) return 'absent'
        return this.connect()
      },
      obstacle: () => this.obstacle,
      refusedBy: () => this.refusedBy,
      listen: async (accept, signal, silent) => {
        await Promise.resolve()
        signal.throwIfAborted()
        const listened = this.onListen?.(silent)
        if (listened !== undefined) return listened
        if (this.accept !== undefined && !(silent !== undefined && (await this.#isLeft(silent)))) return 'taken'
        signal.throwIfAborted()
        this.accept = accept
        this.listenCount++
        const listener: Listener = {
          close: async () => {
            if (this.accept === accept) this.accept = undefined
            await Promise.resolve()
          },
          ref() {},
          unref() {},
        }
        if (this.canBeLost) listener.holds = () => this.accept === accept
        return listener
      },
    }
  }

  /** Whether the holder of the address is the one meant, and says nothing to a last dial. */
  async #isLeft(silent: SilentHolder): Promise<boolean> {
    const pipe = this.connect()
    if (pipe.holder === silent.holder) return silent.isSilent(pipe)
    pipe.destroy()
    return false
  }

  /** The dialer's end of a new pipe to the listener. */
  connect(): MemoryPipe {
    const near = new MemoryPipe()
    const far = new MemoryPipe()
    near.other = far
    far.other = near
    near.chunkBytes = far.chunkBytes = this.chunkBytes
    if (this.holder !== undefined) near.holder = this.holder
    this.pipes.push([near, far])
    queueMicrotask(() => {
      if (this.accept === undefined) far.destroy()
      else this.accept(far)
    })
    return near
  }
}
