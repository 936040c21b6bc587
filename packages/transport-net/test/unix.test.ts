import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { networkFileSystem } from '../src/address.js'
import { local, unix } from '../src/index.js'
import { dialled, drop, freshDirectory, listenerOf, listening, never, pipeOf, Recorder, rejection } from './place.js'

const isRoot = process.getuid?.() === 0

describe('arguments that can never work are a TypeError', () => {
  test.each([[''], ['a\0b'], [7 as unknown as string]])('path %j', (path) => {
    expect(() => unix(path)).toThrow(TypeError)
  })
  test('an unknown option, with those that are known', () => {
    expect(() => unix('/x', { moed: 1 } as object)).toThrow(/unknown option 'moed'; known are mode, gid, owner, lock/)
    expect(() => local('x', { mode: 1 } as object)).toThrow(/unknown option 'mode'; known are lock/)
  })
  test.each([[null], [7], ['abstract']])('options %j', (options) => {
    expect(() => unix('/x', options as unknown as object)).toThrow(TypeError)
    expect(() => local('x', options as unknown as object)).toThrow(TypeError)
  })
  test.each([[-1], [1.5], ['0' as unknown as number]])('gid and owner %j', (id) => {
    expect(() => unix('/x', { gid: id })).toThrow(/gid must be/)
    expect(() => unix('/x', { owner: id })).toThrow(/owner must be/)
  })
  test.each(['flock', 'exlock', '', null, 'constructor'])('lock %j', (lock) => {
    expect(() => unix('/x', { lock } as object)).toThrow(/lock must be 'abstract'/)
    expect(() => local('x', { lock } as object)).toThrow(/lock must be 'abstract'/)
  })
  test.each([[-1], [0o1000], [1.5], ['600' as unknown as number]])('mode %j', (mode) => {
    expect(() => unix('/x', { mode })).toThrow(/mode must be/)
  })
  test.each([[''], ['.hidden'], ['a/b'], ['a'.repeat(65)], ['ü'], [7 as unknown as string]])('name %j', (name) => {
    expect(() => local(name)).toThrow(TypeError)
  })
})

describe('dialling', () => {
  test('nothing there is absent', async () => {
    expect(await unix(join(freshDirectory(), 's')).dial(never)).toBe('absent')
  })

  test('somebody who listens gives a pipe for bytes in both directions', async () => {
    const transport = unix(join(freshDirectory(), 's'))
    const far = new Recorder()
    await listening(transport, (pipe) => {
      pipe.start(far)
      pipe.write([Buffer.from('from the listener')])
    })
    const pipe = await dialled(transport)
    const near = new Recorder()
    pipe.start(near)
    pipe.write([Buffer.from('from '), Buffer.from('the dialer')])
    pipe.end()
    await Promise.all([far.told('ended'), near.told('bytes')])
    expect(near.text).toBe('from the listener')
    expect(far.text).toBe('from the dialer')
    pipe.destroy()
    await near.told('closed')
  })

  test('200 dials one after another all succeed and leave nothing', async () => {
    const transport = unix(join(freshDirectory(), 's'))
    await listening(transport)
    for (let round = 0; round < 200; round++) {
      const recorder = new Recorder()
      const pipe = await dialled(transport)
      pipe.start(recorder)
      pipe.destroy()
      await recorder.told('closed')
    }
  })

  test('an abort during the dial rejects and leaves no socket', async () => {
    const transport = unix(join(freshDirectory(), 's'))
    await listening(transport)
    const abort = new AbortController()
    const work = transport.dial(abort.signal)
    abort.abort(new Error('enough'))
    await expect(work).rejects.toThrow('enough')
  })
})

