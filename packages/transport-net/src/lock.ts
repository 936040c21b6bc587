/**
 * A lock that the system releases with the process that holds it, so that a killed one leaves nothing behind. Held only
 * while an address is taken over or given up. The ways of locking stand here side by side; what is locked for what is
 * not known here.
 *
 * Two ways do not exclude each other, so the lock file names the one that was used first, and whoever cannot lock in that
 * way gets an error instead of a second lock. Only `flock` and `abstract` were run; `exlock` was written for macOS and the
 * BSDs and is untested.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { basename, dirname } from 'node:path'
import { addressInvalid, identityOf, isSame, ownUid, type Identity } from './address.js'
import { clearTimeout, setTimeout } from './timers.js'

/** `flock(2)` through the program of that name, `O_EXLOCK` of `open(2)`, or the name of a socket in Linux's abstract space. */
export type Locking = 'flock' | 'exlock' | 'abstract'

export const SYSTEM_LOCKING: Locking = process.platform === 'linux' ? 'flock' : 'exlock'

export interface Lock {
  /** Whether the lock file still lies at its path, so that whoever comes now asks for this very lock. */
  holds(): boolean
  release(): void
}

/** Somebody else holds it; or it cannot be told, for this process has no descriptors or no memory left. */
type Unlocked = 'held' | 'starved'

/** Of BSD's `open(2)`; Node has no name for it. */
const O_EXLOCK = 0x20
const OPEN_FLAGS =
  constants.O_CREAT | constants.O_APPEND | constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK
/** More than the longest line that names a way of locking. */
const LINE_BYTES_MAX = 32
/** All that `sun_path` holds after the zero of an abstract name, so that it is the same however a system pads it. */
const ABSTRACT_NAME_BYTES = 107
/** No file can be opened, or no process started, at this moment. */
const STARVED = new Set(['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM'])
/** The program locks or does not, at once; one that is stopped would keep us waiting for ever. */
const FLOCK_MS_MAX = 2000
/** The exit status of `flock -n` when somebody else holds the lock. */
const FLOCK_HELD = 1

export function lockPath(path: string): string {
  return `${path}.lock`
}

/**
 * Tries once to lock the address at `path`, and waits for nobody.
 * @throws PairlinkError `ADDRESS_INVALID` when it cannot be locked in this way at all; the system's error ENOENT when
 * there is no directory
 */
export async function tryLock(path: string, locking: Locking): Promise<Lock | Unlocked> {
  const file = lockPath(path)
  const fd = openLockFile(file, locking)
  if (typeof fd === 'string') return fd
  let unlock: (() => void) | undefined
  const release = (): void => {
    unlock?.()
    closeSync(fd)
  }
  try {
    const locked = await WAYS[locking](fd, path)
    if (typeof locked !== 'string') unlock = locked
    if (typeof locked === 'string' || !isAt(fd, file)) {
      release()
      return typeof locked === 'string' ? locked : 'held'
    }
    checkWay(fd, file, locking)
  } catch (error) {
    release()
    throw error
  }
  return { holds: () => isAt(fd, file), release }
}

/** Tells a cleaner of old files that this one is in use. */
export function touchLock(path: string): void {
  const now = new Date()
  utimesSync(lockPath(path), now, now)
}

/** The process that holds the lock, where Linux tells it: `/proc/locks` names the program `flock`, which is gone. */
export function lockHolder(path: string): number | undefined {
  try {
    const lock = identityOf(statSync(lockPath(path), { bigint: true }))
    for (const pid of readdirSync('/proc')) {
      if (/^\d+$/.test(pid) && Number(pid) !== process.pid && holdsLock(pid, lock)) return Number(pid)
    }
  } catch {
    // No such file system, or no such file: then it is not known.
  }
  return undefined
}

function holdsLock(pid: string, lock: Identity): boolean {
  return entries(`/proc/${pid}/fd`).some((fd) => {
    try {
      const isLocked = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').includes('\nlock:')
      return isLocked && isSame(identityOf(statSync(`/proc/${pid}/fd/${fd}`, { bigint: true })), lock)
    } catch {
      return false // closed meanwhile
    }
  })
}

