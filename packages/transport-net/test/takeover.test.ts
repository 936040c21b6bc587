/** Stale addresses, who takes them, and what an interrupted attempt leaves. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import type { Pipe } from '@pairlink/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { lockPath, SYSTEM_LOCKING, tryLock } from '../src/lock.js'
import { unix } from '../src/index.js'
import { child, leaveStale } from './children.js'
import { dialled, drop, freshDirectory, listenerOf, listening, never, pipeOf, Recorder, rejection } from './place.js'

/** Which file is there, as a text to compare. */
function fileAt(path: string): string {
  const found = lstatSync(path, { bigint: true })
  return `${found.mode}:${found.dev}:${found.ino}:${found.birthtimeNs}`
}

async function isLockFree(path: string): Promise<boolean> {
  const lock = await tryLock(path, SYSTEM_LOCKING)
  if (typeof lock === 'string') return false
  lock.release()
  return true
}

/** Somebody who listens without this package, so that nothing but the socket counts. */
async function rawListener(path: string): Promise<void> {
  const server = createServer((socket) => void socket.on('error', () => undefined).resume()).listen(path)
  await once(server, 'listening')
  onTestFinished(() => void server.close())
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path }, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => {
      resolve(false)
    })
  })
}

/**
 * A signal that does something when it is looked at for the n-th time. A transport looks after each wait, so this is what
 * happened during the wait before.
 */
function signalAtLook(look: number, action: (abort: AbortController) => void): AbortSignal {
  const abort = new AbortController()
  const { signal } = abort
  let looks = 0
  Object.defineProperty(signal, 'aborted', {
    get() {
      if (++looks === look) action(abort)
      return Reflect.get(AbortSignal.prototype, 'aborted', signal) as boolean
    },
  })
  signal.throwIfAborted = () => {
    if (signal.aborted) throw signal.reason
  }
  return signal
}

/** The looks of one `listen`, by the wait that lies before them. One more comes after the last look at a silent holder. */
const AFTER_LOCKING = 2
const AFTER_SWEEPING = 3
const AFTER_BINDING = 4

describe('a stale socket', () => {
  test('is absent to dials, and is taken over by listen', async () => {
    const directory = freshDirectory()
    const path = join(directory, "it's stale")
    await leaveStale(path)
    const before = fileAt(path)
    const transport = unix(path)
    expect(await transport.dial(never)).toBe('absent')
    expect(fileAt(path)).toBe(before)
    const listener = await listening(transport)
    expect(listener.holds?.()).toBe(true)
    pipeOf(await unix(path).dial(never))
    expect(readdirSync(directory).sort()).toEqual(["it's stale", "it's stale.lock"])
  })

  test('needs no dial before, and gets the mode of the new listener', async () => {
    const path = join(freshDirectory(), 's')
    await leaveStale(path)
    await listening(unix(path, { mode: 0o620 }))
    expect(statSync(path).mode & 0o777).toBe(0o620)
  })

  test('gets the group of the new listener', async (context) => {
    if (process.getuid?.() !== 0) {
      console.log('SKIPPED the group after a takeover: only root can give a file to any group')
      context.skip()
    }
    const path = join(freshDirectory(), 's')
    await leaveStale(path)
    await listening(unix(path, { gid: 12345 }))
    const { gid, mode } = statSync(path)
    expect({ gid, mode: mode & 0o777 }).toEqual({ gid: 12345, mode: 0o600 })
  })

  test('has exactly one listener when two transports of one process want it at once, and it stays', async () => {
    const path = join(freshDirectory(), 's')
    await leaveStale(path)
    const stale = `${path}.old`
    renameSync(path, stale)
    for (let round = 0; round < 20; round++) {
      execFileSync('ln', ['-f', stale, path])
      const results = await Promise.all([unix(path).listen(drop, never), unix(path).listen(drop, never)])
      const listeners = results.filter((result) => typeof result === 'object' && 'close' in result)
      expect(listeners).toHaveLength(1)
      for (const result of results) if (result !== 'taken' && result !== listeners[0]) pipeOf(result)
      const listener = listenerOf(listeners[0] ?? 'cannot')
      expect(listener.holds?.()).toBe(true)
      expect(await answers(path)).toBe(true)
      await listener.close()
    }
  })

  test('has exactly one listener when five processes want it at once', async () => {
    const path = join(freshDirectory(), 's')
    await leaveStale(path)
    const children = await Promise.all(Array.from({ length: 5 }, () => child({ do: 'listen', path })))
    const results = await Promise.all(children.map((one) => one.line()))
    expect(results.filter((result) => result === 'listener')).toHaveLength(1)
    expect(results.filter((result) => result !== 'listener' && result !== 'taken' && result !== 'pipe')).toEqual([])
    expect(await answers(path)).toBe(true)
  })

  test('of a killed listener of this package is taken over, with what it left', async () => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    const killed = await child({ do: 'listen', path })
    expect(await killed.line()).toBe('listener')
    await killed.kill()
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock'])
    await listening(unix(path))
    expect(await answers(path)).toBe(true)
  })
})

