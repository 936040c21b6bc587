/**
 * The plug: what core asks of a transport. A Transport is a place where two processes meet, a Pipe the ordered stream
 * of bytes between them once they have. Neither knows of frames, secrets or keepalive.
 */

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
   * - `'absent'` when surely nobody listens, so that this process may;
   * - `'again'` when it cannot be told at this moment (full backlog, no descriptors): the caller pauses and dials again.
   *
   * Rejects when no retry can help, with a `PairlinkError` where the reason is known (`ADDRESS_INVALID`).
   * After `signal` fires the result is destroyed by the transport and the promise rejects.
   */
  dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again'>
  /**
   * Takes the address. Resolves to
   * - a `Listener` once a dial from another process would succeed;
   * - `'taken'` when somebody else listens there, so that this process should dial.
   *
   * `accept` is called for each pipe that comes in, never before the promise has resolved, and calls `pipe.start`
   * before it returns.
   * Rejects as `dial` does, and undoes what it made when `signal` fires.
   */
  listen(accept: (pipe: Pipe) => void, signal: AbortSignal): Promise<Listener | 'taken'>
}

/** An address that this process holds. */
export interface Listener {
  /**
   * Gives the address up, touching nothing that a successor may own by now, and accepts nothing more. Pipes that were
   * accepted live on. Resolves when no handle and no file is left; calling again returns the same promise.
   */
  close(): Promise<void>
  ref(): void
  unref(): void
}

/** An ordered, reliable stream of byte chunks in both directions; the borders of chunks mean nothing. */
export interface Pipe {
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
