/** What the other process of a test does: one order from its arguments, and a line on stdout for all that happens. */
import { closeSync, openSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Listener, Pipe } from '@pairlink/core'
import { inherited, tcp, unix } from '../src/index.js'
import { tryLock, type Locking } from '../src/lock.js'

export type Order =
  /** Holds the lock of an address until it is killed. */
  | { readonly do: 'lock'; readonly path: string; readonly locking: Locking }
  /** Listens, and takes every dial. */
  | { readonly do: 'listen'; readonly path: string }
  /** Listens without this package, and accepts as long as it is not stopped. */
  | { readonly do: 'raw'; readonly path: string; readonly backlog: number }
  /** Echoes what comes in at an inherited socket, once, and closes the listener. */
  | { readonly do: 'inherited'; readonly fd: number; readonly allowNetwork?: boolean }
  /** Dials a port that nobody has, without this package. */
  | { readonly do: 'dial-raw'; readonly port: number }
  /** Dials a port once. */
  | { readonly do: 'dial'; readonly port: number }
  /** Listens when there are no descriptors left. */
  | { readonly do: 'starve'; readonly path: string; readonly port: number; readonly left: number }

const never = new AbortController().signal
const order = JSON.parse(process.argv[2] ?? '') as Order

function tell(line: string): void {
  process.stdout.write(`${line}\n`)
}

function keepRunning(): void {
  setInterval(() => undefined, 60_000)
}

function echo(pipe: Pipe): void {
  pipe.start({
    bytes: (chunk, transient) => void pipe.write([transient ? chunk.slice() : chunk]),
    drained: () => undefined,
    ended: () => {
      pipe.end()
    },
    closed: () => undefined,
  })
}

function kindOf(result: object | string): string {
  if (typeof result === 'string') return result
  return 'close' in result ? 'listener' : 'pipe'
}

async function outcome(work: Promise<object | string>): Promise<string> {
  return work.then(kindOf, (error: { code?: string }) => `rejected ${error.code}`)
}

switch (order.do) {
  case 'lock':
    keepRunning()
    tell(
      kindOf(
        await tryLock(order.path, order.locking).then((lock) => (typeof lock === 'string' ? lock : { close: lock })),
      ),
    )
    break
  case 'listen':
    keepRunning()
    tell(await outcome(unix(order.path).listen(echo, never)))
    break
  case 'raw':
    createServer((socket) => void socket.on('error', () => undefined).resume()).listen(
      { path: order.path, backlog: order.backlog },
      () => {
        tell('listener')
      },
    )
    break
  case 'inherited': {
    const { fd, allowNetwork = false } = order
    const transport = inherited({ fd, allowNetwork })
    tell(await outcome(transport.dial(never)))
    const listening = transport.listen((pipe) => {
      echo(pipe)
      void listening.then((listener) => (listener as Listener).close())
    }, never)
    tell(await outcome(listening))
    break
  }
  case 'dial-raw': {
    const socket = connect(order.port, '127.0.0.1', () => {
      tell(socket.localPort === order.port ? 'itself' : 'somebody')
      socket.destroy()
    }).once('error', (error: NodeJS.ErrnoException) => {
      tell(`${error.code}`)
    })
    break
  }
  case 'dial':
    tell(await outcome(tcp({ port: order.port }).dial(never)))
    break
  case 'starve': {
    const { path, port, left } = order
    await outcome(tcp({ port }).dial(never)) // Loads what is loaded lazily.
    const fds: number[] = []
    try {
      for (;;) fds.push(openSync('/dev/null', 'r'))
    } catch {
      for (const fd of fds.splice(0, left)) closeSync(fd)
    }
    const results = [await outcome(unix(path, { lock: 'abstract' }).listen(echo, never))]
    for (let fd = left; fd > 0; fd--) openSync('/dev/null', 'r')
    results.push(await outcome(tcp({ port }).listen(echo, never)))
    for (const fd of fds) closeSync(fd)
    for (const result of results) tell(result)
    break
  }
}
