/**
 * Puts a fresh certificate and its key into two files: both or neither, and over nothing that is there. How a certificate
 * is made stands in a file of its own, which is loaded when one is asked for.
 */
import { randomBytes } from 'node:crypto'
import { link, open, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PairlinkError } from '@pairlink/core'
import { checkOptions } from '@pairlink/transport-net/layer'
import { pathOf } from './files.js'

export interface GenerateOptions {
  /** Where the certificate goes, for everybody to read. */
  readonly certFile: string
  /** Where its key goes, for this user alone. */
  readonly keyFile: string
  /** How long it is valid from now on: 3,650 by default. */
  readonly days?: number
  /** Replaces files that are there; by default that is an error. */
  readonly overwrite?: boolean
}

const DAYS_DEFAULT = 3650
const DAYS_MAX = 36_500
const CERT_MODE = 0o644
const KEY_MODE = 0o600

/**
 * Makes a P-256 key and a certificate that it signs itself, fit for both sides. Give both files to both processes.
 * @throws TypeError for options that can never work
 * @throws PairlinkError `CERTIFICATE` with reason `exists` when there is a file already, also one that another process has
 * made meanwhile; `unwritable` when they cannot be written
 */
export async function generateCertificate(options: GenerateOptions): Promise<void> {
  checkOptions('generateCertificate', options, ['certFile', 'keyFile', 'days', 'overwrite'])
  const { days = DAYS_DEFAULT, overwrite = false } = options
  const certFile = pathOf('generateCertificate', 'certFile', options.certFile)
  const keyFile = pathOf('generateCertificate', 'keyFile', options.keyFile)
  if (certFile === keyFile) throw new TypeError('generateCertificate: certFile and keyFile must be two files')
  if (!Number.isInteger(days) || days < 1 || days > DAYS_MAX) {
    throw new TypeError(`generateCertificate: days must be a whole number from 1 to ${DAYS_MAX}`)
  }
  if (typeof overwrite !== 'boolean') throw new TypeError('generateCertificate: overwrite must be true or false')
  const { selfSigned } = await import('./self-signed.js')
  const { cert, key } = await selfSigned(days)
  const temporary: string[] = []
  try {
    const newKey = await writeBeside(keyFile, key, KEY_MODE, temporary)
    const newCert = await writeBeside(certFile, cert, CERT_MODE, temporary)
    if (overwrite) await replaceBoth([newKey, keyFile], [newCert, certFile])
    else await nameBoth([newKey, keyFile], [newCert, certFile])
    await syncDirectories(keyFile, certFile)
  } finally {
    for (const path of temporary) await unlink(path).catch(() => undefined)
  }
}

type Naming = readonly [from: string, to: string]

/** Whoever names the key has won, so that two processes at once cannot leave the key of one with the certificate of the other. */
async function nameBoth(key: Naming, cert: Naming): Promise<void> {
  await name(key)
  try {
    await name(cert)
  } catch (error) {
    await unlink(key[1])
    throw error
  }
}

async function name([from, to]: Naming): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    throw writeError(to, error)
  }
}

async function replaceBoth(...namings: Naming[]): Promise<void> {
  for (const [from, to] of namings) {
    try {
      await rename(from, to)
    } catch (error) {
      throw writeError(to, error)
    }
  }
}

/** Writes a whole file under a name of its own in the same directory; the name is noted before there is anything. */
async function writeBeside(path: string, text: string, mode: number, temporary: string[]): Promise<string> {
  const beside = `${path}.${randomBytes(6).toString('hex')}~`
  temporary.push(beside)
  try {
    const file = await open(beside, 'wx', mode)
    try {
      await file.chmod(mode) // whatever the umask is
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    throw writeError(path, error)
  }
  return beside
}

/** A name is only sure to outlive a crash of the system once its directory is written. */
async function syncDirectories(...paths: string[]): Promise<void> {
  if (process.platform === 'win32') return // no directory can be opened there
  for (const directory of new Set(paths.map(dirname))) {
    const handle = await open(directory)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }
}

function writeError(path: string, cause: unknown): PairlinkError {
  const { code = 'an error' } = cause as NodeJS.ErrnoException
  if (code === 'EEXIST') {
    const text = `${path}: there is a file already, and it was left alone. Use the pair that is there, or overwrite: true`
    return new PairlinkError('CERTIFICATE', text, { reason: 'exists', cause })
  }
  const text = `${path}: it cannot be written (${code}). Check that the directory exists and who may write to it`
  return new PairlinkError('CERTIFICATE', text, { reason: 'unwritable', cause })
}
