/**
 * The protocol as it is published: what `@pairlink/core/protocol` resolves to, with every file that it brings along. It
 * reads `dist`, so the packages must have been built; `npm test` does that first.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createContext, runInContext, type Context } from 'node:vm'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import type * as Protocol from '../../src/protocol/index.js'
import * as source from '../../src/protocol/index.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface Manifest {
  readonly exports: Record<string, Record<'import' | 'require', { readonly default: string }>>
}
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest
const FORMATS = [
  ['import', 'ES modules'],
  ['require', 'CommonJS'],
] as const
type Format = (typeof FORMATS)[number][0]

function entryOf(format: Format): string {
  const path = manifest.exports['./protocol']?.[format].default
  if (path === undefined) throw new Error(`package.json exports no ./protocol for ${format}`)
  const file = join(ROOT, path)
  if (!existsSync(file)) throw new Error(`${file} is not there: build first (npm run build)`)
  return file
}

/** What the protocol must not touch: time, randomness, the loop, the host. Given by name, or as `object.property`. */
const FORBIDDEN = new Set(
  [
    'setTimeout setInterval setImmediate clearTimeout clearInterval clearImmediate queueMicrotask structuredClone',
    'Promise Date performance Intl Temporal Atomics SharedArrayBuffer WebAssembly FinalizationRegistry WeakRef',
    'process Buffer console crypto window self document navigator global globalThis Worker postMessage fetch',
    'TextEncoder TextDecoder AbortController AbortSignal Event EventTarget MessageChannel WebSocket XMLHttpRequest',
    'requestAnimationFrame localStorage Deno Bun eval Function __dirname __filename Math.random Symbol.asyncIterator',
  ].flatMap((line) => line.split(' ')),
)

