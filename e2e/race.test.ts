/** Real processes race for one address: one listens, two are paired, the others are told. More rounds: `npm run race`. */
import { expect, it } from 'vitest'
import { race } from './race/rounds.mjs'

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))

it.each([
  { rounds: 60, processes: 2, state: 'mixed', address: 'unix' },
  { rounds: 50, processes: 6, state: 'mixed', address: 'unix' },
  { rounds: 30, processes: 2, state: 'mixed', address: 'unix', isAbstract: true },
  { rounds: 20, processes: 6, state: 'mixed', address: 'unix', isAbstract: true },
  { rounds: 20, processes: 2, state: 'mixed', address: 'tcp' },
  { rounds: 20, processes: 6, state: 'mixed', address: 'tcp' },
] as const)('$rounds rounds of $processes processes at $address have one pair each: %j', async (options) => {
  const { deviations, line } = await race({ ...options, seed, deviationsMax: 3 })
  console.log(`MEASURED ${JSON.stringify(options)}: SEED=${seed} ${line}`)
  expect(deviations).toEqual([])
  const { rounds, processes } = options
  const others = rounds * (processes - 2)
  expect(line).toContain(
    `rounds ${rounds} · exactly one listener ${rounds} · exactly one pair ${rounds} · others told ${others} of ${others} · errors 0`,
  )
})

it.each([2, 6])('sees two listeners when %i processes follow the usual recipe slowly', async (processes) => {
  const options = { rounds: 30, processes, state: 'stale', address: 'unix', recipe: { pauseMs: 20 } } as const
  const { deviations } = await race({ ...options, seed, deviationsMax: 1 })
  expect(deviations.join('\n')).toMatch(/listened at once/)
})
