/** Other processes that save a key at one path, all at once. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'vite'
import { onTestFinished } from 'vitest'

export interface Outcome {
  /** Hexadecimal. */
  readonly key: string
  /** `saved`, or code and reason of the error. */
  readonly result: string
}

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** The sources as one program, so that a process runs what the tests run and nothing needs a build before. */
async function bundle(): Promise<string> {
  const outDir = mkdtempSync(join(tmpdir(), 'pl-racer-'))
  onTestFinished(() => {
    rmSync(outDir, { recursive: true, force: true })
  })
  await build({
    configFile: false,
    root: source('..'),
    logLevel: 'error',
    resolve: {
      alias: {
        '#runtime': source('../../core/src/connection/runtime.node.ts'),
        '#provider': source('../src/provider.node.ts'),
        '#files': source('../src/files.node.ts'),
        '@pairlink/core': source('../../core/src/index.ts'),
      },
    },
    ssr: { noExternal: true },
    build: {
      ssr: source('../src/index.ts'),
      outDir,
      target: 'node20',
      minify: false,
      rollupOptions: { output: { entryFileNames: 'crypto.mjs' } },
    },
  })
  return pathToFileURL(join(outDir, 'crypto.mjs')).href
}

/** Loads everything, says so, and saves when it is told to. */
const program = (module: string, path: string): string => `
  import { generateKey, saveKey } from ${JSON.stringify(module)}
  const key = generateKey()
  process.stdin.once('data', () => {
    let result = 'saved'
    try {
      saveKey(${JSON.stringify(path)}, key)
    } catch (error) {
      result = error.code + ' ' + error.reason
    }
    console.log(JSON.stringify({ key: Buffer.from(key).toString('hex'), result }))
    process.exit()
  })
  console.log('ready')
`

/** How it went for each, all having started from the same moment. */
export async function racers(count: number, path: string): Promise<Outcome[]> {
  const text = program(await bundle(), path)
  const processes = Array.from({ length: count }, () => {
    const started = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: ['pipe', 'pipe', 'inherit'] })
    const closed = once(started, 'close')
    onTestFinished(async () => {
      started.kill('SIGKILL')
      await closed
    })
    return { started, lines: createInterface({ input: started.stdout })[Symbol.asyncIterator]() }
  })
  for (const { lines } of processes) await lines.next()
  for (const { started } of processes) started.stdin.write('go\n')
  return Promise.all(processes.map(async ({ lines }) => JSON.parse((await lines.next()).value as string) as Outcome))
}
