/** The lock of an address: who excludes whom, what is left, and what a stranger may put in its way. */
import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { unix } from '../src/index.js'
import { lockHolder, lockPath, touchLock, tryLock, type Lock, type Locking } from '../src/lock.js'
import { child, watched } from './children.js'
import { dialled, drop, freshDirectory, listening, never, rejection } from './place.js'

const isLinux = process.platform === 'linux'
const isRoot = process.getuid?.() === 0
const WAYS: Locking[] = isLinux ? ['flock', 'abstract'] : ['exlock']
if (!isLinux) console.log("SKIPPED the locks 'flock' and 'abstract': this is not Linux")

function freshPath(): string {
  return join(freshDirectory(), 's')
}

/** Locks, and releases after the test if the test has not. */
async function locked(path: string, locking: Locking): Promise<Lock> {
  const lock = await tryLock(path, locking)
  if (typeof lock === 'string') throw new Error('the lock is held')
  let isReleased = false
  const release = (): void => {
    if (!isReleased) lock.release()
    isReleased = true
  }
  onTestFinished(release)
  return { holds: () => lock.holds(), release }
}

/** How many descriptors of this process are open. */
function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** Empties PATH for one test. */
function withoutPrograms(): void {
  const before = process.env['PATH']
  process.env['PATH'] = freshDirectory()
  onTestFinished(() => {
    process.env['PATH'] = before
  })
}

