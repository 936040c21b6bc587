/**
 * Keys in files on Node.js: who may have read one, and that it appears whole or not at all. It must not know what keys are
 * for; arguments are checked before.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeFileSync,
  type Stats,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { PairlinkError } from '@pairlink/core'
import { KEY_BYTES } from './key.js'

/** Its files have neither modes nor owners that Node.js could tell, and its directories cannot be opened. Untested. */
const isWindows = process.platform === 'win32'
const OTHERS = 0o077
/** A link is refused, and a pipe that nobody writes to does not keep us waiting. Windows has neither flag. */
const READ_FLAGS = isWindows ? constants.O_RDONLY : constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

interface Fault {
  readonly reason: string
  readonly problem: string
  readonly remedy: string
}

const PLAIN_FILE = 'Keep the key in a plain file of its own'
const LINK: Fault = { reason: 'link', problem: 'it is a symbolic link', remedy: 'Give the path of the file itself' }
const DIRECTORY: Fault = { reason: 'directory', problem: 'it is a directory', remedy: 'Give the path of a file in it' }
const NOT_A_FILE: Fault = { reason: 'not-a-file', problem: 'it is a device, a pipe or a socket', remedy: PLAIN_FILE }
const MISSING: Fault = {
  reason: 'missing',
  problem: 'there is no such file',
  remedy: 'Make it once with saveKey(path, generateKey()), and give both processes the same',
}
const UNREADABLE: Fault = {
  reason: 'unreadable',
  problem: 'it cannot be read',
  remedy: 'Let the user of this process own it; the cause says what the system objects to',
}
const SHARED: Fault = {
  reason: 'shared',
  problem: 'others than its owner can read or write it',
  remedy: 'If nobody has, "chmod 600" with its path; otherwise make a new key. allowShared takes it as it is',
}
const OWNER: Fault = {
  reason: 'owner',
  problem: 'it belongs to another user, who can change it',
  remedy: 'Let the user of this process own it, or pass allowShared',
}
const EXISTS: Fault = {
  reason: 'exists',
  problem: 'there is something already, and it was left alone',
  remedy: 'Load it, choose another path, or pass overwrite: true',
}
const NO_DIRECTORY: Fault = {
  reason: 'missing',
  problem: 'there is no such directory to put it in',
  remedy: 'Make the directory first',
}
const UNWRITABLE: Fault = {
  reason: 'unwritable',
  problem: 'it cannot be written',
  remedy:
    'The cause says what the system objects to; the directory must let this user read and write, and without overwrite: true the file system must know hard links',
}
const FULL: Fault = { reason: 'unwritable', problem: 'the disk is full', remedy: 'Make room on it' }
const TOO_LONG: Fault = { reason: 'unwritable', problem: 'the name is too long', remedy: 'Choose a shorter one' }
const UNCERTAIN: Fault = {
  reason: 'unwritable',
  problem: 'it was written, but the system does not confirm that it would outlast a power failure',
  remedy: 'Look after the disk; the cause says what the system objects to',
}

/** By the code of the system's error. BSDs say EMLINK for what O_NOFOLLOW met, and EOPNOTSUPP for a socket. */
const READ_FAULTS: Readonly<Record<string, Fault>> = {
  ELOOP: LINK,
  EMLINK: LINK,
  EISDIR: DIRECTORY,
  ENXIO: NOT_A_FILE,
  ENODEV: NOT_A_FILE,
  EOPNOTSUPP: NOT_A_FILE,
  ENOENT: MISSING,
  ENOTDIR: MISSING,
}
const DIRECTORY_FAULTS: Readonly<Record<string, Fault>> = { ENOENT: NO_DIRECTORY, ENOTDIR: NO_DIRECTORY }
const WRITE_FAULTS: Readonly<Record<string, Fault>> = {
  EEXIST: EXISTS,
  EISDIR: DIRECTORY,
  ENOSPC: FULL,
  EDQUOT: FULL,
  ENAMETOOLONG: TOO_LONG,
}

