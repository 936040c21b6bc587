/** A minute of `npm run chaos` on each kind of address; see there for a longer one. */
import { availableParallelism } from 'node:os'
import { expect, it } from 'vitest'
import { chaos } from './chaos/supervisor.mjs'

/** One pair keeps about one processor busy. Where there is no second one, each address gets half of the time. */
const areSideBySide = availableParallelism() >= 2
const minutes = areSideBySide ? 1 : 0.5
const each = areSideBySide ? it.concurrent : it

each.for(['unix', 'tcp'] as const)('a pair survives what happens to its processes, on %s', async (address) => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  const log: string[] = []
  const { deviations, line } = await chaos({ minutes, seed, address, print: (text) => log.push(text) })
  console.log(`MEASURED chaos on ${line}`)
  expect(deviations, [...deviations, ...log].join('\n')).toEqual([])
})