describe.each(WAYS)('%s', (locking) => {
  test('makes a file of mode 0600 that names the way, and never removes it', async () => {
    const path = freshPath()
    const umask = process.umask(0)
    onTestFinished(() => void process.umask(umask))
    const lock = await locked(path, locking)
    const { ino, mode } = statSync(lockPath(path))
    expect(mode & 0o777).toBe(0o600)
    lock.release()
    for (let round = 0; round < 3; round++) (await locked(path, locking)).release()
    expect(statSync(lockPath(path)).ino).toBe(ino)
    expect(readFileSync(lockPath(path), 'utf8')).toBe(`${locking}\n`)
    expect(readdirSync(join(path, '..'))).toEqual(['s.lock'])
  })

  test('excludes another in the same process until it is released', async () => {
    const path = freshPath()
    const lock = await locked(path, locking)
    expect(await tryLock(path, locking)).toBe('held')
    expect(lock.holds()).toBe(true)
    lock.release()
    await locked(path, locking)
  })

  test('of many at once exactly one gets it', async () => {
    const path = freshPath()
    const locks = await Promise.all(Array.from({ length: 20 }, () => tryLock(path, locking)))
    const got = locks.filter((lock) => typeof lock !== 'string')
    for (const lock of got) lock.release()
    expect(got).toHaveLength(1)
  })

  test('excludes another process, and is free when that one is killed', async () => {
    const path = freshPath()
    const holder = await child({ do: 'lock', path, locking })
    expect(await holder.line()).toBe('listener')
    expect(await tryLock(path, locking)).toBe('held')
    await holder.kill()
    await locked(path, locking)
  })

  test('other addresses in the directory, and the same name elsewhere, are free', async () => {
    const directory = freshDirectory()
    await locked(join(directory, 's'), locking)
    await locked(join(directory, 't'), locking)
    await locked(freshPath(), locking)
  })

  test.each([
    ['removed', (file: string) => unlinkSync(file)],
    [
      'removed and made anew',
      (file: string) => {
        unlinkSync(file)
        writeFileSync(file, `${locking}\n`, { mode: 0o600 })
      },
    ],
    [
      'replaced by a link to itself',
      (file: string) => {
        execFileSync('mv', [file, `${file}.moved`])
        symlinkSync('s.lock.moved', file)
      },
    ],
  ])('notices that the lock file was %s', async (_how, replace) => {
    const path = freshPath()
    const lock = await locked(path, locking)
    replace(lockPath(path))
    expect(lock.holds()).toBe(false)
  })

  test('leaves no descriptor, whether it was got, held or refused', async () => {
    const path = freshPath()
    ;(await locked(path, locking)).release()
    const before = descriptors()
    for (let round = 0; round < 5; round++) {
      const lock = await locked(path, locking)
      expect(await tryLock(path, locking)).toBe('held')
      lock.release()
    }
    writeFileSync(lockPath(path), 'something else\n')
    await rejection(tryLock(path, locking))
    expect(descriptors()).toBe(before)
  })

  test('a lock file that names nothing known is refused and stays as it is', async () => {
    const path = freshPath()
    writeFileSync(lockPath(path), 'precious words of a user\n')
    expect(await rejection(tryLock(path, locking))).toContain('in a way unknown here')
    expect(readFileSync(lockPath(path), 'utf8')).toBe('precious words of a user\n')
  })

  test('where there is no directory the error is ENOENT', async () => {
    await expect(tryLock(join(freshDirectory(), 'no', 's'), locking)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('at once with listeners: the address is taken while another process has the lock', async () => {
    const path = freshPath()
    const transport = unix(path, locking === 'abstract' ? { lock: 'abstract' } : {})
    const holder = await child({ do: 'lock', path, locking })
    expect(await holder.line()).toBe('listener')
    expect(await transport.listen(drop, never)).toBe('taken')
    expect(existsSync(path)).toBe(false)
    await holder.kill()
    await listening(transport)
  })
})

describe('the file at the place of the lock', () => {
  const kinds: [string, (file: string, directory: string) => void | Promise<void>][] = [
    [
      'a symbolic link to a file',
      (file, directory) => {
        writeFileSync(join(directory, 'to'), 'precious')
        symlinkSync('to', file)
      },
    ],
    ['a symbolic link to nothing', (file) => symlinkSync('nowhere', file)],
    ['a FIFO', (file) => void execFileSync('mkfifo', [file])],
    ['a directory', (file) => mkdirSync(file)],
    [
      'a socket',
      async (file) => {
        const server = createServer().listen(file)
        await once(server, 'listening')
        onTestFinished(() => void server.close())
      },
    ],
  ]
  if (isRoot)
    kinds.push([
      "another user's file",
      (file) => {
        writeFileSync(file, '', { mode: 0o666 })
        chownSync(file, 12345, 12345)
      },
    ])
  else console.log("SKIPPED another user's file at the place of the lock: only root can make one")

  describe.each(WAYS)('with %s', (locking) => {
    test.each(kinds)('%s is ADDRESS_INVALID at once, and untouched', async (_kind, make) => {
      const directory = freshDirectory()
      const path = join(directory, 's')
      const file = lockPath(path)
      await make(file, directory)
      const look = (): unknown => {
        const { ino, mode, uid, gid, size, mtimeMs } = lstatSync(file)
        const to = join(directory, 'to')
        return [readdirSync(directory), ino, mode, uid, gid, size, mtimeMs, existsSync(to) && readFileSync(to, 'utf8')]
      }
      const before = look()
      expect(await rejection(tryLock(path, locking))).toContain(file)
      const transport = unix(path, locking === 'abstract' ? { lock: 'abstract' } : {})
      expect(await rejection(transport.listen(drop, never))).toContain(file)
      expect(look()).toEqual(before)
    })
  })
})

describe.skipIf(!isLinux)('two ways of locking for one address', () => {
  test.each<[Locking, Locking]>([
    ['abstract', 'flock'],
    ['flock', 'abstract'],
  ])("an address locked '%s' before is refused '%s', with the option that helps", async (first, second) => {
    const path = freshPath()
    ;(await locked(path, first)).release()
    const message = await rejection(tryLock(path, second))
    expect(message).toContain(`locked '${first}'`)
    expect(message).toContain(`'${second}'`)
    expect(message).toContain('option lock')
    expect(readFileSync(lockPath(path), 'utf8')).toBe(`${first}\n`)
    await locked(path, first)
    await rejection(tryLock(path, second))
  })

  test('of both at once on a new address at most one gets a lock', async () => {
    for (let round = 0; round < 20; round++) {
      const path = freshPath()
      const locks = await Promise.allSettled([tryLock(path, 'flock'), tryLock(path, 'abstract')])
      const got = locks.flatMap((lock) =>
        lock.status === 'fulfilled' && typeof lock.value !== 'string' ? [lock.value] : [],
      )
      for (const lock of got) lock.release()
      expect(got).toHaveLength(1)
    }
  })

  test('listen refuses it, too', async () => {
    const path = freshPath()
    await (await listening(unix(path, { lock: 'abstract' }))).close()
    expect(await rejection(unix(path).listen(drop, never))).toContain('option lock')
    expect(existsSync(path)).toBe(false)
  })
})

describe.skipIf(!isLinux)('the program flock', () => {
  test('that holds the file elsewhere excludes', async () => {
    const path = freshPath()
    const holder = watched(
      spawn('flock', ['-x', lockPath(path), 'sh', '-c', 'echo locked; exec sleep 600 3>&-'], {
        stdio: ['ignore', 'pipe', 'inherit'],
        detached: true,
      }),
    )
    onTestFinished(() => void process.kill(-holder.pid, 'SIGKILL'))
    expect(await holder.line()).toBe('locked')
    expect(await tryLock(path, 'flock')).toBe('held')
    expect(readFileSync(lockPath(path), 'utf8')).toBe('')
  })

  test('that is missing is an error which names the option that needs none', async () => {
    const path = freshPath()
    withoutPrograms()
    expect(await rejection(tryLock(path, 'flock'))).toContain("lock: 'abstract'")
    expect(await rejection(unix(path).listen(drop, never))).toContain("lock: 'abstract'")
    await listening(unix(join(freshDirectory(), 's'), { lock: 'abstract' }))
  })

  test('that cannot be run, or fails, is an error, and ended by a signal it says held', async () => {
    const path = freshPath()
    withoutPrograms()
    const program = join(process.env['PATH'] ?? '', 'flock')
    writeFileSync(program, '', { mode: 0o600 })
    if (!isRoot || process.platform === 'linux') expect(await rejection(tryLock(path, 'flock'))).toContain('EACCES')
    writeFileSync(program, '#!/bin/sh\nexit 64\n')
    chmodSync(program, 0o700)
    expect(await rejection(tryLock(path, 'flock'))).toContain('failed (64)')
    writeFileSync(program, '#!/bin/sh\nkill -TERM $$\n')
    expect(await tryLock(path, 'flock')).toBe('held')
    writeFileSync(program, '#!/bin/sh\nexit 1\n')
    expect(await tryLock(path, 'flock')).toBe('held')
  })
})

describe.skipIf(!isLinux)('who holds the lock', () => {
  test('is found by its pid, and nobody is when it is free', async () => {
    const path = freshPath()
    expect(lockHolder(path)).toBeUndefined()
    const holder = await child({ do: 'lock', path, locking: 'flock' })
    expect(await holder.line()).toBe('listener')
    expect(lockHolder(path)).toBe(holder.pid)
    await holder.kill()
    expect(lockHolder(path)).toBeUndefined()
  })

  test('is not this process', async () => {
    const path = freshPath()
    await locked(path, 'flock')
    expect(lockHolder(path)).toBeUndefined()
  })

  test('is not who holds a file with the same inode number on another file system', async (context) => {
    const mount = mkdtempSync(join(tmpdir(), 'pl-mount-'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', 'none', mount], { stdio: 'ignore' })
    } catch {
      rmSync(mount, { recursive: true })
      console.log('SKIPPED the same inode number twice: a file system cannot be mounted')
      context.skip()
    }
    const other = mkdtempSync(join(tmpdir(), 'pl-mount-'))
    const unmount = (directory: string): void => {
      execFileSync('umount', ['-l', directory])
      rmSync(directory, { recursive: true })
    }
    onTestFinished(() => {
      unmount(mount)
      unmount(other)
    })
    // Two fresh file systems of this kind count their inodes alike.
    execFileSync('mount', ['-t', 'tmpfs', 'none', other], { stdio: 'ignore' })
    const [path, same] = [join(mount, 's'), join(other, 's')]
    for (const each of [path, same]) writeFileSync(lockPath(each), '', { mode: 0o600 })
    expect(statSync(lockPath(path)).ino).toBe(statSync(lockPath(same)).ino)
    const holder = await child({ do: 'lock', path: same, locking: 'flock' })
    expect(await holder.line()).toBe('listener')
    expect(lockHolder(path)).toBeUndefined()
  })
})

describe.skipIf(!isLinux)('obstacle', () => {
  test('names the lock file and the pid of who holds it, and nothing before and after', async () => {
    const path = freshPath()
    const transport = unix(path)
    expect(transport.obstacle?.()).toBeUndefined()
    const holder = await child({ do: 'lock', path, locking: 'flock' })
    expect(await holder.line()).toBe('listener')
    expect(await transport.listen(drop, never)).toBe('taken')
    expect(transport.obstacle?.()).toContain(lockPath(path))
    expect(transport.obstacle?.()).toContain(`process ${holder.pid}`)
    await holder.kill()
    await listening(transport)
    expect(transport.obstacle?.()).toBeUndefined()
  })

  test('is nothing when a listener, and not the lock, is in the way', async () => {
    const path = freshPath()
    await listening(unix(path))
    const transport = unix(path)
    const result = await transport.listen(drop, never)
    if (typeof result === 'object' && 'destroy' in result) result.destroy()
    expect(transport.obstacle?.()).toBeUndefined()
  })

  test('names another process where the pid cannot be known', async () => {
    const path = freshPath()
    const transport = unix(path, { lock: 'abstract' })
    const holder = await child({ do: 'lock', path, locking: 'abstract' })
    expect(await holder.line()).toBe('listener')
    expect(await transport.listen(drop, never)).toBe('taken')
    expect(transport.obstacle?.()).toContain(`${lockPath(path)} is held by another process`)
  })

  test('is nothing after a dial that succeeded', async () => {
    const path = freshPath()
    await listening(unix(path))
    const transport = unix(path)
    const lock = await locked(path, 'flock')
    expect(await transport.listen(drop, never)).toBe('taken')
    lock.release()
    ;(await dialled(transport)).destroy()
    expect(transport.obstacle?.()).toBeUndefined()
  })
})

test('touching the lock file makes it new for those who clean up', async () => {
  const path = freshPath()
  ;(await locked(path, WAYS[0] ?? 'exlock')).release()
  utimesSync(lockPath(path), 1, 1)
  touchLock(path)
  expect(Date.now() - statSync(lockPath(path)).mtimeMs).toBeLessThan(60_000)
})
