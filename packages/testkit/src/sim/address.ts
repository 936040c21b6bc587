/**
 * The one address of a simulated world, as a socket file (`file`) or a port: who holds it, who may take it, what is left of a
 * dead holder. The rules are those of the plug (`Transport`), the moments are drawn. It knows no protocol.
 */
import type { Listener, Pipe, SilentHolder, Transport } from '@pairlink/core'
import type { Dice } from './dice.js'
import type { SimProcess } from './process.js'
import type { Time } from './time.js'
import { SimPipe, type Wire } from './wire.js'

/** A listener that does not accept has room for so many dials. */
const BACKLOG_MAX = 8

interface Holder {
  readonly process: SimProcess
  readonly name: string
  readonly accept: (pipe: Pipe) => void
  /** Dials that were not accepted yet. */
  waiting: number
  isOpen: boolean
}

export interface AddressOptions {
  readonly time: Time
  readonly dice: Dice
  readonly kind: 'file' | 'port'
  /** How long a dial or an attempt to listen takes, at least and at most. */
  readonly stepMs: readonly [least: number, most: number]
  /** How the pipe between two processes is made. */
  readonly wire: (dialer: SimProcess, listener: SimProcess) => Wire
}

export class SimAddress {
  readonly #options: AddressOptions
  #holder: Holder | undefined
  #holders = 0
  #unreachableUntil = 0
  /** Every pipe between processes, as [dialer's end, listener's end]; those that are over are forgotten now and then. */
  #pipes: [SimPipe, SimPipe][] = []

  constructor(options: AddressOptions) {
    this.#options = options
  }

  /** Pipes of which an end is open, in the order in which they were dialled. */
  get pipes(): readonly [SimPipe, SimPipe][] {
    this.#pipes = this.#pipes.filter(([near, far]) => !near.isClosed || !far.isClosed)
    return this.#pipes
  }

  /** Whether somebody who lives holds it. */
  get isHeld(): boolean {
    return this.#holder?.process.isAlive === true && this.#holder.isOpen
  }

  isHeldBy(process: SimProcess): boolean {
    return this.isHeld && this.#holder?.process === process
  }

  /** No dial arrives before that moment. */
  block(untilMs: number): void {
    this.#unreachableUntil = Math.max(this.#unreachableUntil, untilMs)
  }

  /** The socket file is removed by somebody else. */
  remove(): void {
    if (this.#options.kind === 'file') this.#holder = undefined
  }

  /** What the system does with the pipes of a process that has died. */
  orphan(process: SimProcess): void {
    for (const pipe of this.#pipes.flat()) if (pipe.process === process) pipe.orphan()
  }

  transport(process: SimProcess): Transport {
    let refusedBy: string | undefined
    return {
      address: 'sim:address',
      reach: 'user',
      encrypted: false,
      dial: (signal) =>
        this.#after(process, signal, () => {
          refusedBy = undefined
          if (this.#options.time.now < this.#unreachableUntil) return 'again'
          const holder = this.#holder
          if (holder === undefined) return 'absent'
          if (!holder.process.isAlive || !holder.isOpen) {
            if (this.#options.kind === 'file') refusedBy = holder.name
            return 'absent'
          }
          if (holder.waiting >= BACKLOG_MAX) return 'full'
          return this.#connect(process, holder)
        }),
      listen: async (accept, signal, silent) => {
        const seen = await this.#after(process, signal, () => this.#take(process, accept))
        if (seen !== 'taken' || silent === undefined) return seen
        return this.#replace(process, accept, signal, silent)
      },
      refusedBy: () => refusedBy,
    }
  }

  #take(process: SimProcess, accept: (pipe: Pipe) => void): Listener | 'taken' {
    if (this.isHeld) return 'taken'
    const holder: Holder = { process, accept, name: `holder ${++this.#holders}`, waiting: 0, isOpen: true }
    this.#holder = holder
    let closed: Promise<void> | undefined
    const listener: Listener = {
      close: () => {
        holder.isOpen = false
        if (this.#holder === holder) this.#holder = undefined
        closed ??= this.#after(process, undefined, () => undefined)
        return closed
      },
      ref() {},
      unref() {},
    }
    if (this.#options.kind === 'file') listener.holds = () => this.#holder === holder
    return listener
  }

  /** Takes the place of a holder that says nothing. */
  async #replace(
    process: SimProcess,
    accept: (pipe: Pipe) => void,
    signal: AbortSignal,
    silent: SilentHolder,
  ): Promise<Listener | 'taken'> {
    const holder = this.#holder
    if (this.#options.kind !== 'file' || holder?.name !== silent.holder || holder.waiting >= BACKLOG_MAX) return 'taken'
    if (!(await silent.isSilent(this.#connect(process, holder)))) return 'taken'
    signal.throwIfAborted()
    if (this.#holder !== holder) return 'taken'
    this.#holder = undefined
    return this.#take(process, accept)
  }

  /** The dialer's end; the other one is accepted when its process comes to it. */
  #connect(process: SimProcess, holder: Holder): SimPipe {
    const { time, wire } = this.#options
    const shared = wire(process, holder.process)
    const near = new SimPipe(process, shared, this.#options.kind === 'file' ? holder.name : undefined)
    const far = new SimPipe(holder.process, shared, undefined)
    near.join(far)
    far.join(near)
    this.#pipes.push([near, far])
    holder.waiting++
    time.at(time.now + this.#options.dice.fraction(), () => {
      holder.process.arrive(() => {
        holder.waiting--
        if (holder.isOpen) holder.accept(far)
        else far.destroy()
      })
    })
    return near
  }

  /** What `decide` says at a later moment of the process. */
  #after<T>(process: SimProcess, signal: AbortSignal | undefined, decide: () => T): Promise<T> {
    const { time, dice, stepMs } = this.#options
    const [least, most] = stepMs
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        reject(signal?.reason as Error)
      }
      if (signal?.aborted === true) {
        abort()
        return
      }
      signal?.addEventListener('abort', abort, { once: true })
      time.at(time.now + least + (most - least) * dice.fraction(), () => {
        process.arrive(() => {
          if (signal?.aborted === true) return
          signal?.removeEventListener('abort', abort)
          resolve(decide())
        })
      })
    })
  }
}
