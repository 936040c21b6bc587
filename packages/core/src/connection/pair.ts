/**
 * One peer: the session with it, the link that carries the session now, if any, and what hangs on the session: our calls and
 * the peer's. It turns the session's events into settled promises and running handlers, and knows nothing of how it was met.
 */
import { CLOSE_CODE, type Hello, type ProtocolEvent, type Session, type SessionEvent } from '../protocol/index.js'
import { Calls } from './calls.js'
import { Alarm } from './clock.js'
import { PairlinkError } from './errors.js'
import { HandlerRunner, type Outward } from './handlers.js'
import type { Inbox } from './inbox.js'
import type { Pump } from './pump.js'
import type { Shared } from './shared.js'

/** The peer, as it says of itself; believed only because it has proven the secret. */
export interface Peer {
  /** Random, new for each Connection: a restarted process is another instance. */
  readonly instance: string
  /** What its option `about` says. */
  readonly about: unknown
}

export class Pair {
  #pump: Pump | undefined
  readonly session: Session
  readonly calls: Calls
  readonly peer: Peer
  readonly #handlers: HandlerRunner
  readonly #inbox: Inbox
  /** Ends the time of calls while there is no link to do it. */
  readonly #alarm: Alarm
  #isOver = false
  #hasSaidGoodbye = false
  /** Frames of the peer that were taken over when the present link began. */
  #receivedBefore = 0

  constructor(pump: Pump, session: Session, hello: Hello, shared: Shared, outward: Outward, inbox: Inbox) {
    this.#pump = pump
    this.session = session
    this.calls = new Calls(session, shared, (callback) => {
      if (this.#pump === undefined) callback()
      else this.#pump.whenFlushed(callback)
    })
    this.#alarm = new Alarm(shared.environment.clock, (moment) => {
      const now = Math.max(shared.environment.clock.now(), moment)
      if (this.#pump === undefined) this.session.tick(now)
      this.drive(now)
    })
    this.#handlers = new HandlerRunner(session, shared, outward)
    this.#inbox = inbox
    this.peer = { instance: hello.instance, about: aboutOf(hello, shared) }
  }

  /** What carries the session now; undefined while the two are apart. */
  get pump(): Pump | undefined {
    return this.#pump
  }

  /** Whether the present link has brought anything that counts. */
  get hasAdvanced(): boolean {
    return this.session.received > this.#receivedBefore
  }

  /** Whether another link would change what becomes of anything: not for a peer that has said goodbye, since it lets go. */
  get isUnfinished(): boolean {
    return !this.#isOver && !this.#hasSaidGoodbye && !this.session.settled
  }

  /** The link has ended and the session goes on: calls wait for the next link, within their time. `drive` must follow. */
  suspend(): void {
    this.#pump = undefined
  }

  /** Another link carries the session. */
  resume(pump: Pump): void {
    this.#alarm.clear()
    this.#pump = pump
    this.#receivedBefore = this.session.received
  }

  /** Works off what there is to do at `now`, with or without a link. */
  drive(now: number): void {
    if (this.#pump !== undefined) {
      this.#pump.pump(now)
      return
    }
    for (let event = this.session.poll(); event !== undefined && !this.#isOver; event = this.session.poll()) {
      this.event(event)
    }
    if (!this.#isOver) this.#alarm.set(this.session.deadline)
  }

  hold(held: boolean): void {
    this.#alarm.hold(held)
  }

  event(event: SessionEvent): void {
    switch (event.type) {
      case 'query':
        this.#handlers.run(event)
        return
      case 'answer':
        this.calls.answered(event)
        return
      case 'fail':
        this.calls.failed(event)
        return
      case 'timeout':
        this.calls.timedOut(event.slot, event.delivery)
        return
      case 'taken':
        this.calls.taken(event.slot)
        return
      case 'notify':
        this.#inbox.take(this.session, event)
        return
      case 'cancel':
        this.#handlers.cancel(event)
        return
      case 'close':
        // The peer asks nothing more: what is begun is finished, then we answer with a CLOSE of our own.
        this.#hasSaidGoodbye = true
        this.#pump?.link.close(CLOSE_CODE.done, '', true)
        return
      default:
        event satisfies never
    }
  }

  /** The session is over: every call settles with what is known of it, and every handler is told to stop. */
  lose(code: 'PEER_LOST' | 'CLOSED', text: string, cause?: PairlinkError): void {
    this.#isOver = true
    this.#alarm.clear()
    this.calls.end(code, text, cause)
    this.#handlers.end(new PairlinkError('PEER_LOST', text))
  }
}

/** True for what concerns the session; the rest is the link's own. */
export function isSessionEvent(event: ProtocolEvent): event is SessionEvent {
  return event.type !== 'proven' && event.type !== 'welcomed' && event.type !== 'keepalive' && event.type !== 'ended'
}

function aboutOf(hello: Hello, shared: Shared): unknown {
  if (hello.about.length === 0) return undefined
  try {
    return JSON.parse(shared.environment.utf8.decode(hello.about)) as unknown
  } catch {
    return undefined // for people only: not worth a link
  }
}
