/**
 * Drives one Link over one Pipe: bytes in, events out, writes, one timer, and the end of the bytes. It goes round while
 * anything moves. It knows no rendezvous and no calls: what an event means is its host's concern.
 *
 * Three rules hold it together: events are polled dry before anything is written, so that what a handler answers at once
 * goes out in one write; a full pipe stops the writing and never the reading; and nothing here re-enters, so an
 * application that calls from inside an event cannot overtake bytes that are queued.
 */
import type { EndedEvent, Link, ProtocolEvent } from '../protocol/index.js'
import type { Pipe, PipeSink } from '../transport.js'
import { isPairlinkError, type PairlinkError } from './errors.js'
import { Alarm, LATE_MS, type Clock } from './clock.js'

/** One write is at most this long; then the pipe must drain, so that a ping or a small query never waits for more. */
const WRITE_BYTES_MAX = 256 * 1024
/** How long a side that has refused goes on reading, so that its REFUSE is not lost with the pipe. */
const REFUSED_LINGER_MS = 1000

export interface PumpHost {
  /** An event of the link. For `ended` the link carries no session any more. */
  event(pump: Pump, event: Exclude<ProtocolEvent, EndedEvent>): void
  /** The link is over; the pipe is ending. */
  ended(pump: Pump, event: EndedEvent): void
  /** The pipe is gone, the last call of all. */
  gone(pump: Pump): void
  /** Our own code threw: a bug, which must not take the process with it. */
  bug(error: unknown): void
}

export class Pump implements PipeSink {
  readonly link: Link
  /** Who accepted the pipe, where the transport can tell. */
  readonly holder: string | undefined
  readonly #pipe: Pipe
  readonly #clock: Clock
  readonly #host: PumpHost
  readonly #drainMs: number
  readonly #alarm: Alarm
  readonly #chunks: Uint8Array[] = []
  #pumping = false
  #again = false
  #full = false
  #flushed: (() => void)[] = []
  #lingering = false
  #lingerUntil = Infinity
  #isGone = false
  #failure: PairlinkError | undefined
  /** The time of the event that is being worked on. */
  #now: number

  constructor(link: Link, pipe: Pipe, clock: Clock, host: PumpHost, drainMs: number) {
    this.link = link
    this.holder = pipe.holder
    this.#pipe = pipe
    this.#clock = clock
    this.#host = host
    this.#drainMs = drainMs
    this.#now = clock.now()
    this.#alarm = new Alarm(clock, (moment) => {
      this.#rang(moment)
    })
    pipe.start(this)
    this.pump(this.#now)
  }

  get isGone(): boolean {
    return this.#isGone
  }

  /** Why the transport ended the pipe, where it had a reason of its own. */
  get failure(): PairlinkError | undefined {
    return this.#failure
  }

  /** Works off all there is to do at `now`; called from inside itself it makes another round follow. */
  pump(now: number): void {
    this.#now = Math.max(this.#now, now)
    if (this.#pumping) {
      this.#again = true
      return
    }
    this.#pumping = true
    try {
      do {
        this.#again = false
        this.#poll()
        if (this.#write()) this.#again = true
      } while (this.#again)
    } catch (error) {
      this.#host.bug(error)
      this.destroy()
    } finally {
      this.#pumping = false
    }
    this.#arm()
  }

  #arm(): void {
    if (this.#isGone) return
    const { link } = this
    // An acknowledgement that is due while the pipe is full waits for `drained`: a timer would ring in vain, over and over.
    const writeAt = this.#full ? Infinity : link.writeDeadline
    this.#alarm.set(Math.min(link.deadline, writeAt, link.session?.deadline ?? Infinity, this.#lingerUntil))
  }

  /** Ends the pipe at once and loses what was not written. `gone` follows. */
  destroy(): void {
    this.link.drop('destroyed')
    this.#pipe.destroy()
  }

  /** Calls back when the pipe holds nothing that was written: now, once it has drained, or when it is gone. */
  whenFlushed(callback: () => void): void {
    if (this.#full && !this.#isGone) this.#flushed.push(callback)
    else callback()
  }

  hold(held: boolean): void {
    this.#alarm.hold(held)
    if (held) this.#pipe.ref()
    else this.#pipe.unref()
  }

  // ---- PipeSink

  bytes(chunk: Uint8Array, transient: boolean): void {
    const now = this.#clock.now()
    this.link.receive(chunk, transient, now)
    this.pump(now)
  }

  drained(): void {
    this.#full = false
    this.#tellFlushed()
    this.pump(this.#clock.now())
  }

  ended(): void {
    const now = this.#clock.now()
    if (this.#lingering) {
      // Both directions are over, and everything of ours has been taken by the pipe: nothing is left to wait for.
      this.#pipe.end()
      return
    }
    this.link.pipeEnded(now)
    this.pump(now)
  }

  closed(error?: Error): void {
    if (this.#isGone) return
    this.#isGone = true
    if (isPairlinkError(error)) this.#failure = error
    this.#alarm.clear()
    this.#tellFlushed()
    const now = this.#clock.now()
    this.link.pipeEnded(now)
    this.pump(now)
    this.#host.gone(this)
  }

  #tellFlushed(): void {
    for (const callback of this.#flushed.splice(0)) callback()
  }

  #poll(): void {
    for (let event = this.link.poll(); event !== undefined; event = this.link.poll()) {
      if (event.type === 'ended') this.#linkEnded(event)
      else this.#host.event(this, event)
    }
  }

  /** True when something was written, so that another round is worth it. */
  #write(): boolean {
    if (this.#full || this.#isGone || this.#lingering) return false
    const chunks = this.#chunks
    this.link.takeWrite(WRITE_BYTES_MAX, this.#now, chunks)
    if (chunks.length === 0) return this.link.hasEvents
    this.#full = !this.#pipe.write(chunks)
    chunks.length = 0
    return !this.#full || this.link.hasEvents
  }

  #linkEnded(event: EndedEvent): void {
    const { by } = event.end
    this.#full = false
    this.#write() // a REFUSE that waits; the pipe takes it even when it is full
    if (this.#isGone) {
      // Nothing can be sent any more.
    } else if (by === 'close' || by === 'refusing') {
      this.#lingering = true
      this.#lingerUntil = this.#now + (by === 'close' ? this.#drainMs : REFUSED_LINGER_MS)
      this.#pipe.end()
    } else {
      this.#pipe.destroy()
    }
    this.#host.ended(this, event)
  }

  #rang(moment: number): void {
    // A timer may fire a little early: the time is never before the moment that it was set to.
    const woke = Math.max(this.#clock.now(), moment)
    if (woke - moment <= LATE_MS) {
      this.#tick(woke)
      return
    }
    this.link.overslept(woke)
    this.#clock.afterPoll(() => {
      if (!this.#isGone) this.#tick(woke)
    })
  }

  #tick(now: number): void {
    if (now >= this.#lingerUntil) {
      this.#pipe.destroy()
      return
    }
    this.link.tick(now)
    this.link.session?.tick(now)
    this.pump(now)
  }
}
