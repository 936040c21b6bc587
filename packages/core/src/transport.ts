/**
 * The plug: what core asks of a transport. A Transport is a place where two processes meet, a Pipe the ordered stream
 * of bytes between them once they have. Neither knows of frames, secrets or keepalive.
 */
import type { PairlinkError } from './connection/errors.js'

/** Who can possibly reach the address: processes of this user, of this host, or of a network. */
export type Reach = 'user' | 'host' | 'network'

/** A place where two processes meet. One object serves one `Connection`; it holds no socket until asked for one. */
export interface Transport {
  /** The address as people read it, in logs and errors: `unix:/run/app.sock`. */
  readonly address: string
  readonly reach: Reach
  /** True when bytes are encrypted and the peer authenticated below pairlink, as TLS does. */
  readonly encrypted: boolean
  /**
   * Opens a pipe to whoever listens at the address. Resolves to
   * - a `Pipe` when somebody accepted;
   * - `'absent'` when surely nobody listens, so that this process may; always, where a process can only listen;
   * - `'again'` when it cannot be told at this moment (no descriptors, an interrupted call): the caller pauses and dials again;
   * - `'full'` when somebody holds the address and takes no more dials at this moment: as `'again'`, but nobody answered.
   *
   * Rejects when no retry can help, with a `PairlinkError` where the reason is known (`ADDRESS_INVALID`).
   * After `signal` fires the result is destroyed by the transport and the promise rejects.
   */
  dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again' | 'full'>
  /**
   * Takes the address. Resolves to
   * - a `Listener` once a dial from another process would succeed;
   * - a `Pipe` when it turned out that somebody does listen, and accepted;
   * - `'taken'` when somebody else listens or is about to, so that this process should dial;
   * - `'cannot'` when this process cannot listen there, and may only dial.
   *
   * `accept` is called for each pipe that comes in, never before the promise has resolved, and calls `pipe.start`
   * before it returns.
   * With `silent` the address may also be taken from that holder, where a transport can tell that it is the same one.
   * Rejects as `dial` does, and undoes what it made when `signal` fires.
   */
  listen(
    accept: (pipe: Pipe) => void,
    signal: AbortSignal,
    silent?: SilentHolder,
  ): Promise<Listener | Pipe | 'taken' | 'cannot'>
  /** `Pipe.holder` of one who surely has ended: the address is as it has left it, and has refused the last dial. */
  refusedBy?(): string | undefined
  /**
   * What has kept this process from dialling or listening at last; undefined for nothing. A sentence for people becomes an
   * `ADDRESS_IN_USE` of this address; an error of another code is told as it is, also for a dial that was `'absent'`.
   */
  obstacle?(): string | PairlinkError | undefined
}

/** One who holds an address and has answered nothing for long: it is stopped. */
export interface SilentHolder {
  /** `Pipe.holder` of the pipes that it did not answer. */
  readonly holder: string
  /** Looks a last time, through a pipe that it has just accepted. */
  isSilent(pipe: Pipe): Promise<boolean>
}

/** An address that this process holds. */
export interface Listener {
  /**
   * False once the address belongs to another, or was removed: then everything that comes in here is lost, and the caller
   * closes it. Synchronous and cheap. Left out where an address cannot be lost.
   */
  holds?(): boolean
  /**
   * Gives the address up, touching nothing that a successor may own by now, and accepts nothing more. Pipes that were
   * accepted live on. Resolves when no handle and no file is left; calling again returns the same promise.
   */
  close(): Promise<void>
  ref(): void
  unref(): void
}

/**
 * An ordered, reliable stream of byte chunks in both directions; the borders of chunks mean nothing. It calls its sink from
 * an event of its own, never from inside one of these methods: what is written may be an answer to what is being read.
 */
export interface Pipe {
  /** Who accepted, where that can be told: another string once the address has changed hands. */
  readonly holder?: string
  /** Begins delivery. Called exactly once, synchronously with receiving the pipe; until then nothing is read. */
  start(sink: PipeSink): void
  /**
   * Writes the chunks in order. They must not be changed until the peer has acknowledged what they carry or `drained`
   * was called, since the pipe may hold on to them. Returns false for *enough*: the bytes were taken, and the caller
   * waits for `drained` before it writes again. After `end` or `destroy` it does nothing.
   */
  write(chunks: readonly Uint8Array[]): boolean
  /** Half-close: all that was written arrives, then the other side reads the end. Reading goes on. */
  end(): void
  /** Ends both directions at once, and may lose what was written. Idempotent; `closed` follows, never synchronously. */
  destroy(): void
  ref(): void
  unref(): void
}

/** Where a pipe delivers to. No member throws. */
export interface PipeSink {
  /**
   * The next bytes. With `transient` true they are overwritten after the call returns, so what is kept must be copied;
   * otherwise the receiver owns them.
   */
  bytes(chunk: Uint8Array, transient: boolean): void
  /** After `write` returned false: everything written so far has left the process. */
  drained(): void
  /** The other side ended its direction: no more `bytes` follow. */
  ended(): void
  /** The last call: both directions are over and no handle is left. `error` says why, where it was not orderly. */
  closed(error?: Error): void
}
