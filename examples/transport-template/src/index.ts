/**
 * A transport for pairlink: two processes meet at a port of this host. What is said of sockets here is yours to replace; what
 * surrounds it stays. It knows nothing of secrets, calls and keepalives.
 */
// #region imports
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { PairlinkError, type Listener, type Pipe, type Transport } from '@pairlink/core'
// #endregion imports

// #region pipe
/** The stream of bytes over a connected socket, which was made with `allowHalfOpen` and has not been read from. */
export function socketPipe(socket: Socket): Pipe {
  let failure: Error | undefined
  // It may break before `start`, and an 'error' that nobody hears ends the process.
  socket.on('error', (error) => {
    failure = error
  })
  return {
    start(sink) {
      // 'data' gives each chunk away, so it belongs to the receiver: not transient.
      socket.on('data', (chunk) => sink.bytes(chunk, false))
      socket.on('drain', () => sink.drained())
      socket.on('end', () => sink.ended())
      const over = (): void => sink.closed(failure)
      if (socket.closed) process.nextTick(over)
      else socket.on('close', over)
    },
    write(chunks) {
      if (!socket.writable) return true // ended, destroyed or broken: 'close' says so
      let isRoom = true
      socket.cork()
      for (const chunk of chunks) isRoom = socket.write(chunk)
      socket.uncork()
      return isRoom // false is *enough*, and 'drain' follows
    },
    end: () => void socket.end(),
    destroy: () => void socket.destroy(), // 'close' follows in an event of its own
    ref: () => void socket.ref(),
    unref: () => void socket.unref(),
  }
}
// #endregion pipe

// #region transport
const HOST = '127.0.0.1'
/** Not to be told at this moment: no descriptors or memory, or a listener that is just going. */
const PASSING = ['EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ECONNRESET', 'EADDRNOTAVAIL']

/** @throws TypeError for a port that can never work */
export function port(number: number): Transport {
  if (!Number.isInteger(number) || number < 1 || number > 65_535) throw new TypeError(`port(${number}): 1 to 65535`)
  const address = `port:${number}`
  return {
    address,
    reach: 'host', // every user of this host can dial
    encrypted: false,
    dial: (signal) => dial(address, number, signal),
    listen: (accept, signal) => listen(address, number, accept, signal),
  }
}
// #endregion transport

// #region dial
function dial(address: string, number: number, signal: AbortSignal): Promise<Pipe | 'absent' | 'again'> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted() // inside a promise this is a rejection
    const socket = connect({ host: HOST, port: number, allowHalfOpen: true, noDelay: true })
    const aborted = (): void => {
      socket.destroy()
      reject(signal.reason)
    }
    const failed = (error: NodeJS.ErrnoException): void => {
      signal.removeEventListener('abort', aborted)
      if (error.code === 'ECONNREFUSED') resolve('absent')
      else if (PASSING.includes(error.code ?? '')) resolve('again')
      else reject(invalid(address, 'dialled', error))
    }
    signal.addEventListener('abort', aborted, { once: true })
    socket.once('error', failed)
    socket.once('connect', () => {
      // From here on the signal means nothing any more, and an error is the pipe's.
      signal.removeEventListener('abort', aborted)
      socket.off('error', failed)
      if (socket.localPort !== number) return resolve(socketPipe(socket))
      // A port of the range for outgoing connections can be dialled by itself, and then nobody is there.
      socket.destroy()
      resolve('absent')
    })
  })
}
// #endregion dial

// #region listen
async function listen(
  address: string,
  number: number,
  accept: (pipe: Pipe) => void,
  signal: AbortSignal,
): Promise<Listener | 'taken'> {
  signal.throwIfAborted()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => accept(socketPipe(socket)))
  try {
    await bound(server, number)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    // Somebody else holds it, or it cannot be told: the connection dials again, and finds out.
    if (code === 'EADDRINUSE' || PASSING.includes(code)) return 'taken'
    throw invalid(address, 'listened on', error)
  }
  const listener = serverListener(server)
  if (signal.aborted) await listener.close()
  signal.throwIfAborted()
  return listener
}

function bound(server: Server, number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // In a worker of node:cluster, `exclusive: false` would give the port to several at once.
    server.listen({ host: HOST, port: number, exclusive: true }, () => {
      server.off('error', reject)
      // Out of descriptors while accepting: the one who dials tries again, and the process lives.
      server.on('error', () => undefined)
      resolve()
    })
  })
}

function serverListener(server: Server): Listener {
  let closed: Promise<void> | undefined
  return {
    // The same promise each time. What was accepted lives on, so the server's 'close' event is not waited for.
    close: () => (closed ??= closing(server)),
    ref: () => void server.ref(),
    unref: () => void server.unref(),
  }
}

async function closing(server: Server): Promise<void> {
  server.close()
  // Node.js closes handles behind the immediates of a turn.
  await setImmediate()
  await setImmediate()
}

function invalid(address: string, how: string, cause: unknown): PairlinkError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new PairlinkError('ADDRESS_INVALID', `${address} cannot be ${how}: ${reason}. Choose another port`, { cause })
}
// #endregion listen
