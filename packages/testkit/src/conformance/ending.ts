/** Cases of how a pipe ends: what still arrives, what both sides are told, and that nothing follows. */
import type { Pipe } from '@pairlink/core'
import { turn } from '../timers.js'
import type { Case } from './case.js'
import type { End } from './end.js'
import { NEEDS } from './manifest.js'
import { must, dialerOf, type Stage } from './stage.js'

const TAIL_BYTES = 1_000_003
/** More than systems hold, so that not all has left the process when it is the end. */
const UNSENT_BYTES = 16 * 1024 * 1024

export const ENDING_CASES: readonly Case[] = [
  {
    id: 'end-delivers-all',
    title: 'end: all that was written arrives, then the other side reads the end.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.write(UNSENT_BYTES)
        near.write(1, 7)
        near.pipe.end()
        await stage.until(() => far.hasEnded || far.isClosed, 'the end to arrive')
        must(far.wrongAt === undefined, `what arrived differs from what was written, from byte ${far.wrongAt ?? 0} on`)
        must(
          far.readBytes === near.writtenBytes,
          `${near.writtenBytes} bytes were written before the end, the other side ${far.story}`,
        )
        must(far.hasEnded, `the other side ${far.story}, and was not told that the end was orderly`)
      })
    },
  },
  {
    id: 'half-close',
    title: 'end ends one direction: reading goes on, and closed follows when the other side has ended too.',
    needs: [NEEDS.halfClose],
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.write(10)
        near.pipe.end()
        await stage.until(() => far.hasEnded || far.isClosed, 'the end to arrive')
        await stage.calm()
        must(!near.isClosed && !far.isClosed, `when one side had ended, it ${near.story}, and the other ${far.story}`)
        await stage.paced(far, near, TAIL_BYTES)
        await stage.arrival(far, near)
        far.pipe.end()
        await closedOrderly(stage, near, far)
      })
    },
  },
  {
    id: 'whole-close',
    title: 'Where end ends both directions, closed follows on both sides.',
    needs: [NEEDS.wholeClose],
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.write(10)
        near.pipe.end()
        await stage.until(() => far.hasEnded || far.isClosed, 'the end to arrive')
        far.pipe.end()
        await closedOrderly(stage, near, far)
      })
    },
  },
  {
    id: 'end-of-both-at-once',
    title:
      'When both sides end at the same moment, all that both have written arrives, and both are closed without an error.',
    async run(stage) {
      const [near, far] = await stage.pipe()
      for (const end of [near, far]) {
        end.write(100_000)
        await turn()
      }
      for (const end of [near, far]) {
        end.write(stage.manifest.halfClose ? UNSENT_BYTES : 50_000)
        end.pipe.end()
      }
      await closedOrderly(stage, near, far)
      if (!stage.manifest.halfClose) return
      await stage.arrival(near, far)
      await stage.arrival(far, near)
    },
  },
  {
    id: 'end-while-flooded',
    title: 'A side that has ended goes on reading what the other one is still writing.',
    needs: [NEEDS.halfClose],
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.writePiece()
        far.write(5)
        far.pipe.end()
        await stage.paced(near, far, 4 * 1024 * 1024)
        await stage.arrival(near, far)
        await stage.until(() => near.hasEnded, 'the end to arrive at the one who is writing')
        near.pipe.end()
        await closedOrderly(stage, near, far)
      })
    },
  },
  {
    id: 'destroy-is-noticed',
    title: 'destroy ends both directions at once: the other side reads an end, or is closed.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.write(10)
        await stage.arrival(near, far)
        near.pipe.destroy()
        await stage.until(() => near.isClosed, 'closed at the end that was destroyed')
        await stage.until(() => far.hasEnded || far.isClosed, 'the other side to notice')
      })
    },
  },
  {
    id: 'destroy-while-writing',
    title: 'destroy may lose what was written: the other side reads the beginning of it unchanged, and then the end.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        for (let pieces = 0; pieces < 100; pieces++) near.writePiece()
        near.pipe.destroy()
        await stage.until(() => near.isClosed, 'closed at the end that was destroyed')
        await stage.until(() => far.hasEnded || far.isClosed, 'the other side to notice')
        must(far.wrongAt === undefined, `what arrived differs from what was written, from byte ${far.wrongAt ?? 0} on`)
        must(far.readBytes <= near.writtenBytes, 'more arrived than was written')
      })
    },
  },
  {
    id: 'closed-once-and-last',
    title: 'closed is the last call and comes once; ended comes at most once, and no bytes behind it.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.write(1000)
        near.pipe.end()
        far.write(1000)
        far.pipe.end()
        await stage.until(() => near.isClosed && far.isClosed, 'closed on both sides')
        await expectCalm(stage, near, far)
      })
      await stage.bothWays(async (near, far) => {
        near.write(1000)
        far.write(1000)
        near.pipe.destroy()
        await stage.until(() => far.hasEnded || far.isClosed, 'the other side to notice')
        far.write(1000)
        far.pipe.destroy()
        await stage.until(() => near.isClosed && far.isClosed, 'closed on both sides')
        await expectCalm(stage, near, far)
      })
    },
  },
  {
    id: 'close-twice',
    title: 'end and destroy are idempotent, in any order: nothing is thrown, and closed follows.',
    async run(stage) {
      const orders: readonly (readonly ('end' | 'destroy')[])[] = [
        ['destroy', 'destroy'],
        ['end', 'end', 'destroy'],
        ['end', 'destroy', 'end'],
        ['destroy', 'end'],
      ]
      for (const order of orders) {
        await stage.bothWays(async (near) => {
          for (const name of order)
            expectNoThrow(`${name}() of ${order.join(', ')}`, () => {
              near.pipe[name]()
            })
          await stage.until(() => near.isClosed, `closed behind ${order.join(', ')}`)
          for (const name of order)
            expectNoThrow(`${name}() behind closed`, () => {
              near.pipe[name]()
            })
          expectNoThrow('ref() or unref() behind closed', () => {
            near.pipe.ref()
            near.pipe.unref()
          })
        })
      }
    },
  },
  {
    id: 'destroy-before-start',
    title: 'destroy may come before start, or in its place: the other side notices, and closed comes once to a sink.',
    async run(stage) {
      for (const who of ['dialer', 'listener']) {
        for (const isStarted of [true, false]) {
          const place = await stage.place()
          const ends: { near?: End; far?: End } = {}
          let accepts = 0
          const got = (pipe: Pipe, side: string): void => {
            if (side !== who) {
              ends.far = stage.started(pipe)
              return
            }
            pipe.destroy()
            if (isStarted) ends.near = stage.started(pipe)
          }
          await stage.listener(place.listener(), (pipe) => {
            accepts++
            got(pipe, 'listener')
          })
          // What was accepted and destroyed at once may never become a pipe of the one who dials.
          for (let dialled: Pipe | string = ''; typeof dialled === 'string' && accepts === 0; ) {
            dialled = await stage.dialOnce(dialerOf(place))
            if (typeof dialled === 'object') got(dialled, 'dialer')
            else await turn()
          }
          await stage.calm()
          const { near, far } = ends
          if (near !== undefined) {
            await stage.until(() => near.isClosed, `closed of a ${who}'s pipe that was destroyed before its start`)
            await expectCalm(stage, near)
          }
          // Who hangs up at once may never have been accepted.
          if (far === undefined) continue
          await stage.until(
            () => far.hasEnded || far.isClosed,
            `the end of a pipe that the ${who} has destroyed at once`,
          )
        }
      }
    },
  },
  {
    id: 'write-behind-the-end',
    title: 'After end or destroy, write does nothing.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        near.write(1000)
        near.pipe.end()
        expectNoThrow('write() behind end()', () => near.pipe.write([new Uint8Array(1000)]))
        await stage.until(() => far.hasEnded || far.isClosed, 'the end to arrive')
        await stage.calm()
        must(far.readBytes <= 1000, 'what was written behind end() arrived')
        near.pipe.destroy()
        expectNoThrow('write() behind destroy()', () => near.pipe.write([new Uint8Array(1000)]))
        await stage.until(() => near.isClosed, 'closed')
        expectNoThrow('write() behind closed', () => near.pipe.write([new Uint8Array(1000)]))
        await stage.calm()
      })
    },
  },
  {
    id: 'write-to-one-who-has-gone',
    title:
      'An error of a pipe goes to closed, and no method throws it: also for one who writes to a peer that has gone.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        far.pipe.destroy()
        await stage.until(() => far.isClosed, 'closed at the end that was destroyed')
        for (let round = 0; round < 2000 && !near.isClosed; round++) {
          expectNoThrow('write() to a peer that has gone', () => near.writePiece())
          await turn()
        }
        must(near.isClosed || near.hasEnded, `who goes on writing to a peer that has gone ${near.story}`)
        near.pipe.destroy()
        await stage.until(() => near.isClosed, 'closed')
      })
    },
  },
]

