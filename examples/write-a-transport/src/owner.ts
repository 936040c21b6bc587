/** Who owns a path, and whether that process lives. An owner is one claim of one process, and never comes again. */
import { randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'

/** `namespace-pid-start-random`: a pid alone is given to another process some day. */
export function newOwner(): string {
  return `${namespace()}-${process.pid}-${startOf(process.pid)}-${randomBytes(6).toString('hex')}`
}

/** False if that process has surely gone. One that is stopped, or cannot be seen from here, is alive. */
export function isAlive(owner: string): boolean {
  const [space, pid, start] = owner.split('-')
  try {
    return space !== namespace() || startOf(Number(pid)) === start
  } catch (error) {
    return !hasCode(error, 'ENOENT', 'ESRCH') // else such as out of descriptors
  }
}

/** Pids mean something within one namespace only. */
function namespace(): string {
  return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')
}

/** When it was started, in ticks since boot; undefined if only its exit code is left. Throws if there is no such process. */
function startOf(pid: number): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // behind the name, which may have any characters
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}

/** What a symbolic link says: it is there at once and whole, and for one only. Undefined if there is nothing. */
export function ownerOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch (error) {
    return hasCode(error, 'ENOENT') ? undefined : ''
  }
}

/**
 * Takes a path if nobody alive has it. To look and then remove would be two steps, and a successor's link could come between
 * them. So what a dead owner has left is removed by the owner of `path~dead` alone, which is taken like any other path; and
 * since no owner comes again, whoever gets that later removes nothing.
 */
export function take(path: string, me: string): boolean {
  for (;;) {
    try {
      symlinkSync(me, path)
      return true
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error
    }
    const owner = ownerOf(path)
    if (owner === undefined) continue // it has just gone
    const removal = `${path}~${owner}`
    if (isAlive(owner) || !take(removal, me)) return false
    giveBack(path, owner)
    giveBack(removal, me)
  }
}

/** Removes what this owner has taken: called by itself, or by the one who may remove what it has left. */
export function giveBack(path: string, owner: string): void {
  if (ownerOf(path) === owner) rmSync(path, { force: true })
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '')
}