/** What a piece of JavaScript uses that it must not, and what it loads. Comments and strings say nothing. */
function inspect(code: string): { faults: string[]; modules: string[] } {
  const faults: string[] = []
  const modules: string[] = []
  const file = ts.createSourceFile('code.js', code, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS)
  const textOf = (node: ts.Node | undefined): string | undefined =>
    node !== undefined && ts.isStringLiteralLike(node) ? node.text : undefined

  const load = (node: ts.Node | undefined): void => {
    const name = textOf(node)
    if (name === undefined) faults.push('a module whose name is computed')
    else modules.push(name)
  }
  /** True for an identifier that only names a member, as in `hello.process` or `{ process: 1 }`. */
  const isMember = (node: ts.Identifier): boolean => {
    const { parent } = node
    return (
      (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
      ((ts.isPropertyAssignment(parent) ||
        ts.isMethodDeclaration(parent) ||
        ts.isPropertyDeclaration(parent) ||
        ts.isGetAccessorDeclaration(parent) ||
        ts.isSetAccessorDeclaration(parent)) &&
        parent.name === node) ||
      ((ts.isBindingElement(parent) || ts.isExportSpecifier(parent) || ts.isImportSpecifier(parent)) &&
        parent.propertyName === node)
    )
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      if (node.moduleSpecifier !== undefined) load(node.moduleSpecifier)
    } else if (ts.isCallExpression(node)) {
      const { expression } = node
      if (expression.kind === ts.SyntaxKind.ImportKeyword) faults.push('import()')
      else if (ts.isIdentifier(expression) && expression.text === 'require') load(node.arguments[0])
    } else if (ts.isIdentifier(node)) {
      if (FORBIDDEN.has(node.text) && !isMember(node)) faults.push(node.text)
      const isCalled = ts.isCallExpression(node.parent) && node.parent.expression === node
      if (node.text === 'require' && !isCalled && !isMember(node)) faults.push('require, not called')
    } else if (ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node)) {
      const member = ts.isPropertyAccessExpression(node) ? node.name.text : textOf(node.argumentExpression)
      const name = `${node.expression.getText(file)}.${member ?? '?'}`
      if (FORBIDDEN.has(name)) faults.push(name)
    } else if (ts.isAwaitExpression(node)) {
      faults.push('await')
    } else if (ts.isForOfStatement(node) && node.awaitModifier !== undefined) {
      faults.push('for await')
    } else if (ts.isMetaProperty(node) && node.keywordToken === ts.SyntaxKind.ImportKeyword) {
      faults.push('import.meta')
    }
    if (ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword)) {
      faults.push('async')
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  const isBuiltin = (name: string): boolean => name.startsWith('node:') || builtinModules.includes(name)
  for (const name of modules) {
    if (isBuiltin(name)) faults.push(`the builtin module ${name}`)
    else if (!/^\.\.?\//.test(name)) faults.push(`the module ${name}`)
  }
  return { faults, modules }
}

/** A file and all that it loads: path to text. */
function filesFrom(entry: string, files = new Map<string, string>()): Map<string, string> {
  if (files.has(entry)) return files
  const code = readFileSync(entry, 'utf8')
  files.set(entry, code)
  for (const name of inspect(code).modules) if (name.startsWith('.')) filesFrom(resolve(dirname(entry), name), files)
  return files
}

describe('the check', () => {
  test.each([
    ["import { createHash } from 'node:crypto'", 'the builtin module node:crypto'],
    ["import 'fs'", 'the builtin module fs'],
    ["export * from 'node:events'", 'the builtin module node:events'],
    ["import { sha256 } from '@noble/hashes'", 'the module @noble/hashes'],
    ["const net = require('net')", 'the builtin module net'],
    ["var a = require('node:fs/promises')", 'the builtin module node:fs/promises'],
    ['const name = "fs"; require(name)', 'a module whose name is computed'],
    ['const load = require', 'require, not called'],
    ["const fs = import('./chunk.js')", 'import()'],
    ['const here = import.meta.url', 'import.meta'],
    ['setTimeout(() => {}, 1)', 'setTimeout'],
    ['const later = { setInterval }', 'setInterval'],
    ['queueMicrotask(f)', 'queueMicrotask'],
    ['const p = new Promise(() => {})', 'Promise'],
    ['return_(Promise.resolve(1))', 'Promise'],
    ['async function f() {}', 'async'],
    ['const f = async () => 1', 'async'],
    ['class A { async f() {} }', 'async'],
    ['const a = { async *f() {} }', 'async'],
    ['await f()', 'await'],
    ['async function f() { for await (const a of b) c(a) }', 'for await'],
    ['const now = Date.now()', 'Date'],
    ['const d = new Date', 'Date'],
    ['const r = Math.random()', 'Math.random'],
    ["const r = Math['random']()", 'Math.random'],
    ['const t = performance.now()', 'performance'],
    ['if (process.env.DEBUG) f()', 'process'],
    ['const b = Buffer.alloc(1)', 'Buffer'],
    ['console.log(1)', 'console'],
    ['crypto.getRandomValues(a)', 'crypto'],
    ['const g = window', 'window'],
    ['const t = globalThis.setTimeout', 'globalThis'],
    ['const { now } = Date', 'Date'],
    ['const text = `${Date.now()}`', 'Date'],
    ['const a = { [Date.now()]: 1 }', 'Date'],
    ['class A { at = Date.now() }', 'Date'],
    ['const f = (at = Date.now()) => at', 'Date'],
  ])('finds what is planted: %s', (code, fault) => {
    expect(inspect(code).faults).toContain(fault)
  })

  test.each([
    ['// Date.now(), setTimeout and await are not used here'],
    ['/* require("fs"), Math.random() */'],
    ['const text = "a Promise of process.env in node:fs"'],
    ['const text = `Buffer, ${1 + 1} console`'],
    ['const a = hello.process'],
    ['const a = { process: 1, get Date() { return 1 }, crypto() {} }'],
    ['const { process: name } = hello'],
    ['const pattern = /Date\\.now/'],
    ['const m = Math.max(1, 2)'],
    ["import { a } from './chunk.js'"],
    ["const chunk = require('../chunk.js')"],
  ])('finds nothing in: %s', (code) => {
    expect(inspect(code).faults).toEqual([])
  })

  test('finds what is planted in the published file itself, at its end and within a method', () => {
    const [code] = [...filesFrom(entryOf('import')).values()].filter((text) => text.includes('receive('))
    if (code === undefined) throw new Error('expected a file with the Link')
    expect(inspect(`${code}\nDate.now()`).faults).toEqual(['Date'])
    const planted = code.replace(/(\n {2}receive\([^)]*\) \{)/, '$1 const at = performance.now();')
    expect(planted).not.toBe(code)
    expect(inspect(planted).faults).toEqual(['performance'])
  })
})

describe.each(FORMATS)('the published protocol, %s: %s', (format) => {
  test('is the whole of it: Link and Session are in the files that are looked at', () => {
    const text = [...filesFrom(entryOf(format)).values()].join('\n')
    for (const path of ['link', 'session', 'reader', 'outbox', 'asking', 'answering', 'hello', 'limits', 'wire'])
      expect(text).toContain(`// src/protocol/${path}.ts`)
  })

  test('and nothing but it: none of the files holds a piece of the connection, or of a dependency', () => {
    const text = [...filesFrom(entryOf(format)).values()].join('\n')
    const pieces = [...text.matchAll(/^(?:.*;)?\/\/ (\S+\.(?:ts|js|mjs))$/gm)].map(([, path = '']) => path)
    expect(pieces.length).toBeGreaterThan(10)
    expect(pieces.filter((path) => !path.startsWith('src/protocol/'))).toEqual([])
  })

  test('loads no module and uses no time, randomness, promise or host', () => {
    for (const [path, code] of filesFrom(entryOf(format))) expect(inspect(code).faults, path).toEqual([])
  })
})

// ---- and it works where none of this is

/** Run inside the context: takes away what a bare context still has of time, randomness and host. */
const BARE = `
  for (const name of ['Date', 'Promise', 'console', 'Intl', 'WebAssembly', 'Atomics', 'SharedArrayBuffer', 'WeakRef',
    'FinalizationRegistry', 'eval', 'Function', 'escape', 'unescape']) delete globalThis[name]
  delete Math.random
`
const GONE = ['Date', 'Promise', 'console', 'setTimeout', 'setInterval', 'queueMicrotask', 'process', 'Buffer'].concat([
  'performance',
  'crypto',
  'window',
  'require',
  'TextEncoder',
])

function bareContext(): Context {
  const context = createContext({})
  runInContext(BARE, context)
  return context
}

/** Loads CommonJS text into a context that gives it no `require` but that of its own folder. */
function loadCommonJs(file: string, context: Context, plant = '', loaded = new Map<string, object>()): object {
  const known = loaded.get(file)
  if (known !== undefined) return known
  const module = { exports: {} }
  loaded.set(file, module.exports)
  const body = runInContext(
    `(function (module, exports, require) {${plant}${readFileSync(file, 'utf8')}\n})`,
    context,
  ) as (...args: unknown[]) => void
  body(module, module.exports, (name: string) => {
    if (!name.startsWith('.')) throw new Error(`require of ${name}`)
    return loadCommonJs(resolve(dirname(file), name), context, plant, loaded)
  })
  return module.exports
}

/**
 * Two links and sessions face to face: a handshake, a query, its answer, a PING. It uses nothing but the language, so that
 * it can be run as text within a bare context; the hash is a poor one, but the same on both sides.
 */
function converse(api: typeof Protocol): unknown {
  const sum = (count: number, parts: readonly Uint8Array[]): Uint8Array => {
    const out = new Uint8Array(count)
    let state = 17
    for (const part of parts) {
      for (const byte of part) {
        state = (state * 31 + byte + 1) % 65_521
        out[state % count] = (out[state % count] ?? 0) ^ (state >>> 3)
      }
    }
    return out
  }
  const hash: Protocol.Hash = {
    sha256: (...parts) => sum(32, parts),
    hmacSha256: (key, ...parts) => sum(32, [key, ...parts]),
    hkdfSha256: (input, salt, info, count) => sum(count, [input, salt, info]),
    equal: (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]),
  }
  const utf8: Protocol.Utf8 = {
    encode: (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0)),
    decode: (bytes) => String.fromCharCode(...bytes),
  }
  const limits = api.completeLimits({})
  const fresh = 'f'.repeat(32)
  const key = api.proofKey(utf8.encode('a secret'), hash, utf8)
  const linkOf = (side: Protocol.Side): Protocol.Link => {
    const hello: Protocol.Hello = {
      side,
      instance: (side === 'dialer' ? 'd' : '1').repeat(32),
      process: 'c'.repeat(32),
      nonce: new Uint8Array(32).fill(side === 'dialer' ? 1 : 2),
      features: 0,
      keepaliveMs: 2500,
      limits,
      claim: side === 'dialer' ? { attempt: 1, session: api.NO_ID, received: 0, peer: api.NO_ID, fresh } : api.NO_CLAIM,
      about: new Uint8Array(0),
      cipherName: '',
    }
    return new api.Link({ hello, key, hash, utf8, silenceMs: 20_000, handshakeTimeoutMs: 5000, now: 0 })
  }
  const [dialer, listener] = [linkOf('dialer'), linkOf('listener')]
  const sessionWith = (hello: Protocol.Hello): Protocol.Session =>
    new api.Session({
      id: fresh,
      peer: hello.instance,
      attempt: 1,
      limits,
      peerLimits: hello.limits,
      drainMs: 5000,
      utf8,
    })
  const seen: string[] = []
  let asking: Protocol.Session | undefined
  let now = 0
  const run = (): void => {
    for (let moved = true; moved; ) {
      moved = false
      for (const [from, to] of [
        [dialer, listener],
        [listener, dialer],
      ] as const) {
        const chunks: Uint8Array[] = []
        from.takeWrite(1 << 20, now, chunks)
        for (const chunk of chunks) {
          moved = true
          to.receive(chunk.slice(), true, now)
          for (let event = to.poll(); event !== undefined; event = to.poll()) {
            seen.push(event.type)
            if (event.type === 'proven') {
              const judgement = api.judgeClaim(undefined, event.hello.instance, event.hello.claim)
              if (judgement.verdict === 'fresh') to.welcome(sessionWith(event.hello), judgement, now)
            } else if (event.type === 'welcomed') {
              const judgement = api.judgeWelcome(undefined, fresh, event.welcome)
              asking = sessionWith(event.hello)
              if (judgement.verdict === 'fresh') to.attach(asking, judgement)
            } else if (event.type === 'query') {
              to.session?.answer(event.id, event.content, event.bytes, 'own', now)
            } else if (event.type === 'answer') {
              seen.push(utf8.decode(event.bytes))
            }
          }
        }
      }
    }
  }
  run()
  asking?.query(utf8.encode('echo'), api.CONTENT.TEXT, utf8.encode('hello'), 'copy', Infinity, false, now)
  run()
  now = 2500
  dialer.tick(now)
  run()
  return [dialer.state, listener.state, ...seen].join(' ')
}
const CONVERSATION = 'open open proven welcomed query answer hello keepalive keepalive'
const NAMES = Object.keys(source).sort()

