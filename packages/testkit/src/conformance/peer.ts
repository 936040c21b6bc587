/** What another process does in the cases that need one: it meets, and sends back whatever it reads; or it is one of several. */
import type { Listener, Pipe, Transport } from '@pairlink/core'
import { setTimeout } from '../timers.js'
import type { PeerRole } from './manifest.js'

/** No case takes longer. Whoever is left alone by a runner that has crashed ends by itself. */
const LIFE_MS = 120_000
const LOOK_MS = 20
/** So long behind the order to die all others move, in the same millisecond: until then all know that it is dead. */
const TOGETHER_MS = 300
/** Timers are not as exact: the last moments are waited out. */
const SPIN_MS = 5

/** What a successor says when it has dialled. */
const HELLO = 1
/** What a successor that listens is told by the case. */
export const KILL_YOURSELF = 2

/**
 * Runs one side in a process of its own, for `Place.spawn`: it meets at the transport's address, and echoes.
 * - `'listener'`, `'dialer'`: until it is killed.
 * - `'unref-listener'`, `'unref-dialer'`: until a byte has come; then all is unref-ed, and the process is to end by itself.
 * - `'successor'`: it takes the place of one who listens and has gone, or finds who has taken it, again and again.
 *
 * The process ends after two minutes at the latest.
 */
export async function runPeer(transport: Transport, role: PeerRole): Promise<void> {
  const life = setTimeout(() => {
    process.exit(1)
  }, LIFE_MS)
  switch (role) {
    case 'listener':
      await listen(transport, echo)
      return
    case 'dialer':
      echo(await dial(transport))
      return
    case 'unref-listener': {
      life.unref()
      const listener = await listen(transport, (pipe) => {
        echo(pipe, () => {
          pipe.unref()
          listener.unref()
        })
      })
      return
    }
    case 'unref-dialer': {
      life.unref()
      const pipe = await dial(transport)
      echo(pipe, () => {
        pipe.unref()
      })
      return
    }
    case 'successor':
      await succeed(transport)
  }
}

const never = (): AbortSignal => new AbortController().signal
const pause = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs))

async function listen(transport: Transport, accept: (pipe: Pipe) => void): Promise<Listener> {
  const listener = await transport.listen(accept, never())
  if (typeof listener === 'string' || 'start' in listener)
    throw new Error(`listen() gave ${typeof listener === 'string' ? listener : 'a pipe'}`)
  return listener
}

async function dial(transport: Transport): Promise<Pipe> {
  for (;;) {
    const dialled = await transport.dial(never())
    if (typeof dialled !== 'string') return dialled
    await pause(LOOK_MS)
  }
}

function echo(pipe: Pipe, onBytes?: () => void): void {
  pipe.start({
    bytes(chunk, transient) {
      pipe.write([transient ? new Uint8Array(chunk) : chunk])
      onBytes?.()
    },
    drained() {},
    ended() {
      pipe.end()
    },
    closed() {},
  })
}

/** Meets as the core does, and anew when the one who listens has gone. Returns once it listens itself. */
async function succeed(transport: Transport): Promise<void> {
  const accept = countOthers()
  for (;;) {
    const dialled = await transport.dial(never())
    if (typeof dialled === 'object') {
      await stay(dialled)
      continue
    }
    if (dialled === 'absent') {
      const listened = await transport.listen(accept, never())
      if (typeof listened === 'object' && 'close' in listened) return
      if (typeof listened === 'object') await stay(listened)
    }
    await pause(LOOK_MS)
  }
}

/** One who has dialled: says hello, and stays until the other side has gone and the time has come that it has said. */
async function stay(pipe: Pipe): Promise<void> {
  let said = ''
  await new Promise<void>((resolve) => {
    pipe.start({
      bytes(chunk) {
        said += String.fromCharCode(...chunk)
      },
      drained() {},
      ended() {
        pipe.destroy()
      },
      closed() {
        resolve()
      },
    })
    pipe.write([Uint8Array.of(HELLO)])
  })
  const at = Number(/@(\d+);/.exec(said)?.[1] ?? 0)
  await pause(at - Date.now() - SPIN_MS)
  while (Date.now() < at) continue
}

/** One who listens: tells everybody how many have said hello and are still there, and dies when it is told to. */
function countOthers(): (pipe: Pipe) => void {
  const all = new Set<Pipe>()
  const others = new Set<Pipe>()
  const tell = (to: Iterable<Pipe>, ...bytes: number[]): void => {
    for (const pipe of to) pipe.write([Uint8Array.from(bytes)])
  }
  const die = (): void => {
    const at = `@${Date.now() + TOGETHER_MS};`
    tell(others, ...Array.from(at, (digit) => digit.charCodeAt(0)))
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), LOOK_MS)
  }
  return (pipe) => {
    all.add(pipe)
    pipe.start({
      bytes(chunk) {
        if (chunk.includes(KILL_YOURSELF)) die()
        if (!chunk.includes(HELLO)) return
        others.add(pipe)
        tell(all, others.size)
      },
      drained() {},
      ended() {
        pipe.end()
      },
      closed() {
        all.delete(pipe)
        if (others.delete(pipe)) tell(all, others.size)
      },
    })
    tell([pipe], others.size)
  }
}
