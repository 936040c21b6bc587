/** Other processes for a test: this package in one of them, and how to end it. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { afterAll, onTestFinished } from 'vitest'
import type { Order } from './child.js'

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const programs = new Map<string, Promise<string>>()

/**
 * A source file as one program, so that a child runs what the tests run and nothing needs a build before. `outside` has the
 * paths of modules that cannot be bundled.
 */
export function programOf(entry: string, outside: Record<string, string> = {}): Promise<string> {
  const program = programs.get(entry) ?? bundle(entry, outside)
  programs.set(entry, program)
  return program
}

async function bundle(entry: string, outside: Record<string, string>): Promise<string> {
  const outDir = mkdtempSync(join(tmpdir(), 'pl-child-'))
  bundled.push(outDir)
  await build({
    configFile: false,
    root: source('..'),
    logLevel: 'error',
    resolve: {
      alias: {
        '#runtime': source('../../core/src/connection/runtime.node.ts'),
        '@pairlink/core/protocol': source('../../core/src/protocol/index.ts'),
        '@pairlink/core': source('../../core/src/index.ts'),
        '@pairlink/testkit': source('../../testkit/src/index.ts'),
        '@pairlink/transport-net/layer': source('../src/layer.ts'),
        '@pairlink/transport-net': source('../src/index.ts'),
      },
    },
    ssr: { noExternal: true, external: Object.keys(outside) },
    build: {
      ssr: entry,
      outDir,
      target: 'node20',
      minify: false,
      rollupOptions: { output: { entryFileNames: 'child.mjs', paths: outside } },
    },
  })
  return join(outDir, 'child.mjs')
}

const bundled: string[] = []
afterAll(() => {
  programs.clear()
  for (const directory of bundled.splice(0)) rmSync(directory, { recursive: true, force: true })
})

export interface Child {
  readonly process: ChildProcess
  readonly pid: number
  /** The next line that it prints; undefined when it has ended. */
  line(): Promise<string | undefined>
  kill(): Promise<void>
}

/** Starts a child with an order. It is killed after the test. */
export async function child(order: Order, { fd, wrap = [] }: { fd?: number; wrap?: string[] } = {}): Promise<Child> {
  const stdio: StdioOptions = ['ignore', 'pipe', 'inherit']
  if (fd !== undefined) stdio.push(fd)
  const [file = '', ...rest] = [...wrap, process.execPath, await programOf(source('child.ts')), JSON.stringify(order)]
  return watched(spawn(file, rest, { stdio }))
}

/** The same for any program that prints lines. */
export function watched(started: ChildProcess): Child {
  const { stdout, pid } = started
  if (stdout === null || pid === undefined) throw new Error('the child has not started')
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  const closed = once(started, 'close')
  const kill = async (): Promise<void> => {
    started.kill('SIGKILL')
    await closed
  }
  onTestFinished(kill)
  return {
    process: started,
    pid,
    line: async () => {
      const next = await lines.next()
      return next.done === true ? undefined : next.value
    },
    kill,
  }
}

/** Leaves a socket file at which nobody listens any more. */
export async function leaveStale(path: string): Promise<void> {
  const program = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
  const killed = watched(spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] }))
  if ((await killed.line()) !== 'up') throw new Error('the child did not listen')
  await killed.kill()
}
