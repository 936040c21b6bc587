/**
 * What lies at a path, and whether we may touch it: kinds, owners, identities, lengths. It looks and never changes
 * anything. It knows nothing of sockets that are open.
 */
import { lstatSync, statfsSync, type BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import { PairlinkError } from '@pairlink/core'

/** `sun_path` of `unix(7)` holds 108 bytes on Linux and 104 elsewhere, one of them a zero; longer ones are silently cut. */
const PATH_BYTES_MAX = process.platform === 'linux' ? 107 : 103
/** The longest name that is made from a path: a temporary one, or that of a lock file. */
const DERIVED_BYTES = '.123456~'.length

/** Which file this is: inode numbers alone are used again at once. */
export interface Identity {
  readonly dev: bigint
  readonly ino: bigint
  /** Left out for a socket of our own: its number is not used again while it is open, and not every system tells the time. */
  readonly birthtimeNs?: bigint
}

/** What a look at a file says of which one it is. */
export function identityOf(found: Required<Identity>): Required<Identity> {
  return { dev: found.dev, ino: found.ino, birthtimeNs: found.birthtimeNs }
}

export function isSame(a: Identity | undefined, b: Identity | undefined): boolean {
  if (a === undefined || b === undefined || a.dev !== b.dev || a.ino !== b.ino) return false
  return a.birthtimeNs === undefined || b.birthtimeNs === undefined || a.birthtimeNs === b.birthtimeNs
}

export function addressInvalid(path: string, problem: string, remedy: string, cause?: unknown): PairlinkError {
  return new PairlinkError('ADDRESS_INVALID', `${path}: ${problem}. ${remedy}`, cause === undefined ? {} : { cause })
}

/** @throws PairlinkError `ADDRESS_INVALID` for a path that the system would cut */
export function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path)
  if (bytes + DERIVED_BYTES <= PATH_BYTES_MAX) return
  const limit = PATH_BYTES_MAX - DERIVED_BYTES
  throw addressInvalid(
    path,
    `the path has ${bytes} bytes, and ${limit} is the most that fits a socket`,
    'Choose a shorter one',
  )
}

/**
 * The socket at the path, or undefined when nothing is there.
 * @throws PairlinkError `ADDRESS_INVALID` for anything that is not a socket of this user, or of `owner`
 */
export function socketAt(path: string, owner = ownUid()): Required<Identity> | undefined {
  const found = look(path)
  if (found === undefined) return undefined
  if (!found.isSocket()) {
    throw addressInvalid(
      path,
      `there is ${kindOf(found)}, not a socket`,
      'It was left alone; choose another path or move it away',
    )
  }
  if (found.uid !== BigInt(owner) && found.uid !== BigInt(ownUid())) {
    throw addressInvalid(
      path,
      `the socket belongs to user ${found.uid}`,
      'It was left alone; choose a path of your own, or name that user as the owner',
    )
  }
  return identityOf(found)
}

/** Whether there is a directory at the path's place, of whatever kind. */
export function hasDirectory(path: string): boolean {
  return look(`${dirname(path)}/.`) !== undefined
}

/** File systems of the network, by the magic numbers of `statfs(2)`: their sockets and locks hold on one host at most. */
const NETWORK_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x517b, 'SMB'],
  [0x01021997, '9p'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
])

/** @throws PairlinkError `ADDRESS_INVALID` for a directory that several hosts may share */
export function checkFileSystem(path: string): void {
  // Elsewhere the numbers mean other things.
  if (process.platform !== 'linux') return
  let type: number
  try {
    ;({ type } = statfsSync(dirname(path)))
  } catch {
    return // the directory has just gone; what is done next says so
  }
  const name = networkFileSystem(type)
  if (name === undefined) return
  throw addressInvalid(path, `the directory lies on a network file system (${name})`, 'Choose one on a local disk')
}

/** The name of a network file system by its magic number, which some systems give as a negative one. */
export function networkFileSystem(type: number): string | undefined {
  return NETWORK_FILE_SYSTEMS.get(type >>> 0)
}

/** @throws PairlinkError `ADDRESS_INVALID` for a directory that is missing, or in which others could replace the socket */
export function checkDirectory(path: string): void {
  const directory = dirname(path)
  // Links on the way are the user's own business; the directory that they lead to is what counts.
  const found = look(`${directory}/.`)
  if (found === undefined) throw addressInvalid(path, `the directory ${directory} does not exist`, 'Create it first')
  const mode = Number(found.mode & 0o7777n)
  if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0) {
    throw addressInvalid(
      path,
      `everybody may write to the directory ${directory}`,
      'Use one that only you can write to',
    )
  }
}

/**
 * A directory of this user alone.
 * @throws PairlinkError `ADDRESS_INVALID` for anything else at that path
 */
export function checkPrivateDirectory(directory: string): void {
  const found = look(directory)
  if (found === undefined) throw addressInvalid(directory, 'the directory has gone', 'Try again')
  const remedy = 'Somebody else may have made it: remove it, or use unix() with a path of your own'
  if (!found.isDirectory()) throw addressInvalid(directory, `there is ${kindOf(found)}, not a directory`, remedy)
  if (found.uid !== BigInt(ownUid())) throw addressInvalid(directory, `it belongs to user ${found.uid}`, remedy)
  const mode = Number(found.mode & 0o777n)
  if (mode !== 0o700) throw addressInvalid(directory, `its mode is 0${mode.toString(8)} and must be 0700`, remedy)
}

/** @throws PairlinkError `ADDRESS_INVALID` where the system has no users */
export function ownUid(): number {
  const uid = process.getuid?.()
  if (uid === undefined)
    throw new PairlinkError(
      'ADDRESS_INVALID',
      'Unix socket paths need a system with user ids; on Windows use local() or tcp()',
    )
  return uid
}

/** Follows no link at the path itself. */
function look(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false })
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'an error'
    const remedy = code === 'ENOTDIR' ? 'Something on the way is not a directory' : 'Check who may look there'
    throw addressInvalid(path, `it cannot be looked at (${code})`, remedy, cause)
  }
}

function kindOf(found: BigIntStats): string {
  if (found.isSymbolicLink()) return 'a symbolic link'
  if (found.isDirectory()) return 'a directory'
  if (found.isFile()) return 'a file'
  if (found.isFIFO()) return 'a FIFO'
  if (found.isSocket()) return 'a socket'
  return 'a device'
}
