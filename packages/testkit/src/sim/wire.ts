/**
 * A simulated pipe: ordered bytes between two processes that are delayed, split, joined and stalled, and whose end can lose
 * what was on its way. It knows no addresses and cannot read what it carries.
 */
import type { Pipe, PipeSink } from '@pairlink/core'
import type { Dice } from './dice.js'
import type { SimProcess } from './process.js'
import type { Time } from './time.js'

/** How the wires of one world behave. */
export interface WireNature {
  /** A piece is under way for at least and at most so long. */
  readonly delayMs: readonly [least: number, most: number]
  /** How likely a write arrives in several pieces, and how likely together with the one before. */
  readonly splits: number
  readonly joins: number
  /** So much may be under way before a writer is told "enough". */
  readonly capacityBytes: number
  /** How likely the end of a process or of a pipe takes with it what is under way. */
  readonly losesTail: number
}

/** What is told of a pipe to whoever watches. */
export interface WireWatcher {
  wrote(end: SimPipe, bytes: Uint8Array): void
  delivered(end: SimPipe, bytes: Uint8Array): void
  full(end: SimPipe, isFull: boolean): void
  over(end: SimPipe): void
  /** Its own program ends it. `over` follows. */
  destroyed(end: SimPipe): void
}

type Piece = { readonly bytes: Uint8Array | 'end'; at: number }

/** A sink that reads slowly is told of room when half of it is free. */
const ROOM = 0.5

export class SimPipe implements Pipe {
  declare readonly holder?: string
  readonly process: SimProcess
  readonly #wire: Wire
  #other: SimPipe | undefined
  #sink: PipeSink | undefined
  /** What is under way from here. */
  #flight: Piece[] = []
  #flightBytes = 0
  #lastAt = 0
  #stalledUntil = 0
  /** What has arrived here before `start`. */
  #early: (Uint8Array | 'end')[] = []
  #isFull = false
  /** Nothing that is written here arrives any more, and nobody says so. */
  #isDead = false
  #hasEnded = false
  #otherHasEnded = false
  #isClosed = false

