import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { isPairlinkError } from '@pairlink/core'
import { describe, expect, onTestFinished, test, type TestContext } from 'vitest'
import { readKeyFile, writeKeyFile } from '../src/files.default.js'
import { aes256gcm, generateKey, loadKey, saveKey, type LoadKeyOptions, type SaveKeyOptions } from '../src/index.js'
import { racers } from './racers.js'
import { filled, hex } from './providers.js'

const KEY = filled(0xc5)
const isRoot = process.geteuid?.() === 0
const NOBODY = 65_534

function freshDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'pl-key-')))
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** A file in a fresh directory. */
function fileOf(bytes: Uint8Array, mode = 0o600): string {
  const path = join(freshDirectory(), 'key')
  writeFileSync(path, bytes)
  chmodSync(path, mode)
  return path
}

function failure(work: () => unknown): { reason: string | undefined; message: string } {
  try {
    work()
  } catch (error) {
    if (!isPairlinkError(error, 'KEY_INVALID')) throw error
    expect(inspect(error)).not.toMatch(/c5c5c5c5|c5 c5 c5|197, 197/) // Nothing of the key in any part of the error.
    return { reason: error.reason, message: error.message }
  }
  throw new Error('nothing was thrown')
}

/** With the rights of a user who has none, since root is refused nothing. */
function unprivileged<T>(work: () => T): T {
  if (!isRoot) return work()
  process.seteuid?.(NOBODY)
  try {
    return work()
  } finally {
    process.seteuid?.(0)
  }
}

function skip(context: TestContext, reason: string): never {
  console.log(`skipped: ${context.task.name}: ${reason}`)
  return context.skip(reason)
}

describe('a key', () => {
  test('is 32 bytes, other ones each time', () => {
    const [one, other] = [generateKey(), generateKey()]
    expect(one.length).toBe(32)
    expect(hex(one)).not.toBe(hex(other))
    expect(() => aes256gcm(one)).not.toThrow()
  })
  test('as bytes is copied', () => {
    const bytes = KEY.slice()
    const loaded = loadKey(bytes)
    bytes.fill(0)
    expect(loaded).toEqual(KEY)
    expect(Object.getPrototypeOf(loadKey(Buffer.from(KEY)))).toBe(Uint8Array.prototype)
  })
  test.each([0, 31, 33, 64])('of %i bytes is refused', (length) => {
    expect(() => loadKey(filled(1, length))).toThrow(TypeError)
    expect(() => saveKey(join(freshDirectory(), 'key'), filled(1, length))).toThrow(TypeError)
  })
})

describe('wrong arguments are a TypeError', () => {
  test.each([[''], ['a\0b'], [7], [null], [undefined], [{}]])('path %j', (path) => {
    expect(() => loadKey(path as string)).toThrow(TypeError)
    expect(() => saveKey(path as string, KEY)).toThrow(TypeError)
  })
  test('an unknown option, with the one that is known', () => {
    expect(() => loadKey('x', { allowshared: true } as LoadKeyOptions)).toThrow(
      /unknown option 'allowshared'; known is allowShared/,
    )
    expect(() => saveKey('x', KEY, { force: true } as SaveKeyOptions)).toThrow(/unknown option 'force'/)
  })
  test.each([[null], [7], [{ overwrite: 1, allowShared: 1 }]])('options %j', (options) => {
    expect(() => loadKey('x', options as LoadKeyOptions)).toThrow(TypeError)
    expect(() => saveKey('x', KEY, options as SaveKeyOptions)).toThrow(TypeError)
  })
  test.each([[1], ['true']])('the flag %j', (value) => {
    expect(() => loadKey('x', { allowShared: value } as unknown as LoadKeyOptions)).toThrow(/must be true or false/)
    expect(() => saveKey('x', KEY, { overwrite: value } as unknown as SaveKeyOptions)).toThrow(/must be true or false/)
  })
  test('a path where there are no files', () => {
    expect(() => readKeyFile('x', false)).toThrow(new TypeError('keys in files need Node.js; pass the 32 bytes'))
    expect(() => {
      writeKeyFile('x', KEY, false)
    }).toThrow(TypeError)
  })
})

