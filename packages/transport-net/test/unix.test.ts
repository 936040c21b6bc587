import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { isPairlinkError, type Pipe } from '@pairlink/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { local, unix } from '../src/index.js'
import { dialled, drop, freshDirectory, listening, never, Recorder } from './place.js'

const isRoot = process.getuid?.() === 0

async function invalid(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!isPairlinkError(error, 'ADDRESS_INVALID')) throw new Error(`expected ADDRESS_INVALID, got ${String(error)}`)
  return error.message
}

describe('arguments that can never work are a TypeError', () => {
  test.each([[''], ['a\0b'], [7 as unknown as string]])('path %j', (path) => {
    expect(() => unix(path)).toThrow(TypeError)
  })
  test('an unknown option, with the one that was meant', () => {
    expect(() => unix('/x', { moed: 1 } as object)).toThrow(/unknown option 'moed'; did you mean 'mode'/)
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
    const before = [readdirSync(directory), statText(path)]
    const transport = unix(path)
    expect(await invalid(transport.dial(never))).toContain(path)
    expect(await invalid(transport.listen(drop, never))).toContain('It was left alone')
    expect([readdirSync(directory), statText(path)]).toEqual(before)
  })

  test.skipIf(!isRoot)('a symbolic link to a live socket', async () => {
    const directory = freshDirectory()
    await listening(unix(join(directory, 'real')))
    symlinkSync('real', join(directory, 's'))
    expect(await invalid(unix(join(directory, 's')).dial(never))).toContain('a symbolic link')
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
    expect(await invalid(unix(path).dial(never))).toContain('belongs to user 12345')
    expect(await invalid(unix(path).listen(drop, never))).toContain('belongs to user 12345')
    expect(statSync(path).isSocket()).toBe(true)
  })

  test('a path that the system would cut, counted in bytes and with the names derived from it', async () => {
    const directory = freshDirectory()
    const room = (process.platform === 'linux' ? 107 : 103) - Buffer.byteLength(directory) - 1 - '.123456'.length
    const fits = unix(join(directory, 'x'.repeat(room)))
    await listening(fits)
    expect(await invalid(unix(join(directory, 'x'.repeat(room + 1))).dial(never))).toContain('is the most that fits')
    expect(await invalid(unix(join(directory, 'ü'.repeat(Math.ceil(room / 2) + 1))).listen(drop, never))).toContain(
      'bytes',
    )
  })

  test('a directory that is missing, or in which everybody may write', async () => {
    const directory = freshDirectory()
    expect(await invalid(unix(join(directory, 'no', 's')).dial(never))).toContain('does not exist')
    chmodSync(directory, 0o777)
    expect(await invalid(unix(join(directory, 's')).listen(drop, never))).toContain('everybody may write')
    chmodSync(directory, 0o1777)
    await listening(unix(join(directory, 's')))
  })
})

describe('listening', () => {
  test('leaves exactly the socket, with its mode, at the moment when it can be seen', async () => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await listening(unix(path, { mode: 0o660 }))
    expect(readdirSync(directory)).toEqual(['s'])
    expect(statSync(path).mode & 0o777).toBe(0o660)
  })

  test('the mode is 0600 by default, whatever the umask', async () => {
    const path = join(freshDirectory(), 's')
    const before = process.umask(0)
    onTestFinished(() => void process.umask(before))
    await listening(unix(path))
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('of two at once one has the address, and the other is told that it is taken', async () => {
    const directory = freshDirectory()
    for (let round = 0; round < 50; round++) {
      const path = join(directory, `s${round}`)
      const results = await Promise.all([unix(path).listen(drop, never), unix(path).listen(drop, never)])
      expect(results.filter((result) => result === 'taken')).toHaveLength(1)
      expect(readdirSync(directory)).toEqual([`s${round}`])
      for (const result of results) if (result !== 'taken') await result.close()
      expect(readdirSync(directory)).toEqual([])
    }
  })

  test('an abort leaves no file', async () => {
    const directory = freshDirectory()
    const abort = new AbortController()
    const work = unix(join(directory, 's')).listen(drop, abort.signal)
    abort.abort(new Error('enough'))
    await expect(work).rejects.toThrow('enough')
    expect(readdirSync(directory)).toEqual([])
  })

  test('close removes its own socket, again returns the same promise, and the next dial is absent', async () => {
    const directory = freshDirectory()
    const transport = unix(join(directory, 's'))
    const listener = await listening(transport)
    expect(listener.close()).toBe(listener.close())
    await listener.close()
    expect(readdirSync(directory)).toEqual([])
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

  test('accepted pipes live on after close', async () => {
    const transport = unix(join(freshDirectory(), 's'))
    let accepted: Pipe | undefined
    const far = new Recorder()
    const listener = await listening(transport, (pipe) => {
      accepted = pipe
      pipe.start(far)
    })
    const near = new Recorder()
    const pipe = await dialled(transport)
    pipe.start(near)
    pipe.write([Buffer.from('a')])
    await far.told('bytes')
    await listener.close()
    accepted?.write([Buffer.from('still here')])
    await near.told('bytes')
    expect(near.text).toBe('still here')
    pipe.destroy()
    await far.told('ended')
    accepted?.destroy()
    await far.told('closed')
  })
})

describe('the socket file of a killed process', () => {
  async function leaveStale(path: string): Promise<void> {
    const program = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'close')
  }

  test('is an error that says how to remove it, and stays', async () => {
    const path = join(freshDirectory(), "it's stale")
    await leaveStale(path)
    const transport = unix(path)
    expect(await transport.dial(never)).toBe('absent')
    const error: unknown = await transport.listen(drop, never).catch((reason: unknown) => reason)
    expect(isPairlinkError(error, 'ADDRESS_IN_USE')).toBe(true)
    const [, command] = / Remove it with: (.*)$/.exec((error as Error).message) ?? []
    expect(statSync(path).isSocket()).toBe(true)
    execFileSync('sh', ['-c', command ?? 'false'])
    await listening(transport)
  })

  test('without a dial before it is only known to be taken', async () => {
    const path = join(freshDirectory(), 's')
    await leaveStale(path)
    expect(await unix(path).listen(drop, never)).toBe('taken')
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

function statText(path: string): string {
  try {
    const { size, mode, ino, mtimeMs } = statSync(path)
    const content = statSync(path).isFile() ? readFileSync(path, 'utf8') : ''
    return JSON.stringify({ size, mode, ino, mtimeMs, content })
  } catch {
    return 'nothing'
  }
}
