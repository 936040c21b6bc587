/**
 * Unix domain sockets as a Transport. Dial and listen are made honest here: "absent" and "taken" are what meeting is built
 * on. What lies at the path is looked at before a byte is sent, and nothing that is not ours is ever touched.
 *
 * A path is only given to a socket that listens already, and only taken from one that refuses, under a lock that all who
 * take or give up this address ask for. So whoever is refused under the lock knows that the holder is dead, and two
 * processes that find the same stale file cannot both remove it, the second one the successor's.
 */
import { utimesSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { resolve } from 'node:path'
import {
  isPairlinkError,
  type Listener,
  type Pipe,
  type Reach,
  type SilentHolder,
  type Transport,
} from '@pairlink/core'
import {
  addressInvalid,
  checkDirectory,
  checkFileSystem,
  checkLength,
  hasDirectory,
  isSame,
  ownUid,
  socketAt,
  type Identity,
} from './address.js'
import type { Layer } from './layer.js'
import { lockHolder, lockPath, SYSTEM_LOCKING, touchLock, tryLock, type Lock, type Locking } from './lock.js'
import { checkOptions, type LockOptions, type UnixOptions } from './options.js'
import { dialPipe } from './pipe.js'
import {
  isStill,
  leave,
  publish,
  removeIfThere,
  setAccess,
  sweep,
  temporaryName,
  withdraw,
  withdrawAtExit,
  type Access,
} from './publish.js'
import { now, setTimeout } from './timers.js'
import { bind, closeServer } from './server.js'

/** Nobody listens there. */
const ABSENT = new Set(['ENOENT', 'ECONNREFUSED'])
/** It cannot be told at this moment: an interrupted call, no descriptors or memory left. */
const AGAIN = new Set(['EINTR', 'ECONNRESET', 'EMFILE', 'ENFILE', 'ENOBUFS', 'EPIPE'])
/** A directory may go and come back between two looks; so often in a row it is not there. */
const VANISHED_MAX = 3
/** How long a listener that closes waits for the lock before it leaves its file to be taken over. */
const CLOSE_LOCK_MS = 500
const CLOSE_LOCK_PAUSE_MS = 10
/** Cleaners of temporary directories go by the time of a file, and take a socket that was renamed for an unused one. */
const TOUCH_MS = 3_600_000

/**
 * Meets at a path, with pipes of another layer.
 * @param scheme what the address begins with, and the sentences of errors
 * @throws TypeError for a path or an option that can never work
 */
export function unixWith(scheme: string, path: string, options: UnixOptions, layer: Layer): Transport {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new TypeError(`${scheme}: the path must be a string that is not empty and has no zero byte`)
  }
  checkOptions(scheme, options, ['mode', 'gid', 'owner', 'lock'])
  const { mode = 0o600, gid, owner } = options
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    throw new TypeError(`${scheme}: mode must be a file mode such as 0o600`)
  }
  for (const [name, id] of [
    ['gid', gid],
    ['owner', owner],
  ] as const) {
    if (id !== undefined && (!Number.isInteger(id) || id < 0))
      throw new TypeError(`${scheme}: ${name} must be a numeric id`)
  }
  const absolute = resolve(path)
  return new UnixTransport({
    path: absolute,
    address: `${scheme}:${absolute}`,
    access: { mode, gid },
    owner,
    locking: lockingOf(scheme, options),
    layer,
    checkPlace: () => {
      checkDirectory(absolute)
    },
  })
}

/** @throws TypeError for a way of locking that nobody may ask for */
export function lockingOf(who: string, { lock }: LockOptions): Locking {
  if (lock === undefined) return SYSTEM_LOCKING
  if ((lock as string) === 'abstract') return 'abstract'
  throw new TypeError(`${who}: lock must be 'abstract', or left out for what the system has`)
}

export interface UnixPlace {
  readonly path: string
  readonly address: string
  readonly access: Access
  readonly owner: number | undefined
  readonly locking: Locking
  readonly layer: Layer
  /** Whether `checkPlace` makes the directory where it is missing. */
  readonly ownsDirectory?: boolean
  /** Called before each dial and listen. @throws PairlinkError `ADDRESS_INVALID` when the directory is not as it must be */
  readonly checkPlace: () => void
}

