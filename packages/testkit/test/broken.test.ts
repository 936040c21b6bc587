/** Each broken transport fails the case that names its fault, and none of those that stand beside it. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { memory, TransportFault, transportCases, type TransportCase } from '../src/index.js'
import { BROKEN, type BrokenTransport } from './broken.js'
import { MANIFEST, placeOf } from './memory-place.js'

/** They look at the whole process, let it stand still, or mind when it does. */
const ALONE = ['no-unhandled-rejection', 'slow-reader', 'end-delivers-all', 'end-of-both-at-once', 'end-while-flooded']
/** Long for the one that must fail, which has the process for itself; the others have no haste. */
const FAILING_MS = 2000
const CASE_MS = 15_000
/** How many others look at it, too: the next ones of the list, so that each case looks at some. */
const NEIGHBOURS = 3

/** The cases that fail. */
async function failures(broken: BrokenTransport): Promise<string[]> {
  const failed: string[] = []
  const run = async ({ id, title, run }: TransportCase): Promise<void> => {
    try {
      await run()
    } catch (error) {
      if (!(error instanceof TransportFault)) throw error
      expect(error.message).toContain(title)
      expect(error.id).toBe(id)
      failed.push(id)
    }
  }
  const isAlone = ({ id }: TransportCase): boolean => ALONE.includes(id) || id === broken.fails
  const looking = freshCases(broken)
  await Promise.all(looking.filter((one) => !isAlone(one)).map(run))
  for (const one of looking.filter(isAlone)) await run(one)
  return failed
}

/** A fresh fault for each case, so that none depends on another. */
function freshCases({ make, fails }: BrokenTransport): TransportCase[] {
  const running = transportCases(make(), MANIFEST).filter(({ skip }) => skip === undefined)
  const ids = running.map(({ id }) => id)
  const first = ids.indexOf(fails)
  return [...ids.slice(first), ...ids].slice(0, 1 + NEIGHBOURS).flatMap((id) => {
    const caseMs = id === fails ? FAILING_MS : CASE_MS
    return transportCases(make(), MANIFEST, { caseMs }).filter((one) => one.id === id)
  })
}

/** What a runner does with rejections that nobody has caught is not wanted here: a case is to find them. */
function quietRunner(): void {
  const before = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', () => undefined)
  onTestFinished(() => {
    process.removeAllListeners('unhandledRejection')
    for (const listener of before) process.on('unhandledRejection', listener)
  })
}

describe('a transport that', () => {
  test.each(BROKEN)('$fault fails $fails', { timeout: 60_000 }, async (broken) => {
    quietRunner()
    const failed = await failures(broken)
    expect(failed.join()).toBe(broken.fails)
  })
})

test('each case of meeting, of a pipe and of its end that runs in memory has a fault of its own to find', () => {
  const found = BROKEN.map(({ fails }) => fails)
  const running = transportCases(() => placeOf(memory()), MANIFEST).filter(({ skip }) => skip === undefined)
  const ids = running.map(({ id }) => id)
  expect(ids).toEqual(expect.arrayContaining(found))
  expect(found).toEqual(expect.arrayContaining(ids.filter((id) => !id.startsWith('connection-'))))
})