describe('what is not a stale socket is ADDRESS_INVALID for listen, and untouched', () => {
  const kinds: [string, (path: string) => void | Promise<void>][] = [
    ['a file', (path) => writeFileSync(path, 'precious')],
    ['a directory', (path) => mkdirSync(path)],
    ['a FIFO', (path) => void execFileSync('mkfifo', [path])],
    [
      'a symbolic link to a stale socket',
      async (path) => {
        await leaveStale(`${path}.real`)
        symlinkSync('s.real', path)
      },
    ],
    [
      'a symbolic link to a live socket',
      async (path) => {
        await rawListener(`${path}.real`)
        symlinkSync('s.real', path)
      },
    ],
  ]

  test.each(kinds)('%s', async (_kind, make) => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await make(path)
    const before = [readdirSync(directory).map((name) => `${name} ${fileAt(join(directory, name))}`)]
    const message = await rejection(unix(path).listen(drop, never))
    expect(message).toContain(path)
    expect(message).toContain('It was left alone')
    const after = readdirSync(directory).filter((name) => name !== 's.lock')
    expect([after.map((name) => `${name} ${fileAt(join(directory, name))}`)]).toEqual(before)
    if (_kind === 'a file') expect(readFileSync(path, 'utf8')).toBe('precious')
    expect(await isLockFree(path)).toBe(true)
  })
})

describe('temporary names', () => {
  test('that killed processes left are swept; live ones, files, and other names are not', async () => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    const swept = ['s.000000~', 's.abcdef~', 's.12ab9f~']
    const others = [
      's.abcde~',
      's.abcdef0~',
      's.ABCDEF~',
      's.ghijkl~',
      't.abcdef~',
      's.abcdef.x',
      'sxabcdef~',
      's.abcdef',
    ]
    const stale = join(directory, 'stale')
    await leaveStale(stale)
    for (const name of [...swept, ...others]) execFileSync('ln', [stale, join(directory, name)])
    await rawListener(join(directory, 's.111111~'))
    writeFileSync(join(directory, 's.222222~'), 'precious')
    mkdirSync(join(directory, 's.333333~'))
    execFileSync('mkfifo', [join(directory, 's.444444~')])
    symlinkSync('stale', join(directory, 's.555555~'))
    await listening(unix(path))
    const kept = ['s.111111~', 's.222222~', 's.333333~', 's.444444~', 's.555555~', ...others]
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock', 'stale', ...kept].sort())
    expect(readFileSync(join(directory, 's.222222~'), 'utf8')).toBe('precious')
    expect(await answers(join(directory, 's.111111~'))).toBe(true)
  })
})

