/** The tables of the API page say what the source says: every name, every default. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { completeOptions } from '../packages/core/src/connection/options.js'
import { utf8 } from '../packages/core/src/connection/text.js'
import { ERRORS } from '@pairlink/core'
import { repository } from './processes.js'

const page = readFileSync(join(repository, 'apps/docs/api.md'), 'utf8')
const transport = { address: '', reach: 'user', encrypted: false, dial: () => undefined, listen: () => undefined }
const { settings } = completeOptions({ transport, secret: 'x' }, utf8)

/** The rows of the tables under a heading, by the name in their first column. */
function tablesUnder(heading: string): Map<string, string[]> {
  const [, after] = page.split(new RegExp(`^#+ ${heading}$`, 'm'))
  if (after === undefined) throw new Error(`api.md has no heading '${heading}'`)
  const rows = new Map<string, string[]>()
  for (const line of (after.split(/^#+ /m)[0] ?? '').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim())
    const name = /^`(?:\[Symbol\.)?(\w+)/.exec(cells[1] ?? '')?.[1]
    if (name !== undefined) rows.set(name, cells.slice(2, -1))
  }
  return rows
}

/** The public members of an interface or class. */
function members(file: string, type: string, kind: 'method' | 'property' | 'all' = 'all'): string[] {
  const path = join(repository, 'packages/core/src', file)
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ESNext)
  const names: string[] = []
  ts.forEachChild(source, (node) => {
    if (!(ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node)) || node.name?.text !== type) return
    for (const member of node.members) {
      const { name } = member
      const isMethod = ts.isMethodDeclaration(member) || ts.isMethodSignature(member)
      if (name === undefined || ts.isPrivateIdentifier(name) || (kind !== 'all' && (kind === 'method') !== isMethod))
        continue
      names.push(ts.isComputedPropertyName(name) ? 'asyncDispose' : name.getText(source))
    }
  })
  if (names.length === 0) throw new Error(`${file} has no ${type}`)
  return names
}

/** What a default stands for on the page. */
function value(text: string): unknown {
  const bytes = /^([\d,]+) (MiB|KiB)$/.exec(text)
  if (bytes !== null) return Number(bytes[1]?.replaceAll(',', '')) * (bytes[2] === 'MiB' ? 2 ** 20 : 2 ** 10)
  if (/^[\d,]+$/.test(text)) return Number(text.replaceAll(',', ''))
  if (/^`(true|false)`$/.test(text)) return text === '`true`'
  return /^`'(.*)'`$/.exec(text)?.[1] ?? text
}

const sorted = (names: Iterable<string>): string[] => [...names].sort()
const OPTIONS = 'connection/options.ts'
const CONNECTION = 'connection/connection.ts'
const SURFACE = 'connection/surface.ts'

describe('the API page', () => {
  it.each([
    ['Options', members(OPTIONS, 'ConnectionOptions')],
    ['Reconnect', members(OPTIONS, 'ReconnectOptions')],
    ['Limits', members('protocol/limits.ts', 'Limits')],
    ['Methods', members(CONNECTION, 'Connection', 'method')],
    ['Properties', members(CONNECTION, 'Connection', 'property')],
    ['Events', members(SURFACE, 'ConnectionEvents')],
    ['Stats', members(SURFACE, 'ConnectionStats')],
    ['Stats of the session', members('protocol/session.ts', 'SessionStats')],
    [
      'Options of connect',
      [...members('connection/waiters.ts', 'ConnectOptions'), ...members('connection/waiters.ts', 'PairedOptions')],
    ],
    ['Options of a call', [...members(SURFACE, 'CallOptions'), ...members(SURFACE, 'NotifyOptions')]],
    ['Context of a handler', members(SURFACE, 'Context')],
  ])('%s: names what there is, and nothing else', (heading, names) => {
    expect(sorted(tablesUnder(heading).keys())).toEqual(sorted(names))
  })

  it('Events: names the fields of each', () => {
    const source = readFileSync(join(repository, 'packages/core/src', SURFACE), 'utf8')
    for (const [name, [fields]] of tablesUnder('Events')) {
      const declared = new RegExp(`^  ${name}: \\{(.*)\\}$`, 'm').exec(source)?.[1] ?? ''
      const expected = [...declared.matchAll(/readonly (\w+)/g)].map(([, field]) => `\`${field}\``)
      expect(`${name}: ${fields}`).toBe(`${name}: ${expected.join(', ')}`)
    }
  })

  it('States: names each state', () => {
    const source = readFileSync(join(repository, 'packages/core/src', SURFACE), 'utf8')
    const declared = /^export type ConnectionState = (.*)$/m.exec(source)?.[1] ?? ''
    expect([...tablesUnder('States').keys()]).toEqual([...declared.matchAll(/'(\w+)'/g)].map(([, state]) => state))
  })

  it('Options: gives the true defaults', () => {
    const special: Record<string, string> = {
      transport: 'required',
      secret: 'required',
      encryption: 'none',
      handlers: 'none',
      onQuery: 'none',
      onNotify: 'none',
      about: 'none',
      limits: 'see [below](#limits)',
      logger: 'errors and warnings to the console',
      reconnect: '`{ maxRetries: 0, delayMs: 1000, growth: 1, jitter: true }`',
    }
    expect(settings.reconnect).toEqual({ maxRetries: 0, delayMs: 1000, growth: 1, jitter: true })
    expect([settings.onQuery, settings.onNotify, settings.handlers.size, settings.about.length]).toEqual([
      undefined,
      undefined,
      0,
      0,
    ])
    for (const [name, [written = '']] of tablesUnder('Options')) {
      const expected = special[name] ?? (settings as unknown as Record<string, unknown>)[name]
      expect({ [name]: value(written) }).toEqual({ [name]: expected })
    }
  })

  it.each([
    ['Reconnect', settings.reconnect],
    ['Limits', settings.limits],
  ])('%s: gives the true defaults', (heading, defaults) => {
    const written = [...tablesUnder(heading)].map(([name, [cell = '']]) => [name, value(cell)])
    expect(Object.fromEntries(written)).toEqual(defaults)
  })
})

it('links to codes of errors that exist', () => {
  for (const name of [
    'api.md',
    'encryption.md',
    'meeting.md',
    'own-cipher.md',
    'start.md',
    'tls.md',
    'transports.md',
  ]) {
    const text = readFileSync(join(repository, 'apps/docs', name), 'utf8')
    for (const [, code] of text.matchAll(/errors#(\w+)/g)) expect(Object.keys(ERRORS)).toContain(code)
  }
})
