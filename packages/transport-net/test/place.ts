/** A fresh directory for each test, and small steps that many tests take. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Listener, Pipe, PipeSink, Transport } from '@pairlink/core'
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
  const listener = await transport.listen(accept, never)
  if (listener === 'taken') throw new Error('the address is taken')
  onTestFinished(() => listener.close())
  return listener
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
