/** `npm run chaos` on each kind of address at twice its pace: as many rounds as there are in a minute. See there for a longer one. */
import { availableParallelism } from 'node:os'
import { expect, it } from 'vitest'
import { chaos } from './chaos/supervisor.mjs'

const PACE = 2
/** Half as many calls as there are by hand, as the pairs share the processors. Where there is one, each gets half of the time. */
const OUTSTANDING = 8
const areSideBySide = availableParallelism() >= 2
const minutes = (areSideBySide ? 1 : 0.5) / PACE
const each = areSideBySide ? it.concurrent : it

each.for(['unix', 'tcp', 'ws'] as const)('a pair survives what happens to its processes, on %s', async (address) => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  const log: string[] = []
  const { deviations, line } = await chaos({
    minutes,
    seed,
    address,
    pace: PACE,
    outstanding: OUTSTANDING,
    print: (text) => log.push(text),
  })
  console.log(`MEASURED chaos on ${line}`)
  expect(deviations, [...deviations, ...log].join('\n')).toEqual([])
})