export class UnixTransport implements Transport {
  readonly address: string
  readonly reach: Reach
  readonly encrypted: boolean
  readonly #place: UnixPlace
  /** How often in a row the directory was gone when it was needed. */
  #vanished = 0
  /** Once somebody was met here, a directory that is missing is nobody there, and not a mistake of the user. */
  #hasMet = false
  /** Whose socket has refused the last dial. */
  #refusedBy: string | undefined
  /** Why the lock could not be had the last time. */
  #unlocked: 'held' | 'starved' | undefined

  constructor(place: UnixPlace) {
    this.#place = place
    this.address = place.address
    this.encrypted = place.layer.encrypted
    this.reach = (place.access.mode & 0o077) === 0 ? 'user' : 'host'
  }

  async dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again' | 'full'> {
    signal.throwIfAborted()
    if (!this.#isPlaceFit()) return 'absent'
    const dialled = await this.#dial(signal)
    if (typeof dialled !== 'string') {
      this.#hasMet = true
      this.#unlocked = undefined
    }
    return dialled
  }

  async listen(
    accept: (pipe: Pipe) => void,
    signal: AbortSignal,
    silent?: SilentHolder,
  ): Promise<Listener | Pipe | 'taken' | 'cannot'> {
    signal.throwIfAborted()
    const { path, owner, locking, layer } = this.#place
    layer.check()
    if ((owner !== undefined && owner !== ownUid()) || !this.#isPlaceFit()) return 'cannot'
    checkFileSystem(path)
    try {
      const lock = await tryLock(path, locking)
      this.#unlocked = typeof lock === 'string' ? lock : undefined
      if (typeof lock === 'string') return 'taken'
      try {
        const taken = await this.#takeOver(accept, signal, silent, lock)
        this.#vanished = 0
        if (typeof taken !== 'string') this.#hasMet = true
        return taken
      } finally {
        lock.release()
      }
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (AGAIN.has(code)) return 'taken'
      if (isPairlinkError(error) || signal.aborted) throw error
      // Node says EACCES for a directory that is missing, too.
      if ((code === 'ENOENT' || code === 'EACCES') && ++this.#vanished < VANISHED_MAX) return 'taken'
      const remedy = 'Check that the directory exists and who may write to it'
      throw addressInvalid(path, `no socket can be made there (${code})`, remedy, error)
    }
  }

  obstacle(): string | undefined {
    if (this.#unlocked === undefined) return undefined
    if (this.#unlocked === 'starved') return 'this process has no descriptors or no memory left to lock it'
    const { path } = this.#place
    const pid = lockHolder(path)
    return `the lock ${lockPath(path)} is held by ${pid === undefined ? 'another process' : `process ${pid}`}, which may be stopped`
  }

  /** False for a directory that is missing, when it was there before. @throws PairlinkError when it is not as it must be */
  #isPlaceFit(): boolean {
    const { path, checkPlace, ownsDirectory = false } = this.#place
    checkLength(path)
    if (this.#hasMet && !ownsDirectory && !hasDirectory(path)) return false
    checkPlace()
    return true
  }

  refusedBy(): string | undefined {
    return this.#refusedBy
  }

  async #dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again' | 'full'> {
    const { path, owner, layer } = this.#place
    this.#refusedBy = undefined
    const dialling = layer.dialling()
    const before = socketAt(path, owner)
    if (before === undefined) return 'absent'
    // Another file by now means that it is not known who answered.
    const isMeant = (): boolean => isStill(path, before, owner)
    const dialled = await dialPipe({ path }, signal, nameOf(before), isMeant, dialling)
    if (dialled === 'wrong') return 'again'
    if (!(dialled instanceof Error)) return dialled
    const code = dialled.code ?? ''
    if (code === 'ECONNREFUSED' && isMeant()) this.#refusedBy = nameOf(before)
    if (ABSENT.has(code)) return 'absent'
    if (code === 'EAGAIN') return 'full'
    if (AGAIN.has(code)) return 'again'
    throw addressInvalid(path, `it cannot be dialled (${code})`, 'Check who may use it', dialled)
  }

  /** Under the lock: nobody else takes the address or gives it up. */
  async #takeOver(
    accept: (pipe: Pipe) => void,
    signal: AbortSignal,
    silent: SilentHolder | undefined,
    lock: Lock,
  ): Promise<Listener | Pipe | 'taken'> {
    const { path, access, layer } = this.#place
    signal.throwIfAborted()
    const before = socketAt(path)
    const dialled = await this.#dial(signal)
    if (dialled === 'again') return 'taken'
    if (dialled !== 'absent') {
      const isSilentHolder = silent !== undefined && before !== undefined && nameOf(before) === silent.holder
      if (!isSilentHolder) return dialled === 'full' ? 'taken' : dialled
      if (dialled !== 'full' && !(await silent.isSilent(dialled))) return 'taken'
      signal.throwIfAborted()
    }
    await sweep(path)
    signal.throwIfAborted()

    const server = createServer({ allowHalfOpen: true }, (socket) => {
      if (listener.isClosing) socket.destroy()
      else accept(layer.accepted(socket))
    })
    const temporary = temporaryName(path)
    await bind(server, { path: temporary })
    // From here to the return nothing is awaited: a socket that is published belongs to somebody who will close it.
    let identity: Identity | 'taken' = 'taken'
    try {
      setAccess(temporary, access)
      const there = socketAt(path)
      const isFree = there === undefined || isSame(there, before)
      if (!signal.aborted && isFree && lock.holds()) {
        if (there !== undefined) withdraw(path, there)
        identity = publish(path, temporary)
      }
    } finally {
      removeIfThere(temporary)
      if (identity === 'taken') server.close()
    }
    signal.throwIfAborted()
    if (identity === 'taken') return 'taken'
    const listener = new UnixListener(server, this.#place, identity)
    return listener
  }
}

function nameOf(identity: Required<Identity>): string {
  return `${identity.dev}:${identity.ino}:${identity.birthtimeNs}`
}

class UnixListener implements Listener {
  /** What comes in from now on is nobody's. */
  isClosing = false
  readonly #server: Server
  readonly #place: UnixPlace
  readonly #identity: Identity
  #touchedAt = now()
  #closed: Promise<void> | undefined

  constructor(server: Server, place: UnixPlace, identity: Identity) {
    this.#server = server
    this.#place = place
    this.#identity = identity
    withdrawAtExit(place.path, identity)
  }

  holds(): boolean {
    const isOurs = isStill(this.#place.path, this.#identity)
    if (isOurs && now() - this.#touchedAt > TOUCH_MS) this.#touch()
    return isOurs
  }

  close(): Promise<void> {
    this.isClosing = true
    this.#closed ??= this.#close()
    return this.#closed
  }

  ref(): void {
    this.#server.ref()
  }

  unref(): void {
    this.#server.unref()
  }

  async #close(): Promise<void> {
    const { path } = this.#place
    // Without the lock a successor could take the path between our look and our removal.
    const lock = isStill(path, this.#identity) ? await this.#lock() : undefined
    if (lock === undefined) leave(path, this.#identity)
    // First the path, so that nobody who finds it is refused; then the socket behind it.
    else withdraw(path, this.#identity)
    const closed = closeServer(this.#server)
    lock?.release()
    await closed
  }

  /** Undefined when it could not be had: the file is then left as one of a killed process would be. */
  async #lock(): Promise<Lock | undefined> {
    const { path, locking } = this.#place
    const until = now() + CLOSE_LOCK_MS
    try {
      for (;;) {
        const lock = await tryLock(path, locking)
        if (typeof lock !== 'string') return lock
        if (now() >= until) return undefined
        await new Promise((resolve) => setTimeout(resolve, CLOSE_LOCK_PAUSE_MS))
      }
    } catch {
      return undefined
    }
  }

  #touch(): void {
    this.#touchedAt = now()
    try {
      const date = new Date()
      utimesSync(this.#place.path, date, date)
      touchLock(this.#place.path)
    } catch {
      // Gone meanwhile: the next look says so.
    }
  }
}
