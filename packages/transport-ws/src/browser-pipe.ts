/**
 * A platform's WebSocket as a Pipe. It cannot stop reading, tells nobody when what was sent has left, and finishes by itself
 * when it is closed.
 */
import { PairlinkError, type Pipe, type PipeSink } from '@pairlink/core'
import { CLOSE_DONE, END, MESSAGE_BYTES_MAX, messagesOf } from './messages.js'

/** What is used of a `WebSocket`. */
export interface PlatformSocket {
  binaryType: string
  readonly readyState: number
  readonly bufferedAmount: number
  send(message: Uint8Array): void
  close(code?: number): void
  onopen: (() => void) | null
  onmessage: ((event: { readonly data: unknown }) => void) | null
  onerror: (() => void) | null
  onclose: ((event: { readonly code: number; readonly wasClean: boolean }) => void) | null
}

/** The `readyState` of one that has told its end. */
const CLOSED = 3
/** From here on *enough* is said. What was sent is only known to have left a moment later, however little it was. */
const WAITING_BYTES_MAX = 256 * 1024
/** The shortest that browsers allow again and again. A page that is not seen is woken once a second, or by what comes in. */
const LOOK_MS = 4

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a pipe.
const { clearTimeout, setTimeout } = globalThis

export class PlatformPipe implements Pipe {
  readonly #socket: PlatformSocket
  readonly #address: string
  #sink: PipeSink | undefined
  #look: ReturnType<typeof setTimeout> | undefined
  #isFull = false
  #isEnded = false
  #hasPeerEnded = false
  #isDestroyed = false
  #isClosed = false

  /** @param socket is open */
  constructor(socket: PlatformSocket, address: string) {
    this.#socket = socket
    this.#address = address
    socket.binaryType = 'arraybuffer'
  }

  start(sink: PipeSink): void {
    this.#sink = sink
    if (this.#isDestroyed) return
    if (this.#socket.readyState === CLOSED) {
      this.#isDestroyed = true
      setTimeout(() => {
        this.#closed(new Error('the WebSocket was cut off as soon as it was open'))
      }, 0)
      return
    }
    this.#socket.onmessage = ({ data }) => {
      this.#message(data)
      this.#lookWhetherDrained()
    }
    this.#socket.onclose = ({ code, wasClean }) => {
      if (wasClean && !this.#hasPeerEnded) sink.ended()
      this.#closed(wasClean ? undefined : new Error(`the WebSocket was cut off (${code})`))
    }
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#isEnded || this.#isDestroyed) return true
    for (const message of messagesOf(chunks)) this.#socket.send(message)
    if (this.#socket.bufferedAmount < WAITING_BYTES_MAX) return true
    this.#isFull = true
    this.#lookLater()
    return false
  }

  end(): void {
    if (this.#isEnded || this.#isDestroyed) return
    this.#isEnded = true
    this.#socket.send(END)
    this.#closeWhenOver()
  }

  destroy(): void {
    this.#fail()
  }

  /** A platform that has processes of its own keeps them alive, or not, as it likes. */
  ref(): void {}

  unref(): void {}

  #message(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) {
      this.#violated('a message of text')
    } else if (this.#hasPeerEnded) {
      this.#violated('a message behind its last one')
    } else if (data.byteLength > MESSAGE_BYTES_MAX) {
      this.#violated(`a message of ${data.byteLength} bytes`)
    } else if (data.byteLength > 0) {
      this.#sink?.bytes(new Uint8Array(data), false)
    } else {
      this.#hasPeerEnded = true
      this.#sink?.ended()
      this.#closeWhenOver()
    }
  }

  #closeWhenOver(): void {
    if (this.#isEnded && this.#hasPeerEnded) this.#socket.close(CLOSE_DONE)
  }

  #violated(what: string): void {
    const text = `${this.#address}: the other side sends ${what} over its WebSocket`
    this.#fail(new PairlinkError('PROTOCOL', text))
  }

  /** The closing handshake goes on without us, as long as the platform waits for it. */
  #fail(error?: Error): void {
    if (this.#isDestroyed) return
    this.#isDestroyed = true
    this.#socket.onmessage = this.#socket.onclose = null
    this.#socket.close()
    setTimeout(() => {
      this.#closed(error)
    }, 0)
  }

  #lookLater(): void {
    clearTimeout(this.#look)
    this.#look = setTimeout(() => {
      this.#lookWhetherDrained()
    }, LOOK_MS)
  }

  #lookWhetherDrained(): void {
    if (!this.#isFull || this.#isDestroyed || this.#isClosed) return
    if (this.#socket.bufferedAmount > 0) {
      this.#lookLater()
      return
    }
    this.#isFull = false
    this.#sink?.drained()
  }

  #closed(error?: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#look)
    this.#sink?.closed(error)
  }
}
