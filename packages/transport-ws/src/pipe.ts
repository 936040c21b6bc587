/**
 * A WebSocket of Node.js as a Pipe. It is handed on before it is open: the opening handshake goes on inside, so that whoever
 * bounds the time and the number of pipes bounds those of handshakes too. Reading is never paused. How a handshake goes is
 * known elsewhere.
 */
import type { Socket } from 'node:net'
import { PairlinkError, type Pipe, type PipeSink } from '@pairlink/core'
import type { WebSocket } from 'ws'
import { CLOSE_DONE, END, messagesOf } from './messages.js'
import type { UpgradeSink } from './upgrade.js'

/** From here on *enough* is said: what a pipe is given at a time, and some room. */
const WAITING_BYTES_MAX = 64 * 1024
/** Neither side said why it went. */
const CLOSED_ABNORMALLY = 1006

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a pipe.
const { setImmediate } = globalThis

export interface WsPipeParts {
  readonly socket: Socket
  /** As people read it, for errors. */
  readonly address: string
  /** Begins the opening handshake. It tells the sink of one thing, or leaves it to the socket's end. */
  readonly begin: (sink: UpgradeSink) => void
  /** Why it will not be begun. What others have written to the socket leaves before it ends. */
  readonly fault?: PairlinkError
}

export class WsPipe implements Pipe {
  readonly #raw: Socket
  readonly #parts: WsPipeParts
  #sink: PipeSink | undefined
  #webSocket: WebSocket | undefined
  /** What the messages travel on: the raw socket, or one of TLS over it. */
  #stream: Socket
  /** What was written before it was open. */
  #waiting: Uint8Array[] = []
  /** Writes that have not left. */
  #leaving = 0
  #isFull = false
  #isEnded = false
  #hasPeerEnded = false
  #isDestroyed = false
  #isClosed = false
  /** Why we ended it. */
  #error: Error | undefined
  /** What the raw socket broke with. */
  #broken: Error | undefined