describe('what lies at the path is looked at first, and stays untouched', () => {
  const foreign: [string, (path: string, directory: string) => void][] = [
    [
      'a file',
      (path) => {
        writeFileSync(path, 'precious')
      },
    ],
    [
      'a directory',
      (path) => {
        mkdirSync(path)
      },
    ],
    [
      'a FIFO',
      (path) => {
        execFileSync('mkfifo', [path])
      },
    ],
    [
      'a symbolic link to a file',
      (path, directory) => {
        writeFileSync(join(directory, 'to'), 'precious')
        symlinkSync('to', path)
      },
    ],
    [
      'a symbolic link to nothing',
      (path) => {
        symlinkSync('nowhere', path)
      },
    ],
  ]
  if (isRoot)
    foreign.push([
      'a device',
      (path) => {
        execFileSync('mknod', [path, 'c', '1', '3'])
      },
    ])
  else console.log('SKIPPED a device at the path: only root can make one')

  test.each(foreign)('%s', async (_kind, make) => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    make(path, directory)
    const before = [namesIn(directory), statText(path)]
    const transport = unix(path)
    expect(await rejection(transport.dial(never))).toContain(path)
    expect(await rejection(transport.listen(drop, never))).toContain('It was left alone')
    expect([namesIn(directory), statText(path)]).toEqual(before)
  })

  test.skipIf(!isRoot)('a symbolic link to a live socket', async () => {
    const directory = freshDirectory()
    await listening(unix(join(directory, 'real')))
    symlinkSync('real', join(directory, 's'))
    expect(await rejection(unix(join(directory, 's')).dial(never))).toContain('a symbolic link')
  })

  test('a socket of another user', async (context) => {
    if (!isRoot) {
      console.log('SKIPPED a socket of another user: only root can make one')
      context.skip()
    }
    const path = join(freshDirectory(), 's')
    const server = createServer().listen(path)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    chownSync(path, 12345, 12345)
    expect(await rejection(unix(path).dial(never))).toContain('belongs to user 12345')
    expect(await rejection(unix(path).listen(drop, never))).toContain('belongs to user 12345')
    expect(statSync(path).isSocket()).toBe(true)
  })

  test('a path that the system would cut, counted in bytes and with the names derived from it', async () => {
    const directory = freshDirectory()
    const room = (process.platform === 'linux' ? 107 : 103) - Buffer.byteLength(directory) - 1 - '.123456~'.length
    const fits = unix(join(directory, 'x'.repeat(room)))
    await listening(fits)
    expect(await rejection(unix(join(directory, 'x'.repeat(room + 1))).dial(never))).toContain('is the most that fits')
    expect(await rejection(unix(join(directory, 'ü'.repeat(Math.ceil(room / 2) + 1))).listen(drop, never))).toContain(
      'bytes',
    )
  })

  test('a directory that is missing, or in which everybody may write', async () => {
    const directory = freshDirectory()
    expect(await rejection(unix(join(directory, 'no', 's')).dial(never))).toContain('does not exist')
    chmodSync(directory, 0o777)
    expect(await rejection(unix(join(directory, 's')).listen(drop, never))).toContain('everybody may write')
    chmodSync(directory, 0o1777)
    await listening(unix(join(directory, 's')))
  })
})

