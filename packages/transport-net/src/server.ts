/** A listening server whose address cannot be lost and leaves nothing behind: a port, a pipe of Windows, an inherited socket. */
import { isIP, type ListenOptions, type Server } from 'node:net'
import type { Listener } from '@pairlink/core'
import { setImmediate } from './timers.js'

/** Whether an address leads nowhere but to this host. */
export function isLoopback(host: string): boolean {
  return host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** Listens. @throws the system's error */
export function bind(server: Server, where: ListenOptions | { fd: number }): Promise<void> {
  return new Promise((settle, reject) => {
    server.once('error', reject)
    // In a worker of node:cluster another would be given the same socket.
    server.listen({ ...where, exclusive: true }, () => {
      server.removeAllListeners('error')
      // Out of descriptors and the like while accepting: the dialer tries again, and the process lives.
      server.on('error', () => undefined)
      settle()
    })
  })
}

/** Resolves when nothing of the server is left but the sockets that it has accepted. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // Only a server that is closed already calls back with an error. Accepted sockets live on and are not waited for.
    server.close()
    // Handles are closed behind the phase of the loop in which immediates run.
    setImmediate(() => setImmediate(resolve))
  })
}

export class ServerListener implements Listener {
  readonly #server: Server
  #closed: Promise<void> | undefined

  constructor(server: Server) {
    this.#server = server
  }

  close(): Promise<void> {
    this.#closed ??= closeServer(this.#server)
    return this.#closed
  }

  ref(): void {
    this.#server.ref()
  }

  unref(): void {
    this.#server.unref()
  }
}
