/** Fresh files: what is in them, who may read them, and that none is ever overwritten. */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import fs, { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { generateCertificate, type GenerateOptions } from '../src/index.js'
import { credentialsOf } from '../src/files.js'
import { CLIENT_AUTH, hasOpenssl, SERVER_AUTH, type Files } from './certificates.js'
import { freshDirectory, rejectionOf } from './place.js'

function names(directory = freshDirectory()): Files {
  return { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') }
}

const load = (files: Files) => credentialsOf({ ...files, caFile: undefined, minVersion: 'TLSv1.3' })()
const listed = ({ certFile }: Files): string[] => readdirSync(dirname(certFile)).sort()

test('the certificate says what it is for, and fits its key', async () => {
  const files = names()
  const before = Date.now()
  await generateCertificate(files)
  load(files)
  const certificate = new X509Certificate(readFileSync(files.certFile))
  expect(certificate.keyUsage?.toSorted()).toEqual([SERVER_AUTH, CLIENT_AUTH].toSorted())
  expect(certificate.ca).toBe(false)
  expect(certificate.verify(certificate.publicKey)).toBe(true)
  expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1')
  for (const ip of ['127.0.0.1', '::1']) expect(certificate.checkIP(ip)).toBe(ip)
  expect(certificate.checkHost('localhost')).toBe('localhost')
  const validDays = (Date.parse(certificate.validTo) - before) / 86_400_000
  expect(validDays).toBeGreaterThan(3649)
  expect(validDays).toBeLessThan(3651)
})

test.skipIf(process.platform === 'win32')(
  'the key is for its owner alone whatever the umask, and nothing else is left',
  async () => {
    const files = names()
    const umask = process.umask(0o027)
    onTestFinished(() => void process.umask(umask))
    await generateCertificate(files)
    expect(statSync(files.keyFile).mode & 0o777).toBe(0o600)
    expect(statSync(files.certFile).mode & 0o777).toBe(0o644)
    expect(listed(files)).toEqual(['cert.pem', 'key.pem'])
  },
)

test('two are different', async () => {
  const [one, two] = [names(), names()]
  await Promise.all([generateCertificate(one), generateCertificate(two)])
  expect(load(one).own.raw.equals(load(two).own.raw)).toBe(false)
  const serials = [one, two].map(({ certFile }) => new X509Certificate(readFileSync(certFile)).serialNumber)
  expect(new Set(serials).size).toBe(2)
})

test.each<keyof Files>(['certFile', 'keyFile'])(
  'a %s that is there is left alone, and nothing is added',
  async (which) => {
    const files = names()
    writeFileSync(files[which], 'mine')
    const before = listed(files)
    expect(await rejectionOf(generateCertificate(files))).toBe('CERTIFICATE exists')
    expect(readFileSync(files[which], 'utf8')).toBe('mine')
    expect(listed(files)).toEqual(before)
  },
)

test('overwrite replaces both, with the modes of fresh ones', async () => {
  const files = names()
  writeFileSync(files.keyFile, 'old', { mode: 0o644 })
  writeFileSync(files.certFile, 'old')
  await generateCertificate({ ...files, overwrite: true })
  load(files)
  expect(listed(files)).toEqual(['cert.pem', 'key.pem'])
})

test('of many at once exactly one wins, and the files are its pair', async () => {
  const files = names()
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => generateCertificate(files)))
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'CERTIFICATE', reason: 'exists' })
  }
  load(files)
  expect(listed(files)).toEqual(['cert.pem', 'key.pem'])
})

/** As if another process did something just before each rename of this one. */
function beforeEachRename(act: (to: string) => void): void {
  const { renameSync } = fs
  const restore = (): void => {
    fs.renameSync = renameSync
    syncBuiltinESMExports()
  }
  onTestFinished(restore)
  fs.renameSync = (from, to) => {
    act(String(to))
    renameSync(from, to)
  }
  syncBuiltinESMExports()
}

test('of many that overwrite at once all succeed, and the files are the pair of one', async () => {
  const files = names()
  await Promise.all(Array.from({ length: 8 }, () => generateCertificate({ ...files, overwrite: true })))
  load(files)
  expect(listed(files)).toEqual(['cert.pem', 'key.pem'])
})

test('a process that puts its pair between our two files does not leave a mixed one', async () => {
  const [files, others] = [names(), names()]
  await generateCertificate(others)
  let intruded = 0
  beforeEachRename((to) => {
    if (to !== files.certFile || intruded === 3) return
    intruded++
    copyFileSync(others.keyFile, files.keyFile)
    copyFileSync(others.certFile, files.certFile)
  })
  await generateCertificate({ ...files, overwrite: true })
  expect(intruded).toBe(3)
  load(files)
  expect(listed(files)).toEqual(['cert.pem', 'key.pem'])
})

test('a process that never leaves our files alone is told of, and no more than the two is left', async () => {
  const [files, others] = [names(), names()]
  await generateCertificate(others)
  beforeEachRename((to) => {
    if (to === files.certFile) copyFileSync(others.keyFile, files.keyFile)
  })
  expect(await rejectionOf(generateCertificate({ ...files, overwrite: true }))).toBe('CERTIFICATE unwritable')
  expect(listed(files)).toEqual(['cert.pem', 'key.pem'])
})

test('a directory that is missing is said to be so, and one file alone is never left', async () => {
  const files = names()
  const away = join(dirname(files.certFile), 'away', 'cert.pem')
  expect(await rejectionOf(generateCertificate({ ...files, certFile: away }))).toBe('CERTIFICATE unwritable')
  expect(listed(files)).toEqual([])
})

test.skipIf(!hasOpenssl)('openssl takes both', async () => {
  const files = names()
  await generateCertificate({ ...files, days: 1 })
  const purposes = execFileSync('openssl', ['x509', '-in', files.certFile, '-noout', '-purpose']).toString()
  expect(purposes).toMatch(/SSL client : Yes[^]*SSL server : Yes/)
  execFileSync('openssl', ['pkey', '-in', files.keyFile, '-check', '-noout'], { stdio: 'ignore' })
})

test.each<[string, object]>([
  ['no options', null as unknown as object],
  ['an empty name', { certFile: '' }],
  ['one file for both', { certFile: '/x', keyFile: '/x' }],
  ['no days', { days: 0 }],
  ['half a day', { days: 1.5 }],
  ['too many days', { days: 1_000_000 }],
  ['an overwrite that is neither', { overwrite: 'yes' }],
  ['an unknown option', { name: 'x' }],
])('%s: a TypeError', async (_name, more) => {
  const options = more === null ? more : { certFile: '/a', keyFile: '/b', ...more }
  await expect(generateCertificate(options as GenerateOptions)).rejects.toThrow(TypeError)
})
