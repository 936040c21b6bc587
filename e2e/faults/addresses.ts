/** What lies at an address and is not pairlink's: files, directories, ports. It is left alone, byte for byte. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { unusedPort } from '../ports.js'
import type { Outcome, Strike } from './strikes.js'
import { codeOf, toldOf, type FaultPeer, type World } from './world.js'

/** Puts something at the path. Names all that it has put anywhere. */
type Put = (path: string) => readonly string[] | Promise<readonly string[]>

const isRoot = process.getuid?.() === 0
const NOBODY = 65_534

function file(path: string): string[] {
  writeFileSync(path, 'somebody needs this\n')
  return [path]
}

function directory(path: string): string[] {
  mkdirSync(path)
  writeFileSync(join(path, 'inside'), 'somebody needs this\n')
  return [path, join(path, 'inside')]
}

function device(path: string): string[] {
  execFileSync('mknod', [path, 'c', '1', '3'])
  return [path]
}

function fifo(path: string): string[] {
  execFileSync('mkfifo', [path])
  return [path]
}

/** A socket that a process of somebody else has left. */
async function socket(path: string): Promise<string[]> {
  await leftSocket(path)
  chownSync(path, NOBODY, NOBODY)
  return [path]
}

/** Closing a server removes its own name only, so the other one stays. */
async function leftSocket(path: string): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolve) => {
    server.listen(`${path}.own`, resolve)
  })
  renameSync(`${path}.own`, path)
  await new Promise((resolve) => server.close(resolve))
}

const linkTo =
  (put: Put): Put =>
  async (path) => {
    const target = join(dirname(path), 'target')
    const there = await put(target)
    symlinkSync(target, path)
    return [path, ...there]
  }

const lockOf =
  (put: Put): Put =>
  (path) => {
    rmSync(`${path}.lock`, { force: true })
    return put(`${path}.lock`)
  }

const needsRoot = isRoot ? undefined : 'this needs root'

/** What lies there, how the error names it, and why it cannot be tried here. */
export const FOREIGN: readonly { name: string; put: Put; kind: RegExp; skip?: string | undefined }[] = [
  { name: 'a file', put: file, kind: /there is a file, not a socket/ },
  { name: 'a directory', put: directory, kind: /there is a directory, not a socket/ },
  { name: 'a device', put: device, kind: /there is a device, not a socket/, skip: needsRoot },
  { name: 'a FIFO', put: fifo, kind: /there is a FIFO, not a socket/ },
  { name: 'a symbolic link to a file', put: linkTo(file), kind: /there is a symbolic link, not a socket/ },
  { name: 'a symbolic link to a directory', put: linkTo(directory), kind: /there is a symbolic link, not a socket/ },
  {
    name: 'a symbolic link to a device',
    put: (path) => {
      symlinkSync('/dev/null', path)
      return [path]
    },
    kind: /there is a symbolic link, not a socket/,
  },
  {
    name: 'a symbolic link to a socket of this user',
    put: linkTo(async (path) => {
      await leftSocket(path)
      return [path]
    }),
    kind: /there is a symbolic link, not a socket/,
  },
  { name: 'a symbolic link to nothing', put: linkTo(() => []), kind: /there is a symbolic link, not a socket/ },
  { name: 'a socket of another user', put: socket, kind: /the socket belongs to user 65534/, skip: needsRoot },
]

/** The same beside the path, where the lock should be. */
export const FOREIGN_LOCKS: typeof FOREIGN = [
  { name: 'a directory', put: lockOf(directory), kind: /EISDIR|not a file/ },
  { name: 'a symbolic link to a file', put: lockOf(linkTo(file)), kind: /ELOOP/ },
  {
    name: 'a file of another user',
    put: lockOf((path) => {
      file(path)
      chownSync(path, NOBODY, NOBODY)
      return [path]
    }),
    kind: /a file of user 65534/,
    skip: needsRoot,
  },
]

