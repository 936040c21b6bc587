/** Much at once, in both directions, between two real processes. */
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { folder, Peer, repository } from './processes.js'

const QUERIES = 100_000
const OUTSTANDING = 64
const BYTES = 100_000_000
const GROWTH_MAX = 300e6

it('answers 100,000 queries and carries 100 MB, both ways at once', { timeout: 120_000 }, async () => {
  const path = join(folder(), 's')
  const config = JSON.stringify({ path, queries: QUERIES, outstanding: OUTSTANDING, bytes: BYTES })
  const file = join(repository, 'e2e/peers/load.mjs')
  const sides = [new Peer(file, [config], 'one side'), new Peer(file, [config], 'the other side')]
  const step = async (event: string): Promise<Record<string, number>[]> => {
    const reports = await Promise.all(sides.map((side) => side.next(event, 60_000)))
    return reports as unknown as Record<string, number>[]
  }
  const go = (): void => {
    for (const side of sides) side.send({ go: true })
  }
  await step('paired')

  go()
  for (const { right, seconds } of await step('asked')) {
    expect(right).toBe(QUERIES)
    const rate = Math.round(QUERIES / (seconds ?? NaN))
    console.log(`MEASURED ${QUERIES} queries each way at once, ${OUTSTANDING} outstanding: ${rate} a second each way`)
  }

  go()
  for (const { seconds, grown, pings, p50, p99 } of await step('carried')) {
    const rate = Math.round(BYTES / 1e6 / (seconds ?? NaN))
    const small = `${pings} small queries meanwhile: p50 ${p50?.toFixed(1)} ms, p99 ${p99?.toFixed(1)} ms`
    console.log(
      `MEASURED 100 MB each way at once: ${rate} MB/s each way, ${Math.round((grown ?? 0) / 1e6)} MB more memory; ${small}`,
    )
    expect(grown).toBeLessThan(GROWTH_MAX)
    expect(pings).toBeGreaterThan(10)
    expect(p99).toBeLessThan(1000)
  }

  go()
  await Promise.all(sides.map((side) => side.endsWell()))
  for (const side of sides) {
    expect(side.stderr).toBe('')
    for (const { error } of side.all('apart')) expect(error).toBeUndefined() // a goodbye, not a loss
  }
})

it('carries an answer of 256 MB past which queries, answers, cancels and notifications go both ways', async () => {
  const bytes = 256 * 2 ** 20
  const path = join(folder(), 's')
  const file = join(repository, 'e2e/peers/fairness.mjs')
  const sides = [true, false].map(
    (takes) => new Peer(file, [JSON.stringify({ path, bytes, takes })], takes ? 'takes' : 'gives'),
  )
  for (const side of sides) {
    const done = await side.next('done', 60_000)
    const kinds = ['query', 'answer', 'cancel', 'notification'] as const
    for (const kind of kinds) {
      const { count, mostMs } = done[kind] as { count: number; mostMs: number }
      expect(count, kind).toBeGreaterThan(3)
      expect(mostMs, kind).toBeLessThan(1000)
    }
    const seen = kinds.map((kind) => {
      const { count, mostMs } = done[kind] as { count: number; mostMs: number }
      return `${count} × ${kind} in at most ${mostMs.toFixed(0)} ms`
    })
    const { seconds } = done as { seconds?: number }
    const what = seconds === undefined ? 'gave it' : `took 256 MB in ${seconds.toFixed(2)} s`
    console.log(`MEASURED the side that ${what}: ${seen.join(', ')}`)
  }
  await Promise.all(sides.map((side) => side.endsWell()))
  for (const side of sides) {
    expect(side.stderr).toBe('')
    for (const { error } of side.all('apart')) expect(error).toBeUndefined() // a goodbye, not a loss
  }
})
