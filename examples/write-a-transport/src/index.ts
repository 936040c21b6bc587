/**
 * A transport for pairlink: two processes meet in a folder. Who listens owns the link `holder`. Who dials makes a file for what
 * it will say, `<holder>+<dialer>.dial`, and is answered by one that ends in `.accept`. Once each has both open, the names are
 * removed: what is left goes with the processes.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import { PairlinkError, type Listener, type Pipe, type Transport } from '@pairlink/core'
import { checkFolder } from './folder.js'
import { follow } from './follow.js'
import { giveBack, hasCode, isAlive, newOwner, ownerOf, take } from './owner.js'
import { filePipe, leave } from './pipe.js'

const LOOK_MS = 5
/** A listener that lives and has not answered by then is stopped. */
const ACCEPT_MS = 3000
const PASSING = ['ENOENT', 'EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOMEM', 'ENOSPC', 'EDQUOT']

/** @throws TypeError for a folder that can never work */
export function files(folder: string): Transport {
  if (typeof folder !== 'string' || !/^[^\0]+$/.test(folder)) throw new TypeError('files(folder): the path of a folder')
  const path = resolve(folder)
  return {
    address: `files:${path}`,
    reach: 'user', // the folder is checked before each use
    encrypted: false,
    dial: (signal) => dial(path, signal).catch((error: unknown) => passing('again', path, error)),
    listen: (accept, signal) => listen(path, accept, signal).catch((error: unknown) => passing('taken', path, error)),
  }
}

/** What can pass is a word; anything else that the system says is told with the address. */
function passing<Word>(word: Word, path: string, error: unknown): Word {
  if (hasCode(error, ...PASSING)) return word
  if (!(error instanceof Error) || !('syscall' in error)) throw error
  throw new PairlinkError('ADDRESS_INVALID', `files:${path}: ${error.message}. Choose another folder`, { cause: error })
}

async function dial(path: string, signal: AbortSignal): Promise<Pipe | 'absent' | 'again' | 'full'> {
  signal.throwIfAborted()
  const holder = ownerOf(join(path, 'holder'))
  if (holder === undefined || !isAlive(holder)) return 'absent'
  checkFolder(path)
  const name = join(path, `${holder}+${newOwner()}`)
  const output = openSync(`${name}.dial`, 'ax', 0o600)
  let pipe: Pipe | undefined
  try {
    for (const until = performance.now() + ACCEPT_MS; performance.now() < until; ) {
      await pause(LOOK_MS, undefined, { signal })
      if (existsSync(`${name}.accept`))
        return (pipe = filePipe(openSync(`${name}.accept`, 'r'), output, holder, holder))
      if (ownerOf(join(path, 'holder')) !== holder || !isAlive(holder)) return 'again'
    }
    return 'full'
  } finally {
    if (pipe === undefined) leave(output)
    for (const kind of ['.dial', '.accept']) rmSync(name + kind, { force: true })
  }
}

async function listen(path: string, accept: (pipe: Pipe) => void, signal: AbortSignal): Promise<Listener | 'taken'> {
  signal.throwIfAborted()
  mkdirSync(path, { recursive: true, mode: 0o700 })
  checkFolder(path)
  const [me, link] = [newOwner(), join(path, 'holder')]
  if (!take(link, me)) return 'taken'
  await turn()
  if (signal.aborted) giveBack(link, me)
  signal.throwIfAborted()

  const follower = follow(path, () => lookAround(path, me, accept))
  const closing = (): Promise<void> => {
    giveBack(link, me)
    return follower.close()
  }
  let closed: Promise<void> | undefined
  return {
    holds: () => ownerOf(link) === me,
    close: () => (closed ??= closing()),
    ref: () => closed ?? follower.keep(true),
    unref: () => closed ?? follower.keep(false),
  }
}

/** Answers those who dial, and removes what nobody needs any more. */
function lookAround(path: string, me: string, accept: (pipe: Pipe) => void): void {
  try {
    for (const file of readdirSync(path)) {
      const [, holder, dialer = '', kind] = /^(.+)\+(.+)\.(dial|accept)$/.exec(file) ?? []
      const name = join(path, `${holder}+${dialer}`)
      if (kind === 'dial' && !isAlive(dialer)) rmSync(`${name}.dial`, { force: true })
      else if (kind === 'dial' && holder === me && !existsSync(`${name}.accept`)) accept(answer(name, dialer))
      // An answer whose dial has gone is open by now, or never will be.
      else if (kind === 'accept' && !existsSync(`${name}.dial`)) rmSync(`${name}.accept`, { force: true })
    }
  } catch {
    // Out of descriptors, or a dial was withdrawn: it is looked again. If the folder is gone, `holds` says so.
  }
}

function answer(name: string, dialer: string): Pipe {
  const input = openSync(`${name}.dial`, 'r')
  try {
    return filePipe(input, openSync(`${name}.accept`, 'ax', 0o600), dialer)
  } catch (error) {
    closeSync(input)
    throw error
  }
}