  constructor(parts: WsPipeParts) {
    this.#parts = parts
    this.#raw = parts.socket
    this.#stream = parts.socket
    // It may break before the start, and an 'error' that nobody hears ends the process.
    this.#raw.on('error', (error) => {
      this.#broken ??= error
    })
  }

  start(sink: PipeSink): void {
    this.#sink = sink
    const raw = this.#raw
    const closed = (): void => {
      // An open one closes behind the raw socket, and may have messages to deliver.
      if (this.#webSocket === undefined) this.#closed(this.#broken)
    }
    if (raw.destroyed) process.nextTick(closed)
    else raw.once('close', closed)
    const { fault, begin } = this.#parts
    if (fault !== undefined) this.#failed(fault, '')
    if (fault !== undefined || raw.destroyed) return
    begin({
      opened: (webSocket, stream) => {
        this.#opened(webSocket, stream)
      },
      failed: (error, answer) => {
        this.#failed(error, answer)
      },
    })
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#isEnded || this.#isDestroyed) return true
    if (this.#webSocket !== undefined) return this.#send(this.#webSocket, chunks)
    for (const chunk of chunks) if (chunk.length > 0) this.#waiting.push(chunk)
    // What is nothing does not leave, and so is not waited for.
    if (this.#waiting.length > 0) this.#isFull = true
    return !this.#isFull
  }

  end(): void {
    if (this.#isEnded || this.#isDestroyed) return
    this.#isEnded = true
    this.#sendEnd()
  }

  destroy(): void {
    this.#isDestroyed = true
    this.#waiting = []
    this.#stream.destroy()
    this.#raw.destroy()
  }

  ref(): void {
    this.#raw.ref()
  }

  unref(): void {
    this.#raw.unref()
  }

  #opened(webSocket: WebSocket, stream: Socket): void {
    this.#webSocket = webSocket
    this.#stream = stream
    readBeforeBreaking(stream)
    webSocket.on('message', (message, isBinary) => {
      this.#message(message as Buffer, isBinary)
    })
    webSocket.on('error', (error: NodeJS.ErrnoException) => {
      this.#brokenRule(error)
    })
    webSocket.on('ping', () => {
      // Answers are given by the library, which destroys the socket of whoever asks for many and reads none.
      if (stream.destroyed) this.#violated('pings, and reads no answers')
    })
    webSocket.once('close', (code) => {
      this.#webSocketClosed(code)
    })
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length > 0) this.#send(webSocket, waiting)
    if (this.#isEnded) this.#sendEnd()
  }

  #send(webSocket: WebSocket, chunks: readonly Uint8Array[]): boolean {
    const messages = messagesOf(chunks)
    const last = messages.pop()
    if (last === undefined) return !this.#isFull
    const stream = this.#stream
    stream.cork()
    for (const message of messages) webSocket.send(message)
    this.#leaving++
    webSocket.send(last, (error) => {
      this.#left(error)
    })
    stream.uncork()
    if (stream.writableLength >= WAITING_BYTES_MAX) this.#isFull = true
    return !this.#isFull
  }

  #left(error: Error | null | undefined): void {
    this.#leaving--
    if (!this.#isFull || this.#leaving > 0 || error || this.#isDestroyed) return
    this.#isFull = false
    this.#sink?.drained()
  }

  #sendEnd(): void {
    this.#webSocket?.send(END)
    this.#closeWhenOver()
  }

  #closeWhenOver(): void {
    if (this.#isEnded && this.#hasPeerEnded) this.#webSocket?.close(CLOSE_DONE)
  }

  #message(message: Buffer, isBinary: boolean): void {
    // Those that had arrived together with the last one are delivered by the same event.
    if (this.#isDestroyed) return
    if (!isBinary || this.#hasPeerEnded) {
      this.#violated(isBinary ? 'a message behind its last one' : 'a message of text')
    } else if (message.length > 0) {
      this.#sink?.bytes(message, false)
    } else {
      this.#hasPeerEnded = true
      this.#sink?.ended()
      this.#closeWhenOver()
    }
  }

  /** A frame that WebSocket does not allow, or that breaks a limit. Errors of the socket come from the socket. */
  #brokenRule(error: NodeJS.ErrnoException): void {
    this.#violated(`what is not allowed (${error.code ?? error.message})`, error)
  }

  #violated(what: string, cause?: Error): void {
    const text = `${this.#parts.address}: the other side sends ${what} over its WebSocket`
    this.#failed(new PairlinkError('PROTOCOL', text, cause === undefined ? {} : { cause }))
  }

  /** Ends it, for a reason of ours. The first one counts; after `destroy` there is none. */
  #failed(error: Error, answer?: string): void {
    if (this.#isDestroyed) return
    this.#error ??= error
    if (answer === undefined) {
      this.destroy()
      return
    }
    this.#isDestroyed = true
    this.#waiting = []
    const raw = this.#raw
    if (answer !== '') raw.write(answer)
    raw.end(() => {
      raw.destroy()
    })
  }

  #webSocketClosed(code: number): void {
    if (this.#isDestroyed || code !== CLOSED_ABNORMALLY) {
      if (!this.#isDestroyed && !this.#hasPeerEnded) this.#sink?.ended()
      this.#closed()
    } else {
      this.#closed(this.#broken ?? new Error('the other side was cut off without closing its WebSocket'))
    }
  }

  #closed(broken?: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#sink?.closed(this.#error ?? (this.#isDestroyed ? undefined : broken))
  }
}

/**
 * A write fails when the peer has gone. Node then drops what it reads, and destroys the socket with what it has not read: the
 * peer's last words. So that is taken where it comes in, and one whole turn of the loop reads all that a socket can hold.
 */
function readBeforeBreaking(socket: Socket): void {
  const push = socket.push.bind(socket)
  socket.push = (chunk: Buffer | null) => {
    if (chunk === null) return push(null)
    socket.emit('data', chunk)
    return true
  }
  const destroy = socket.destroy.bind(socket)
  socket.destroy = (error?: NodeJS.ErrnoException) => {
    if (error?.syscall !== 'write') return destroy(error)
    setImmediate(() => setImmediate(() => destroy(error)))
    return socket
  }
}