describe('listening', () => {
  test('leaves exactly the socket, with its mode, at the moment when it can be seen', async () => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await listening(unix(path, { mode: 0o660 }))
    expect(namesIn(directory)).toEqual(['s'])
    expect(statSync(path).mode & 0o777).toBe(0o660)
  })

  test('the mode is 0600 by default, whatever the umask', async () => {
    const path = join(freshDirectory(), 's')
    const before = process.umask(0)
    onTestFinished(() => void process.umask(before))
    await listening(unix(path))
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('of two at once one has the address, and the other is told so or given a pipe to it', async () => {
    const directory = freshDirectory()
    for (let round = 0; round < 50; round++) {
      const path = join(directory, `s${round}`)
      const results = await Promise.all([unix(path).listen(drop, never), unix(path).listen(drop, never)])
      const [listener, ...more] = results.filter((result) => typeof result === 'object' && 'close' in result)
      expect(more).toEqual([])
      for (const result of results) if (result !== 'taken' && result !== listener) pipeOf(result)
      expect(namesIn(directory)).toEqual([`s${round}`])
      await listenerOf(listener ?? 'cannot').close()
      expect(namesIn(directory)).toEqual([])
    }
  })

  test('an abort leaves no file', async () => {
    const directory = freshDirectory()
    const abort = new AbortController()
    const work = unix(join(directory, 's')).listen(drop, abort.signal)
    abort.abort(new Error('enough'))
    await expect(work).rejects.toThrow('enough')
    expect(namesIn(directory)).toEqual([])
  })

  test('close removes its own socket, again returns the same promise, and the next dial is absent', async () => {
    const directory = freshDirectory()
    const transport = unix(join(directory, 's'))
    const listener = await listening(transport)
    expect(listener.close()).toBe(listener.close())
    await listener.close()
    expect(namesIn(directory)).toEqual([])
    expect(await transport.dial(never)).toBe('absent')
  })

  test("close leaves a successor's socket alone", async () => {
    const path = join(freshDirectory(), 's')
    const first = await listening(unix(path))
    unlinkSync(path)
    await listening(unix(path))
    await first.close()
    expect(statSync(path).isSocket()).toBe(true)
    const recorder = new Recorder()
    const pipe = await dialled(unix(path))
    pipe.start(recorder)
    await recorder.told('ended')
    pipe.destroy()
    await recorder.told('closed')
  })

  test('close leaves a file alone that took the place', async () => {
    const path = join(freshDirectory(), 's')
    const listener = await listening(unix(path))
    unlinkSync(path)
    writeFileSync(path, 'precious')
    await listener.close()
    expect(readFileSync(path, 'utf8')).toBe('precious')
  })
})

describe('options', () => {
  test('mode says how far the address reaches', () => {
    expect(unix('/x').reach).toBe('user')
    expect(unix('/x', { mode: 0o700 }).reach).toBe('user')
    for (const mode of [0o660, 0o606, 0o601]) expect(unix('/x', { mode }).reach).toBe('host')
  })

  test('gid is the group of the socket', async (context) => {
    if (!isRoot) {
      console.log('SKIPPED gid: only root can give a file to any group')
      context.skip()
    }
    const path = join(freshDirectory(), 's')
    await listening(unix(path, { mode: 0o660, gid: 12345 }))
    const { gid, uid, mode } = statSync(path)
    expect({ gid, uid, mode: mode & 0o777 }).toEqual({ gid: 12345, uid: process.getuid?.(), mode: 0o660 })
  })

  test('with another user as the owner one cannot listen, and makes nothing', async () => {
    const directory = freshDirectory()
    expect(await unix(join(directory, 's'), { owner: 12345 }).listen(drop, never)).toBe('cannot')
    expect(readdirSync(directory)).toEqual([])
    await listening(unix(join(directory, 's'), { owner: process.getuid?.() ?? 0 }))
  })

  test('the socket of the owner can be dialled, and that of a third user cannot', async (context) => {
    if (!isRoot) {
      console.log('SKIPPED the socket of the owner: only root can make one')
      context.skip()
    }
    const path = join(freshDirectory(), 's')
    await listening(unix(path))
    chownSync(path, 12345, 12345)
    pipeOf(await unix(path, { owner: 12345 }).dial(never))
    expect(await rejection(unix(path, { owner: 12346 }).dial(never))).toContain('belongs to user 12345')
  })

  test.skipIf(process.platform !== 'linux')("lock: 'abstract' works all the way and names itself", async () => {
    const directory = freshDirectory()
    const transport = unix(join(directory, 's'), { lock: 'abstract' })
    const listener = await listening(transport)
    pipeOf(await transport.dial(never))
    expect(readFileSync(join(directory, 's.lock'), 'utf8')).toBe('abstract\n')
    await listener.close()
    expect(namesIn(directory)).toEqual([])
  })
})

describe('a directory that vanishes', () => {
  test('before anybody was met is a mistake, and afterwards it is nobody there', async () => {
    const directory = join(freshDirectory(), 'in')
    mkdirSync(directory)
    const path = join(directory, 's')
    const [listener, dialler, stranger] = [unix(path), unix(path), unix(path)]
    await listening(listener)
    pipeOf(await dialler.dial(never))
    rmSync(directory, { recursive: true })
    for (const transport of [listener, dialler]) {
      expect(await transport.dial(never)).toBe('absent')
      expect(await transport.listen(drop, never)).toBe('cannot')
    }
    expect(await rejection(stranger.dial(never))).toContain('does not exist')
    expect(await rejection(stranger.listen(drop, never))).toContain('does not exist')
    mkdirSync(directory)
    await listening(listener)
  })

  test('a listener notices, and close does not fail', async () => {
    const directory = join(freshDirectory(), 'in')
    mkdirSync(directory)
    const listener = await listening(unix(join(directory, 's')))
    expect(listener.holds?.()).toBe(true)
    rmSync(directory, { recursive: true })
    expect(listener.holds?.()).toBe(false)
    await listener.close()
  })
})

describe('network file systems', () => {
  test.each([
    [0x6969, 'NFS'],
    [0xff534d42, 'CIFS'],
    [0xff534d42 | 0, 'CIFS'],
    [0xfe534d42, 'SMB2'],
    [0xfe534d42 | 0, 'SMB2'],
    [0x517b, 'SMB'],
    [0x01021997, '9p'],
    [0x00c36400, 'Ceph'],
    [0x5346414f, 'AFS'],
  ])('%d is %s', (type, name) => {
    expect(networkFileSystem(type)).toBe(name)
  })

  test.each([
    [0xef53, 'ext4'],
    [0x01021994, 'tmpfs'],
    [0x794c7630, 'overlayfs'],
    [0x58465342, 'XFS'],
    [0x9123683e, 'Btrfs'],
    [0x9123683e | 0, 'Btrfs'],
    [0x2fc12fc1, 'ZFS'],
    [0, 'nothing'],
    [-1, 'nothing'],
  ])('%d, which is %s, is none', (type) => {
    expect(networkFileSystem(type)).toBeUndefined()
  })
})

describe('local', () => {
  test('lies in a private directory that depends on user and name alone', async () => {
    const name = `test-${process.pid}`
    const transport = local(name)
    expect(transport.address).toBe(`local:${name}`)
    expect(transport.reach).toBe('user')
    await listening(transport)
    const directory = `/tmp/pairlink-${process.getuid?.()}`
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    expect(statSync(join(directory, `${name}.sock`)).mode & 0o777).toBe(0o600)
  })
})

/** What lies there beside the lock files, which stay. */
function namesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => !name.endsWith('.lock'))
}

function statText(path: string): string {
  try {
    const { size, mode, ino, mtimeMs } = statSync(path)
    const content = statSync(path).isFile() ? readFileSync(path, 'utf8') : ''
    return JSON.stringify({ size, mode, ino, mtimeMs, content })
  } catch {
    return 'nothing'
  }
}
