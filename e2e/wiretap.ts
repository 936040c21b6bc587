/** Sits between two processes of a pair and hears everything: it may hold bytes back, and write again what it has heard. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { folder } from './processes.js'

const open = new Set<Wiretap>()

afterEach(() => {
  for (const wiretap of open) wiretap.close()
  open.clear()
})

export class Wiretap {
  /** Where the one dials, in place of the address at which the other listens. */
  readonly path = join(folder(), 'tap')
  /** What was heard, oldest first. */
  fromDialer: Buffer[] = []
  fromListener: Buffer[] = []
  readonly #sockets = new Set<Socket>()
  readonly #server: Server
  #dialer: Socket | undefined
  #listener: Socket | undefined
  #held: Buffer[] | undefined
  #isEnough: (heard: Buffer) => boolean = () => false

  private constructor(listenerPath: string) {
    this.#server = createServer((dialer) => {
      const listener = connect(listenerPath)
      this.#dialer = dialer
      this.#listener = listener
      this.#pass(dialer, listener, (chunk) => {
        this.#heardFromDialer(chunk, listener)
      })
      this.#pass(listener, dialer, (chunk) => {
        this.fromListener.push(chunk)
        dialer.write(chunk)
      })
    })
  }

  static async to(listenerPath: string): Promise<Wiretap> {
    const wiretap = new Wiretap(listenerPath)
    open.add(wiretap)
    wiretap.#server.listen(wiretap.path)
    await once(wiretap.#server, 'listening')
    return wiretap
  }

  /** From now on nothing of the dialer passes, until what it has written is enough; then all of it goes in one write. */
  holdUntil(isEnough: (heard: Buffer) => boolean): void {
    this.#held = []
    this.#isEnough = isEnough
  }

  forget(): void {
    this.fromDialer = []
    this.fromListener = []
  }

  /** Writes to the listener, as if the dialer had. */
  toListener(bytes: Uint8Array): void {
    this.#listener?.write(bytes)
  }

  toDialer(bytes: Uint8Array): void {
    this.#dialer?.write(bytes)
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #heardFromDialer(chunk: Buffer, listener: Socket): void {
    this.fromDialer.push(chunk)
    if (this.#held === undefined) {
      listener.write(chunk)
      return
    }
    this.#held.push(chunk)
    const heard = Buffer.concat(this.#held)
    if (!this.#isEnough(heard)) return
    this.#held = undefined
    listener.write(heard)
  }

  #pass(from: Socket, to: Socket, chunk: (bytes: Buffer) => void): void {
    this.#sockets.add(from)
    from.on('data', chunk)
    from.on('error', () => undefined)
    from.once('end', () => to.end())
    from.once('close', () => {
      this.#sockets.delete(from)
      to.destroy()
    })
  }
}