describe('somebody else at the path', () => {
  test('who listens already: listen gives the pipe to it, with its holder', async () => {
    const path = join(freshDirectory(), 's')
    const far = new Recorder()
    await listening(unix(path), (pipe) => {
      pipe.start(far)
    })
    const before = fileAt(path)
    const pipe = pipeOf(await unix(path).listen(drop, never))
    expect(pipe.holder).toBe(pipeOf(await unix(path).dial(never)).holder)
    pipe.start(new Recorder())
    pipe.write([Buffer.from('found you')])
    await far.told('bytes')
    expect(far.text).toBe('found you')
    expect(fileAt(path)).toBe(before)
    expect(await isLockFree(path)).toBe(true)
  })

  test.each([
    ['the dial and the binding', AFTER_SWEEPING],
    ['the last look and the removal', AFTER_BINDING],
  ])('who came between %s is left alone, and the address is taken', async (_when, look) => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await leaveStale(path)
    await rawListener(join(directory, 'successor'))
    const successor = fileAt(join(directory, 'successor'))
    const replace = (): void => {
      renameSync(join(directory, 'successor'), path)
    }
    expect(await unix(path).listen(drop, signalAtLook(look, replace))).toBe('taken')
    expect(fileAt(path)).toBe(successor)
    expect(await answers(path)).toBe(true)
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock'])
  })

  test.each([
    ['before the last look', AFTER_SWEEPING],
    ['after the last look', AFTER_BINDING],
  ])('who came to a path that was free, %s, is left alone', async (_when, look) => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await rawListener(join(directory, 'successor'))
    const come = (): void => {
      renameSync(join(directory, 'successor'), path)
    }
    expect(await unix(path).listen(drop, signalAtLook(look, come))).toBe('taken')
    expect(await answers(path)).toBe(true)
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock'])
  })

  test.each([
    ['before the last look, which is an error,', AFTER_SWEEPING],
    ['after the last look', AFTER_BINDING],
  ])('who put a file there %s keeps it', async (_when, look) => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await leaveStale(path)
    const replace = (): void => {
      unlinkSync(path)
      writeFileSync(path, 'precious')
    }
    const work = unix(path).listen(drop, signalAtLook(look, replace))
    if (look === AFTER_SWEEPING) expect(await rejection(work)).toContain('there is a file')
    else expect(await work).toBe('taken')
    expect(readFileSync(path, 'utf8')).toBe('precious')
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock'])
    expect(await isLockFree(path)).toBe(true)
  })

  test('who replaced the lock file may hold another lock, so the stale file is left', async () => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await leaveStale(path)
    const before = fileAt(path)
    const replace = (): void => {
      unlinkSync(lockPath(path))
      writeFileSync(lockPath(path), '')
    }
    expect(await unix(path).listen(drop, signalAtLook(AFTER_BINDING, replace))).toBe('taken')
    expect(fileAt(path)).toBe(before)
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock'])
  })
})