  constructor(process: SimProcess, wire: Wire, holder: string | undefined) {
    this.process = process
    this.#wire = wire
    if (holder !== undefined) this.holder = holder
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  join(other: SimPipe): void {
    this.#other = other
  }

  // ---- Pipe

  start(sink: PipeSink): void {
    this.#sink = sink
    for (const item of this.#early.splice(0)) {
      this.#wire.time.at(this.#wire.time.now, () => {
        this.process.arrive(() => {
          this.#receive(item)
        })
      })
    }
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#isClosed || this.#hasEnded) return true
    const bytes = concat(chunks)
    this.#wire.watcher?.wrote(this, bytes)
    this.#flightBytes += bytes.length
    if (!this.#isDead) this.#send(bytes)
    if (this.#other?.isClosed === true && !this.#isDead) this.#reset()
    if (this.#flightBytes <= this.#wire.nature.capacityBytes) return true
    this.#isFull = true
    this.#wire.watcher?.full(this, true)
    return false
  }

  end(): void {
    if (this.#hasEnded || this.#isClosed) return
    this.#hasEnded = true
    if (!this.#isDead) this.#push('end')
    this.#closeWhenOver()
  }

  destroy(): void {
    if (this.#isClosed) return
    const { dice, nature, watcher } = this.#wire
    watcher?.destroyed(this)
    this.#letGo(dice.chance(nature.losesTail))
    this.#close()
  }

  ref(): void {}
  unref(): void {}

  // ---- what the world does to it

  /** Nothing of what is written here arrives before that moment. */
  stall(untilMs: number): void {
    this.#stalledUntil = Math.max(this.#stalledUntil, untilMs)
  }

  /** The process has died, and its system ends the pipe. */
  orphan(): void {
    if (this.#isClosed) return
    const { dice, nature } = this.#wire
    this.#letGo(dice.chance(nature.losesTail))
    this.#isClosed = true
    this.#wire.watcher?.over(this)
  }

  /** The way breaks here. What is under way is lost behind its first `keeps` part; with `isTold` this end learns of it. */
  cut(keeps: number, isTold: boolean): void {
    if (this.#isClosed) return
    this.#lose(Math.floor(this.#flightBytes * keeps))
    this.#isDead = true
    if (!isTold) return
    // Behind what is still under way to here, and what is not: as a reset that overtakes nothing.
    const { time, dice } = this.#wire
    const at = Math.max(time.now, this.#other?.arrivesLast ?? 0) + dice.fraction() * 2
    time.at(at, () => {
      this.process.arrive(() => {
        this.#close(new Error('reset'))
      })
    })
  }

  /** When the last of what is under way from here arrives. */
  get arrivesLast(): number {
    return this.#flight.at(-1)?.at ?? 0
  }

  // ---- the way there

  #send(bytes: Uint8Array): void {
    const { dice, nature, time } = this.#wire
    const last = this.#flight.at(-1)
    if (last !== undefined && last.bytes !== 'end' && last.at > time.now && dice.chance(nature.joins)) {
      this.#flight[this.#flight.length - 1] = { bytes: concat([last.bytes, bytes]), at: last.at }
      return
    }
    let from = 0
    if (bytes.length > 1 && dice.chance(nature.splits)) {
      const pieces = dice.between(1, 3)
      for (let piece = 0; piece < pieces && from < bytes.length - 1; piece++) {
        const to = dice.chance(0.3) ? from + 1 : dice.between(from + 1, bytes.length - 1)
        this.#push(bytes.subarray(from, to))
        from = to
      }
    }
    this.#push(bytes.subarray(from))
  }

  #push(bytes: Uint8Array | 'end'): void {
    const { dice, nature, time } = this.#wire
    const [least, most] = nature.delayMs
    const at = Math.max(this.#lastAt, this.#stalledUntil, time.now + least + (most - least) * dice.fraction())
    this.#lastAt = at
    this.#flight.push({ bytes, at })
    this.#wire.time.at(at, this.#land)
  }

  readonly #land = (): void => {
    const [piece] = this.#flight
    const { now } = this.#wire.time
    if (piece === undefined) return
    const at = Math.max(piece.at, this.#stalledUntil)
    if (at > now) {
      // A stall, or a piece before this one was lost.
      piece.at = at
      this.#wire.time.at(at, this.#land)
      return
    }
    this.#flight.shift()
    const other = this.#other
    other?.process.arrive(() => {
      if (piece.bytes !== 'end') this.#landed(piece.bytes.length)
      other.#receive(piece.bytes)
    })
  }

  #landed(bytes: number): void {
    this.#flightBytes -= bytes
    if (!this.#isFull || this.#isClosed || this.#flightBytes > this.#wire.nature.capacityBytes * ROOM) return
    this.#isFull = false
    this.#wire.time.at(this.#wire.time.now, () => {
      this.process.arrive(() => {
        if (this.#isClosed) return
        this.#wire.watcher?.full(this, false)
        this.#sink?.drained()
      })
    })
  }

  /** Keeps the first bytes of what is under way, and loses the rest, the end included. */
  #lose(keptBytes: number): void {
    let left = keptBytes
    const kept: Piece[] = []
    for (const piece of this.#flight) {
      if (piece.bytes === 'end' || left === 0) break
      kept.push({ bytes: piece.bytes.subarray(0, left), at: piece.at })
      left -= Math.min(left, piece.bytes.length)
    }
    this.#flight = kept
  }

  // ---- the way here

  #receive(bytes: Uint8Array | 'end'): void {
    if (this.#isClosed || this.#otherHasEnded) return
    if (this.#sink === undefined) {
      this.#early.push(bytes)
      return
    }
    if (bytes === 'end') {
      this.#otherHasEnded = true
      this.#sink.ended()
      this.#closeWhenOver()
      return
    }
    this.#wire.watcher?.delivered(this, bytes)
    const isTransient = this.#wire.dice.chance(0.5)
    const chunk = bytes.slice()
    this.#sink.bytes(chunk, isTransient)
    if (isTransient) chunk.fill(0xaa)
  }

  /** Both directions are over on this side; the other side reads what was written, or a part of it, and then an end. */
  #letGo(losesTail: boolean): void {
    const { dice } = this.#wire
    if (this.#isDead) return
    if (losesTail) this.#lose(Math.floor(this.#flightBytes * dice.fraction()))
    if (!losesTail || dice.chance(0.5)) {
      if (!this.#hasEnded || losesTail) this.#push('end')
    } else {
      this.#other?.cut(1, true)
    }
    this.#hasEnded = true
  }

  /** Written to one who is not there any more. */
  #reset(): void {
    const { time, dice, nature } = this.#wire
    time.at(time.now + nature.delayMs[1] * (1 + dice.fraction()), () => {
      this.process.arrive(() => {
        this.#close(new Error('reset'))
      })
    })
  }

  #closeWhenOver(): void {
    if (this.#hasEnded && this.#otherHasEnded) this.#close()
  }

  #close(error?: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#wire.watcher?.over(this)
    this.#wire.time.at(this.#wire.time.now, () => {
      this.process.arrive(() => {
        this.#sink?.closed(error)
      })
    })
  }
}

/** What both ends of a pipe share. */
export interface Wire {
  readonly time: Time
  readonly dice: Dice
  readonly nature: WireNature
  readonly watcher: WireWatcher | undefined
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const [only] = chunks
  if (chunks.length === 1 && only !== undefined) return only.slice()
  const whole = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