describe('without time, randomness, promises and host', () => {
  test('the context has none of them', () => {
    const context = bareContext()
    for (const name of GONE) expect(runInContext(`typeof ${name}`, context), name).toBe('undefined')
    expect(runInContext('typeof Math.random', context)).toBe('undefined')
  })

  test('the conversation is one that the sources have', () => {
    expect(converse(source)).toBe(CONVERSATION)
  })

  test('CommonJS loads, exports what the sources export, and works', () => {
    const context = bareContext()
    const api = loadCommonJs(entryOf('require'), context)
    expect(Object.keys(api).sort()).toEqual(NAMES)
    const within = runInContext(`(${converse.toString()})`, context) as typeof converse
    expect(within(api as typeof Protocol)).toBe(CONVERSATION)
  })

  test.each(['Date.now();', 'setTimeout(() => {}, 0);', 'Promise.resolve();', 'Math.random();', "require('fs');"])(
    'CommonJS with a planted %s does not load',
    (plant) => {
      expect(() => loadCommonJs(entryOf('require'), bareContext(), plant)).toThrow()
    },
  )

  /** A process of its own, since modules in a context need a flag of Node's. */
  function loadModules(plant: string): { names?: string[]; conversation?: string; error?: string } {
    const script = `
      const { readFileSync } = require('node:fs')
      const { dirname, resolve } = require('node:path')
      const vm = require('node:vm')
      const context = vm.createContext({})
      vm.runInContext(${JSON.stringify(BARE)}, context)
      const modules = new Map()
      const load = (file) => {
        let module = modules.get(file)
        if (module === undefined) {
          const code = ${JSON.stringify(plant)} + readFileSync(file, 'utf8')
          module = new vm.SourceTextModule(code, { context, identifier: file })
          modules.set(file, module)
        }
        return module
      }
      const link = (name, from) => {
        if (!name.startsWith('.')) throw new Error('import of ' + name)
        return load(resolve(dirname(from.identifier), name))
      }
      const say = (answer) => process.stdout.write(JSON.stringify(answer))
      ;(async () => {
        const module = load(${JSON.stringify(entryOf('import'))})
        await module.link(link)
        await module.evaluate()
        const converse = vm.runInContext(${JSON.stringify(`(${converse.toString()})`)}, context)
        say({ names: Object.keys(module.namespace).sort(), conversation: converse(module.namespace) })
      })().catch((error) => say({ error: String(error) }))
    `
    const args = ['--experimental-vm-modules', '--no-warnings', '-e', script]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 15_000 })
    if (stdout === '') throw new Error(`the process said nothing: ${stderr}`)
    return JSON.parse(stdout) as ReturnType<typeof loadModules>
  }

  test('ES modules load, export what the sources export, and work', () => {
    expect(loadModules('')).toEqual({ names: NAMES, conversation: CONVERSATION })
  })

  test.each([
    ['Date.now();', 'Date is not defined'],
    ["import 'node:fs';", 'import of node:fs'],
  ])('ES modules with a planted %s do not load', (plant, error) => {
    expect(loadModules(plant).error).toContain(error)
  })
})
