/**
 * A pipe that is handed on before it is secure: the handshake goes on inside, so that whoever bounds the time and the number
 * of pipes bounds those of handshakes too. A listener's begins with the dialer's first byte: until then a stranger costs no
 * more than a socket. Nothing of ours is sent before both sides have taken the other's certificate.
 *
 * With TLS 1.3 a dialer is secure before the listener has judged it. So the listener's first byte is its verdict, which the
 * dialer waits for.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Pipe, PipeSink } from '@pairlink/core'
import { socketPipe } from '@pairlink/transport-net/layer'
import { ACCEPTED, peerFaultError, refusalError, verdictByte } from './faults.js'
import type { Credentials } from './files.js'
import { HANDSHAKES, handshakeError, hungUp, onFirstByte, type Side } from './handshake.js'
import { judge } from './judge.js'

// Taken when this module is loaded, so that fake timers in an application's tests do not freeze a pipe.
const { clearTimeout, setTimeout } = globalThis
/** How long a dialer that was refused gets to read why. */
const REFUSED_LINGER_MS = 1000

export interface TlsPipeParts {
  readonly side: Side
  readonly socket: Socket
  readonly holder: string | undefined
  /** Called once, when the handshake begins. @throws PairlinkError, which closes the pipe */
  readonly credentials: () => Credentials
  /** As people read it, for errors. */
  readonly address: string
}

export class TlsPipe implements Pipe {
  declare readonly holder?: string
  readonly #parts: TlsPipeParts
  readonly #socket: Socket
  #sink: PipeSink | undefined
  /** Over the secure socket, once there is one. */
  #inner: Pipe | undefined
  /** Both sides have taken the other's certificate. */
  #isOpen = false
  /** What was written before it was open. */
  #waiting: Uint8Array[] = []
  #isEnded = false
  #isDestroyed = false
  #isClosed = false
  /** Why we ended it. */
  #error: Error | undefined
  /** What the raw socket broke with. */
  #broken: Error | undefined
  #linger: NodeJS.Timeout | undefined

  constructor(parts: TlsPipeParts) {
    this.#parts = parts
    this.#socket = parts.socket
    if (parts.holder !== undefined) this.holder = parts.holder
    // It may break before the start, and an 'error' that nobody hears ends the process.
    this.#socket.on('error', (error) => {
      this.#broken ??= error
    })
  }

  start(sink: PipeSink): void {
    this.#sink = sink
    const socket = this.#socket
    const closed = (): void => {
      // A secure socket closes behind the raw one, and may have bytes to deliver.
      if (this.#inner === undefined) this.#closed(this.#broken)
    }
    if (socket.destroyed) {
      process.nextTick(closed)
      return
    }
    socket.once('close', closed)
    if (this.#parts.side === 'dialer') {
      this.#begin()
      return
    }
    onFirstByte(
      socket,
      () => {
        this.#begin()
      },
      (error) => {
        this.#fail(error)
      },
    )
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#isEnded || this.#isDestroyed) return true
    if (this.#isOpen) return this.#inner?.write(chunks) ?? true
    this.#waiting.push(...chunks)
    return false
  }

  end(): void {
    this.#isEnded = true
    if (this.#isOpen) this.#inner?.end()
  }

  destroy(): void {
    this.#isDestroyed = true
    this.#waiting = []
    if (this.#inner === undefined) this.#socket.destroy()
    else this.#inner.destroy()
  }

  ref(): void {
    this.#socket.ref()
  }

  unref(): void {
    this.#socket.unref()
  }

  #begin(): void {
    const { side, socket, address, credentials } = this.#parts
    try {
      const loaded = credentials()
      HANDSHAKES[side](socket, loaded, address, {
        secured: (tls) => {
          this.#secured(tls, loaded)
        },
        failed: (error) => {
          this.#fail(error)
        },
      })
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #secured(tls: TLSSocket, credentials: Credentials): void {
    if (this.#isDestroyed) return
    const { side, address } = this.#parts
    const chainError = tls.authorized ? undefined : String(tls.authorizationError)
    const verdict = judge({ certificate: tls.getPeerX509Certificate(), chainError }, credentials)
    const error = verdict && peerFaultError(address, verdict.fault, verdict.detail)
    const inner = socketPipe(tls)
    this.#inner = inner
    inner.start(this.#inside())
    if (side === 'dialer') {
      if (error !== undefined) this.#fail(error)
    } else if (verdict === undefined) {
      inner.write([Uint8Array.of(ACCEPTED)])
      this.#open()
    } else {
      this.#error = error
      this.#refuse(inner, verdictByte(verdict.fault))
    }
  }

  /** What the secure socket delivers to. */
  #inside(): PipeSink {
    return {
      bytes: (chunk, transient) => {
        if (this.#isOpen) this.#sink?.bytes(chunk, transient)
        else if (this.#error === undefined) this.#verdict(chunk, transient)
      },
      drained: () => {
        if (this.#isOpen) this.#sink?.drained()
      },
      ended: () => {
        if (this.#isOpen) this.#sink?.ended()
        else if (this.#error === undefined) this.#fail(hungUp(this.#parts.address))
      },
      closed: (error) => {
        this.#closed(error)
      },
    }
  }

  /** The listener's first byte, and perhaps more behind it. */
  #verdict(chunk: Uint8Array, transient: boolean): void {
    const [byte] = chunk
    if (byte === undefined || this.#isDestroyed) return
    if (byte !== ACCEPTED) {
      this.#fail(refusalError(this.#parts.address, byte))
      return
    }
    this.#open()
    if (chunk.length > 1) this.#sink?.bytes(chunk.subarray(1), transient)
  }

  #open(): void {
    this.#isOpen = true
    const waiting = this.#waiting
    this.#waiting = []
    const isRoom = waiting.length > 0 && (this.#inner?.write(waiting) ?? false)
    if (this.#isEnded) this.#inner?.end()
    if (isRoom) this.#sink?.drained()
  }

  /** Tells the dialer why, and reads nothing of it. */
  #refuse(inner: Pipe, byte: number): void {
    inner.write([Uint8Array.of(byte)])
    inner.end()
    this.#linger = setTimeout(() => {
      inner.destroy()
    }, REFUSED_LINGER_MS)
    this.#linger.unref()
  }

  /** Ends it, for a reason of ours. The first one counts; after `destroy` there is none. */
  #fail(error: Error): void {
    if (this.#isDestroyed) return
    this.#error ??= error
    this.destroy()
  }

  #closed(broken?: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#linger)
    this.#sink?.closed(this.#error ?? this.#meaningOf(broken))
  }

  /** Until the verdict has come, a break is one of the handshake. */
  #meaningOf(broken: Error | undefined): Error | undefined {
    const { side, address } = this.#parts
    if (this.#isOpen || this.#isDestroyed) return broken
    if (broken !== undefined) return handshakeError(side, address, broken)
    return side === 'dialer' ? hungUp(address) : undefined
  }
}
