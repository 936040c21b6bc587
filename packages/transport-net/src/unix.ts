/**
 * Unix domain sockets as a Transport. Dial and listen are made honest here: "absent" and "taken" are what meeting is built
 * on. What lies at the path is looked at before a byte is sent, and nothing that is not ours is ever touched.
 *
 * A socket file whose process was killed is reported and left alone; taking such an address over comes later and will
 * replace `#stale` alone.
 */
import { createServer, type Server } from 'node:net'
import { resolve } from 'node:path'
import { PairlinkError, type Listener, type Pipe, type Reach, type Transport } from '@pairlink/core'
import { addressInvalid, checkDirectory, checkLength, isSame, socketAt, type Identity } from './address.js'
import { acceptedPipe, dialPipe } from './pipe.js'
import { closeServer, publish, temporaryName, withdraw, withdrawAtExit } from './publish.js'

export interface UnixOptions {
  /** Who may dial, as a file mode: 0o600 by default, this user alone. */
  readonly mode?: number
}

/** Nobody listens there. */
const ABSENT = new Set(['ENOENT', 'ECONNREFUSED'])
/** It cannot be told at this moment: a full backlog, an interrupted call, no descriptors or memory left. */
const AGAIN = new Set(['EAGAIN', 'EINTR', 'ECONNRESET', 'EMFILE', 'ENFILE', 'ENOBUFS', 'EPIPE'])

/**
 * Meets at a path of the file system.
 * @param path relative ones are resolved now
 * @throws TypeError for a path or an option that can never work. What depends on the file system shows when dialling.
 */
export function unix(path: string, options: UnixOptions = {}): Transport {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new TypeError('unix: the path must be a string that is not empty and has no zero byte')
  }
  for (const name of Object.keys(options)) {
    if (name !== 'mode') throw new TypeError(`unix: unknown option '${name}'; did you mean 'mode'?`)
  }
  const { mode = 0o600 } = options
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    throw new TypeError('unix: mode must be a file mode such as 0o600')
  }
  const absolute = resolve(path)
  return new UnixTransport(absolute, `unix:${absolute}`, mode, () => {
    checkDirectory(absolute)
  })
}

export class UnixTransport implements Transport {
  readonly address: string
  readonly reach: Reach
  readonly encrypted = false
  readonly #path: string
  readonly #mode: number
  readonly #checkDirectory: () => void
  /** A socket that has refused our last dial: a process that was killed left it, since a live one is never seen unready. */
  #refused: Identity | undefined

  /** `checkDirectory` throws when the directory of the path is not as it must be; called before each dial and listen. */
  constructor(path: string, address: string, mode: number, checkDirectory: () => void) {
    this.#path = path
    this.address = address
    this.#mode = mode
    this.reach = (mode & 0o077) === 0 ? 'user' : 'host'
    this.#checkDirectory = checkDirectory
  }

  async dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again'> {
    signal.throwIfAborted()
    checkLength(this.#path)
    this.#checkDirectory()
    const before = socketAt(this.#path)
    this.#refused = undefined
    if (before === undefined) return 'absent'
    return new Promise((settle, reject) => {
      const abort = (): void => {
        socket.destroy()
        reject(signal.reason as Error)
      }
      const socket = dialPipe(
        this.#path,
        (pipe) => {
          signal.removeEventListener('abort', abort)
          // Another file by now means that it is not known who answered.
          if (this.#isStill(before)) {
            settle(pipe)
          } else {
            pipe.destroy()
            settle('again')
          }
        },
        (error) => {
          signal.removeEventListener('abort', abort)
          const code = error.code ?? ''
          if (code === 'ECONNREFUSED') this.#refused = before
          if (ABSENT.has(code)) settle('absent')
          else if (AGAIN.has(code)) settle('again')
          else reject(addressInvalid(this.#path, `it cannot be dialled (${code})`, 'Check who may use it', error))
        },
      )
      signal.addEventListener('abort', abort, { once: true })
    })
  }

  async listen(accept: (pipe: Pipe) => void, signal: AbortSignal): Promise<Listener | 'taken'> {
    signal.throwIfAborted()
    checkLength(this.#path)
    this.#checkDirectory()
    const there = socketAt(this.#path)
    if (there !== undefined) {
      if (isSame(there, this.#refused)) throw this.#stale()
      return 'taken'
    }
    const temporary = temporaryName(this.#path)
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      accept(acceptedPipe(socket))
    })
    await this.#bind(server, temporary)
    // From here to the return nothing is awaited: a socket that is published belongs to somebody who will close it.
    let identity: Identity | 'taken'
    try {
      identity = publish(this.#path, temporary, this.#mode)
    } catch (error) {
      server.close()
      const code = (error as NodeJS.ErrnoException).code ?? 'an error'
      throw addressInvalid(
        this.#path,
        `it cannot be published (${code})`,
        'Check who may write to the directory',
        error,
      )
    }
    if (identity === 'taken' || signal.aborted) {
      if (identity !== 'taken') withdraw(this.#path, identity)
      await closeServer(server)
      signal.throwIfAborted()
      return 'taken'
    }
    return new UnixListener(server, this.#path, identity)
  }

  #isStill(identity: Identity): boolean {
    try {
      return isSame(socketAt(this.#path), identity)
    } catch {
      return false
    }
  }

  #bind(server: Server, name: string): Promise<void> {
    return new Promise((settle, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        // Node says EACCES for a directory that is missing, too.
        const remedy = 'Check that the directory exists and who may write to it'
        reject(
          addressInvalid(this.#path, `no socket can be made there (${error.code ?? error.message})`, remedy, error),
        )
      })
      server.listen(name, () => {
        server.removeAllListeners('error')
        // Out of descriptors and the like while accepting: the dialer tries again, and the process lives.
        server.on('error', () => undefined)
        settle()
      })
    })
  }

  #stale(): PairlinkError {
    const quoted = `'${this.#path.replaceAll("'", "'\\''")}'`
    const text = `${this.#path}: a process that was killed left its socket file here, and nobody listens on it. Remove it with: rm ${quoted}`
    return new PairlinkError('ADDRESS_IN_USE', text)
  }
}

class UnixListener implements Listener {
  readonly #server: Server
  readonly #path: string
  readonly #identity: Identity
  #closed: Promise<void> | undefined

  constructor(server: Server, path: string, identity: Identity) {
    this.#server = server
    this.#path = path
    this.#identity = identity
    withdrawAtExit(path, identity)
  }

  close(): Promise<void> {
    if (this.#closed === undefined) {
      // First the path, so that nobody who finds it is refused; then the socket behind it.
      withdraw(this.#path, this.#identity)
      this.#closed = closeServer(this.#server)
    }
    return this.#closed
  }

  ref(): void {
    this.#server.ref()
  }

  unref(): void {
    this.#server.unref()
  }
}
