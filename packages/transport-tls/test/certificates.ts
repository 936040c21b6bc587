/** Certificates for tests: with any dates, purposes and signers by x509, and of other kinds of keys by the program openssl. */
import 'reflect-metadata'
import { execFileSync } from 'node:child_process'
import { KeyObject, webcrypto } from 'node:crypto'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BasicConstraintsExtension, ExtendedKeyUsageExtension, X509CertificateGenerator } from '@peculiar/x509'
import { afterAll } from 'vitest'

const DAY_MS = 86_400_000
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
export const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

/** For the files of a whole test file. */
const directory = realpathSync(mkdtempSync(join(tmpdir(), 'pl-tls-')))
afterAll(() => {
  rmSync(directory, { recursive: true, force: true })
})
let made = 0

export interface Files {
  readonly certFile: string
  readonly keyFile: string
}

export interface Made extends Files {
  readonly keys: webcrypto.CryptoKeyPair
  readonly subject: string
}

/** Two names that nobody uses. */
export function freshNames(): Files {
  const name = join(directory, `c${made++}`)
  return { certFile: `${name}.pem`, keyFile: `${name}.key` }
}

export interface Wishes {
  /** From when and until when, in days from now. */
  readonly fromDays?: number
  readonly toDays?: number
  /** Who signs it; itself by default. */
  readonly signer?: Made
  readonly purposes?: string[]
  readonly isCa?: boolean
}

export async function certificate(wishes: Wishes = {}): Promise<Made> {
  const { fromDays = -1, toDays = 10, signer, purposes = [SERVER_AUTH, CLIENT_AUTH], isCa = false } = wishes
  const files = freshNames()
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const subject = `CN=test ${made}`
  const made509 = await X509CertificateGenerator.create({
    serialNumber: `4${made}`.padStart(4, '4'),
    subject,
    issuer: signer?.subject ?? subject,
    notBefore: new Date(Date.now() + fromDays * DAY_MS),
    notAfter: new Date(Date.now() + toDays * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: (signer?.keys ?? keys).privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(isCa, undefined, true),
      ...(isCa ? [] : [new ExtendedKeyUsageExtension(purposes)]),
    ],
  })
  // Not for others to write to, whatever the umask: it may be used as a CA.
  writeFileSync(files.certFile, `${made509.toString('pem')}\n`, { mode: 0o644 })
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' })
  writeFileSync(files.keyFile, key, { mode: 0o600 })
  return { ...files, keys, subject }
}

function runOpenssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' })
}

export const hasOpenssl = ((): boolean => {
  try {
    runOpenssl('version')
    return true
  } catch {
    console.log('SKIPPED what needs the program openssl: it is not installed')
    return false
  }
})()

const KEYS: Readonly<Record<string, string[]>> = {
  'RSA 1024': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'],
  'RSA 2048': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  'P-256': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  'P-384': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  'P-521': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  'P-224': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-224'],
  secp256k1: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  'RSA-PSS': ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'],
  Ed25519: ['-algorithm', 'ED25519'],
  Ed448: ['-algorithm', 'ED448'],
}

/** As people make them: such a certificate may sign others. */
export function opensslCertificate(kind: string): Files {
  const files = freshNames()
  const { certFile, keyFile } = files
  runOpenssl('genpkey', ...(KEYS[kind] ?? []), '-out', keyFile)
  runOpenssl('req', '-x509', '-key', keyFile, '-out', certFile, '-days', '2', '-subj', '/CN=openssl')
  return files
}

/** The key of a pair, with a password: as PKCS#8, or as older programs write it. */
export function encryptedKey({ certFile, keyFile }: Files, format: 'pkcs8' | 'traditional'): Files {
  const encrypted = freshNames().keyFile
  const [command, ...more] = format === 'pkcs8' ? (['pkcs8', '-topk8'] as const) : (['ec', '-aes128'] as const)
  runOpenssl(command, ...more, '-in', keyFile, '-out', encrypted, '-passout', 'pass:secret')
  return { certFile, keyFile: encrypted }
}