/** Everything that can be seen of a file without changing it. */
function look(path: string): string {
  const found = lstatSync(path, { bigint: true })
  const { dev, ino, mode, uid, gid, nlink, rdev, size, mtimeNs, ctimeNs } = found
  let content = ''
  if (found.isSymbolicLink()) content = readlinkSync(path)
  else if (found.isDirectory()) content = readdirSync(path).join()
  else if (found.isFile()) content = readFileSync(path, 'hex')
  return [path, dev, ino, mode, uid, gid, nlink, rdev, size, mtimeNs, ctimeNs, content].join(' ')
}

/** What an error says that the user is to know. */
function tells(
  error: { code?: string; message: string } | undefined,
  path: string,
  kind: RegExp,
): Record<string, unknown> {
  const message = error?.message ?? ''
  return {
    code: error?.code,
    namesPath: message.includes(path),
    saysWhat: kind.test(message) ? true : message,
    saysWhatToDo: / (left alone|Choose|Create|Use|Check|must be) /i.test(message.replaceAll(';', ' ')) ? true : message,
  }
}

/** Before anybody came (the listener is struck), or in the place of a listener that has died (the dialer is). */
export const foreign =
  (put: Put, kind: RegExp): Strike =>
  async (world, struck) => {
    const { path } = world
    if (struck === 'dialer') return await foreignAfterLoss(world, put, kind)
    const there = await put(path)
    const before = there.map(look)
    const listed = readdirSync(dirname(path)).sort()
    const peer = world.peer('first')
    const { error } = await peer.run('connect')
    const { state } = await peer.result<{ state: string }>('stats')
    const seen = {
      ...tells(error, path, kind),
      state,
      isUntouched: same(there.map(look), before) && same(readdirSync(dirname(path)).sort(), listed),
    }
    return { seen, survivors: [peer], clear: () => remove(there) }
  }

async function foreignAfterLoss(world: World, put: Put, kind: RegExp): Promise<Outcome> {
  const { path } = world
  const { dialer } = await dialerAlone(world)
  rmSync(path)
  const there = await put(path)
  const before = there.map(look)
  dialer.child.kill('SIGCONT')
  const apart = await dialer.next('apart')
  const closed = await dialer.next('closed')
  const { state } = await dialer.result<{ state: string }>('stats')
  await dialer.endsWell()
  const error = closed['error'] as { code?: string; message: string } | undefined
  const seen = {
    apart: codeOf(apart),
    ...tells(error, path, kind),
    state,
    isUntouched: same(there.map(look), before),
  }
  return { seen, survivors: [], clear: () => remove(there) }
}

/** Something takes the place of the socket of a listener that lives. */
export const displaced: Strike = async (world) => {
  const { path } = world
  const { listener, dialer } = await world.pair()
  rmSync(path)
  const there = file(path)
  const before = there.map(look)
  const told = async (peer: FaultPeer): Promise<unknown[]> => {
    const apart = await peer.next('apart')
    return [codeOf(apart), codeOf(await peer.next('closed'))]
  }
  const [byListener, byDialer] = await Promise.all([told(listener), told(dialer)])
  await Promise.all([listener.endsWell(), dialer.endsWell()])
  const seen = { listener: byListener, dialer: byDialer, isUntouched: same(there.map(look), before) }
  return { seen, survivors: [], clear: () => remove(there) }
}

/** A pair whose listener has died, which the dialer, stopped, has not noticed. */
async function dialerAlone(world: World): Promise<{ dialer: FaultPeer }> {
  const { listener, dialer } = await world.pair()
  dialer.child.kill('SIGSTOP')
  listener.kill()
  await listener.ended
  return { dialer }
}

export const missingDirectory: Strike = async (world, struck) => {
  const { path } = world
  const made = dirname(path)
  const { dialer } = struck === 'dialer' ? await dialerAlone(world) : { dialer: world.peer('first') }
  rmSync(made, { recursive: true })
  const clear = (): void => {
    mkdirSync(made, { mode: 0o700 })
  }
  if (struck === 'listener') {
    const { error } = await dialer.run('connect')
    return { seen: tells(error, made, /does not exist/), survivors: [dialer], clear }
  }
  dialer.child.kill('SIGCONT')
  const first = await dialer.next('apart')
  const second = await dialer.next('apart')
  const { state } = await dialer.result<{ state: string }>('stats')
  return { seen: { apart: [codeOf(first), codeOf(second)], state }, survivors: [dialer], clear }
}

