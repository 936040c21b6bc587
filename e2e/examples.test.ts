/** Every example runs, and says that what it asserts holds. The code on the documentation site is these files. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { folder, Peer, program, repository } from './processes.js'
import { unusedPort } from './ports.js'

const examples = join(repository, 'examples')

interface Run {
  /** How many processes of the same file. */
  readonly processes: 1 | 2
  /** What each must print at the end. */
  readonly prints?: string
  /** What each is called with, where not with the address alone. */
  readonly args?: (address: string) => Promise<string[]> | string[]
}

const withKeyFile = (address: string): string[] => [address, join(folder(), 'key')]

/** At a port, with a fresh certificate. */
async function withCertificate(): Promise<string[]> {
  const made = folder()
  const files = [join(made, 'app.pem'), join(made, 'app.key')]
  await new Peer(join(examples, 'certificate.mjs'), files).endsWell()
  return [String(await unusedPort()), ...files]
}

const RUNS: Record<string, Run> = {
  'apart.mjs': { processes: 1, prints: 'done' },
  'cancel.mjs': { processes: 2, prints: 'done' },
  'encrypted.mjs': { processes: 2, prints: 'world', args: withKeyFile },
  'errors.mjs': { processes: 1, prints: 'done' },
  'named-calls.mjs': { processes: 2, prints: 'done' },
  'notifications.mjs': { processes: 2, prints: 'done' },
  'own-cipher.mjs': { processes: 2, prints: 'world', args: withKeyFile },
  'own-loop.mjs': { processes: 1, prints: 'done' },
  'own-transport.mjs': { processes: 1, prints: 'done' },
  'testing.mjs': { processes: 1, prints: 'done' },
  'tls.mjs': { processes: 2, prints: 'world', args: withCertificate },
  'typed-calls.mts': { processes: 2, prints: '3 1.0.0' },
}
/** Run by another test, or for another example. */
const RUN_ELSEWHERE = ['certificate.mjs', 'peer.mjs', 'port-transport.mjs']

it('knows every example', () => {
  const files = readdirSync(examples).filter((name) => /\.m[jt]s$/.test(name))
  expect(files.sort()).toEqual([...Object.keys(RUNS), ...RUN_ELSEWHERE].sort())
})

it.each(Object.entries(RUNS))('%s', async (name, { processes, prints, args }) => {
  const path = join(examples, name)
  const file = name.endsWith('.mts') ? program(name.replace('.mts', '.mjs'), compiled(path)) : path
  const address = `${name.replace(/\..*/, '')}-${process.pid}`
  const given = args === undefined ? [address] : await args(address)
  const peers = Array.from({ length: processes }, () => new Peer(file, given, name))
  await Promise.all(peers.map((peer) => peer.endsWell(20_000)))
  for (const peer of peers) {
    expect(peer.stderr).toBe('')
    if (prints !== undefined) expect(peer.lines.at(-1)).toBe(prints)
  }
})

it('port-transport.mjs keeps the contract of transports', async () => {
  const peer = new Peer(join(examples, 'conformance/port-transport.mjs'), [], 'port-transport.mjs')
  await peer.endsWell(60_000)
  const [, passed] = /^\S pass (\d+)$/m.exec(peer.lines.join('\n')) ?? []
  expect(Number(passed)).toBeGreaterThan(40)
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
