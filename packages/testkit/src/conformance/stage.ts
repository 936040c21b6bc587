/**
 * What a case works with: its place, its pipes and its processes, a way to wait that says what it waits for, and the clearing
 * up behind it. It knows no case.
 */
import type { Listener, Pipe, Transport } from '@pairlink/core'
import { clock, later, setTimeout, turn } from '../timers.js'
import { End } from './end.js'
import type { PeerProcess, PeerRole, Place, PlaceFactory, TransportManifest } from './manifest.js'

/** Between two looks. */
const LOOK_MS = 2
/** Looks that come at once: most of what is waited for is a few turns away. */
const LOOKS_AT_ONCE = 50
/** So much is written in one turn where it is never *enough*. */
const PIECES_PER_TURN = 16
/** How long it is watched that nothing more happens. */
const CALM_MS = 30

/** What a case has seen, where it is not what the contract says. */
export class Broken extends Error {
  override readonly name = 'Broken'
}

/** @throws Broken unless it is true */
export function must(isTrue: boolean, seen: string): asserts isTrue {
  if (!isTrue) throw new Broken(seen)
}

/** A signal that does not fire. */
export const never = (): AbortSignal => new AbortController().signal

/** Those who listen, and the pipes that came in. */
export interface Open {
  readonly listener: Listener
  /** In the order of their coming. */
  readonly accepted: readonly End[]
}

export class Stage {
  readonly manifest: TransportManifest
  readonly #factory: PlaceFactory
  readonly #cleanups: (() => unknown)[] = []
  /** What is waited for at the moment, for the message when it takes too long. */
  waitingFor = 'the place'
  #isOver = false

  constructor(factory: PlaceFactory, manifest: TransportManifest) {
    this.#factory = factory
    this.manifest = manifest
  }

  async place(): Promise<Place> {
    const place = await this.#factory()
    this.defer(() => place.dispose?.())
    return place
  }

