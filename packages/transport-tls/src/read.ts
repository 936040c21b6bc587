/**
 * The bytes of our own files, and what is wrong with a file whatever its bytes say: that it is missing, cannot be read, or
 * is open to others. What stands in them is not known here.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { PairlinkError } from '@pairlink/core'

export interface CertificatePaths {
  readonly certFile: string
  readonly keyFile: string
  readonly caFile: string | undefined
}

export interface CertificateBytes {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | undefined
}

/** Which fault of our files, as the `reason` of the error. */
export type FileFault =
  | 'missing'
  | 'unreadable'
  | 'malformed'
  | 'mismatched'
  | 'encrypted-key'
  | 'expired'
  | 'not-yet-valid'
  | 'weak'
  | 'unsupported'
  | 'key-shared'
  | 'ca-shared'

/** Not blocking, since a FIFO would otherwise stop the process until somebody writes to it. Windows has no such flag: 0. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK

/** What others than the owner may not do with a file. */
interface Privacy {
  readonly bits: number
  readonly reason: FileFault
  /** Goes on with the mode in brackets. */
  readonly text: string
  readonly remedy: string
}

const KEY: Privacy = {
  bits: 0o077,
  reason: 'key-shared',
  text: 'others than its owner may use the key',
  remedy: 'chmod 600 it',
}
/** Whoever writes to it decides who is let in. */
const CA: Privacy = {
  bits: 0o022,
  reason: 'ca-shared',
  text: 'others than its owner may write to the CA',
  remedy: 'chmod go-w it',
}

/**
 * The path of a file, absolute from now on.
 * @throws TypeError for what can be no path
 */
export function pathOf(who: string, name: string, path: unknown): string {
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return resolve(path)
  throw new TypeError(`${who}: ${name} must be the path of a file`)
}

export function fileError(path: string, reason: FileFault, text: string, cause?: unknown): PairlinkError {
  return new PairlinkError('CERTIFICATE', `${path}: ${text}`, { reason, ...(cause !== undefined && { cause }) })
}

/** @throws PairlinkError `CERTIFICATE` with the fault as its `reason` */
export function readFiles({ certFile, keyFile, caFile }: CertificatePaths): CertificateBytes {
  return {
    cert: readWhole(certFile),
    key: readWhole(keyFile, KEY),
    ca: caFile === undefined ? undefined : readWhole(caFile, CA),
  }
}

function readWhole(path: string, privacy?: Privacy): Buffer {
  let fd: number | undefined
  try {
    fd = openSync(path, OPEN_FLAGS)
    const found = fstatSync(fd)
    if (!found.isFile()) throw fileError(path, 'unreadable', 'it is not a regular file')
    // The mode of the file that is read, whatever lies at the path by now.
    if (privacy !== undefined) checkMode(path, found.mode, privacy)
    return readFileSync(fd)
  } catch (error) {
    if (error instanceof PairlinkError) throw error
    const { code = 'an error' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw fileError(path, 'missing', 'there is no such file. generateCertificate() makes a fitting pair', error)
    }
    throw fileError(path, 'unreadable', `it cannot be read (${code}). Check who may read it`, error)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function checkMode(path: string, mode: number, { bits, reason, text, remedy }: Privacy): void {
  if (process.platform === 'win32' || (mode & bits) === 0) return
  const shown = (mode & 0o777).toString(8).padStart(4, '0')
  throw fileError(path, reason, `${text} (mode ${shown}). ${remedy}`)
}
