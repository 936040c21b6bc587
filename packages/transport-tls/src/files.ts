/**
 * Our own certificate and key: read from their files each time they are needed, so that they can be replaced, and looked at
 * closely, so that what is wrong with them is told here and not by a handshake that fails. Peers are not known here.
 */
import { constants as tlsConstants, createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { createSecureContext, type SecureContext, type SecureContextOptions, type SecureVersion } from 'node:tls'
import { fileError, readFiles, type CertificateBytes, type CertificatePaths } from './read.js'

export interface CertificateFiles extends CertificatePaths {
  readonly minVersion: SecureVersion
}

/** What handshakes are done with, until a file changes. */
export interface Credentials {
  /** What a peer must show, where there is no CA. */
  readonly own: X509Certificate
  readonly isPinned: boolean
  /** What `context` was made of. */
  readonly options: SecureContextOptions
  readonly context: SecureContext
}

const RSA_BITS_MIN = 2048
/** The kinds of keys and the curves that TLS 1.3 has signatures for, as Node calls them. */
const KINDS: readonly unknown[] = ['rsa', 'rsa-pss', 'ec', 'ed25519', 'ed448']
const CURVES: readonly unknown[] = ['prime256v1', 'secp384r1', 'secp521r1']
/** Somewhat below the 64 KiB from which on a handshake with one large certificate breaks. */
const CHAIN_BYTES_MAX = 60_000
const CERTIFICATE_PEM = '-----BEGIN CERTIFICATE-----'
const EACH_PEM = /-----BEGIN CERTIFICATE-----([^-]*)/g
/** Of PKCS#8, and of the older formats. */
const ENCRYPTED_PEM = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4,ENCRYPTED/
/** What OpenSSL calls the keys and the signatures that it will not work with. */
const TOO_WEAK = /TOO_SMALL|TOO_WEAK/

/**
 * What reads the files at each call, and looks whether a handshake can be done with them. Parsing them and making a context
 * takes up to a hundred times as long as reading, and strangers can have it done: so that is done once for the same bytes.
 * Their bytes are compared and not their times, which a file that is replaced twice in a moment may keep.
 *
 * What is returned throws PairlinkError `CERTIFICATE` with the fault as its `reason`.
 */
export function credentialsOf(files: CertificateFiles): () => Credentials {
  let last: { readonly bytes: CertificateBytes; readonly credentials: Credentials } | undefined
  return () => {
    const bytes = readFiles(files)
    if (last === undefined || !isSame(bytes, last.bytes)) last = { bytes, credentials: credentialsFrom(files, bytes) }
    checkDates(files.certFile, last.credentials.own)
    return last.credentials
  }
}

/** Where the present time lies: undefined for within the certificate's dates. */
export function dateFault(certificate: X509Certificate, nowMs = Date.now()): 'expired' | 'not-yet-valid' | undefined {
  if (!(nowMs >= Date.parse(certificate.validFrom))) return 'not-yet-valid'
  if (!(nowMs <= Date.parse(certificate.validTo))) return 'expired'
  return undefined
}

/** Whether a certificate and a key, both as PEM, are of one pair. */
export function isPair(cert: Buffer, key: Buffer): boolean {
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))
}

function isSame(one: CertificateBytes, other: CertificateBytes): boolean {
  if (!one.cert.equals(other.cert) || !one.key.equals(other.key)) return false
  return one.ca === undefined || other.ca === undefined ? one.ca === other.ca : one.ca.equals(other.ca)
}

function credentialsFrom(
  { certFile, keyFile, caFile, minVersion }: CertificateFiles,
  { cert, key, ca }: CertificateBytes,
): Credentials {
  const own = parseCertificate(certFile, cert)
  if (caFile !== undefined && ca !== undefined) parseCertificate(caFile, ca)
  const privateKey = parseKey(keyFile, key)
  checkKey(certFile, own)
  checkLength(certFile, cert)
  if (!own.checkPrivateKey(privateKey)) {
    throw fileError(
      keyFile,
      'mismatched',
      `the key does not belong to the certificate in ${certFile}. Use both of one pair`,
    )
  }
  const options: SecureContextOptions = {
    cert,
    key,
    // Without a CA the roots of the system would be loaded; what is said of the chain is then not asked for anyway.
    ca: ca ?? cert,
    // Whatever stands in the file is trusted, also a CA that another one has signed: that one is then not let in by itself.
    allowPartialTrustChain: true,
    minVersion,
    maxVersion: 'TLSv1.3',
    secureOptions: tlsConstants.SSL_OP_NO_TICKET | tlsConstants.SSL_OP_NO_RENEGOTIATION,
    // As a server of Node would set them.
    honorCipherOrder: true,
    sessionIdContext: 'pairlink',
  }
  return { own, isPinned: ca === undefined, options, context: makeContext(certFile, options) }
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

/** What a handshake would fail at, and the other side be blamed for. */
function checkKey(path: string, certificate: X509Certificate): void {
  const { asymmetricKeyType: kind = 'unknown', asymmetricKeyDetails: details = {} } = publicKeyOf(path, certificate)
  if (!KINDS.includes(kind) || (kind === 'ec' && !CURVES.includes(details.namedCurve))) {
    const shown = kind === 'ec' ? `of the curve ${details.namedCurve ?? 'unknown'}` : `of the kind ${kind}`
    const text = `its key is ${shown}, which TLS 1.3 does not know. Make one of P-256, P-384, P-521, Ed25519 or RSA`
    throw fileError(path, 'unsupported', text)
  }
  // Only keys of RSA and its like have a modulus.
  const bits = details.modulusLength
  if (bits === undefined || bits >= RSA_BITS_MIN) return
  throw fileError(path, 'weak', `its RSA key has ${bits} bits, and ${RSA_BITS_MIN} is the least. Make a new one`)
}

function checkLength(path: string, pem: Buffer): void {
  let bytes = 0
  for (const [, base64 = ''] of pem.toString('latin1').matchAll(EACH_PEM)) bytes += Buffer.from(base64, 'base64').length
  if (bytes <= CHAIN_BYTES_MAX) return
  const text = `its certificates have ${bytes} bytes, and ${CHAIN_BYTES_MAX} is the most. Leave out what is not needed`
  throw fileError(path, 'unsupported', text)
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
