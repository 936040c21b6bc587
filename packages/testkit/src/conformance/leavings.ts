/** Cases of what a transport leaves: handles, descriptors and files behind its end, and a process that may end or not. */
import { turn } from '../timers.js'
import { aborted, expectAbort, kindOf, missing } from './answers.js'
import type { Case } from './case.js'
import type { End } from './end.js'
import { descriptors, handlesOf, watchUncaught } from './handles.js'
import { NEEDS, type Place } from './manifest.js'
import { must, dialerOf, never, pause, type Stage } from './stage.js'

const ROUNDS = 5

export const LEAVING_CASES: readonly Case[] = [
  {
    id: 'no-handle-left',
    title: 'closed means that no handle of the pipe is left, and Listener.close that no handle and no file is.',
    needs: [NEEDS.handles],
    async run(stage) {
      const place = await stage.place()
      const before = handlesOf(place)
      const open = await stage.listen(place.listener())
      const near = await stage.dial(dialerOf(place))
      const far = await stage.accepted(open, 0)
      near.write(1000)
      far.write(1000)
      await stage.arrival(near, far)
      await stage.arrival(far, near)
      near.pipe.destroy()
      await stage.until(() => far.hasEnded || far.isClosed, 'the end of a pipe whose other end was destroyed')
      far.pipe.destroy()
      await stage.until(() => near.isClosed && far.isClosed, 'both ends to be closed')
      await stage.within(open.listener.close(), 'close() to resolve')
      await expectAbort(stage, 'a dial', (signal) => dialerOf(place).dial(signal))
      await expectAbort(stage, 'a listen', (signal) => place.listener().listen(() => undefined, signal))
      for (let turns = 0; turns < 20 && handlesOf(place) > before; turns++) await pause(5)
      must(handlesOf(place) <= before, `${handlesOf(place) - before} more handles are open than before`)
    },
  },
  {
    id: 'no-descriptor-left',
    title: 'What was closed keeps no file descriptor open.',
    needs: [NEEDS.descriptors, NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      // Descriptors that a process opens once and keeps are open behind the first round.
      await comeAndGo(stage, place)
      const before = descriptors() ?? 0
      for (let round = 0; round < ROUNDS; round++) await comeAndGo(stage, place)
      await stage.untilLess(ROUNDS, () => (descriptors() ?? 0) - before, `descriptors open, ${ROUNDS} rounds later,`)
    },
  },
  {
    id: 'no-file-left',
    title: 'Once all is closed, nothing is left at the place but what the next ones use again.',
    needs: [NEEDS.leftovers, NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      await comeAndGo(stage, place)
      const before = await leftoversOf(place)
      for (let round = 0; round < ROUNDS; round++) await comeAndGo(stage, place)
      await stage.untilLess(1, async () => (await leftoversOf(place)) - before, 'files lie there')
    },
  },
  {
    id: 'unref-lets-go',
    title: 'What was unref-ed keeps no process alive; what was ref-ed again does.',
    needs: [NEEDS.keepsAlive, NEEDS.handles],
    async run(stage) {
      const place = await stage.place()
      const before = handlesOf(place)
      const open = await stage.listen(place.listener())
      const near = await stage.dial(dialerOf(place))
      const far = await stage.accepted(open, 0)
      near.write(1)
      await stage.arrival(near, far)
      const held = handlesOf(place)
      must(held > before, 'a listener and a pipe do not keep the process alive')
      const all = [open.listener, near.pipe, far.pipe]
      for (const one of all) one.unref()
      must(handlesOf(place) <= before, `${handlesOf(place) - before} handles keep the process alive behind unref()`)
      near.write(1000)
      await stage.arrival(near, far)
      must(handlesOf(place) <= before, 'handles that were unref-ed keep the process alive once bytes have moved')
      for (const one of all) one.ref()
      must(handlesOf(place) >= held, 'what was ref-ed again does not keep the process alive')
    },
  },
  {
    id: 'no-unhandled-rejection',
    title: 'A transport leaves no promise that rejects unseen, and throws from no event, whatever goes wrong.',
    needs: [NEEDS.uncaught],
    async run(stage) {
      const uncaught = watchUncaught()
      stage.defer(() => {
        uncaught.stop()
      })
      const place = await stage.place()
      const [listener, dialer] = [place.listener(), dialerOf(place)]
      await stage.dialOnce(dialer)
      const open = await stage.listen(listener)
      const near = await stage.dial(dialer)
      const far = await stage.accepted(open, 0)
      if (stage.manifest.manyPipes) await aborted(stage, false, (signal) => dialer.dial(signal))
      near.write(100_000)
      far.pipe.destroy()
      for (let round = 0; round < 10 && !near.isClosed; round++) {
        near.write(100_000)
        await turn()
      }
      near.pipe.destroy()
      await stage.until(() => near.isClosed, 'closed to be called')
      if (stage.manifest.tellsTaken) {
        const second = place.listener().listen((pipe) => void stage.started(pipe), never())
        kindOf(stage, await stage.within(second, 'a second listen() to settle'))
      }
      // Somebody who dials while the listener goes.
      const late = stage.manifest.manyPipes
        ? stage.dialOnce(dialer).then(
            (dialled) => typeof dialled !== 'string' && stage.started(dialled),
            () => undefined,
          )
        : undefined
      await stage.within(Promise.all([open.listener.close(), open.listener.close()]), 'close() to resolve')
      await late
      for (const transport of [listener, dialer]) {
        for (const isEarly of [true, false]) {
          await aborted(stage, isEarly, (signal) => transport.dial(signal))
          await aborted(stage, isEarly, (signal) => transport.listen((pipe) => void stage.started(pipe), signal))
        }
      }
      await stage.calm()
      const [first] = uncaught.seen
      must(uncaught.seen.length === 0, `nobody has caught: ${first instanceof Error ? first.message : String(first)}`)
    },
  },
]

/** How many files and the like lie at the place. */
export async function leftoversOf(place: Place): Promise<number> {
  if (place.leftovers === undefined) throw missing('countsLeftovers', 'leftovers()')
  return place.leftovers()
}

/** All that can happen at a place, and an end of it. */
async function comeAndGo(stage: Stage, place: Place): Promise<void> {
  const ends: End[] = []
  const early = await stage.dialOnce(dialerOf(place))
  if (typeof early !== 'string') ends.push(stage.started(early))
  for (const { pipe } of ends) pipe.destroy()
  const open = await stage.listen(place.listener())
  for (let at = 0; at < 2; at++) {
    const near = await stage.dial(dialerOf(place))
    const far = await stage.accepted(open, at)
    near.write(1000)
    far.write(1000)
    await stage.arrival(near, far)
    await stage.arrival(far, near)
    ends.push(near, far)
    for (const { pipe } of [near, far]) {
      if (at === 0) pipe.end()
      else pipe.destroy()
    }
  }
  for (const isEarly of [true, false]) {
    await aborted(stage, isEarly, (signal) => dialerOf(place).dial(signal))
    await aborted(stage, isEarly, (signal) => place.listener().listen(() => undefined, signal))
  }
  ends.push(...open.accepted)
  for (const { pipe } of open.accepted) pipe.destroy()
  await stage.until(() => ends.every(({ isClosed }) => isClosed), 'all pipes to be closed')
  await stage.within(open.listener.close(), 'close() to resolve')
}
