/** A fresh directory for each test, and small steps that many tests take. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
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
import { onTestFinished } from 'vitest'

export const never = new AbortController().signal

export function freshDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'pl-')))
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
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
