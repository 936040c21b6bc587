/** Cases of `Transport` and `Listener`: true answers about an address, and one holder at a time. */
import type { Pipe } from '@pairlink/core'
import { expectAbort, expectAbsent, isListener, kindOf, leaveStale, meet, missing } from './answers.js'
import type { Case } from './case.js'
import type { End } from './end.js'
import { NEEDS } from './manifest.js'
import { must, dialerOf, never, pause, type Open } from './stage.js'

const STARTS = 10
const DIALS_AT_ONCE = 20
const STALE_STARTS = 3
const SUCCESSORS = 8

export const MEETING_CASES: readonly Case[] = [
  {
    id: 'says-what-it-is',
    title: 'What a transport says of itself is true: address, reach, encrypted, and what the manifest says of it.',
    async run(stage) {
      const { manifest } = stage
      const place = await stage.place()
      const [listener, dialer] = [place.listener(), dialerOf(place)]
      for (const { address, reach, encrypted } of [listener, dialer]) {
        must(typeof address === 'string' && address !== '', 'address is not a string that people can read')
        must(reach === manifest.reach, `reach is '${reach}', and '${manifest.reach}' in the manifest`)
        must(encrypted === manifest.encrypted, `encrypted is ${String(encrypted)}, and not so in the manifest`)
      }
      const open = await stage.listen(listener)
      const canBeLost = open.listener.holds !== undefined
      must(canBeLost === manifest.canBeLost, `the listener ${has(canBeLost)} holds(), unlike in the manifest`)
      must(holds(open), 'holds() is false while the address is held')
      const near = await stage.dial(dialer)
      const hasHolder = typeof near.pipe.holder === 'string'
      must(hasHolder === manifest.holder, `a dialled pipe ${has(hasHolder)} a holder, unlike in the manifest`)
    },
  },
  {
    id: 'one-side-only-dials',
    title: "listen resolves to 'cannot' when this process cannot listen there, and may only dial.",
    needs: [NEEDS.oneListens],
    async run(stage) {
      const place = await stage.place()
      const listened = await stage.within(
        dialerOf(place).listen(() => undefined, never()),
        'listen() to settle',
      )
      must(listened === 'cannot', `listen() of the side that only dials gave ${kindOf(stage, listened)}`)
    },
  },
  {
    id: 'one-side-only-listens',
    title: "dial resolves to 'absent', always, where a process can only listen.",
    needs: [NEEDS.oneDials],
    async run(stage) {
      const place = await stage.place()
      const transport = place.listener()
      await expectAbsent(stage, transport, 'before anybody listens')
      await stage.listen(place.listener())
      await expectAbsent(stage, transport, 'while the other one listens')
    },
  },
  {
    id: 'dial-with-nobody-there',
    title: "dial resolves to 'absent' when surely nobody listens.",
    async run(stage) {
      const place = await stage.place()
      await expectAbsent(stage, dialerOf(place), 'where nobody has ever listened')
      await expectAbsent(stage, place.listener(), 'where nobody has ever listened')
    },
  },
  {
    id: 'dial-finds-the-listener',
    title: 'listen resolves to a Listener once a dial from another process would succeed.',
    async run(stage) {
      const place = await stage.place()
      const open = await stage.listen(place.listener())
      const dialled = await stage.dialOnce(dialerOf(place))
      must(typeof dialled !== 'string', `the first dial behind listen() gave '${dialled as string}'`)
      stage.started(dialled)
      await stage.accepted(open, 0)
    },
  },
  {
    id: 'nobody-is-absent-in-a-crowd',
    title: "dial never resolves to 'absent' while somebody listens: it is a Pipe, 'full' or 'again'.",
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const open = await stage.listen(place.listener())
      // A first one, so that what is only slow in coming is here.
      await stage.dial(dialerOf(place))
      const dials = Array.from({ length: DIALS_AT_ONCE }, async () => {
        const dialled = await stage.dialOnce(dialerOf(place))
        return typeof dialled === 'string' ? dialled : stage.started(dialled)
      })
      const dialled = await Promise.all(dials)
      const pipes = dialled.filter((end) => typeof end !== 'string')
      must(!dialled.includes('absent'), `one of ${DIALS_AT_ONCE} dials at the same moment gave 'absent'`)
      must(pipes.length > 0, `none of ${DIALS_AT_ONCE} dials at the same moment was accepted`)
      await stage.until(() => open.accepted.length > pipes.length, `accept() to be called ${pipes.length + 1} times`)
    },
  },
  {
    id: 'accept-behind-listen',
    title: 'accept is called for each pipe that comes in, never before the promise of listen has resolved.',
    async run(stage) {
      const place = await stage.place()
      const dialer = dialerOf(place)
      let hasResolved = false
      let isEarly = false
      let accepts = 0
      const listening = place.listener().listen((pipe) => {
        accepts++
        isEarly ||= !hasResolved
        stage.started(pipe)
      }, never())
      stage.defer(async () => {
        const listener = await listening
        if (typeof listener !== 'string' && 'close' in listener) await listener.close()
      })
      listening.then(
        () => (hasResolved = true),
        () => undefined,
      )
      while (accepts === 0) {
        const dialled = await stage.dialOnce(dialer)
        if (typeof dialled === 'string') {
          await pause(0)
          continue
        }
        stage.started(dialled)
        await stage.until(() => accepts > 0, 'accept() to be called for the pipe that was dialled')
      }
      must(!isEarly, 'accept() was called before the promise of listen had resolved')
    },
  },
  {
    id: 'listen-on-a-taken-address',
    title: "listen resolves to 'taken', or to a Pipe of whoever listens, when somebody else listens.",
    needs: [NEEDS.tellsTaken],
    async run(stage) {
      const place = await stage.place()
      const open = await stage.listen(place.listener())
      const second = await stage.within(
        place.listener().listen((pipe) => void stage.started(pipe), never()),
        'the second listen() to settle',
      )
      const isPipe = typeof second !== 'string' && 'start' in second
      const kind = kindOf(stage, second)
      must(second === 'taken' || (isPipe && stage.manifest.manyPipes), `the second listen() gave ${kind}`)
      if (isPipe && !stage.manifest.manyPipes) return
      const accepts = open.accepted.length
      await stage.dial(dialerOf(place))
      await stage.accepted(open, accepts)
    },
  },
  {
    id: 'simultaneous-start',
    title: 'Of two that start at the same moment one listens, and the other one is accepted by it.',
    needs: [NEEDS.bothListen, NEEDS.tellsTaken],
    async run(stage) {
      for (let start = 0; start < STARTS; start++) {
        const place = await stage.place()
        const met = await Promise.all([meet(stage, place.listener()), meet(stage, dialerOf(place))])
        const listeners = met.filter((role) => role === 'listener').length
        must(listeners === 1, `${listeners} of two that started at the same moment listen`)
      }
    },
  },
  {
    id: 'close-frees-the-address',
    title: 'Listener.close gives the address up and accepts nothing more; calling again returns the same promise.',
    async run(stage) {
      const place = await stage.place()
      const transport = place.listener()
      const open = await stage.listen(transport)
      const closing = open.listener.close()
      must(open.listener.close() === closing, 'the second close() returned another promise')
      await stage.within(closing, 'close() to resolve')
      // Too late, and harmless.
      open.listener.ref()
      open.listener.unref()
      open.listener.holds?.()
      await expectAbsent(stage, dialerOf(place), 'behind close()')
      // The same one again, as the core does after each loss.
      const again = await stage.listen(transport)
      await stage.dial(dialerOf(place))
      await stage.accepted(again, 0)
      must(open.accepted.length === 0, 'the listener that was closed has accepted a pipe')
      if (stage.manifest.dials !== 'both' || stage.manifest.listens !== 'both' || !stage.manifest.manyPipes) return
      await stage.within(again.listener.close(), 'close() to resolve')
      const next = await stage.listen(place.listener())
      await stage.dial(transport)
      await stage.accepted(next, 0)
    },
  },
  {
    id: 'close-lets-pipes-live',
    title: 'Pipes that were accepted live on when their listener is closed.',
    async run(stage) {
      const place = await stage.place()
      const open = await stage.listen(place.listener())
      const near = await stage.dial(dialerOf(place))
      const far = await stage.accepted(open, 0)
      near.write(1)
      await stage.arrival(near, far)
      await stage.within(open.listener.close(), 'close() to resolve')
      await stage.calm()
      near.write(1000)
      far.write(1000)
      await stage.arrival(near, far)
      await stage.arrival(far, near)
    },
  },
  {
    id: 'abort-dial',
    title: 'When the signal of dial fires, what was begun is destroyed and the promise settles, never to a pipe.',
    async run(stage) {
      const place = await stage.place()
      const dialer = dialerOf(place)
      await expectAbort(stage, 'a dial with nobody there', (signal) => dialer.dial(signal))
      const open = await stage.listen(place.listener())
      await expectAbort(stage, 'a dial to a listener', (signal) => dialer.dial(signal))
      await stage.calm()
      for (const end of open.accepted) {
        await stage.until(() => end.hasEnded || end.isClosed, 'the end of a pipe whose dial was aborted')
      }
      if (!stage.manifest.manyPipes && open.accepted.length > 0) return
      const accepts = open.accepted.length
      await stage.dial(dialer)
      await stage.accepted(open, accepts)
    },
  },
  {
    id: 'abort-listen',
    title:
      'When the signal of listen fires, what was made is undone and the promise settles, never to a listener or a pipe.',
    async run(stage) {
      const place = await stage.place()
      await expectAbort(stage, 'a listen', (signal) =>
        place.listener().listen((pipe) => void stage.started(pipe), signal),
      )
      await expectAbsent(stage, dialerOf(place), 'behind a listen that was aborted')
      const open = await stage.listen(place.listener())
      await stage.dial(dialerOf(place))
      await stage.accepted(open, 0)
    },
  },
  {
    id: 'abort-behind-the-promise',
    title: 'A signal that fires when the promise has settled means nothing any more.',
    async run(stage) {
      const place = await stage.place()
      const [dialing, listening] = [new AbortController(), new AbortController()]
      const accepted: End[] = []
      const listener = await stage.within(
        place.listener().listen((pipe) => void accepted.push(stage.started(pipe)), listening.signal),
        'listen() to settle',
      )
      must(isListener(listener), `listen() gave ${kindOf(stage, listener)}`)
      stage.defer(() => listener.close())
      listening.abort(new Error('too late'))
      await stage.calm()
      let dialled: Pipe | 'absent' | 'again' | 'full' = 'again'
      for (let tries = 0; tries < 10 && typeof dialled === 'string'; tries++) {
        dialled = await stage.dialOnce(dialerOf(place), dialing.signal)
      }
      must(
        typeof dialled !== 'string',
        `behind the abort of a listen that was done, dial() gave '${dialled as string}'`,
      )
      const near = stage.started(dialled)
      await stage.until(() => accepted.length > 0, 'accept() to be called')
      dialing.abort(new Error('too late'))
      await stage.calm()
      const [far] = accepted
      must(far !== undefined, 'accept() was not called')
      near.write(1000)
      await stage.arrival(near, far)
    },
  },
  {
    id: 'stale-address',
    title: 'What a killed listener has left is absent for a dial, and is taken over by the next listen.',
    needs: [NEEDS.goesStale],
    async run(stage) {
      const place = await stage.place()
      await leaveStale(stage, place)
      await expectAbsent(stage, dialerOf(place), 'where a killed listener was')
      const open = await stage.listen(place.listener())
      await stage.dial(dialerOf(place))
      await stage.accepted(open, 0)
    },
  },
  {
    id: 'stale-address-at-once',
    title: 'Of several that take over a stale address at the same moment one listens, and all others find it.',
    needs: [NEEDS.goesStale, NEEDS.bothListen, NEEDS.tellsTaken, NEEDS.manyPipes],
    async run(stage) {
      for (let start = 0; start < STALE_STARTS; start++) {
        const place = await stage.place()
        await leaveStale(stage, place)
        const met = await Promise.all(Array.from({ length: SUCCESSORS }, () => meet(stage, place.listener())))
        const listeners = met.filter((role) => role === 'listener').length
        must(listeners === 1, `${listeners} of ${SUCCESSORS} that took over at the same moment listen`)
      }
    },
  },
  {
    id: 'address-lost',
    title:
      'holds is false once the address belongs to another, or was removed; close touches nothing that a successor owns.',
    needs: [NEEDS.canBeLost],
    async run(stage) {
      const place = await stage.place()
      if (place.removeAddress === undefined) throw missing('canBeLost', 'removeAddress()')
      const first = await stage.listen(place.listener())
      await place.removeAddress()
      must(!holds(first), 'holds() is true although the address was removed')
      const second = await stage.listen(place.listener())
      must(!holds(first), 'holds() is true although another holds the address')
      await stage.within(first.listener.close(), 'close() of the one that has lost its address to resolve')
      must(holds(second), 'the successor has lost the address when its predecessor closed')
      await stage.dial(dialerOf(place))
      await stage.accepted(second, 0)
      must(first.accepted.length === 0, 'the one that had lost its address accepted the dial')
    },
  },
  {
    id: 'holder-changes',
    title:
      'Pipe.holder is the same for all dials to one listener, and another string once the address has changed hands.',
    needs: [NEEDS.holder, NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const first = await stage.listen(place.listener())
      const [one, two] = [await stage.dial(dialerOf(place)), await stage.dial(dialerOf(place))]
      const { holder } = one.pipe
      must(holder === two.pipe.holder, 'two dials to one listener have different holders')
      await stage.within(first.listener.close(), 'close() to resolve')
      await stage.listen(place.listener())
      const three = await stage.dial(dialerOf(place))
      must(three.pipe.holder !== holder, 'the holder is the same although another listens')
    },
  },
]

// ---- what several of them do

function has(isThere: boolean): string {
  return isThere ? 'has' : 'does not have'
}

function holds({ listener }: Open): boolean {
  return listener.holds?.() !== false
}
