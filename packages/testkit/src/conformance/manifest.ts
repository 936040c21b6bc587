/**
 * What the author of a transport tells the cases: where two can meet, and what the transport can do. Whatever the manifest
 * denies is not run, and the reason is printed; what it claims must be so.
 */
import type { Encryption, Reach, Transport } from '@pairlink/core'
import { countsHandles, descriptors } from './handles.js'

/** Makes a place that nobody has used. Every case asks for one or more, and disposes of them. */
export type PlaceFactory = () => Place | Promise<Place>

/** An address, and who meets there. Both meet within this process, and in others where the manifest says so. */
export interface Place {
  /** A transport of a process that may listen here. Each call makes another object, as for another process. */
  listener(): Transport
  /** The same for its peer, where not every process may do both; else left out. */
  dialer?(): Transport
  /**
   * Leaves the address behind as a process does that listens and is killed. For `goesStale`; a place that has `spawn` may
   * leave it out.
   */
  leaveStale?(): Promise<void> | void
  /** Takes the address away from whoever holds it, as somebody does who removes a file. For `canBeLost`. */
  removeAddress?(): Promise<void> | void
  /** Starts another process, which runs `runPeer` with a transport of this place. For `processes`. */
  spawn?(role: PeerRole): Promise<PeerProcess> | PeerProcess
  /**
   * How many handles of this transport keep the process alive now. By default the runtime is asked for its sockets and the
   * like, but not for timers.
   */
  handles?(): number
  /** How many files, rows or names lie at this place now. For `countsLeftovers`. */
  leftovers?(): number | Promise<number>
  /** Removes what the place itself has made, such as a directory. */
  dispose?(): Promise<void> | void
}

/** What the other process does. `runPeer` knows: a program passes on whatever it was given. */
export type PeerRole = 'listener' | 'dialer' | 'unref-listener' | 'unref-dialer' | 'successor'

/** Such as a `ChildProcess`. */
export interface PeerProcess {
  kill(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): unknown
}

/** What a transport can do. */
export interface TransportManifest {
  /** What `Transport.reach` and `Transport.encrypted` say. */
  readonly reach: Reach
  readonly encrypted: boolean
  /** Whether both may listen, or `place.listener()` alone; a transport that cannot says `'cannot'`. */
  readonly listens: 'both' | 'listener'
  /** Whether both may dial, or `place.dialer()` alone; a transport that cannot says `'absent'`. */
  readonly dials: 'both' | 'dialer'
  /** Whether a second one who listens is told `'taken'`. False where the address cannot be shared by mistake. */
  readonly tellsTaken: boolean
  /** Whether a place takes more than one pipe, beside each other and one after another. */
  readonly manyPipes: boolean
  /** Whether `Pipe.end` ends one direction and reading goes on; else it ends both, and still delivers what was written. */
  readonly halfClose: boolean
  /** Whether `Pipe.write` says *enough*: at the latest when so many bytes have not left; `false` where it cannot tell. */
  readonly enoughBytes: number | false
  /** Whether dialled pipes have a `holder`. */
  readonly holder: boolean
  /** Whether listeners have `holds`. */
  readonly canBeLost: boolean
  /** Whether a killed listener leaves something at the address that the next one must take over. */
  readonly goesStale: boolean
  /** Whether `ref` and `unref` decide if the process is kept alive. */
  readonly keepsAlive: boolean
  /** Whether the two can be in different processes, and the place can start one. */
  readonly processes: boolean
  /** The place has `handles()`. Else handles are only looked at where the runtime counts them. */
  readonly countsHandles?: boolean
  /** The place has `leftovers()`. */
  readonly countsLeftovers?: boolean
  /** Both sides of the cases for encrypted connections use it; they are skipped without it. */
  readonly encryption?: Encryption
  /** Cases that are not run for another reason, by id. The reason is printed. */
  readonly except?: Readonly<Record<string, string>>
}

/** What a case cannot do without. */
export type Need = (manifest: TransportManifest) => string | undefined

/** Each gives the reason for which a case is skipped, or undefined when it can run. */
export const NEEDS = {
  bothListen: (m) =>
    m.listens === 'both' ? undefined : "only one of the two can listen (manifest: listens 'listener')",
  oneListens: (m) => (m.listens === 'listener' ? undefined : "both can listen (manifest: listens 'both')"),
  oneDials: (m) => (m.dials === 'dialer' ? undefined : "both can dial (manifest: dials 'both')"),
  tellsTaken: (m) => (m.tellsTaken ? undefined : 'nobody can take an address twice (manifest: tellsTaken false)'),
  manyPipes: (m) => (m.manyPipes ? undefined : 'a place takes one pipe only (manifest: manyPipes false)'),
  halfClose: (m) => (m.halfClose ? undefined : 'its pipes end both directions at once (manifest: halfClose false)'),
  wholeClose: (m) => (m.halfClose ? 'its pipes end each direction on its own (manifest: halfClose true)' : undefined),
  enough: (m) => (m.enoughBytes === false ? "it does not say 'enough' (manifest: enoughBytes false)" : undefined),
  holder: (m) => (m.holder ? undefined : 'who accepted cannot be told (manifest: holder false)'),
  canBeLost: (m) => (m.canBeLost ? undefined : 'an address cannot be lost (manifest: canBeLost false)'),
  goesStale: (m) => (m.goesStale ? undefined : 'a killed listener leaves nothing behind (manifest: goesStale false)'),
  keepsAlive: (m) => (m.keepsAlive ? undefined : 'it keeps no process alive (manifest: keepsAlive false)'),
  handles: (m) =>
    m.countsHandles === true || countsHandles()
      ? undefined
      : 'neither this runtime nor the place counts handles (manifest: countsHandles)',
  descriptors: () =>
    descriptors() === undefined ? 'this system does not tell which files are open (/proc/self/fd)' : undefined,
  leftovers: (m) =>
    m.countsLeftovers === true ? undefined : 'the place does not count what is left there (manifest: countsLeftovers)',
  uncaught: () =>
    typeof process === 'undefined' ? 'this runtime has no `process` that tells of rejections' : undefined,
  processes: (m) => (m.processes ? undefined : 'no other process can be started (manifest: processes false)'),
  encryption: (m) => (m.encryption === undefined ? 'no encryption was given (manifest: encryption)' : undefined),
} satisfies Record<string, Need>
