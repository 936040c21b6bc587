/** What the tests of Connection have in common: one virtual clock, one address, seeded ids, logs that are kept. */
import { inspect } from 'node:util'
import { expect } from 'vitest'
import type { AnyApi, ConnectionOptions, Environment, PairlinkError, Transport } from '../../src/index.js'
import { Connection } from '../../src/index.js'
import { systemEnvironment } from '../../src/connection/environment.js'
import { randomId, type Random } from '../../src/connection/random.js'
import { VirtualClock } from './clock.js'
import { encryptionInUse } from './encryption.js'
import { MemoryAddress, type MemoryPipe } from './memory.js'

export interface LogEntry {
  readonly level: string
  readonly fields: Record<string, unknown>
  readonly message: string
}
export type Options = Partial<ConnectionOptions>

/** Mulberry32: the same numbers in each run. */
export function seededRandom(seed: number): Random {
  let state = seed
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return { bytes: (count) => Uint8Array.from({ length: count }, () => fraction() * 256), fraction }
}

export class World {
  readonly clock = new VirtualClock()
  readonly address = new MemoryAddress()
  readonly logs: LogEntry[] = []
  readonly connections: Connection[] = []
  #seed = 1

  environment(): Environment {
    const random = seededRandom(this.#seed++)
    return { ...systemEnvironment, clock: this.clock, random, process: randomId(random) }
  }

  /** A connection at the address, each as if it were in a process of its own. */
  make(options: Options = {}): Connection {
    const log = (level: string) => (fields: Record<string, unknown>, message: string) => {
      this.logs.push({ level, fields, message })
    }
    const logger = { error: log('error'), warn: log('warn'), info: log('info'), debug: log('debug') }
    const complete = {
      transport: this.address.transport(),
      secret: 'a secret',
      logger,
      ...encryptionInUse(),
      ...options,
    }
    const connection = new Connection<AnyApi>(complete, this.environment())
    this.connections.push(connection)
    return connection
  }

  /** Two that are paired: the first listens, the second has dialled. */
  async pair(first: Options = {}, second: Options = first): Promise<[Connection, Connection]> {
    const a = this.make(first)
    const b = this.make(second)
    await a.connect({ until: 'started' })
    await b.connect()
    await this.clock.settle()
    expect([a.state, b.state]).toEqual(['paired', 'paired'])
    return [a, b]
  }

  /** The pipe that was dialled last: [dialer's end, listener's end]. */
  get pipe(): [MemoryPipe, MemoryPipe] {
    const pipe = this.address.pipes.at(-1)
    if (pipe === undefined) throw new Error('nothing was dialled')
    return pipe
  }

  errors(): LogEntry[] {
    return this.logs.filter((entry) => entry.level === 'error')
  }

  /** Moves the clock on until the promise has settled, and gives its outcome. */
  async finish<T>(promise: Promise<T>, atMostMs = 60_000): Promise<T> {
    let settled = false
    const done = (): void => {
      settled = true
    }
    promise.then(done, done)
    await this.clock.settle()
    for (let ms = 0; !settled; ms += 10) {
      if (ms > atMostMs) throw new Error(`not settled within ${atMostMs} ms of virtual time`)
      await this.clock.advance(10)
    }
    return promise
  }

  /** Closes all there is; nothing may be left: no timer, no pipe, no listener. */
  async end(): Promise<void> {
    await this.finish(Promise.all(this.connections.map((connection) => connection.close())))
    await this.clock.settle()
    this.expectNothingLeft()
  }

  expectNothingLeft(): void {
    expect(this.clock.pending, 'timers').toBe(0)
    expect(this.clock.held, 'timers that keep the process alive').toBe(0)
    expect(this.address.accept, 'the listener').toBeUndefined()
    const open = this.address.pipes.filter(([near, far]) => !near.isClosed || !far.isClosed)
    expect(open.length, 'open pipes').toBe(0)
  }
}

/** The error with which a promise rejects. */
export async function failure(promise: Promise<unknown>): Promise<PairlinkError> {
  return promise.then(
    (value) => {
      throw new Error(`it was expected to reject, and gave ${inspect(value)}`)
    },
    (error: unknown) => error as PairlinkError,
  )
}

/** A promise and its ends. */
export interface Deferred<T = unknown> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
}