describe('saving', () => {
  test('writes exactly the bytes, for the owner alone, and loading gives them back', () => {
    const directory = freshDirectory()
    const path = join(directory, 'key')
    saveKey(path, KEY)
    expect(new Uint8Array(readFileSync(path))).toEqual(KEY)
    expect(statSync(path).mode & 0o7777).toBe(0o600)
    expect(statSync(path).nlink).toBe(1)
    expect(readdirSync(directory)).toEqual(['key'])
    expect(loadKey(path)).toEqual(KEY)
  })
  test.each([0o000, 0o277, 0o777])('gives the mode 0600 whatever the umask, here %i', (umask) => {
    const path = join(freshDirectory(), 'key')
    const before = process.umask(umask)
    try {
      saveKey(path, KEY)
    } finally {
      process.umask(before)
    }
    expect(statSync(path).mode & 0o7777).toBe(0o600)
  })
  test('takes a path relative to the working directory', () => {
    const [directory, before] = [freshDirectory(), process.cwd()]
    process.chdir(directory)
    try {
      saveKey('key', KEY)
      expect(loadKey('key')).toEqual(KEY)
    } finally {
      process.chdir(before)
    }
  })
  test('takes the longest name that the file system takes', () => {
    const path = join(freshDirectory(), 'k'.repeat(255))
    saveKey(path, KEY)
    expect(loadKey(path)).toEqual(KEY)
  })
  test('never overwrites by itself, and changes nothing', () => {
    const path = fileOf(filled(1))
    const before = lstatSync(path, { bigint: true })
    const { reason, message } = failure(() => saveKey(path, KEY))
    expect(reason).toBe('exists')
    expect(message).toContain(path)
    expect(message).toContain('overwrite: true')
    expect(lstatSync(path, { bigint: true })).toMatchObject({ ino: before.ino, mtimeNs: before.mtimeNs })
    expect(new Uint8Array(readFileSync(path))).toEqual(filled(1))
    expect(readdirSync(join(path, '..'))).toEqual(['key'])
  })
  test('overwrites when told to, with the mode 0600 even where others could read', () => {
    const path = fileOf(filled(1), 0o644)
    saveKey(path, KEY, { overwrite: true })
    expect(loadKey(path)).toEqual(KEY)
    expect(readdirSync(join(path, '..'))).toEqual(['key'])
  })
  test('does not need anything to be there to overwrite it', () => {
    const path = join(freshDirectory(), 'key')
    saveKey(path, KEY, { overwrite: true })
    expect(loadKey(path)).toEqual(KEY)
  })
  test('leaves a link alone, and replaces it, not what it leads to, when told to overwrite', () => {
    const target = fileOf(filled(1))
    const path = join(freshDirectory(), 'key')
    symlinkSync(target, path)
    expect(failure(() => saveKey(path, KEY)).reason).toBe('exists')
    saveKey(path, KEY, { overwrite: true })
    expect(lstatSync(path).isFile()).toBe(true)
    expect(new Uint8Array(readFileSync(target))).toEqual(filled(1))
  })
  test('leaves a link that leads nowhere alone', () => {
    const path = join(freshDirectory(), 'key')
    symlinkSync('/nowhere/at/all', path)
    expect(failure(() => saveKey(path, KEY)).reason).toBe('exists')
  })
  test('does not replace a directory, and leaves nothing behind', () => {
    const directory = freshDirectory()
    const path = join(directory, 'key')
    mkdirSync(path)
    expect(failure(() => saveKey(path, KEY)).reason).toBe('exists')
    expect(failure(() => saveKey(path, KEY, { overwrite: true })).reason).toBe('directory')
    expect(readdirSync(directory)).toEqual(['key'])
  })
  test('needs a directory that exists', () => {
    const path = join(freshDirectory(), 'none', 'key')
    expect(failure(() => saveKey(path, KEY))).toMatchObject({
      reason: 'missing',
      message: expect.stringContaining(path),
    })
    expect(failure(() => saveKey(join(fileOf(KEY), 'key'), KEY)).reason).toBe('missing')
  })
  test('needs a directory that it may write to', () => {
    const directory = freshDirectory()
    chmodSync(directory, 0o555)
    const { reason, message } = unprivileged(() => failure(() => saveKey(join(directory, 'key'), KEY)))
    expect(reason).toBe('unwritable')
    expect(message).toContain(join(directory, 'key'))
    expect(readdirSync(directory)).toEqual([])
  })
  test('a name that is too long leaves nothing behind', () => {
    const directory = freshDirectory()
    expect(failure(() => saveKey(join(directory, 'k'.repeat(256)), KEY)).reason).toBe('unwritable')
    expect(readdirSync(directory)).toEqual([])
  })
  test('a disk that is full leaves nothing behind', (context) => {
    const directory = freshDirectory()
    if (!isRoot) return skip(context, 'needs root, to mount a file system that is full')
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k,nr_inodes=8', 'tmpfs', directory], { stdio: 'ignore' })
    } catch {
      return skip(context, 'file systems cannot be mounted here')
    }
    try {
      writeFileSync(join(directory, 'full'), filled(1, 4096))
      expect(failure(() => saveKey(join(directory, 'key'), KEY)).reason).toBe('unwritable')
      expect(readdirSync(directory)).toEqual(['full'])
    } finally {
      execFileSync('umount', [directory])
    }
  })
  test('of many processes that save at one path, exactly one wins, and its key is there', async () => {
    const path = join(freshDirectory(), 'key')
    const outcomes = await racers(8, path)
    const winners = outcomes.filter((outcome) => outcome.result === 'saved')
    expect(winners.length).toBe(1)
    expect(outcomes.filter((outcome) => outcome.result === 'KEY_INVALID exists').length).toBe(7)
    expect(hex(loadKey(path))).toBe(winners[0]?.key)
    expect(readdirSync(join(path, '..'))).toEqual(['key'])
  })
})

