/**
 * The peer's queries on one session: finds the handler, runs it, answers. Handlers run between two frames and off the
 * read path, so that one may query back to any depth; a result that is there at once is answered without a promise.
 */
import { CONTENT, FAIL_REASON, type CancelEvent, type QueryEvent, type Session } from '../protocol/index.js'
import { isPairlinkError, isQueryError, PairlinkError } from './errors.js'
import { decodePayload, encodePayload, summarise, type Encoded } from './payload.js'
import type { Shared } from './shared.js'
import type { CallOptions, Context, NotifyOptions } from './surface.js'

/** How a handler reaches the Connection that it belongs to. */
export interface Outward {
  call(method: string, payload: unknown, options: CallOptions | undefined, within: Running): Promise<unknown>
  notify(message: unknown, options: NotifyOptions | undefined, within: Running): Promise<void>
}

/** A running handler. Small, since there is one for each query; what is rarely used is made when it is. */
export class Running implements Context {
  readonly method: string
  readonly id: number
  readonly expiresAt: number
  readonly #shared: Shared
  readonly #outward: Outward
  #controller: AbortController | undefined
  #abortReason: unknown

  constructor(method: string, id: number, expiresAt: number, shared: Shared, outward: Outward) {
    this.method = method
    this.id = id
    this.expiresAt = expiresAt
    this.#shared = shared
    this.#outward = outward
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  get remainingMs(): number {
    return Math.max(0, this.expiresAt - this.#shared.now())
  }

  call(method: string, input?: unknown, options?: CallOptions): Promise<unknown> {
    if (method === '') return Promise.reject(namelessCall())
    return this.#outward.call(method, input, options, this)
  }

  query<T = unknown>(payload: unknown, options?: CallOptions): Promise<T> {
    return this.#outward.call('', payload, options, this) as Promise<T>
  }

  notify(message: unknown, options?: NotifyOptions): Promise<void> {
    return this.#outward.notify(message, options, this)
  }

  /** It was told to stop, or its caller's time is up. */
  get isOver(): boolean {
    return this.#abortReason !== undefined || this.remainingMs === 0
  }

  /** Tells the handler to stop. */
  abort(reason: PairlinkError): void {
    this.#abortReason ??= reason
    this.#controller?.abort(reason)
  }
}

const NOTHING = new Uint8Array(0)

/** `call` is for methods that have a name. */
export function namelessCall(): TypeError {
  return new TypeError('A method needs a name; use query() for the nameless form')
}

export class HandlerRunner {
  readonly #session: Session
  readonly #shared: Shared
  readonly #outward: Outward
  /** By the asker's slot: those that did not end yet. */
  readonly #running: (Running | undefined)[] = []
  readonly #encoded: Encoded = { content: CONTENT.NONE, bytes: NOTHING, ownership: 'own' }

  constructor(session: Session, shared: Shared, outward: Outward) {
    this.#session = session
    this.#shared = shared
    this.#outward = outward
  }

  run(event: QueryEvent): void {
    const { id, method } = event
    const { settings, environment } = this.#shared
    if (settings.logQueries) {
      this.#shared.log('debug', { method, id, payload: summarise(event.content, event.bytes) }, 'handling')
    }
    const handler = method === '' ? settings.onQuery : settings.handlers.get(method)
    if (handler === undefined) {
      this.#fail(id, method === '' ? FAIL_REASON.NO_HANDLER : FAIL_REASON.NO_METHOD, '', '')
      this.#session.handlerEnded()
      return
    }
    let input: unknown
    try {
      input = decodePayload(event.content, event.bytes, environment.utf8)
    } catch (error) {
      this.#fail(id, FAIL_REASON.UNREADABLE, '', `the payload cannot be read: ${messageOf(error)}`)
      this.#session.handlerEnded()
      return
    }
    const running = new Running(method, id, this.#shared.now() + event.remainingMs, this.#shared, this.#outward)
    this.#running[id & 0xffff] = running
    let result: unknown
    try {
      result = (handler as (input: unknown, context: Context) => unknown)(input, running)
      if (isThenable(result)) {
        // A native promise passes as it is; with a foreign one it can neither settle twice nor throw here.
        Promise.resolve(result).then(
          (value) => {
            this.#answer(running, value)
            this.#shared.wake()
          },
          (error: unknown) => {
            this.#threw(running, error)
            this.#shared.wake()
          },
        )
        return
      }
    } catch (error) {
      this.#threw(running, error)
      return
    }
    this.#answer(running, result)
  }

  cancel(event: CancelEvent): void {
    const slot = event.id & 0xffff
    const running = this.#running[slot]
    if (running?.id !== event.id) return
    if (event.why === 'given-up') {
      this.#running[slot] = undefined
      const fields = { method: running.method }
      this.#shared.log('error', fields, 'a handler goes on long after its caller has gone; its result will be dropped')
      return
    }
    const expired = event.why === 'expired'
    const text = expired ? 'The time of the caller is up' : 'The caller has cancelled'
    running.abort(new PairlinkError(expired ? 'TIMEOUT' : 'CANCELLED', text))
  }

  /** The session is lost: nobody waits for the handlers any more. */
  end(reason: PairlinkError): void {
    for (const running of this.#running) running?.abort(reason)
    this.#running.length = 0
  }

  #answer(running: Running, value: unknown): void {
    const encoded = this.#encoded
    try {
      encodePayload(value, this.#shared.environment.utf8, encoded, 'answer')
    } catch (error) {
      this.#threw(running, error)
      return
    }
    this.#ended(running)
    // Bytes that a handler returns are handed over: they go out as they are.
    this.#session.answer(running.id, encoded.content, encoded.bytes, 'own', this.#shared.now())
  }

  #threw(running: Running, error: unknown): void {
    const isOpen = this.#ended(running)
    const { exposeErrors } = this.#shared.settings
    if (isQueryError(error)) {
      const encoded = this.#encoded
      try {
        encodePayload(error.data, this.#shared.environment.utf8, encoded, 'data')
      } catch (fault) {
        this.#shared.log('error', { method: running.method, error: fault }, 'the data of a QueryError cannot be sent')
        encoded.content = CONTENT.NONE
        encoded.bytes = NOTHING
      }
      const { content, bytes } = encoded
      const code = textOf(() => error.code)
      this.#session.fail(running.id, FAIL_REASON.HANDLER, code, messageOf(error), content, bytes, this.#shared.now())
      return
    }
    if (running.isOver && (isPairlinkError(error) || isAbortError(error))) {
      // It was told to stop and stopped by throwing that, or what Node makes of its signal: as it should, and nothing to log.
      this.#fail(running.id, FAIL_REASON.EXPIRED, '', '') // the session knows better when it was cancelled
      return
    }
    if (isOpen) this.#shared.log('error', { method: running.method, error }, 'a handler threw')
    const name = exposeErrors ? textOf(() => (error instanceof Error ? error.name : '')) : ''
    this.#fail(running.id, FAIL_REASON.HANDLER, name, exposeErrors ? messageOf(error) : '')
  }

  /** False when the handler had been given up or its session is gone. */
  #ended(running: Running): boolean {
    this.#session.handlerEnded()
    const slot = running.id & 0xffff
    if (this.#running[slot] !== running) return false
    this.#running[slot] = undefined
    return true
  }

  #fail(id: number, reason: number, code: string, message: string): void {
    this.#session.fail(id, reason, code, message, CONTENT.NONE, NOTHING, this.#shared.now())
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

function isAbortError(error: unknown): boolean {
  return textOf(() => (error instanceof Error ? error.name : '')) === 'AbortError'
}

function messageOf(error: unknown): string {
  return textOf(() => (error instanceof Error ? error.message : typeof error === 'string' ? error : ''))
}

/** What `read` gives as text; anything can be thrown, also what has no text or throws when it is looked at. */
function textOf(read: () => unknown): string {
  try {
    return String(read())
  } catch {
    return ''
  }
}
