/** What the fuzz tests of core and crypto have in common: fast-check draws the changes, the targets of `npm run fuzz` run. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { kept } from '../../../../e2e/fuzz/corpus.mjs'
import { changed, encodeInput, type Input } from '../../../../e2e/fuzz/inputs.mjs'
import type { Target } from '../../../../e2e/fuzz/targets.mjs'

const seed = fc.nat(0xffffffff)
const change = fc.record({ how: fc.nat(999), piece: fc.nat(999), at: fc.nat(2 ** 20), value: fc.nat(2 ** 31 - 1) })
const noise = fc.record({ seed, pieces: fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }) })
/** So many inputs were kept at least: an empty folder would show nothing. */
const KEPT_MIN = 2

/** One run, with its input in the error: it can be put into a file and replayed. */
async function ran(target: Target, input: Input): Promise<void> {
  try {
    expect(await target.run(input)).toMatchObject({ end: expect.any(String) as string })
  } catch (error) {
    throw new Error(`${target.name}: ${String(error)}\n${encodeInput(input)}`, { cause: error })
  }
}

export function testTarget(target: Target, numRuns: number): void {
  test(`${target.name}: changed conversations end as they may`, async () => {
    const honest = target.honest()
    const others = target.others()
    const input = fc
      .tuple(seed, fc.nat(honest.length - 1), fc.array(change, { maxLength: 8 }))
      .map(([drawn, index, changes]) => ({
        seed: drawn,
        pieces: changed(honest[index]?.pieces ?? [], changes, others),
      }))
    await fc.assert(
      fc.asyncProperty(input, (one) => ran(target, one)),
      { numRuns },
    )
  })

  test(`${target.name}: noise ends as it may`, async () => {
    await fc.assert(
      fc.asyncProperty(noise, (input) => ran(target, input)),
      { numRuns: Math.ceil(numRuns / 5) },
    )
  })

  test(`${target.name}: what was kept ends as it may`, async () => {
    const inputs = kept(target)
    expect(inputs.length).toBeGreaterThanOrEqual(KEPT_MIN)
    for (const { input } of inputs) await ran(target, input)
  })
}