describe('a silent holder', () => {
  interface Silent {
    readonly path: string
    readonly holder: string
  }

  async function silentHolder(): Promise<Silent> {
    const path = join(freshDirectory(), 's')
    await rawListener(path)
    const { holder } = await looked(path)
    if (holder === undefined) throw new Error('the pipe names no holder')
    return { path, holder }
  }

  async function looked(path: string): Promise<Pipe> {
    return pipeOf(await unix(path).dial(never))
  }

  test('that is silent at the last look, through a pipe to it, loses the address', async () => {
    const { path, holder } = await silentHolder()
    const asked: Pipe[] = []
    const isSilent = (pipe: Pipe): Promise<boolean> => {
      asked.push(pipe)
      pipe.destroy()
      return Promise.resolve(true)
    }
    const far = new Recorder()
    const result = await unix(path).listen((pipe) => pipe.start(far), never, { holder, isSilent })
    expect(listenerOf(result).holds?.()).toBe(true)
    expect(asked.map((pipe) => pipe.holder)).toEqual([holder])
    const pipe = await looked(path)
    expect(pipe.holder).not.toBe(holder)
    pipe.start(new Recorder())
    pipe.write([Buffer.from('to the new one')])
    await far.told('bytes')
  })

  test('that answers at the last look keeps the address', async () => {
    const { path, holder } = await silentHolder()
    const before = fileAt(path)
    const isSilent = (pipe: Pipe): Promise<boolean> => {
      pipe.destroy()
      return Promise.resolve(false)
    }
    expect(await unix(path).listen(drop, never, { holder, isSilent })).toBe('taken')
    expect(fileAt(path)).toBe(before)
    expect(await isLockFree(path)).toBe(true)
  })

  test('other than the one that was silent is not asked, and its pipe is given', async () => {
    const { path, holder } = await silentHolder()
    const isSilent = (): Promise<boolean> => Promise.reject(new Error('asked'))
    const result = await unix(path).listen(drop, never, { holder: `${holder}0`, isSilent })
    expect(pipeOf(result).holder).toBe(holder)
  })

  test('that has died meanwhile is not asked either', async () => {
    const path = join(freshDirectory(), 's')
    const holding = await child({ do: 'listen', path })
    expect(await holding.line()).toBe('listener')
    const { holder = '' } = await looked(path)
    await holding.kill()
    const isSilent = (): Promise<boolean> => Promise.reject(new Error('asked'))
    listenerOf(await unix(path).listen(drop, never, { holder, isSilent }))
  })

  test('whose file was replaced during the last look: the successor keeps it', async () => {
    const { path, holder } = await silentHolder()
    await rawListener(`${path}.successor`)
    const successor = fileAt(`${path}.successor`)
    const isSilent = (pipe: Pipe): Promise<boolean> => {
      pipe.destroy()
      renameSync(`${path}.successor`, path)
      return Promise.resolve(true)
    }
    expect(await unix(path).listen(drop, never, { holder, isSilent })).toBe('taken')
    expect(fileAt(path)).toBe(successor)
  })

  test('that takes no more dials, as it is stopped, is full; it is taken over only as the silent one', async () => {
    const path = join(freshDirectory(), 's')
    const stopped = await child({ do: 'raw', path, backlog: 1 })
    expect(await stopped.line()).toBe('listener')
    const { holder = '' } = await looked(path)
    stopped.process.kill('SIGSTOP')
    const fill = async (): Promise<'absent' | 'again' | 'full'> => {
      for (;;) {
        const result = await unix(path).dial(never)
        if (typeof result === 'string') return result
        pipeOf(result)
      }
    }
    expect(await fill()).toBe('full')
    const isSilent = (): Promise<boolean> => Promise.reject(new Error('asked, without a pipe'))
    expect(await unix(path).listen(drop, never)).toBe('taken')
    expect(await unix(path).listen(drop, never, { holder: 'another', isSilent })).toBe('taken')
    const listener = listenerOf(await unix(path).listen(drop, never, { holder, isSilent }))
    stopped.process.kill('SIGCONT')
    await stopped.kill()
    expect(listener.holds?.()).toBe(true)
    expect(await answers(path)).toBe(true)
  })
})