function keyInvalid(path: string, { reason, problem, remedy }: Fault, cause?: unknown): PairlinkError {
  const options = cause === undefined ? { reason } : { reason, cause }
  return new PairlinkError('KEY_INVALID', `the key file ${path}: ${problem}. ${remedy}.`, options)
}

/** Runs a step with the system; what it throws becomes the fault of its code, or the general one. */
function attempt<T>(path: string, faults: Readonly<Record<string, Fault>>, general: Fault, step: () => T): T {
  try {
    return step()
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    throw keyInvalid(path, faults[code] ?? general, error)
  }
}

/** @throws PairlinkError `KEY_INVALID`, with a reason */
export function readKeyFile(path: string, isSharedAllowed: boolean): Uint8Array {
  const fd = attempt(path, READ_FAULTS, UNREADABLE, () => openSync(path, READ_FLAGS))
  try {
    // Of the descriptor, not of the path, where something else may lie by now.
    const fault = faultOf(fstatSync(fd), isSharedAllowed)
    if (fault !== undefined) throw keyInvalid(path, fault)
    const bytes = new Uint8Array(KEY_BYTES + 1)
    const readBytes = attempt(path, READ_FAULTS, UNREADABLE, () => readSync(fd, bytes, 0, bytes.length, 0))
    if (readBytes !== KEY_BYTES) throw keyInvalid(path, wrongLength(readBytes))
    return bytes.slice(0, KEY_BYTES)
  } finally {
    closeSync(fd)
  }
}

function faultOf(found: Stats, isSharedAllowed: boolean): Fault | undefined {
  if (found.isDirectory()) return DIRECTORY
  if (!found.isFile()) return NOT_A_FILE
  const ownUid = process.geteuid?.()
  if (!isSharedAllowed && ownUid !== undefined) {
    // Root can change every file anyhow.
    if (found.uid !== ownUid && found.uid !== 0) return OWNER
    if ((found.mode & OTHERS) !== 0) return SHARED
  }
  return found.size === KEY_BYTES ? undefined : wrongLength(found.size)
}

function wrongLength(lengthBytes: number): Fault {
  return {
    reason: 'length',
    problem: `it has ${lengthBytes} bytes, and a key has ${KEY_BYTES}`,
    remedy: 'The file must hold the bytes themselves, not hexadecimal or base64, and no newline',
  }
}

/** @throws PairlinkError `KEY_INVALID`, with a reason */
export function writeKeyFile(path: string, key: Uint8Array, isOverwriting: boolean): void {
  const directory = dirname(path)
  // Opened before anything is made, so that what stands in the way of the fsync at the end shows while nothing has changed.
  const directoryFd = isWindows
    ? undefined
    : attempt(path, DIRECTORY_FAULTS, UNWRITABLE, () => openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY))
  try {
    const temporary = join(directory, `.pairlink-key-${randomBytes(8).toString('hex')}`)
    attempt(path, WRITE_FAULTS, UNWRITABLE, () => {
      writeAs(path, temporary, key, isOverwriting)
    })
    if (directoryFd !== undefined) confirm(path, directoryFd)
  } finally {
    if (directoryFd !== undefined) closeSync(directoryFd)
  }
}

function writeAs(path: string, temporary: string, key: Uint8Array, isOverwriting: boolean): void {
  const fd = openSync(temporary, 'wx', 0o600)
  try {
    try {
      fchmodSync(fd, 0o600) // The umask may have taken the owner's own bits.
      writeFileSync(fd, key)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    // Unlike rename(), link() fails when something is there, without a moment between looking and doing.
    if (isOverwriting) renameSync(temporary, path)
    else linkSync(temporary, path)
  } finally {
    discard(temporary)
  }
}

/** After a rename there is nothing any more. Where it cannot be removed, what failed before is the better thing to tell. */
function discard(temporary: string): void {
  try {
    unlinkSync(temporary)
  } catch {
    return
  }
}

function confirm(path: string, directoryFd: number): void {
  try {
    fsyncSync(directoryFd)
  } catch (error) {
    // File systems that cannot do this for directories say so.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EINVAL' && code !== 'ENOTSUP') throw keyInvalid(path, UNCERTAIN, error)
  }
}