  /** Called behind the case, the last one first. */
  defer(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup)
  }

  async clear(): Promise<void> {
    this.#isOver = true
    for (const cleanup of this.#cleanups.reverse()) {
      try {
        await cleanup()
      } catch {
        // The case was judged by what it has seen; what a broken transport does afterwards adds nothing.
      }
    }
  }

  /** Resolves when it is so. It is for ever otherwise: the time of the case is bounded. */
  async until(isSo: () => boolean, what: string): Promise<void> {
    for (let look = 0; !isSo(); look++) {
      this.waitingFor = what
      if (this.#isOver) throw new Broken(`waited for ${what}`)
      await (look < LOOKS_AT_ONCE ? turn() : pause(LOOK_MS))
    }
  }

  /** The same for a count that has to go down. */
  async untilLess(than: number, count: () => number | Promise<number>, what: string): Promise<void> {
    for (let now = await count(); now >= than; now = await count()) {
      this.waitingFor = `the end of what was left: ${now} more ${what} than before`
      if (this.#isOver) throw new Broken(`waited for ${this.waitingFor}`)
      await pause(LOOK_MS)
    }
  }

  /** The same for a promise. Nothing comes between its settling and whoever waits: a pipe is to be started at once. */
  within<T>(work: Promise<T>, what: string): Promise<T> {
    this.waitingFor = what
    return work
  }

  /** Some time, in which what must not happen would. */
  async calm(): Promise<void> {
    await pause(CALM_MS)
    await turn()
  }

  // ---- meeting

  /** Listens. `onAccept` may look at the pipe before it is started. */
  async listen(transport: Transport, onAccept?: (end: End) => void): Promise<Open> {
    const accepted: End[] = []
    const accept = (pipe: Pipe): void => void accepted.push(this.started(pipe, onAccept))
    return { listener: await this.listener(transport, accept), accepted }
  }

  /** The same, where the case looks after the pipes that come in. */
  async listener(transport: Transport, accept: (pipe: Pipe) => void): Promise<Listener> {
    const listener = await this.within(transport.listen(accept, never()), 'listen() to settle')
    must(typeof listener !== 'string', `listen() gave '${listener as string}' where nobody listens`)
    if ('start' in listener) {
      this.defer(() => {
        listener.destroy()
      })
      throw new Broken('listen() gave a pipe where nobody listens')
    }
    this.defer(() => listener.close())
    return listener
  }

  /** An end of this pipe, destroyed behind the case. */
  started(pipe: Pipe, onStart?: (end: End) => void): End {
    const end = new End(pipe)
    // It came too late for the case.
    if (this.#isOver) pipe.destroy()
    this.defer(async () => {
      pipe.destroy()
      for (const until = clock() + 500; !end.isClosed && clock() < until; ) await pause(LOOK_MS)
    })
    onStart?.(end)
    pipe.start(end)
    return end
  }

  /** Dials once. */
  dialOnce(transport: Transport, signal: AbortSignal = never()): Promise<Pipe | 'absent' | 'again' | 'full'> {
    if (this.#isOver) return Promise.reject(new Broken(`waited for ${this.waitingFor}`))
    return this.within(transport.dial(signal), 'dial() to settle')
  }

  /** Dials until somebody accepts. */
  async dial(transport: Transport, onStart?: (end: End) => void): Promise<End> {
    for (;;) {
      const dialled = await this.dialOnce(transport)
      if (typeof dialled !== 'string') return this.started(dialled, onStart)
      this.waitingFor = `a dial to be accepted (the last one gave '${dialled}')`
      if (this.#isOver) throw new Broken(`waited for ${this.waitingFor}`)
      await pause(LOOK_MS)
    }
  }

  /** The listener's end of what was dialled, once it is there. */
  async accepted({ accepted }: Open, at = accepted.length): Promise<End> {
    await this.until(() => accepted.length > at, 'accept() to be called for the pipe that was dialled')
    const end = accepted[at]
    must(end !== undefined, 'accept() was not called')
    return end
  }

  /** Both ends of a pipe at a fresh place, the dialer's first. `onStart` is called for each before it is started. */
  async pipe(onStart?: (end: End) => void): Promise<[End, End]> {
    const place = await this.place()
    const open = await this.listen(place.listener(), onStart)
    const near = await this.dial(dialerOf(place), onStart)
    return [near, await this.accepted(open, 0)]
  }

  /** Runs it with each end as the near one. */
  async bothWays(work: (near: End, far: End) => Promise<void>, onStart?: (end: End) => void): Promise<void> {
    for (const who of ['the dialer', 'the listener']) {
      const [dialer, listener] = await this.pipe(onStart)
      try {
        await (who === 'the dialer' ? work(dialer, listener) : work(listener, dialer))
      } catch (error) {
        throw error instanceof Broken ? new Broken(`${error.message} (seen from ${who})`) : error
      }
    }
  }

  // ---- the stream

  /** Waits until all that was written at one end has been read at the other, unchanged. */
  async arrival(from: End, to: End): Promise<void> {
    await this.until(
      () => to.readBytes >= from.writtenBytes || to.wrongAt !== undefined || to.isClosed,
      `the rest of ${from.writtenBytes} bytes to arrive`,
    )
    must(to.wrongAt === undefined, `what arrived differs from what was written, from byte ${to.wrongAt} on`)
    must(to.readBytes === from.writtenBytes, `${from.writtenBytes} bytes were written, the other end ${to.story}`)
  }

  /** Writes so much more, and waits after each *enough*, as the core does. */
  async paced(from: End, to: End, bytes: number, onPiece?: () => void): Promise<void> {
    const total = from.writtenBytes + bytes
    let pieces = 0
    while (from.writtenBytes < total) {
      const drains = from.drains
      const isRoom = from.writePiece(total - from.writtenBytes)
      onPiece?.()
      if (isRoom) {
        if (++pieces % PIECES_PER_TURN === 0) await turn()
        continue
      }
      await this.until(
        () => from.drains > drains || to.readBytes >= from.writtenBytes || from.isClosed || to.isClosed,
        `room for more after ${from.writtenBytes} bytes`,
      )
      must(!from.isClosed && !to.isClosed, `the pipe broke: one end ${from.story}, the other ${to.story}`)
      must(to.wrongAt === undefined, `what arrived differs from what was written, from byte ${to.wrongAt} on`)
    }
  }

  // ---- other processes

  async spawn(place: Place, role: PeerRole): Promise<PeerProcess> {
    if (place.spawn === undefined) throw new Error('the manifest says `processes`, and the place has no spawn()')
    const peer = await place.spawn(role)
    this.defer(() => {
      peer.kill('SIGCONT')
      peer.kill('SIGKILL')
    })
    return peer
  }
}

/** The transport of the other process. */
export function dialerOf(place: Place): Transport {
  return place.dialer?.() ?? place.listener()
}

export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => {
      later(resolve)
    }, delayMs)
  })
}
