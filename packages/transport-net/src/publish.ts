/**
 * How a listening socket gets its name and loses it: it listens under a temporary one, gets its mode, and only then its
 * path, by a hard link, which fails when something is there. So whoever finds the path can dial it, and nobody sees it
 * with another mode. It knows nothing of what is spoken over it.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, linkSync, lstatSync, readdirSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { isSame, ownUid, socketAt, type Identity } from './address.js'

const TEMPORARY_BYTES = 3
/** What makes a temporary name from a name that somebody may have given. */
const TEMPORARY_MARK = '~'

export interface Access {
  readonly mode: number
  readonly gid: number | undefined
}

/** A name beside `path` that was never used before: closing a server removes whatever lies at the name it was bound to. */
export function temporaryName(path: string): string {
  return `${path}.${randomBytes(TEMPORARY_BYTES).toString('hex')}${TEMPORARY_MARK}`
}

/** Lets in who may dial. @throws the system's error */
export function setAccess(temporary: string, { mode, gid }: Access): void {
  if (gid !== undefined) chownSync(temporary, -1, gid)
  chmodSync(temporary, mode)
}

/**
 * Publishes a server that listens at `temporary` as `path`.
 * @returns which file it is now, or `'taken'` when something lies at `path`
 * @throws the system's error
 */
export function publish(path: string, temporary: string): Identity | 'taken' {
  try {
    linkSync(temporary, path)
    const { dev, ino } = socketAt(path) ?? {}
    return dev === undefined || ino === undefined ? 'taken' : { dev, ino }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return 'taken'
    throw error
  }
}

/**
 * Removes the temporary names that killed processes left beside the path. The caller holds the lock, without which nobody
 * makes one; still only sockets of this user that refuse are touched.
 */
export async function sweep(path: string): Promise<void> {
  const directory = dirname(path)
  const prefix = `${basename(path)}.`
  const suffix = new RegExp(`^[0-9a-f]{${2 * TEMPORARY_BYTES}}${TEMPORARY_MARK}$`)
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(prefix) || !suffix.test(name.slice(prefix.length))) continue
    const leftover = join(directory, name)
    const found = lstatSync(leftover, { throwIfNoEntry: false })
    if (found?.isSocket() !== true || found.uid !== ownUid()) continue
    if (await refuses(leftover)) removeIfThere(leftover)
  }
}

function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED')
    })
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
  })
}

export function removeIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** Whether the path is still that file. */
export function isStill(path: string, identity: Identity, owner?: number): boolean {
  try {
    return isSame(socketAt(path, owner), identity)
  } catch {
    return false // something else lies there now, or the directory has gone
  }
}

/** Removes the path if it still is that file. A successor's socket, or anything else, stays. */
export function withdraw(path: string, identity: Identity): void {
  if (isSame(published.get(path), identity)) {
    published.delete(path)
    if (published.size === 0) process.off('exit', withdrawAll)
  }
  try {
    if (isStill(path, identity)) unlinkSync(path)
  } catch {
    // Not ours to remove any more, or the directory has gone.
  }
}

/** Forgets to remove the path when the process ends. */
export function leave(path: string, identity: Identity): void {
  if (!isSame(published.get(path), identity)) return
  published.delete(path)
  if (published.size === 0) process.off('exit', withdrawAll)
}

/** What is to be removed when the process ends without closing, by `process.exit` or because nothing keeps it alive. */
const published = new Map<string, Identity>()
const withdrawAll = (): void => {
  for (const [path, identity] of published) withdraw(path, identity)
}

/** Removes the path also when the process ends by itself. A killed one cannot. */
export function withdrawAtExit(path: string, identity: Identity): void {
  if (published.size === 0) process.on('exit', withdrawAll)
  published.set(path, identity)
}
