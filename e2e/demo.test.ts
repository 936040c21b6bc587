/** What `npm start` shows is checked by itself. Here: that it passes, notices what is spoiled, and leaves nothing behind. */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { folder, repository, until } from './processes.js'

const narrator = join(repository, 'examples/demo/narrator.mjs')
/** More than the demonstration allows itself. */
const PATIENCE_MS = 25_000

interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  readonly seconds: number
}

/** Runs it with a folder of its own for everything temporary, and looks afterwards that nothing is left there or runs. */
async function run(args: readonly string[], interrupt?: { signal: NodeJS.Signals; after: string }): Promise<Run> {
  const temporary = folder()
  const startedAt = performance.now()
  const child = spawn(process.execPath, [narrator, ...args], { env: { ...process.env, TMPDIR: temporary } })
  const seen = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      seen[name] += text
      if (interrupt !== undefined && seen.stdout.includes(interrupt.after)) child.kill(interrupt.signal)
    })
  }
  let code: number | null | undefined
  child.once('close', (exitCode) => {
    code = exitCode
  })
  try {
    await until(
      () => code !== undefined,
      'it ends',
      () => seen.stdout + seen.stderr,
      PATIENCE_MS,
    )
  } finally {
    child.kill('SIGKILL')
  }
  expect(readdirSync(temporary)).toEqual([])
  expect(processesWith(`TMPDIR=${temporary}`)).toEqual([])
  return { code: code ?? null, ...seen, seconds: (performance.now() - startedAt) / 1000 }
}

/** The processes with this in their environment, where the system shows it. */
function processesWith(variable: string): string[] {
  if (!existsSync('/proc/self/environ')) return []
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(variable)
    } catch {
      return false // it has ended, or belongs to somebody else
    }
  })
}

it('passes, in plain text where no terminal reads it', async () => {
  const { code, stdout, stderr, seconds } = await run([])
  expect(stderr).toBe('')
  expect(code, stdout).toBe(0)
  expect(stdout).not.toContain('\u001b')
  expect(stdout).not.toContain('✗')
  for (const part of [1, 2, 3, 4, 5, 6, 7]) expect(stdout).toContain(`\n${part}. `)
  expect(seconds).toBeLessThan(15)
})

it.each([
  [
    'cut',
    /✗ Not true: "All six were answered, and none of their callers was told a failure"\. 6 of 6 failed: PEER_LOST,/,
  ],
  ['kill', /✗ Not true: "Process \d+ was killed"\. It is still running\./],
  ['third', /✗ Not true: "The third process was told PAIR_BUSY"\. It was told TIMEOUT\./],
  ['secret', /✗ Not true: "The one with another secret was told SECRET_MISMATCH"\. It was told PAIR_BUSY\./],
])('notices --break=%s', async (name, reason) => {
  const { code, stdout } = await run([`--break=${name}`])
  expect(stdout).toMatch(reason)
  expect(code).toBe(1)
})

it.each([
  ['SIGINT', '1. ', 130],
  ['SIGINT', '3. ', 130],
  ['SIGTERM', '5. ', 143],
] as const)('leaves nothing behind after %s in part %s', async (signal, after, expected) => {
  const { code, stdout } = await run([], { signal, after })
  expect(code).toBe(expected)
  expect(stdout).not.toContain('✗')
})

it.each([['--break=nothing'], ['--broken'], ['--break=kill', 'more']])(
  'explains itself when given %s',
  async (...args) => {
    const { code, stdout, stderr } = await run(args)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toBe('Usage: npm start [-- --break=cut|kill|third|secret]\n')
  },
)
