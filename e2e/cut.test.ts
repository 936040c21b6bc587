/**
 * Two real processes whose link is cut again and again under load from both sides, by a proxy in between and from within, and
 * one of which is killed once: see `chaos/supervisor.mjs`. And that its judge would notice.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { judge } from './chaos/judge.mjs'
import { cuts } from './chaos/supervisor.mjs'
import { folder } from './processes.js'

/** For each. Most of the time the two wait before they look for each other, so all run side by side. */
const CUTS = 250

it.concurrent.for([
  ['unix', false],
  ['tcp', false],
  ['tls', false],
  ['ws', false],
  ['unix', true],
] as const)(
  'over %s (sealed: %s), cut under load: nothing is lost, doubled or out of order, and only with a killed process calls fail',
  async ([address, sealed]) => {
    const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
    const log: string[] = []
    const result = await cuts({ count: CUTS, seed, address, sealed, outstanding: 8, print: (text) => log.push(text) })
    console.log(`MEASURED cut over ${result.line}`)
    expect(result.deviations, [...result.deviations, ...log].join('\n')).toEqual([])
    expect(result.cuts).toBe(CUTS)
    // Both are told of a resume, but for cuts in the middle of a handshake, and of its own loss one side may know nothing.
    expect(result.resumes).toBeGreaterThan(CUTS)
  },
)

/** What two processes write down of one call and one notification, the second process without an error. */
const RIGHT = {
  a1: ['settled a1-0 11 22 patient ok delivered b1', 'told a1-0 33', 'told a1-1 44'],
  b1: ['handled a1-0 11', 'answered a1-0 22', 'heard a1-0 33', 'heard a1-1 44'],
}

it.each<[string, { a1?: string[]; b1?: string[] }, RegExp | undefined]>([
  ['nothing that is wrong', {}, undefined],
  ['a call that is handled twice', { b1: [...RIGHT.b1, 'handled a1-0 11'] }, /a1-0 was handled twice/],
  ['an answer without a handler', { b1: RIGHT.b1.slice(1) }, /not handled/],
  [
    'a question that has changed',
    { b1: ['handled a1-0 12', ...RIGHT.b1.slice(1)] },
    /what was asked is not what was handled/,
  ],
  [
    'an answer that has changed',
    { a1: ['settled a1-0 11 23 patient ok delivered b1', ...RIGHT.a1.slice(1)] },
    /what was answered is not what was got/,
  ],
  ['a call without an end', { a1: RIGHT.a1.slice(1) }, /never settled/],
  [
    'a failure without a reason',
    { a1: ['settled a1-0 11 - patient TIMEOUT unknown b1', ...RIGHT.a1.slice(1)] },
    /no reason to fail/,
  ],
  [
    'a loss of a process that lives',
    { a1: ['settled a1-0 11 - patient PEER_LOST unknown b1', ...RIGHT.a1.slice(1)] },
    /b1 was not killed/,
  ],
  [
    'a call that was sent, told not-sent',
    { a1: ['settled a1-0 11 - quick TIMEOUT not-sent b1', ...RIGHT.a1.slice(1)] },
    /and was handled/,
  ],
  [
    'a call that did not arrive, told delivered',
    {
      a1: ['settled a1-0 11 - quick CANCELLED delivered b1', ...RIGHT.a1.slice(1)],
      b1: RIGHT.b1.slice(2),
    },
    /no handler of b1 has started/,
  ],
  ['a session that ends while both live', { a1: [...RIGHT.a1, 'reset b1 1'] }, /b1 was not killed/],
  ['a notification that is lost', { b1: [...RIGHT.b1.slice(0, 2), 'heard a1-1 44'] }, /heard a1-1 after none/],
  ['the last notification lost', { b1: RIGHT.b1.slice(0, 3) }, /number 0 was the last one heard/],
  ['a notification that is doubled', { b1: [...RIGHT.b1, 'heard a1-1 44'] }, /a1-1 was heard twice/],
  [
    'notifications out of order',
    { b1: [...RIGHT.b1.slice(0, 2), 'heard a1-1 44', 'heard a1-0 33'] },
    /heard a1-0 after 1/,
  ],
  [
    'a notification that has changed',
    { b1: [...RIGHT.b1.slice(0, 3), 'heard a1-1 45'] },
    /what was told is not what was heard/,
  ],
])('the judge notices %s', async (_, changed, deviation) => {
  const logs = folder()
  const workers = Object.entries({ ...RIGHT, ...changed }).map(([name, lines]) => {
    const log = join(logs, name)
    writeFileSync(log, lines.map((line) => `${line}\n`).join(''))
    const [asked, told] = name === 'a1' ? [1, 2] : [0, 0]
    return [name, { name, log, isKilled: false, asked, told }] as const
  })
  const { deviations } = await judge({ workers: new Map(workers) } as unknown as Parameters<typeof judge>[0])
  if (deviation === undefined) expect(deviations).toEqual([])
  else expect(deviations.join('\n')).toMatch(deviation)
})
