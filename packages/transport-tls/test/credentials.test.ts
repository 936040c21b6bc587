/** How our files are kept: what they cost, and that whatever is done to them counts at once. */
import { chmodSync, copyFileSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import tlsModule, { type SecureContextOptions } from 'node:tls'
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import type { Pipe } from '@pairlink/core'
import { generateCertificate } from '../src/index.js'
import { credentialsOf, type Credentials } from '../src/files.js'
import { certificate, freshNames, type Files, type Made } from './certificates.js'
import { at, describeError, dialEnd, freshPlace, KINDS, listening, Recorder } from './place.js'

let ours: Files
let other: Made
beforeAll(async () => {
  ours = freshNames()
  await generateCertificate(ours)
  other = await certificate({ isCa: true })
})

function copyOf({ certFile, keyFile }: Files): Files {
  const copy = freshNames()
  copyFileSync(certFile, copy.certFile)
  copyFileSync(keyFile, copy.keyFile)
  return copy
}

const loaderOf = (files: Files, caFile?: string): (() => Credentials) =>
  credentialsOf({ ...files, caFile, minVersion: 'TLSv1.3' })

function faultOf(load: () => Credentials): string {
  try {
    load()
    return 'none'
  } catch (error) {
    return describeError(error)
  }
}

test('the same bytes are parsed once, also when the files are others', () => {
  const files = copyOf(ours)
  const load = loaderOf(files)
  const first = load()
  rmSync(files.certFile)
  copyFileSync(ours.certFile, files.certFile)
  expect(load()).toBe(first)
})

test('other bytes count at once, also with the length and the times of those before', () => {
  const { certFile } = copyOf(ours)
  const load = loaderOf({ ...ours, certFile })
  load()
  const { atimeMs, mtimeMs, size } = statSync(certFile)
  const text = readFileSync(certFile, 'latin1')
  writeFileSync(certFile, text.replace('CERTIFICATE', 'CERTIFICATF'))
  utimesSync(certFile, atimeMs / 1000, mtimeMs / 1000)
  expect(statSync(certFile).size).toBe(size)
  expect(faultOf(load)).toBe('CERTIFICATE malformed')
  writeFileSync(certFile, text)
  expect(faultOf(load)).toBe('none')
})

test('a CA that is replaced counts at once', async () => {
  const caFile = freshNames().certFile
  copyFileSync(other.certFile, caFile)
  const load = loaderOf(ours, caFile)
  const first = load()
  copyFileSync((await certificate({ isCa: true })).certFile, caFile)
  expect(load()).not.toBe(first)
})

test('what is missing, does not fit or is open to others is told although it was right before', () => {
  const files = copyOf(ours)
  const caFile = freshNames().certFile
  copyFileSync(other.certFile, caFile)
  const load = loaderOf(files, caFile)
  load()
  if (process.platform !== 'win32') {
    chmodSync(files.keyFile, 0o640)
    expect(faultOf(load)).toBe('CERTIFICATE key-shared')
    chmodSync(files.keyFile, 0o600)
    chmodSync(caFile, 0o666)
    expect(faultOf(load)).toBe('CERTIFICATE ca-shared')
    chmodSync(caFile, 0o644)
  }
  copyFileSync(other.keyFile, files.keyFile)
  expect(faultOf(load)).toBe('CERTIFICATE mismatched')
  rmSync(files.keyFile)
  expect(faultOf(load)).toBe('CERTIFICATE missing')
  copyFileSync(ours.keyFile, files.keyFile)
  expect(faultOf(load)).toBe('none')
})

test('dates are looked at each time', async () => {
  const load = loaderOf(await certificate({ fromDays: -1, toDays: 10 }))
  load()
  const nowMs = Date.now()
  vi.useFakeTimers({ toFake: ['Date'] })
  onTestFinished(() => void vi.useRealTimers())
  vi.setSystemTime(nowMs + 11 * 86_400_000)
  expect(faultOf(load)).toBe('CERTIFICATE expired')
  vi.setSystemTime(nowMs - 2 * 86_400_000)
  expect(faultOf(load)).toBe('CERTIFICATE not-yet-valid')
  vi.setSystemTime(nowMs)
  expect(faultOf(load)).toBe('none')
})

/** Those that were made with a certificate; an empty one costs little. */
function countContexts(): () => number {
  const { createSecureContext } = tlsModule
  let made = 0
  onTestFinished(() => {
    tlsModule.createSecureContext = createSecureContext
    syncBuiltinESMExports()
  })
  tlsModule.createSecureContext = (options?: SecureContextOptions) => {
    if (options?.cert !== undefined) made++
    return createSecureContext(options)
  }
  syncBuiltinESMExports()
  return () => made
}

test.each(KINDS)(
  'at %s a context is made once, however many come in, and again for a new certificate',
  async (kind) => {
    const contexts = countContexts()
    const files = copyOf(ours)
    const place = await freshPlace(kind)
    const pipes: Pipe[] = []
    await listening(at(place, files), (pipe) => {
      pipes.push(pipe)
      pipe.start(new Recorder())
    })
    onTestFinished(() => {
      for (const pipe of pipes) pipe.destroy()
    })
    expect(contexts()).toBe(1)
    const dialer = at(place, files)
    const meet = async (): Promise<void> => {
      const near = await dialEnd(dialer)
      near.pipe.write([Buffer.from('x')])
      await near.recorder.told('drained')
      near.pipe.destroy()
    }
    for (let round = 0; round < 5; round++) await meet()
    expect(contexts()).toBe(2)
    copyFileSync(other.certFile, files.certFile)
    copyFileSync(other.keyFile, files.keyFile)
    await meet()
    expect(contexts()).toBe(4)
    expect(pipes).toHaveLength(6)
  },
)
