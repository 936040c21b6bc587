/** A fresh place for each test, who meets there, and small steps that the tests of all transports take. */
import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  isPairlinkError,
  type ErrorCode,
  type Listener,
  type Pipe,
  type PipeSink,
  type Transport,
} from '@pairlink/core'
import { expect, onTestFinished } from 'vitest'

export const never = new AbortController().signal

export function freshDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'pl-')))
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** A port that was free a moment ago. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  const port = portOf(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

export function portOf(server: { address(): unknown }): number {
  return (server.address() as AddressInfo).port
}

/** Listens, and closes the listener after the test. */
export async function listening(transport: Transport, accept: (pipe: Pipe) => void = drop): Promise<Listener> {
  return listenerOf(await transport.listen(accept, never))
}

/** The listener among what `listen` may give, closed after the test. */
export function listenerOf(result: Awaited<ReturnType<Transport['listen']>>): Listener {
  if (typeof result === 'string') throw new Error(`listening gave '${result}'`)
  if (!('close' in result)) {
    result.destroy()
    throw new Error('listening gave a pipe')
  }
  onTestFinished(() => result.close())
  return result
}

/** The pipe among what `dial` or `listen` may give, destroyed after the test. */
export function pipeOf(result: Awaited<ReturnType<Transport['dial'] | Transport['listen']>>): Pipe {
  if (typeof result === 'string') throw new Error(`expected a pipe, got '${result}'`)
  if ('close' in result) throw new Error('expected a pipe, got a listener')
  onTestFinished(() => {
    result.destroy()
  })
  return result
}

/** The message of the PairlinkError that the work ends with. */
export async function rejection(work: Promise<unknown>, code: ErrorCode = 'ADDRESS_INVALID'): Promise<string> {
  const error: unknown = await work.then(
    (value) => new Error(`resolved to ${typeof value === 'string' ? value : typeof value}`),
    (reason: unknown) => reason,
  )
  if (!isPairlinkError(error, code)) throw new Error(`expected ${code}, got ${String(error)}`)
  return error.message
}

export async function dialled(transport: Transport): Promise<Pipe> {
  const pipe = await transport.dial(never)
  if (typeof pipe === 'string') throw new Error(`the dial gave '${pipe}'`)
  return pipe
}

export function drop(pipe: Pipe): void {
  pipe.start(new Recorder())
  pipe.destroy()
}

/** One end of a pipe, with what it was told. */
export interface End {
  readonly pipe: Pipe
  readonly recorder: Recorder
}

function started(pipe: Pipe): End {
  const recorder = new Recorder()
  pipe.start(recorder)
  return { pipe, recorder }
}

/** Listens, and gives the first pipe that comes in. */
export async function listeningOnce(
  transport: Transport,
): Promise<{ readonly listener: Listener; readonly accepted: Promise<End> }> {
  let arrived: (end: End) => void = () => undefined
  const accepted = new Promise<End>((resolve) => (arrived = resolve))
  const listener = await listening(transport, (pipe) => {
    onTestFinished(() => {
      pipe.destroy()
    })
    arrived(started(pipe))
  })
  return { listener, accepted }
}

export async function dialEnd(transport: Transport): Promise<End> {
  return started(pipeOf(await transport.dial(never)))
}

/** Both ends of one pipe, the dialer's first, as soon as there are two. */
export async function bothEnds(listener: Transport, dialer = listener): Promise<[End, End]> {
  const { accepted } = await listeningOnce(listener)
  const near = await dialEnd(dialer)
  return [near, await accepted]
}

/** What the pipe was closed with, as code and reason. */
export async function endOf({ recorder }: End): Promise<string> {
  await recorder.told('closed')
  expect(recorder.calls.at(-1)).toBe('closed')
  return describeError(recorder.error)
}

export function describeError(error: unknown): string {
  if (error === undefined) return 'no error'
  if (!isPairlinkError(error)) throw error
  return error.reason === undefined ? error.code : `${error.code} ${error.reason}`
}

/** A sink that remembers what it was told, in order, and lets a test wait for it. */
export class Recorder implements PipeSink {
  readonly calls: string[] = []
  bytesRead = 0
  readonly chunks: Uint8Array[] = []
  error: Error | undefined
  readonly #waiting: { readonly call: string; readonly resolve: () => void }[] = []

  bytes(chunk: Uint8Array, transient: boolean): void {
    this.bytesRead += chunk.length
    this.chunks.push(transient ? chunk.slice() : chunk)
    this.#told('bytes')
  }
  drained(): void {
    this.#told('drained')
  }
  ended(): void {
    this.#told('ended')
  }
  closed(error?: Error): void {
    this.error = error
    this.#told('closed')
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString()
  }

  /** Resolves when the call has been made, also if it was before. */
  told(call: 'bytes' | 'drained' | 'ended' | 'closed'): Promise<void> {
    if (this.calls.includes(call)) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ call, resolve }))
  }

  #told(call: string): void {
    this.calls.push(call)
    for (const waiting of this.#waiting) if (waiting.call === call) waiting.resolve()
  }
}