async function closedOrderly(stage: Stage, near: End, far: End): Promise<void> {
  await stage.until(() => near.isClosed && far.isClosed, 'closed on both sides, when both have ended')
  for (const { error } of [near, far]) {
    must(error === undefined, `closed came with an error although both ended: ${error?.message ?? ''}`)
  }
}

/** Nothing more is called, and what was is in order. */
async function expectCalm(stage: Stage, ...ends: End[]): Promise<void> {
  await stage.calm()
  await stage.calm()
  for (const end of ends) {
    const { told, closes } = end
    must(closes === 1, `closed was called ${closes} times`)
    const { error } = end
    must(
      error === undefined || (error as unknown) instanceof Error,
      `closed was told ${typeof error}, which is no Error`,
    )
    must(told.at(-1) === 'closed', `behind closed came ${told.at(-1) ?? ''}`)
    must(told.filter((call) => call === 'ended').length <= 1, 'ended was called twice')
    const ended = told.indexOf('ended')
    must(ended < 0 || told.lastIndexOf('bytes') < ended, 'bytes came behind ended')
  }
}

function expectNoThrow(what: string, call: () => unknown): void {
  try {
    call()
  } catch (error) {
    must(false, `${what} threw: ${error instanceof Error ? error.message : String(error)}`)
  }
}
