/**
 * A producer 100 times faster than its consumer, in both directions at once: nothing is lost, what does not fit is refused or
 * waits, and memory stays what it is. For three seconds each; for 30 with PRODUCER_SECONDS=30, as `npm run test:long` does.
 */
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { folder, Peer, repository } from './processes.js'

const SECONDS = Number(process.env['PRODUCER_SECONDS'] ?? 3)
const OUTSTANDING = 2000
/** How long a consumer is busy with each. */
const CONSUME_MS = 20
const UNBOUNDED_PER_SECOND = 20_000
const MB = 1e6

interface Told {
  readonly sent: number
  readonly consumed: number
  readonly rss: number
  /** What was alive after a collection of garbage, in their order. */
  readonly samples: readonly { readonly heap: number; readonly external: number }[]
}

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? NaN

/** Prints what was in use, and expects hardly more of it in the second half than in the first. */
function expectFlat(what: string, { sent, consumed, rss, samples }: Told, faster?: number): void {
  const half = Math.floor(samples.length / 2)
  expect(half, 'samples').toBeGreaterThan(3)
  const seen: string[] = []
  for (const kind of ['heap', 'external'] as const) {
    const used = samples.map((sample) => sample[kind] / MB)
    const [before, after] = [median(used.slice(0, half)), median(used.slice(half))]
    const most = Math.max(...used)
    seen.push(`${kind} ${before.toFixed(1)} and ${after.toFixed(1)} MB (at most ${most.toFixed(1)})`)
    expect(after, kind).toBeLessThan(before * 1.2 + 8)
  }
  const ratio = faster === undefined ? '' : `, ${Math.round(faster)} times faster`
  console.log(
    `MEASURED ${what}: ${sent} produced, ${consumed} consumed in ${SECONDS} s${ratio}; in the two halves: ` +
      `${seen.join(', ')}; resident at most ${(rss / MB).toFixed(1)} MB`,
  )
}

it(
  'a producer 100 times faster than its consumer, in both directions',
  { timeout: 60_000 + 6 * SECONDS * 1000 },
  async () => {
    const config = {
      path: join(folder(), 's'),
      seconds: SECONDS,
      outstanding: OUTSTANDING,
      consumeMs: CONSUME_MS,
      unboundedPerSecond: UNBOUNDED_PER_SECOND,
    }
    const file = join(repository, 'e2e/peers/producer.mjs')
    const sides = ['one side', 'the other side'].map((label) => new Peer(file, [JSON.stringify(config)], label))
    /** Both do one part, at the same time. */
    const part = async (event: string): Promise<Told[]> => {
      for (const side of sides) side.send({ go: true })
      const reports = await Promise.all(sides.map((side) => side.next(event, 30_000 + 2 * SECONDS * 1000)))
      return reports as unknown as Told[]
    }
    await Promise.all(sides.map((side) => side.next('paired')))

    for (const told of await part('notified')) {
      const { outOfOrder, producedPerSecond } = told as Told & { outOfOrder: number; producedPerSecond: number }
      // All have arrived, or it would not have told.
      expect(outOfOrder).toBe(0)
      const faster = producedPerSecond / (told.consumed / SECONDS)
      expect(faster).toBeGreaterThan(100)
      expectFlat('notifications, each awaited', told, faster)
    }

    for (const told of await part('bounded')) {
      const { sent, answered, handledOnce, handledOften } = told as Told & Record<string, number>
      expect({ answered, handledOnce, handledOften }).toEqual({ answered: sent, handledOnce: sent, handledOften: 0 })
      expect(sent).toBeGreaterThan(OUTSTANDING)
      expectFlat(`queries, ${OUTSTANDING} outstanding`, told)
    }

    for (const told of await part('unbounded')) {
      const { settled, notSent, stats, ...counts } = told as unknown as Told & {
        settled: Record<string, number>
        notSent: number
        notSentButHandled: number
        answeredNotOnce: number
        handledOften: number
        producedPerSecond: number
        stats: Record<string, unknown>
      }
      const { notSentButHandled, answeredNotOnce, handledOften } = counts
      expect({ notSentButHandled, answeredNotOnce, handledOften }).toEqual({
        notSentButHandled: 0,
        answeredNotOnce: 0,
        handledOften: 0,
      })
      expect(settled).toMatchObject({ open: 0, another: 0 })
      for (const outcome of ['answered', 'QUEUE_FULL', 'TIMEOUT']) expect(settled[outcome], outcome).toBeGreaterThan(0)
      expect(stats).toMatchObject({ callsOpen: 0 })
      const faster = counts.producedPerSecond / (told.consumed / SECONDS)
      expect(faster).toBeGreaterThan(100)
      const outcomes = Object.entries(settled).filter(([, count]) => count > 0)
      console.log(
        `MEASURED ${outcomes.map((pair) => pair.join(' ')).join(', ')}; not-sent ${notSent}, of them handled 0`,
      )
      expectFlat('queries without a bound', told, faster)
    }

    for (const side of sides) side.send({ go: true })
    await Promise.all(sides.map((side) => side.endsWell()))
    for (const side of sides) {
      expect(side.stderr).toBe('')
      for (const { error } of side.all('apart')) expect(error).toBeUndefined() // a goodbye, not a loss
    }
  },
)
