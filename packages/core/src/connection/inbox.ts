/**
 * The peer's notifications: handled one at a time and in order, also across sessions. What a session brings is bounded by
 * `inboxBytesMax`, to which the protocol holds the peer. What sessions that are over have left may wait as well, up to as
 * much again; then the oldest is dropped, of which its sender knows only that it may not have been handled.
 */
import type { NotifyEvent, Session } from '../protocol/index.js'
import { Queue } from '../protocol/queue.js'
import { decodePayload, summarise } from './payload.js'
import type { Shared } from './shared.js'

interface Waiting {
  readonly session: Session
  readonly method: string
  readonly content: number
  readonly bytes: Uint8Array
  readonly costBytes: number
}

export class Inbox {
  readonly #shared: Shared
  readonly #waiting = new Queue<Waiting>()
  #waitingBytes = 0
  #busy = false

  constructor(shared: Shared) {
    this.#shared = shared
  }

  /** Notifications whose handler was not started. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** What they cost, together. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  take(session: Session, event: NotifyEvent): void {
    const { method, content, bytes, costBytes } = event
    if (this.#shared.settings.logQueries)
      this.#shared.log('debug', { method, payload: summarise(content, bytes) }, 'notified')
    if (this.#busy) {
      this.#waiting.push({ session, method, content, bytes, costBytes })
      this.#waitingBytes += costBytes
      this.#makeRoom(session)
    } else if (this.#run(session, method, content, bytes, costBytes)) this.#busy = true
  }

  #makeRoom(present: Session): void {
    const bytesMax = 2 * this.#shared.settings.limits.inboxBytesMax
    while (this.#waitingBytes > bytesMax && this.#waiting.peek()?.session !== present) {
      const method = this.#shift()?.method
      this.#shared.log('warn', { method }, 'a notification of an earlier peer was dropped: onNotify is too slow')
    }
  }

  #shift(): Waiting | undefined {
    const item = this.#waiting.shift()
    this.#waitingBytes -= item?.costBytes ?? 0
    return item
  }

  /** True while the handler goes on after it has returned. */
  #run(session: Session, method: string, content: number, bytes: Uint8Array, costBytes: number): boolean {
    const { settings, environment } = this.#shared
    if (settings.onNotify !== undefined) {
      try {
        const result = settings.onNotify(decodePayload(content, bytes, environment.utf8), { method })
        if (typeof result === 'object' && result !== null && 'then' in result && typeof result.then === 'function') {
          const next = (): void => {
            session.consumed(costBytes, this.#shared.now())
            this.#shared.wake()
            this.#next()
          }
          Promise.resolve(result).then(next, (error: unknown) => {
            this.#failed(method, error)
            next()
          })
          return true
        }
      } catch (error) {
        this.#failed(method, error)
      }
    }
    session.consumed(costBytes, this.#shared.now())
    return false
  }

  #next(): void {
    for (let item = this.#shift(); item !== undefined; item = this.#shift()) {
      if (this.#run(item.session, item.method, item.content, item.bytes, item.costBytes)) return
    }
    this.#busy = false
  }

  #failed(method: string, error: unknown): void {
    this.#shared.log('error', { method, error }, 'onNotify threw')
  }
}