export const openDirectory: Strike = async (world, struck) => {
  const { path } = world
  const made = dirname(path)
  const { dialer } = struck === 'dialer' ? await dialerAlone(world) : { dialer: world.peer('first') }
  chmodSync(made, 0o777)
  const clear = (): void => {
    chmodSync(made, 0o700)
  }
  if (struck === 'listener') {
    const { error } = await dialer.run('connect')
    return { seen: tells(error, path, /everybody may write to the directory/), survivors: [dialer], clear }
  }
  dialer.child.kill('SIGCONT')
  const apart = await dialer.next('apart')
  const closed = await dialer.next('closed')
  await dialer.endsWell()
  const error = closed['error'] as { code?: string; message: string } | undefined
  return { seen: { apart: codeOf(apart), ...tells(error, path, /everybody may write/) }, survivors: [], clear }
}

export const longPath: Strike = async (world) => {
  const path = join(dirname(world.path), 'x'.repeat(120))
  const peer = world.peer('first', {}, { place: { ...world.place, path } })
  const { error } = await peer.run('connect')
  await peer.endsWell()
  return { seen: tells(error, path, /the path has \d+ bytes, and \d+ is the most/), survivors: [] }
}

/** The error of the constructor, for each port that there cannot be. */
export const wrongPorts: Strike = async (world) => {
  const told: unknown[] = []
  for (const port of [0, -1, 1.5, 65_536]) {
    const peer = world.peer(`port ${port}`, {}, { place: { ...world.place, port } })
    const { error } = await peer.next('unfit')
    const { name, message } = error as { name: string; message: string }
    told.push([name, message.includes('port must be a whole number from 1 to 65535') && message.includes(String(port))])
    await peer.endsWell()
  }
  return { seen: { told }, survivors: [] }
}

// Without SO_REUSEADDR, which Node always sets: only so it keeps others away although it does not listen.
const BIND = `
import socket, sys
held = socket.socket()
held.bind(('127.0.0.1', int(sys.argv[1])))
print('held', flush=True)
sys.stdin.read()
`

/** Why no port can be bound without listening here: Node cannot do that by itself. */
export function noPython(): string | undefined {
  try {
    execFileSync('python3', ['-c', 'import socket'], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'python3 is needed to bind a port without listening on it'
  }
}

export const portHeld: Strike = async (world) => {
  const place = world.place as { port: number }
  let holder = bind(place.port)
  // A connection that has just ended at a port keeps out whoever binds it like this, and not those who listen.
  for (; !(await holds(holder)); holder = bind(place.port)) place.port = await unusedPort()
  const { port } = place
  try {
    const peer = world.peer('first')
    const { error } = await peer.run('connect')
    const seen = {
      ...tells(error, `:${port}`, /something holds the port and does not listen on it/),
      told: toldOf(await peer.run('call', { method: 'pid' })),
    }
    return { seen, survivors: [peer], clear: () => ended(holder) }
  } catch (cause) {
    await ended(holder)
    throw cause
  }
}

function bind(port: number): ChildProcess {
  return spawn('python3', ['-c', BIND, String(port)], { stdio: ['pipe', 'pipe', 'ignore'] })
}

/** False when it has ended without. */
function holds(holder: ChildProcess): Promise<boolean> {
  return new Promise((resolve, reject) => {
    holder.stdout?.once('data', () => {
      resolve(true)
    })
    holder.once('error', reject)
    holder.once('exit', () => {
      resolve(false)
    })
  })
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve()
    else child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}

function remove(there: readonly string[]): void {
  for (const path of there) rmSync(path, { recursive: true, force: true })
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.join('\n') === b.join('\n')
}
