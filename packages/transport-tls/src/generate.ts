/**
 * Puts a fresh certificate and its key into two files: both or neither, and over nothing that is there. How a certificate
 * is made stands in a file of its own, which is loaded when one is asked for.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync } from 'node:fs'
import { link, open, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PairlinkError } from '@pairlink/core'
import { checkOptions } from '@pairlink/transport-net/layer'
import { isPair } from './files.js'
import { pathOf } from './read.js'

export interface GenerateOptions {
  /** Where the certificate goes, for everybody to read. */
  readonly certFile: string
  /** Where its key goes, for this user alone. */
  readonly keyFile: string
  /** How long it is valid from now on: 3,650 by default. */
  readonly days?: number
  /** Replaces files that are there; by default that is an error. Of several at once, the pair of one remains. */
  readonly overwrite?: boolean
}

const DAYS_DEFAULT = 3650
const DAYS_MAX = 36_500
const CERT_MODE = 0o644
const KEY_MODE = 0o600
/** How often both files are replaced until they are a pair; a second time is rare. */
const ROUNDS_MAX = 20

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
  const writeBoth = async (): Promise<Both> => ({
    key: [await writeBeside(keyFile, key, KEY_MODE, temporary), keyFile],
    cert: [await writeBeside(certFile, cert, CERT_MODE, temporary), certFile],
  })
  try {
    if (overwrite) await replaceBoth(certFile, keyFile, writeBoth)
    else await nameBoth(await writeBoth())
    await syncDirectories(keyFile, certFile)
  } finally {
    for (const path of temporary) await unlink(path).catch(() => undefined)
  }
}

type Naming = readonly [from: string, to: string]

interface Both {
  readonly key: Naming
  readonly cert: Naming
}

/** Whoever names the key has won, so that two processes at once cannot leave the key of one with the certificate of the other. */
async function nameBoth({ key, cert }: Both): Promise<void> {
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

/**
 * Two that replace at once can leave the key of one and the certificate of the other. So each looks at what lies there
 * afterwards, and begins again where it is no pair: the last one always finds its own. A lock would do it in one go, and
 * stay for ever where its process is killed.
 */
async function replaceBoth(certFile: string, keyFile: string, write: () => Promise<Both>): Promise<void> {
  for (let round = 1; round <= ROUNDS_MAX; round++) {
    const { key, cert } = await write()
    replace(key)
    replace(cert)
    if (isPairAt(certFile, keyFile)) return
  }
  throw notKeptError(certFile, keyFile)
}

/** Not async, so that nobody in this process comes between two of them, and hardly anybody else. */
function replace([from, to]: Naming): void {
  try {
    renameSync(from, to)
  } catch (error) {
    throw writeError(to, error)
  }
}

function isPairAt(certFile: string, keyFile: string): boolean {
  try {
    return isPair(readFileSync(certFile), readFileSync(keyFile))
  } catch {
    return false // replaced by something else, or gone
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

function notKeptError(certFile: string, keyFile: string): PairlinkError {
  const text = `${certFile} and ${keyFile} are no pair, however often they are written. Check that they are two files, and who else writes to them`
  return new PairlinkError('CERTIFICATE', text, { reason: 'unwritable' })
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
