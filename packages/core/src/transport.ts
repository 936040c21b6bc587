/**
 * The plug: what core asks of a transport. A Transport is a place where two processes meet, a Pipe the ordered stream
 * of bytes between them once they have. Neither knows of frames, secrets or keepalive.
 *
 * What stands here is the whole contract, and `transportCases` of `@pairlink/testkit` asks a transport for each sentence of it.
 * Everything is called by the core, and the sink by the pipe. What a promise rejects with, and what `closed` carries, is told to
 * the user; from no other place may anything be thrown, and no rejection may be left for nobody.
 */
import type { PairlinkError } from './connection/errors.js'

/** Who can possibly reach the address: processes of this user, of this host, or of a network. */
export type Reach = 'user' | 'host' | 'network'

/**
 * A place where two processes meet. One object serves one `Connection`; it holds no socket until asked for one.
 *
 * The core dials; if nobody is there, it listens; if somebody has just taken the place, it dials again. One promise is under
 * way at a time. What the two answer is believed, so a word that is not true makes two listeners, or none. An answer that
 * cannot be had does not pass for one: that is `'again'`.
 *
 * A transport that can only listen in this process says so by `dial` giving `'absent'`, always; one that can only dial, by
 * `listen` giving `'cannot'`. Whether its address can go stale is seen by nobody: its own `dial` says `'absent'` of what a killed
 * process has left, and its `listen` takes that over.
 */
export interface Transport {
  /** The address as people read it, in logs and errors: `unix:/run/app.sock`. */
  readonly address: string
  /** With `'network'` the link must be encrypted, here or by pairlink, or the core does not even dial: `NOT_LOCAL`. */
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
   * After a Pipe the core calls its `start` at once and shakes hands over it; after `'absent'` it listens, where it may.
   *
   * It may take the time that finding out takes. The core bounds it by `signal` alone and tries nothing else meanwhile, so one
   * who may never answer, because it is stopped, is waited for a few seconds at most: then it is `'full'`.
   *
   * Rejects when no retry can help, with a `PairlinkError` where the reason is known (`ADDRESS_INVALID`); any other error
   * becomes an `ADDRESS_INVALID` with it as the cause. `connect` fails with it; after a loss it ends the Connection, or, with
   * another code, is told and tried again.
   * When `signal` fires, what was begun is destroyed, and the promise rejects or gives a word, and soon: the core waits a
   * second for it. Once it has settled, the signal means nothing any more.
   */
  dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again' | 'full'>
  /**
   * Takes the address. Resolves to
   * - a `Listener` once a dial from another process would succeed;
   * - a `Pipe` when it turned out that somebody does listen, and accepted;
   * - `'taken'` when somebody else listens or is about to, so that this process should dial;
   * - `'cannot'` when this process cannot listen there, and may only dial.
   *
   * After a Listener the core waits, until it closes it; after `'taken'` it dials; after `'cannot'` it dials again later.
   *
   * `accept` is called for each pipe that comes in, never before the promise has resolved, from an event of the transport's
   * own. It calls `pipe.start` before it returns, and does not throw. How many may come in is bounded by the core, which
   * destroys the oldest of those that have not proven themselves.
   * With `silent` the address may also be taken from that holder, where a transport can tell that it is the same one.
   * Rejects as `dial` does, and when `signal` fires undoes what it made, the address included.
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

/** An address that this process holds. The core asks for it once at a time, and closes it when it meets no more. */
export interface Listener {
  /**
   * False once the address belongs to another, or was removed: then everything that comes in here is lost, and the caller
   * closes it. Synchronous and cheap: it is asked before each word in the name of the address, and once a second. Left out
   * where an address cannot be lost.
   */
  holds?(): boolean
  /**
   * Gives the address up, touching nothing that a successor may own by now, and accepts nothing more. Pipes that were
   * accepted live on. Resolves when no handle and no file is left, but for what the next ones use again, such as a lock;
   * calling again returns the same promise. It should not reject: there is nothing left to try.
   */
  close(): Promise<void>
  /** Whether it keeps the process alive, as it does at first. */
  ref(): void
  unref(): void
}

/**
 * An ordered, reliable stream of byte chunks in both directions; the borders of chunks mean nothing, and one without bytes is
 * nothing. It calls its sink from an event of its own, never from inside one of these methods: what is written may be an
 * answer to what is being read. Where both ends are in one process, that goes for the sinks of both.
 *
 * It may be given away before it can carry bytes, and do a handshake of its own inside: then the core's time for handshakes
 * bounds that one too. What is written meanwhile waits, and is *enough* at once.
 *
 * No method throws, whatever has become of the pipe. Why it broke is said by `closed`, once; after that nothing here does
 * anything. The core never pauses reading: what has arrived and cannot be worked off is bounded by the protocol.
 */
export interface Pipe {
  /** Who accepted, where that can be told: another string once the address has changed hands. */
  readonly holder?: string
  /**
   * Begins delivery. Called once, synchronously with receiving the pipe; until then nothing is read. No other method comes
   * before it but `destroy`, which may also come in its place.
   */
  start(sink: PipeSink): void
  /**
   * Writes the chunks in order. The caller does not change them until the peer has acknowledged what they carry or `drained`
   * was called, since the pipe may hold on to them; the pipe never does: they are sent again over the next one.
   *
   * Returns false for *enough*: the bytes were taken, and the caller waits for `drained` before it writes again, but for a
   * last word before `end`. What has left is said at `drained`. A pipe that cannot tell returns true: then the protocol bounds what is under way,
   * by `replayBytesMax`, and answers to small calls wait behind all of it.
   * After `end` or `destroy`, and when the pipe is broken, it does nothing.
   */
  write(chunks: readonly Uint8Array[]): boolean
  /**
   * Half-close: all that was written arrives, then the other side reads the end. Reading goes on, and `closed` follows when
   * the other side has ended too. A pipe that has no such thing ends both directions once all that was written has left for
   * the other side; what comes in behind it may then be lost, and the core makes do. Idempotent.
   */
  end(): void
  /**
   * Ends both directions at once, and may lose what was written, but not change or reorder it. The other side reads an end
   * or is closed, as soon as it can be told. Idempotent, also behind `end` and before `start`; `closed` follows, where there is
   * a sink, and never synchronously.
   */
  destroy(): void
  /** Whether it keeps the process alive, as it does at first. */
  ref(): void
  unref(): void
}

/**
 * Where a pipe delivers to: the core. No member throws, and each may call any method of the pipe before it returns. Order:
 * `bytes` and `drained` in any number, `ended` at most once and no `bytes` behind it, `closed` last and once.
 */
export interface PipeSink {
  /**
   * The next bytes. With `transient` true they are overwritten after the call returns, so what is kept must be copied;
   * otherwise the receiver owns them.
   */
  bytes(chunk: Uint8Array, transient: boolean): void
  /**
   * After `write` returned false: everything written so far has left the process, and the chunks are the caller's again. It
   * has left when it is with the other side, or with a system that holds no more than some megabytes. A medium without a
   * limit of its own, such as a file, a queue or a database, has let go of it once the other side has read it.
   */
  drained(): void
  /** The other side ended its direction: no more `bytes` follow. The core ends its own, or destroys the pipe. */
  ended(): void
  /**
   * The last call: both directions are over and no handle is left. `error` says why, where it was not orderly. After the other
   * side's `destroy` it may be there or not, as the medium tells. Any error is a lost link; a `PairlinkError` also becomes what `connect` fails with, or what the event `refused` tells of a stranger.
   */
  closed(error?: Error): void
}
