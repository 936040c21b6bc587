/**
 * A place within one process where two transports meet as two processes would, and where a test decides what goes wrong. It
 * keeps the whole contract of `Transport`, also that an address goes stale, changes hands, or is taken from a stopped holder.
 */
import type { Listener, Pipe, SilentHolder, Transport } from '@pairlink/core'
import { turn } from '../timers.js'
import { MemoryPipe, type MemoryPipeOptions } from './pipe.js'

export type MemoryOptions = Partial<MemoryPipeOptions>

/** What a socket usually reads at a time, and what it is given before it says *enough*. */
const CHUNK_BYTES = 64 * 1024
const CAPACITY_BYTES = 64 * 1024

let placesMade = 0

/**
 * Two processes in one, for tests: whatever is made with `transport()` of one place meets there. All that goes wrong goes
 * wrong at once and repeatably, and no time passes by itself.
 *
 * @param options `chunkBytes` (64 KiB): bytes arrive in chunks of at most this size; `capacityBytes` (64 KiB): so much waits
 * before a writer is told *enough*; `transient` (true): delivered chunks are overwritten afterwards
 * @throws TypeError for numbers below 1
 */
export function memory(options: MemoryOptions = {}): MemoryPlace {
  return new MemoryPlace(options)
}

/** One who listens. */
interface Holder {
  readonly name: string
  readonly accept: (pipe: Pipe) => void
}

export class MemoryPlace {
  readonly address: string
  readonly #options: MemoryPipeOptions
  /** Who is found by a dial. */
  #holder: Holder | undefined
  /** Whose process was killed while it held the address, and nobody has taken it since. */
  #dead: string | undefined
  /** Both ends of pipes that are not closed, the dialer's first. */
  readonly #pipes = new Set<readonly [MemoryPipe, MemoryPipe]>()
  readonly #open = new Set<MemoryPipe>()
  readonly #listeners = new Set<object>()
  #holders = 0
  #isReachable = true
  #isStalled = false

  constructor({ chunkBytes = CHUNK_BYTES, capacityBytes = CAPACITY_BYTES, transient = true }: MemoryOptions) {
    if (!(chunkBytes >= 1)) throw new TypeError('memory: chunkBytes must be 1 or more')
    if (!(capacityBytes >= 1)) throw new TypeError('memory: capacityBytes must be 1 or more')
    this.#options = { chunkBytes, capacityBytes, transient }
    this.address = `memory:${++placesMade}`
  }

  /** A transport for one of the processes. Give each Connection its own. */
  transport(): Transport {
    let refusedBy: string | undefined
    return {
      address: this.address,
      reach: 'user',
      encrypted: false,
      dial: async (signal) => {
        refusedBy = undefined
        await this.#turn(signal)
        if (!this.#isReachable) return 'again'
        if (this.#holder !== undefined) return this.#connect(this.#holder)
        refusedBy = this.#dead
        return 'absent'
      },
      listen: async (accept, signal, silent) => {
        await this.#turn(signal)
        if (this.#holder !== undefined && !(await this.#isLeft(this.#holder, silent))) return 'taken'
        signal.throwIfAborted()
        return this.#take(accept)
      },
      refusedBy: () => refusedBy,
    }
  }

  /** Pipes of which not both ends are closed. */
  get pipes(): number {
    return this.#pipes.size
  }

  /** Listeners and ends of pipes that are not closed: 0 when nothing was left behind. */
  get handles(): number {
    return this.#listeners.size + this.#open.size
  }

  /** Breaks all pipes: both ends are told, and what was under way is lost. */
  cut(): void {
    for (const pipe of this.#pipes) for (const end of pipe) end.break(new Error('the pipe was cut'))
  }

  /** All pipes are half-open from now on: whatever is written to them is lost, and nobody is told. New ones are sound. */
  silence(): void {
    for (const pipe of this.#pipes) for (const end of pipe) end.die()
  }

  /** Nothing is delivered until `flow()`; then it arrives as if nothing had been. */
  stall(): void {
    this.#isStalled = true
    this.#flow()
  }

  flow(): void {
    this.#isStalled = false
    this.#flow()
  }

  /** Whether dials get through; while they do not, a dial gives `'again'`. Open pipes do not mind. */
  set isReachable(isReachable: boolean) {
    this.#isReachable = isReachable
  }

  get isReachable(): boolean {
    return this.#isReachable
  }

  /** The process that listens is killed: its address is stale, and refuses. Cut its pipes with `cut()`. */
  killListener(): void {
    if (this.#holder === undefined) return
    this.#dead = this.#holder.name
    this.#listeners.delete(this.#holder)
    this.#holder = undefined
  }

  /** The address is removed from outside: nobody finds its holder any more, which it can see by `Listener.holds`. */
  removeAddress(): void {
    this.#holder = undefined
  }

  async #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await turn()
    signal.throwIfAborted()
  }

  #take(accept: (pipe: Pipe) => void): Listener {
    const holder: Holder = { name: `${this.address}#${++this.#holders}`, accept }
    this.#holder = holder
    this.#dead = undefined
    this.#listeners.add(holder)
    let closed: Promise<void> | undefined
    return {
      holds: () => this.#holder === holder,
      close: () => {
        // The address may be another's by now.
        if (this.#holder === holder) this.#holder = undefined
        this.#listeners.delete(holder)
        return (closed ??= Promise.resolve())
      },
      ref() {},
      unref() {},
    }
  }

  /** Whether this is the holder that has fallen silent, and says nothing to a last dial. */
  async #isLeft(holder: Holder, silent: SilentHolder | undefined): Promise<boolean> {
    if (silent?.holder !== holder.name) return false
    return silent.isSilent(this.#connect(holder))
  }

  /** The dialer's end of a new pipe. */
  #connect(holder: Holder): MemoryPipe {
    const over = (end: MemoryPipe): void => {
      this.#open.delete(end)
      if (!this.#open.has(near) && !this.#open.has(far)) this.#pipes.delete(pipe)
    }
    const near = new MemoryPipe(this.#options, holder.name, over)
    const far = new MemoryPipe(this.#options, undefined, over)
    near.join(far)
    far.join(near)
    const pipe = [near, far] as const
    this.#pipes.add(pipe)
    for (const end of pipe) this.#open.add(end)
    if (this.#isStalled) this.#flow()
    void turn().then(() => {
      // Whoever listened may have stopped meanwhile.
      if (this.#listeners.has(holder)) holder.accept(far)
      else far.destroy()
    })
    return near
  }

  #flow(): void {
    for (const pipe of this.#pipes) for (const end of pipe) end.stall(this.#isStalled)
  }
}
