/** Every example runs, and says that what it asserts holds. The code on the documentation site is these files. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { folder, Peer, program, repository } from './processes.js'

const examples = join(repository, 'examples')

/** How each is run: by how many processes of the same file, with or without a key file, and what each must print at the end. */
const RUNS: Record<string, { processes: 1 | 2; prints?: string; hasKeyFile?: true }> = {
  'apart.mjs': { processes: 1, prints: 'done' },
  'cancel.mjs': { processes: 2, prints: 'done' },
  'encrypted.mjs': { processes: 2, prints: 'world', hasKeyFile: true },
  'errors.mjs': { processes: 1, prints: 'done' },
  'named-calls.mjs': { processes: 2, prints: 'done' },
  'notifications.mjs': { processes: 2, prints: 'done' },
  'own-cipher.mjs': { processes: 2, prints: 'world', hasKeyFile: true },
  'own-loop.mjs': { processes: 1, prints: 'done' },
  'own-transport.mjs': { processes: 1, prints: 'done' },
  'typed-calls.mts': { processes: 2, prints: '3 1.0.0' },
}
/** Run by another test, or by the demonstration. */
const RUN_ELSEWHERE = ['peer.mjs']

it('knows every example', () => {
  const files = readdirSync(examples).filter((name) => /\.m[jt]s$/.test(name))
  expect(files.sort()).toEqual([...Object.keys(RUNS), ...RUN_ELSEWHERE].sort())
})

it.each(Object.entries(RUNS))('%s', async (name, { processes, prints, hasKeyFile }) => {
  const path = join(examples, name)
  const file = name.endsWith('.mts') ? program(name.replace('.mts', '.mjs'), compiled(path)) : path
  const address = `${name.replace(/\..*/, '')}-${process.pid}`
  const args = hasKeyFile === undefined ? [address] : [address, join(folder(), 'key')]
  const peers = Array.from({ length: processes }, () => new Peer(file, args, name))
  await Promise.all(peers.map((peer) => peer.endsWell(20_000)))
  for (const peer of peers) {
    expect(peer.stderr).toBe('')
    if (prints !== undefined) expect(peer.lines.at(-1)).toBe(prints)
  }
})

/** The example as JavaScript. @throws Error for what TypeScript finds wrong with it */
function compiled(path: string): string {
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    types: ['node'],
    typeRoots: [join(repository, 'node_modules/@types')],
  }
  const found = ts.getPreEmitDiagnostics(ts.createProgram([path], options))
  const host = {
    getCanonicalFileName: (name: string) => name,
    getCurrentDirectory: () => repository,
    getNewLine: () => '\n',
  }
  if (found.length > 0) throw new Error(ts.formatDiagnostics(found, host))
  const compilerOptions = { ...options, module: ts.ModuleKind.ESNext }
  return ts.transpileModule(readFileSync(path, 'utf8'), { compilerOptions }).outputText
}