/** Nothing for a directory of another user, or of a process that has ended. */
function entries(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/** Gets the lock on an open file and resolves to what gives it up. */
const WAYS: Record<Locking, (fd: number, path: string) => Promise<(() => void) | Unlocked>> = {
  flock: (fd) => lockByFlock(fd),
  // Opening it was locking it, and closing it unlocks.
  exlock: () => Promise.resolve(() => undefined),
  abstract: (_, path) => lockByName(abstractName(path)),
}

function openLockFile(file: string, locking: Locking): number | Unlocked {
  let fd: number
  try {
    fd = openSync(file, locking === 'exlock' ? OPEN_FLAGS | O_EXLOCK : OPEN_FLAGS, 0o600)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'an error'
    if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return 'held'
    if (STARVED.has(code)) return 'starved'
    if (code === 'ENOENT') throw cause
    if (lstatSync(file, { throwIfNoEntry: false }) === undefined) {
      throw addressInvalid(file, `it cannot be made (${code})`, 'Check who may write to the directory', cause)
    }
    const remedy = 'The lock file must be a file of yours that nobody else made; move what is there away'
    throw addressInvalid(file, `it cannot be opened (${code})`, remedy, cause)
  }
  const found = fstatSync(fd)
  if (found.isFile() && found.uid === ownUid()) return fd
  closeSync(fd)
  const what = found.isFile() ? `a file of user ${found.uid}` : 'something that is not a file'
  throw addressInvalid(file, `there is ${what}`, 'It was left alone; choose another path or move it away')
}

function isAt(fd: number, file: string): boolean {
  const there = lstatSync(file, { bigint: true, throwIfNoEntry: false })
  return there !== undefined && isSame(identityOf(there), identityOf(fstatSync(fd, { bigint: true })))
}

/** Names the way of locking in an empty file; in any other the first line counts. */
function checkWay(fd: number, file: string, locking: Locking): void {
  if (fstatSync(fd).size === 0) writeSync(fd, `${locking}\n`)
  const bytes = Buffer.alloc(LINE_BYTES_MAX)
  const [first = ''] = bytes.toString('latin1', 0, readSync(fd, bytes, 0, LINE_BYTES_MAX, 0)).split('\n')
  if (first === locking) return
  const named = /^[a-z]+$/.test(first) ? `'${first}'` : 'in a way unknown here'
  throw addressInvalid(
    file,
    `this address is locked ${named}, and this process would lock it '${locking}'`,
    `Give both processes the same option lock, and remove the file when neither runs`,
  )
}

function lockByFlock(fd: number): Promise<(() => void) | Unlocked> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException): void => {
      if (STARVED.has(cause.code ?? '')) {
        resolve('starved')
        return
      }
      const problem = `the program that locks the address cannot be run (${cause.code ?? cause.message})`
      const remedy = "Install it (util-linux), or give both processes the option lock: 'abstract'"
      reject(addressInvalid('flock', problem, remedy, cause))
    }
    let child: ChildProcess
    try {
      // It locks what our descriptor and its own have in common, so the lock stays with us when it has ended.
      child = spawn('flock', ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
    } catch (cause) {
      failed(cause as NodeJS.ErrnoException)
      return
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), FLOCK_MS_MAX)
    child.once('error', (cause) => {
      clearTimeout(timer)
      failed(cause)
    })
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      if (code === 0) resolve(() => undefined)
      // Ended by a signal, such as one to the whole group, it says nothing of the lock.
      else if (code === FLOCK_HELD || signal !== null) resolve('held')
      else reject(addressInvalid('flock', `the program that locks the address failed (${code})`, 'Look at its version'))
    })
  })
}

function abstractName(path: string): string {
  const directory = statSync(dirname(path), { bigint: true })
  const text = `${directory.dev}:${directory.ino}:${basename(path)}`
  const name = `pairlink-${createHash('sha512').update(text).digest('hex')}`
  return `\0${name.slice(0, ABSTRACT_NAME_BYTES)}`
}

function lockByName(name: string): Promise<(() => void) | Unlocked> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE') resolve('held')
      else if (STARVED.has(cause.code ?? '')) resolve('starved')
      else reject(addressInvalid('abstract', `the name cannot be taken (${cause.code ?? ''})`, 'It needs Linux', cause))
    })
    // In a worker of node:cluster all of them would be given the same socket.
    server.listen({ path: name, exclusive: true }, () => {
      resolve(() => {
        server.close()
      })
    })
  })
}
