/** Real processes for the tests: they are waited for by what they say and do, and what was seen is told when that fails. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, it } from 'vitest'

export const repository = dirname(dirname(fileURLToPath(import.meta.url)))

/** A line of JSON that a peer wrote. */
export type Report = Record<string, unknown> & { readonly event?: string }

interface Waiter {
  readonly matches: (report: Report) => boolean
  readonly resolve: (report: Report) => void
}

const running = new Set<Peer>()
const folders = new Set<string>()

afterEach(async () => {
  for (const peer of running) peer.kill()
  await Promise.all([...running].map((peer) => peer.ended))
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  folders.clear()
})

/** A short, private folder, removed after the test; the paths of sockets must be short. */
export function folder(): string {
  const made = mkdtempSync('/tmp/plk-')
  folders.add(made)
  return made
}

/** A program that can import the packages, although it lies outside of every workspace; removed after the test. */
export function program(name: string, source: string): string {
  const cache = join(repository, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const made = mkdtempSync(join(cache, 'pairlink-'))
  folders.add(made)
  const file = join(made, name)
  writeFileSync(file, source)
  return file
}

export class Peer {
  readonly child: ChildProcess
  /** Resolves when the process has ended and all it wrote was read. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>
  lines: string[] = []
  stderr = ''
  #label: string
  #reports: Report[] = []
  readonly #waiters = new Set<Waiter>()
  #rest = ''
  #outcome: string | undefined
  #startedAt = performance.now()
  #commands: string[] = []

  constructor(file: string, args: readonly string[] = [], label = file) {
    this.#label = label
    this.child = spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#read(text)
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.child.stdin?.on('error', () => undefined) // it may have ended
    running.add(this)
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        running.delete(this)
        this.#outcome = signal ?? `code ${code}`
        resolve({ code, signal })
      })
    })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  send(command: Record<string, unknown>): void {
    this.#commands.push(JSON.stringify(command))
    this.child.stdin?.write(JSON.stringify(command) + '\n')
  }

  /** What it has said and was told is forgotten: it serves for something else from now on. */
  begin(label: string): void {
    this.#label = label
    this.lines = []
    this.stderr = ''
    this.#reports = []
    this.#waiters.clear()
    this.#commands = []
    this.#startedAt = performance.now()
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }

  /** The first report that was not taken yet and matches, now or once it comes. */
  async next(matches: string | ((report: Report) => boolean), withinMs = 5000): Promise<Report> {
    const test = typeof matches === 'string' ? (report: Report) => report.event === matches : matches
    const at = this.#reports.findIndex(test)
    if (at >= 0) return this.#reports.splice(at, 1)[0] as Report
    const what = typeof matches === 'string' ? `'${matches}'` : matches.toString()
    return this.within(
      new Promise((resolve) => {
        this.#waiters.add({ matches: test, resolve })
      }),
      `report ${what}`,
      withinMs,
    )
  }

  /** Every report so far that matches, taken. */
  all(event: string): Report[] {
    const found = this.#reports.filter((report) => report.event === event)
    for (const report of found) this.#reports.splice(this.#reports.indexOf(report), 1)
    return found
  }

  /** Tells it nothing more, and waits for the end. @throws Error when it is not an end with code 0 */
  async endsWell(withinMs = 10_000): Promise<void> {
    this.child.stdin?.end()
    const { code, signal } = await this.within(this.ended, 'its end', withinMs)
    if (code !== 0) throw new Error(`It ended with ${signal ?? code}.\n${this.seen()}`)
  }

  /** @throws Error that tells what this process has said, when the promise takes too long */
  async within<T>(promise: Promise<T>, what: string, withinMs: number): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`Waited ${withinMs} ms for ${what}.\n${this.seen()}`))
      }, withinMs)
    })
    try {
      return await Promise.race([promise, late])
    } finally {
      clearTimeout(timer)
    }
  }

  seen(): string {
    const age = Math.round(performance.now() - this.#startedAt)
    const indent = (text: string): string => text.replaceAll(/^/gm, '    ')
    return [
      `${this.#label} (process ${this.pid}, ${age} ms old, ${this.#outcome ?? 'running'})`,
      `  was told:\n${indent(this.#commands.slice(-10).join('\n'))}`,
      `  said:\n${indent(this.lines.slice(-30).join('\n'))}`,
      `  on stderr:\n${indent(this.stderr.slice(-3000))}`,
    ].join('\n')
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      this.lines.push(line)
      if (line.startsWith('{')) this.#take(JSON.parse(line) as Report)
    }
  }

  #take(report: Report): void {
    for (const waiter of this.#waiters) {
      if (!waiter.matches(report)) continue
      this.#waiters.delete(waiter)
      waiter.resolve(report)
      return
    }
    this.#reports.push(report)
  }
}

/**
 * Tests of one file that wait most of their time run side by side. What ends after a test ends every process, so none of them
 * ends before the last.
 */
export function together(): (name: string, body: () => Promise<void>, timeoutMs?: number) => void {
  let running = 0
  const whenAllEnded: (() => void)[] = []
  return (name, body, timeout = 60_000) => {
    it.concurrent(name, { timeout }, async () => {
      running++
      try {
        await body()
      } finally {
        if (--running === 0) for (const go of whenAllEnded.splice(0)) go()
        else await new Promise<void>((go) => whenAllEnded.push(go))
      }
    })
  }
}

/** Runs `count` jobs, `width` at a time. The first failure ends it. */
export async function sideBySide(count: number, width: number, job: (run: number) => Promise<void>): Promise<void> {
  let next = 0
  let failed = false
  const worker = async (): Promise<void> => {
    while (next < count && !failed) {
      try {
        await job(next++)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32); the seed is taken from SEED, or drawn, and printed. */
export function seeded(what: string): () => number {
  let state = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  console.log(`${what}: SEED=${state}`)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Resolves once `holds` does, looked at every few milliseconds. @throws Error with what `seen` gives */
export async function until(holds: () => boolean, what: string, seen: () => string, withinMs = 5000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`Waited ${withinMs} ms until ${what}.\n${seen()}`)
    await pause(5)
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
