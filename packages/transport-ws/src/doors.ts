/**
 * All paths of one web server, behind one listener of its event `upgrade`: whose a request is, where the server and others of
 * the application answer requests, too. Pipes, places and the rules for guests are not known here.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'

/** `isAnswered` when another handler of the server has answered, so that there is nothing left to say. */
export type Door = (request: IncomingMessage, socket: Socket, head: Buffer, isAnswered: boolean) => void

/** What is used of a server of `node:http` or `node:https`. */
export interface Upgrading {
  prependListener(event: 'upgrade', listener: Listener): unknown
  off(event: 'upgrade', listener: Listener): unknown
  emit(event: 'connection' | 'secureConnection', socket: Socket): unknown
  listenerCount(event: 'upgrade'): number
}

type Listener = (request: IncomingMessage, socket: Socket, head: Buffer) => void

/** Who else takes upgrades may look something up first. As long as others wait for those that they share a server with. */
const OTHERS_MS = 1000

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a request.
const { clearTimeout, setTimeout } = globalThis

export class Doors {
  readonly #server: Upgrading
  readonly #doors = new Map<string, Door>()
  readonly #waits = new Set<NodeJS.Timeout>()

  constructor(server: Upgrading) {
    this.#server = server
  }

  /** False where the path is taken. */
  add(path: string, door: Door): boolean {
    if (this.#doors.has(path)) return false
    // The first to be called, it sees what a socket has written before; it answers as the last.
    if (this.#doors.size === 0) this.#server.prependListener('upgrade', this.#upgrade)
    this.#doors.set(path, door)
    return true
  }

  remove(path: string): void {
    this.#doors.delete(path)
    if (this.#doors.size > 0) return
    this.#server.off('upgrade', this.#upgrade)
    for (const wait of this.#waits) clearTimeout(wait)
    this.#waits.clear()
  }

  readonly #upgrade = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    // A socket that is kept alive has answered other requests.
    const { bytesWritten } = socket
    const isAnswered = (): boolean => socket.destroyed || socket.writableEnded || socket.bytesWritten !== bytesWritten
    const hasOthers = this.#server.listenerCount('upgrade') > 1
    process.nextTick(() => {
      const door = this.#doors.get(request.url?.split('?', 1)[0] ?? '')
      if (door !== undefined) {
        door(request, socket, head, isAnswered())
      } else if (!hasOthers) {
        this.#nobodys(request, socket, head)
      } else if (isWebSocket(request)) {
        const wait = setTimeout(() => {
          this.#waits.delete(wait)
          if (!isAnswered()) this.#nobodys(request, socket, head)
        }, OTHERS_MS)
        wait.unref()
        this.#waits.add(wait)
      }
    })
  }

  /** Any of the doors refuses it. A server that nobody listens to upgrades of takes it for a request like any other. */
  #nobodys(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const [any] = this.#doors.values()
    if (any !== undefined && isWebSocket(request)) any(request, socket, head, false)
    else handBack(this.#server, request, socket, head)
  }
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket'
}

/** Lets the server read the request once more, without what it asks to upgrade to. */
function handBack(server: Upgrading, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const { method = '', url = '', httpVersion, rawHeaders } = request
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2)
    if (name.toLowerCase() !== 'upgrade') lines.push(`${name}: ${value}`)
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]))
  server.emit(server instanceof TlsServer ? 'secureConnection' : 'connection', socket)
}

const doorsOfServers = new WeakMap<Upgrading, Doors>()

export function doorsOf(server: Upgrading): Doors {
  const known = doorsOfServers.get(server) ?? new Doors(server)
  doorsOfServers.set(server, known)
  return known
}
