/**
 * A socket of `node:net` as a Pipe: both directions end on their own, a list of chunks is one write, and what had arrived
 * is read before a broken socket counts as closed. It knows nothing of addresses.
 */
import { connect, type Socket } from 'node:net'
import type { Pipe, PipeSink } from '@pairlink/core'
import type { Dialling, Layer } from './layer.js'
import { setImmediate } from './timers.js'

/** Read into again and again by a dialled socket; larger ones gained nothing. */
const READ_BYTES = 64 * 1024
/** Up to here copying chunks into one is cheaper than a gathering write. */
const JOIN_BYTES_MAX = 16 * 1024

/** What a socket with a buffer of its own calls for each piece read. */
type OnRead = (bytesRead: number, buffer: Uint8Array) => boolean

/**
 * The pipe of a socket without a buffer of its own, such as an accepted one. It must have been made with `allowHalfOpen`,
 * and nothing may have been read from it.
 */
export function socketPipe(socket: Socket, holder?: string): Pipe {
  return new SocketPipe(socket, holder, (sink) => {
    // Taken where they come in and not as 'data': after a failed write the stream drops what is read, and the peer's last
    // words with it.
    const push = socket.push.bind(socket)
    socket.push = (chunk: Buffer | null) => {
      if (chunk === null) return push(null)
      sink.bytes(chunk, false)
      return true
    }
  })
}

/** Sockets as they are. A dialled one reads into one buffer of its own, which saves a copy. */
export const PLAIN: Layer = {
  encrypted: false,
  check: () => undefined,
  accepted: (socket) => socketPipe(socket),
  dialling() {
    let onRead: OnRead | undefined
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    return {
      onread: { buffer, callback: (bytesRead, bytes) => onRead?.(bytesRead, bytes) ?? true },
      pipe: (socket, holder) =>
        new SocketPipe(socket, holder, (sink) => {
          onRead = (bytesRead, bytes) => {
            sink.bytes(new Uint8Array(bytes.buffer, bytes.byteOffset, bytesRead), true)
            return true
          }
        }),
    }
  },
}

/** Whether a socket that has just been connected is the one that was meant. */
type Judge = (socket: Socket) => boolean

/**
 * Dials once.
 * @param holder who is expected to accept
 * @param isMeant false destroys the socket, and the promise is `'wrong'`
 * @returns the pipe, or the system's error
 * @throws the reason of `signal`
 */
export function dialPipe(
  where: { path: string } | { host: string; port: number },
  signal: AbortSignal,
  holder: string | undefined,
  isMeant: Judge,
  { onread, pipe }: Dialling,
): Promise<Pipe | 'wrong' | NodeJS.ErrnoException> {
  return new Promise((settle, reject) => {
    const socket = connect({ ...where, allowHalfOpen: true, noDelay: true, ...(onread && { onread }) })
    // Whether the process waits for a dial is not known here, so it does not; a pipe is held or not by whoever gets it.
    socket.unref()
    const abort = (): void => {
      socket.destroy()
      reject(signal.reason as Error)
    }
    const failed = (error: NodeJS.ErrnoException): void => {
      signal.removeEventListener('abort', abort)
      settle(error)
    }
    signal.addEventListener('abort', abort, { once: true })
    socket.once('error', failed)
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort)
      socket.off('error', failed)
      socket.ref()
      if (isMeant(socket)) {
        settle(pipe(socket, holder))
      } else {
        socket.destroy()
        settle('wrong')
      }
    })
  })
}

class SocketPipe implements Pipe {
  declare readonly holder?: string
  readonly #socket: Socket
  readonly #read: (sink: PipeSink) => void
  #error: Error | undefined

  constructor(socket: Socket, holder: string | undefined, read: (sink: PipeSink) => void) {
    this.#socket = socket
    if (holder !== undefined) this.holder = holder
    this.#read = read
    // A socket may break before `start`, and an 'error' that nobody hears ends the process.
    socket.on('error', (error) => {
      this.#error ??= error
    })
    // A write fails when the peer has gone, and Node then destroys the socket with what it has not read yet: the peer's last
    // words. One whole turn of the loop reads all that a socket can hold.
    const destroy = socket.destroy.bind(socket)
    socket.destroy = (error?: NodeJS.ErrnoException) => {
      if (error?.syscall !== 'write') return destroy(error)
      setImmediate(() => setImmediate(() => destroy(error)))
      return socket
    }
  }

  start(sink: PipeSink): void {
    const socket = this.#socket
    this.#read(sink)
    socket.on('drain', () => {
      sink.drained()
    })
    socket.once('end', () => {
      sink.ended()
    })
    const closed = (): void => {
      sink.closed(this.#error)
    }
    if (socket.closed) process.nextTick(closed)
    else socket.once('close', closed)
    if (!socket.destroyed) socket.resume()
  }

  write(chunks: readonly Uint8Array[]): boolean {
    const socket = this.#socket
    if (!socket.writable) return true
    const [only] = chunks
    if (only !== undefined && chunks.length === 1) return socket.write(only)
    let bytes = 0
    for (const chunk of chunks) bytes += chunk.length
    if (bytes <= JOIN_BYTES_MAX) return socket.write(Buffer.concat(chunks, bytes))
    let isRoom = true
    socket.cork()
    for (const chunk of chunks) isRoom = socket.write(chunk)
    socket.uncork()
    return isRoom
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  ref(): void {
    this.#socket.ref()
  }

  unref(): void {
    this.#socket.unref()
  }
}