export function deferred<T = unknown>(): Deferred<T> {
  let resolve: Deferred<T>['resolve'] = () => undefined
  let reject: Deferred<T>['reject'] = () => undefined
  const promise = new Promise<T>((...ends) => {
    ;[resolve, reject] = ends
  })
  return { promise, resolve, reject }
}

/** One that speaks for itself on a pipe. */
export interface Stranger {
  readonly pipe: MemoryPipe
  bytes: Uint8Array
  ended: boolean
  closed: boolean
}

export function takePipe(pipe: MemoryPipe): Stranger {
  const stranger: Stranger = { pipe, bytes: new Uint8Array(0), ended: false, closed: false }
  pipe.start({
    bytes: (chunk) => {
      stranger.bytes = new Uint8Array([...stranger.bytes, ...chunk])
    },
    drained: () => undefined,
    ended: () => {
      stranger.ended = true
      pipe.end()
    },
    closed: () => {
      stranger.closed = true
    },
  })
  return stranger
}

/** Keeps a handler going until the test says what it returns. */
export function heldHandler(): { handler: () => Promise<unknown>; calls: Deferred[] } {
  const calls: Deferred[] = []
  return {
    calls,
    handler: () => {
      const call = deferred()
      calls.push(call)
      return call.promise
    },
  }
}

/** A transport whose process can stop for good: from then on it neither dials nor listens, and says nothing of it. */
export interface Mortal {
  readonly transport: Transport
  /** It stops; what it holds is left as it is. */
  stop(): void
  /** It goes on. */
  goOn(): void
}

export function mortal(world: World): Mortal {
  const inner = world.address.transport()
  let gate = deferred()
  let isStopped = false
  /** Settles when the process runs; rejects when the caller has given up. */
  const running = (signal: AbortSignal): Promise<unknown> | undefined =>
    isStopped
      ? new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => {
            reject(signal.reason)
          })
          void gate.promise.then(resolve)
        })
      : undefined
  return {
    transport: {
      ...inner,
      dial: async (signal) => {
        await running(signal)
        return inner.dial(signal)
      },
      listen: async (accept, signal, silent) => {
        await running(signal)
        return inner.listen(accept, signal, silent)
      },
    },
    stop: () => {
      isStopped = true
    },
    goOn: () => {
      isStopped = false
      gate.resolve(undefined)
      gate = deferred()
    },
  }
}

/** Collects the events of a connection in their order, as short text. */
export function history(connection: Connection): string[] {
  const seen: string[] = []
  connection.on('state', ({ now }) => seen.push(now))
  connection.on('listening', () => seen.push('listening'))
  connection.on('waiting', ({ error }) => seen.push(`waiting ${error?.code ?? 'alone'}`))
  connection.on('paired', ({ role, peer }) => seen.push(`paired ${role} ${peer}`))
  connection.on('apart', ({ error }) => seen.push(`apart ${error?.code ?? 'in order'}`))
  connection.on('refused', ({ reason }) => seen.push(`refused ${reason}`))
  connection.on('closed', ({ error }) => seen.push(`closed ${error?.code ?? 'in order'}`))
  return seen
}

/** Puts somebody of our own at the address, instead of whoever holds it. */
export function occupy(world: World, greet: (stranger: Stranger) => void = () => undefined): Stranger[] {
  const strangers: Stranger[] = []
  world.address.accept = (pipe) => {
    const stranger = takePipe(pipe as MemoryPipe)
    strangers.push(stranger)
    greet(stranger)
  }
  return strangers
}

/** The moments of virtual time at which a transport dials. */
export function dialTimes(world: World, transport: Transport): { transport: Transport; times: number[] } {
  const times: number[] = []
  return {
    times,
    transport: {
      ...transport,
      dial: (signal) => {
        times.push(world.clock.now())
        return transport.dial(signal)
      },
    },
  }
}
