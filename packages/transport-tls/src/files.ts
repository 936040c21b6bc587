/**
 * Our own certificate and key: read from their files each time they are needed, so that they can be replaced, and looked at
 * closely, so that what is wrong with them is told here and not by a handshake that fails. Peers are not known here.
 */
import { constants as tlsConstants, createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createSecureContext, type SecureContext, type SecureContextOptions, type SecureVersion } from 'node:tls'
import { PairlinkError } from '@pairlink/core'

export interface CertificateFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly caFile: string | undefined
  readonly minVersion: SecureVersion
}

/** What one handshake is done with. */
export interface Credentials {
  /** Our certificate as DER: what a peer must show, where there is no CA. */
  readonly own: Buffer
  readonly isPinned: boolean
  readonly options: SecureContextOptions
  readonly context: SecureContext
}

/** Which fault of our files, as the `reason` of the error. */
type FileFault =
  | 'missing'
  | 'unreadable'
  | 'malformed'
  | 'mismatched'
  | 'encrypted-key'
  | 'expired'
  | 'not-yet-valid'
  | 'weak'
  | 'key-shared'

const RSA_BITS_MIN = 2048
/** Not blocking, since a FIFO would otherwise stop the process until somebody writes to it. Windows has no such flag: 0. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK
const GROUP_AND_OTHERS = 0o077
const CERTIFICATE_PEM = '-----BEGIN CERTIFICATE-----'
/** Of PKCS#8, and of the older formats. */
const ENCRYPTED_PEM = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4,ENCRYPTED/
/** What OpenSSL calls the keys and the signatures that it will not work with. */
const TOO_WEAK = /TOO_SMALL|TOO_WEAK/

/**
 * The path of a file, absolute from now on.
 * @throws TypeError for what can be no path
 */
export function pathOf(who: string, name: string, path: unknown): string {
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return resolve(path)
  throw new TypeError(`${who}: ${name} must be the path of a file`)
}

function fileError(path: string, reason: FileFault, text: string, cause?: unknown): PairlinkError {
  return new PairlinkError('CERTIFICATE', `${path}: ${text}`, { reason, ...(cause !== undefined && { cause }) })
}

/**
 * Reads the files and looks whether a handshake can be done with them.
 * @throws PairlinkError `CERTIFICATE` with the fault as its `reason`
 */
export function loadCredentials({ certFile, keyFile, caFile, minVersion }: CertificateFiles): Credentials {
  const cert = readWhole(certFile)
  const key = readKey(keyFile)
  const ca = caFile === undefined ? undefined : readWhole(caFile)
  const certificate = parseCertificate(certFile, cert)
  if (caFile !== undefined && ca !== undefined) parseCertificate(caFile, ca)
  const privateKey = parseKey(keyFile, key)
  checkStrength(certFile, certificate)
  if (!certificate.checkPrivateKey(privateKey)) {
    throw fileError(
      keyFile,
      'mismatched',
      `the key does not belong to the certificate in ${certFile}. Use both of one pair`,
    )
  }
  checkDates(certFile, certificate)
  const options: SecureContextOptions = {
    cert,
    key,
    // Without a CA the roots of the system would be loaded; what is said of the chain is then not asked for anyway.
    ca: ca ?? cert,
    minVersion,
    maxVersion: 'TLSv1.3',
    secureOptions: tlsConstants.SSL_OP_NO_TICKET | tlsConstants.SSL_OP_NO_RENEGOTIATION,
  }
  return { own: certificate.raw, isPinned: ca === undefined, options, context: makeContext(certFile, options) }
}

/** Where the present time lies: undefined for within the certificate's dates. */
export function dateFault(certificate: X509Certificate, nowMs = Date.now()): 'expired' | 'not-yet-valid' | undefined {
  if (!(nowMs >= Date.parse(certificate.validFrom))) return 'not-yet-valid'
  if (!(nowMs <= Date.parse(certificate.validTo))) return 'expired'
  return undefined
}

function readKey(path: string): Buffer {
  return readWhole(path, (mode) => {
    if (process.platform === 'win32' || (mode & GROUP_AND_OTHERS) === 0) return
    const shown = (mode & 0o777).toString(8).padStart(4, '0')
    throw fileError(path, 'key-shared', `others than its owner may use the key (mode ${shown}). chmod 600 it`)
  })
}

/** @param checkMode called with the mode of the file that is read, whatever lies at the path by then */
function readWhole(path: string, checkMode: (mode: number) => void = () => undefined): Buffer {
  let fd: number | undefined
  try {
    fd = openSync(path, OPEN_FLAGS)
    const found = fstatSync(fd)
    if (!found.isFile()) throw fileError(path, 'unreadable', 'it is not a regular file')
    checkMode(found.mode)
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

function parseCertificate(path: string, pem: Buffer): X509Certificate {
  let cause: unknown
  if (pem.includes(CERTIFICATE_PEM)) {
    try {
      return new X509Certificate(pem)
    } catch (error) {
      cause = error
    }
  }
  throw fileError(path, 'malformed', 'it holds no certificate in PEM format', cause)
}

function parseKey(path: string, pem: Buffer): KeyObject {
  if (ENCRYPTED_PEM.test(pem.toString('latin1'))) {
    const text =
      'the key is encrypted, and nobody could be asked for its password. Store it without one, readable by you alone'
    throw fileError(path, 'encrypted-key', text)
  }
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw fileError(path, 'malformed', 'it holds no private key in PEM format', cause)
  }
}

function checkStrength(path: string, certificate: X509Certificate): void {
  const { asymmetricKeyDetails } = publicKeyOf(path, certificate)
  // Only keys of RSA and its like have a modulus.
  const bits = asymmetricKeyDetails?.modulusLength
  if (bits === undefined || bits >= RSA_BITS_MIN) return
  throw fileError(path, 'weak', `its RSA key has ${bits} bits, and ${RSA_BITS_MIN} is the least. Make a new one`)
}

function publicKeyOf(path: string, certificate: X509Certificate): KeyObject {
  try {
    return certificate.publicKey
  } catch (cause) {
    throw fileError(path, 'malformed', 'the certificate has a key of a kind that is not known', cause)
  }
}

function checkDates(path: string, certificate: X509Certificate): void {
  const fault = dateFault(certificate)
  if (fault === 'expired') {
    throw fileError(
      path,
      fault,
      `the certificate has expired (${certificate.validTo}). Make a new pair, for both processes`,
    )
  }
  if (fault === 'not-yet-valid') {
    throw fileError(path, fault, `the certificate is not valid before ${certificate.validFrom}. Look at the clock`)
  }
}

function makeContext(path: string, options: SecureContextOptions): SecureContext {
  try {
    return createSecureContext(options)
  } catch (cause) {
    const { code = 'an error' } = cause as NodeJS.ErrnoException
    const reason = TOO_WEAK.test(code) ? 'weak' : 'malformed'
    throw fileError(path, reason, `TLS does not work with this certificate and its key (${code})`, cause)
  }
}