describe('loading', () => {
  test.each([0, 31, 33, 64])('refuses a file of %i bytes', (length) => {
    const path = fileOf(filled(0xc5, length))
    const { reason, message } = failure(() => loadKey(path))
    expect(reason).toBe('length')
    expect(message).toContain(path)
    expect(message).toContain(`${length} bytes`)
  })
  test('refuses a file that is missing', () => {
    const path = join(freshDirectory(), 'key')
    expect(failure(() => loadKey(path))).toMatchObject({ reason: 'missing', message: expect.stringContaining(path) })
    expect(failure(() => loadKey(join(fileOf(KEY), 'key'))).reason).toBe('missing')
  })
  test('refuses a link, wherever it leads, also when sharing is allowed', () => {
    const path = join(freshDirectory(), 'key')
    symlinkSync(fileOf(KEY), path)
    expect(failure(() => loadKey(path)).reason).toBe('link')
    expect(failure(() => loadKey(path, { allowShared: true })).reason).toBe('link')
  })
  test('takes a second name of the file, and a link on the way to it', () => {
    const path = fileOf(KEY)
    const directory = freshDirectory()
    linkSync(path, join(directory, 'second'))
    expect(loadKey(join(directory, 'second'))).toEqual(KEY)
    symlinkSync(join(path, '..'), join(directory, 'way'))
    expect(loadKey(join(directory, 'way', 'key'))).toEqual(KEY)
  })
  test('refuses a directory', () => {
    expect(failure(() => loadKey(freshDirectory())).reason).toBe('directory')
  })
  test('refuses a pipe without waiting for who writes to it', () => {
    const path = join(freshDirectory(), 'pipe')
    execFileSync('mkfifo', ['-m', '600', path])
    expect(failure(() => loadKey(path)).reason).toBe('not-a-file')
  })
  test('refuses a socket', async () => {
    const path = join(freshDirectory(), 'socket')
    const server = createServer()
    onTestFinished(() => void server.close())
    await new Promise<void>((resolve) => server.listen(path, resolve))
    expect(failure(() => loadKey(path)).reason).toBe('not-a-file')
  })
  test('refuses a device', () => {
    expect(failure(() => loadKey('/dev/zero', { allowShared: true })).reason).toBe('not-a-file')
  })
  test.each([0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666])(
    'refuses the mode %i, unless sharing is allowed',
    (mode) => {
      const path = fileOf(KEY, mode)
      const { reason, message } = failure(() => loadKey(path))
      expect(reason).toBe('shared')
      expect(message).toContain(path)
      expect(message).toContain('chmod 600')
      expect(loadKey(path, { allowShared: true })).toEqual(KEY)
    },
  )
  test.each([0o600, 0o400, 0o700])('takes the mode %i', (mode) => {
    expect(loadKey(fileOf(KEY, mode))).toEqual(KEY)
  })
  test('refuses a file of another user, unless sharing is allowed', (context) => {
    if (!isRoot) return skip(context, 'needs root, to give a file away')
    const path = fileOf(KEY)
    chownSync(path, NOBODY, NOBODY)
    expect(failure(() => loadKey(path)).reason).toBe('owner')
    expect(loadKey(path, { allowShared: true })).toEqual(KEY)
  })
  test('a file that root owns is refused for what it is, not for its owner', (context) => {
    if (!isRoot) return skip(context, 'needs root, to own a file')
    const path = fileOf(KEY, 0o644)
    chmodSync(join(path, '..'), 0o755)
    expect(unprivileged(() => failure(() => loadKey(path))).reason).toBe('shared')
  })
  test('tells when a file cannot be read', () => {
    const path = fileOf(KEY, 0o000)
    chmodSync(join(path, '..'), 0o755)
    const { reason, message } = unprivileged(() => failure(() => loadKey(path)))
    expect(reason).toBe('unreadable')
    expect(message).toContain(path)
  })
  test('takes a key file of simple-ipc, which is shared as it comes from a repository', () => {
    const path = fileOf(readFileSync(fileURLToPath(new URL('interop.key', import.meta.url))), 0o444)
    expect(failure(() => loadKey(path)).reason).toBe('shared')
    expect(hex(loadKey(path, { allowShared: true }))).toMatch(/^a392280d.*ec6e7b3a$/)
  })
})

test.each(['hex', 'base64', 'base64url'] as const)(
  'a key as text (%s) is a TypeError that does not show it',
  (encoding) => {
    const text = Buffer.from(generateKey()).toString(encoding)
    const load = (): unknown => loadKey(text)
    expect(load).toThrow(TypeError)
    expect(load).not.toThrow(text)
  },
)
