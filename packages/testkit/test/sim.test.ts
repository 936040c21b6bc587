/** The simulator itself: the same seed gives the same session, what is broken is found, and made short. */
import type { CustomEncryption } from '@pairlink/core'
import { describe, expect, test } from 'vitest'
import { drawSchedule, runSession, shrink } from '../src/index.js'

async function traceOf(seed: number): Promise<string[]> {
  const lines: string[] = []
  await runSession(drawSchedule(seed), { trace: (line) => lines.push(line) })
  return lines
}

test('the same seed gives the same session, to the line', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const first = await traceOf(seed)
    expect(first.length).toBeGreaterThan(5)
    expect(await traceOf(seed)).toEqual(first)
  }
})

test('seeds differ in everything that is drawn', () => {
  const drawn = Array.from({ length: 200 }, (_, seed) => drawSchedule(seed))
  const different = (of: (schedule: (typeof drawn)[number]) => unknown): number => new Set(drawn.map(of)).size
  expect(different(({ kind }) => kind)).toBe(2)
  expect(different(({ address }) => address)).toBe(2)
  expect(different(({ protection }) => protection)).toBe(3)
  expect(different(({ processes }) => processes)).toBe(2)
  expect(different(({ steps }) => JSON.stringify(steps))).toBe(200)
  expect(new Set(drawn.flatMap(({ steps }) => steps.map((step) => step.do))).size).toBe(9)
})

describe('a cipher that changes a byte now and then', () => {
  let records = 0
  const broken: CustomEncryption = {
    mode: 'custom',
    cipherName: 'broken',
    encrypt: (plain) => {
      const record = plain.slice()
      // Behind the link, direction and counter, and behind the header of a frame.
      if (++records % 20 === 0 && record.length > 60) record[60] = (record[60] ?? 0) ^ 1
      return record
    },
    decrypt: (record) => record.slice(),
  }
  const encryptions = { open: broken, sealed: broken, custom: broken }

  test('is found, and the schedule that shows it is short', async () => {
    for (let seed = 1; seed < 50; seed++) {
      records = 0
      const schedule = drawSchedule(seed)
      const { findings } = await runSession(schedule, { encryptions })
      const finding = findings.find(({ rule }) => rule === 'payload-intact')
      if (finding === undefined) continue
      const short = await shrink(schedule, finding.rule, { encryptions })
      expect(short.steps.length).toBeLessThanOrEqual(schedule.steps.length)
      expect(short.steps.some((step) => step.do === 'ask')).toBe(true)
      return
    }
    throw new Error('not found in 50 sessions')
  })
})