describe('a listener', () => {
  test('holds its address until the file is removed', async () => {
    const path = join(freshDirectory(), 's')
    const listener = await listening(unix(path))
    expect(listener.holds?.()).toBe(true)
    unlinkSync(path)
    expect(listener.holds?.()).toBe(false)
  })

  test.each([
    ['another socket', (path: string) => rawListener(path)],
    ['a file', (path: string) => writeFileSync(path, 'precious')],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a link to its own socket', (path: string) => symlinkSync('moved', path)],
  ])('holds it no more when there is %s, which survives close', async (_what, put) => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    const listener = await listening(unix(path))
    renameSync(path, join(directory, 'moved'))
    await put(path)
    const after = fileAt(path)
    expect(listener.holds?.()).toBe(false)
    await listener.close()
    expect(fileAt(path)).toBe(after)
  })

  test('holds it again when its own file came back', async () => {
    const path = join(freshDirectory(), 's')
    const listener = await listening(unix(path))
    renameSync(path, `${path}.moved`)
    expect(listener.holds?.()).toBe(false)
    renameSync(`${path}.moved`, path)
    expect(listener.holds?.()).toBe(true)
  })

  test('that closes leaves the file of a successor, which goes on', async () => {
    const path = join(freshDirectory(), 's')
    const first = await listening(unix(path))
    const { holder = '' } = await dialled(unix(path))
    const isSilent = (pipe: Pipe): Promise<boolean> => {
      pipe.destroy()
      return Promise.resolve(true)
    }
    const second = listenerOf(await unix(path).listen(drop, never, { holder, isSilent }))
    expect([first.holds?.(), second.holds?.()]).toEqual([false, true])
    await first.close()
    expect(second.holds?.()).toBe(true)
    expect(await answers(path)).toBe(true)
  })

  test('that closes while another has the lock waits for about half a second, then leaves a stale file', async () => {
    const path = join(freshDirectory(), 's')
    const transport = unix(path)
    const listener = await listening(transport)
    const before = fileAt(path)
    const holder = await child({ do: 'lock', path, locking: SYSTEM_LOCKING })
    expect(await holder.line()).toBe('listener')
    const begun = performance.now()
    const closing = listener.close()
    expect(listener.close()).toBe(closing)
    await closing
    const took = performance.now() - begun
    expect(took).toBeGreaterThan(400)
    expect(took).toBeLessThan(2000)
    expect(fileAt(path)).toBe(before)
    expect(await transport.dial(never)).toBe('absent')
    await holder.kill()
    await listening(unix(path))
  })

  test('that closes removes its file as soon as the other releases the lock', async () => {
    const path = join(freshDirectory(), 's')
    const listener = await listening(unix(path))
    const lock = await tryLock(path, SYSTEM_LOCKING)
    if (typeof lock === 'string') throw new Error('the lock is held')
    const closing = listener.close()
    lock.release()
    await closing
    expect(existsSync(path)).toBe(false)
    expect(await isLockFree(path)).toBe(true)
  })
})

describe('an abort', () => {
  const abort = (controller: AbortController): void => {
    controller.abort(new Error('enough'))
  }
  const waits: [string, number][] = [
    ['before the call', 1],
    ['while it locks', AFTER_LOCKING],
    ['while it sweeps', AFTER_SWEEPING],
    ['while it binds', AFTER_BINDING],
  ]
  const silentWaits: [string, number][] = [
    ...waits.slice(0, 2),
    ['while it looks', 3],
    ['while it sweeps', AFTER_SWEEPING + 1],
    ['while it binds', AFTER_BINDING + 1],
  ]

  describe.each([
    ['nothing', waits],
    ['a stale socket', waits],
    ['a silent holder', silentWaits],
  ])('with %s at the path', (what, looks) => {
    test.each(looks)('%s leaves no socket, no temporary name and no lock', async (_when, look) => {
      const directory = freshDirectory()
      const path = join(directory, 's')
      if (what === 'a stale socket') await leaveStale(path)
      if (what === 'a silent holder') await rawListener(path)
      const before = readdirSync(directory)
      const file = existsSync(path) ? fileAt(path) : undefined
      let holder = ''
      if (what === 'a silent holder') ({ holder = '' } = await dialled(unix(path)))
      const isSilent = (pipe: Pipe): Promise<boolean> => {
        pipe.destroy()
        return Promise.resolve(true)
      }
      const signal = signalAtLook(look, abort)
      await expect(unix(path).listen(drop, signal, { holder, isSilent })).rejects.toThrow('enough')
      expect(readdirSync(directory).filter((name) => name !== 's.lock')).toEqual(before)
      if (file !== undefined) expect(fileAt(path)).toBe(file)
      expect(await answers(path)).toBe(what === 'a silent holder')
      expect(await isLockFree(path)).toBe(true)
    })
  })

  test('during the dial that looks for somebody who listens', async () => {
    const directory = freshDirectory()
    const path = join(directory, 's')
    await rawListener(path)
    const controller = new AbortController()
    const { signal } = controller
    const { addEventListener } = signal
    signal.addEventListener = (...parameters: Parameters<typeof addEventListener>) => {
      addEventListener.apply(signal, parameters)
      queueMicrotask(() => {
        abort(controller)
      })
    }
    await expect(unix(path).listen(drop, signal)).rejects.toThrow('enough')
    expect(readdirSync(directory).sort()).toEqual(['s', 's.lock'])
    expect(await isLockFree(path)).toBe(true)
  })
})
