/**
 * How a listening socket gets its name: it listens under a temporary one, gets its mode, and only then its path, by a hard
 * link, which fails when something is there. So whoever finds the path can dial it, and nobody sees it with another mode.
 * It knows nothing of what is spoken over it.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, linkSync, unlinkSync } from 'node:fs'
import type { Server } from 'node:net'
import { isSame, socketAt, type Identity } from './address.js'

/** A name beside `path` that was never used before: closing a server removes whatever lies at the name it was bound to. */
export function temporaryName(path: string): string {
  return `${path}.${randomBytes(3).toString('hex')}`
}

/**
 * Publishes a server that listens at `temporary` as `path`. Synchronous throughout, so that nothing comes between.
 * @returns which file it is now, or `'taken'` when something lies at `path`; the temporary name is gone either way
 */
export function publish(path: string, temporary: string, mode: number): Identity | 'taken' {
  try {
    chmodSync(temporary, mode)
    linkSync(temporary, path)
    return socketAt(path) ?? 'taken'
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return 'taken'
    throw error
  } finally {
    unlinkSync(temporary)
  }
}

/** Removes the path if it still is that file. A successor's socket, or anything else, stays. */
export function withdraw(path: string, identity: Identity): void {
  if (isSame(published.get(path), identity)) {
    published.delete(path)
    if (published.size === 0) process.off('exit', withdrawAll)
  }
  try {
    if (isSame(socketAt(path), identity)) unlinkSync(path)
  } catch {
    // Something else lies there now, or the directory has gone: not ours to touch.
  }
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

/** Resolves when nothing of the server is left but the sockets that it has accepted. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // Only a server that is closed already calls back with an error. Accepted sockets live on and are not waited for.
    server.close()
    setImmediate(resolve)
  })
}
