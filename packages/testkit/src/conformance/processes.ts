/** Cases with another process, which is killed or stopped: what no end within this process can show. */
import { untilAbsent } from './answers.js'
import { must, dialerOf, pause, type Open, type Stage } from './stage.js'
import type { Case } from './case.js'
import type { End } from './end.js'
import { leftoversOf } from './leavings.js'
import { NEEDS, type PeerProcess, type PeerRole, type Place } from './manifest.js'
import { KILL_YOURSELF } from './peer.js'

const ROLES = ['listener', 'dialer'] as const
const SUCCESSORS = 6
/** So long one who dials is given to leave anything. */
const DIALLING_MS = 500
/** So long nothing leaves that a stopped process would have to read. */
const STOPPED_MS = 300
const SYSTEM_BYTES = 16 * 1024 * 1024

export const PROCESS_CASES: readonly Case[] = [
  {
    id: 'other-process',
    title: 'Two processes meet, and bytes go both ways between them.',
    needs: [NEEDS.processes],
    async run(stage) {
      for (const role of ROLES) {
        const { end } = await withPeer(stage, role)
        for (let written = 0; written < 8; written++) {
          end.writePiece()
          await echoed(stage, end)
        }
      }
    },
  },
  {
    id: 'killed-peer',
    title: 'The end of a process that is killed is told to its peer as that of a pipe, and its address can be taken.',
    needs: [NEEDS.processes],
    async run(stage) {
      for (const role of ROLES) {
        const { end, peer, place } = await withPeer(stage, role)
        peer.kill('SIGKILL')
        await stage.until(() => end.hasEnded || end.isClosed, `the end of a pipe whose ${role} was killed`)
        end.pipe.destroy()
        await stage.until(() => end.isClosed, 'closed')
        if (role !== 'listener') continue
        await untilAbsent(stage, place)
        const open = await stage.listen(place.listener())
        await stage.dial(dialerOf(place))
        await stage.accepted(open, 0)
      }
    },
  },
  {
    id: 'stopped-peer',
    title: 'A peer that reads nothing holds back the writer: *enough* stays said, and all arrives once it reads again.',
    needs: [NEEDS.processes, NEEDS.enough],
    async run(stage) {
      const most = (stage.manifest.enoughBytes || 0) + SYSTEM_BYTES
      for (const role of ROLES) {
        const { end, peer } = await withPeer(stage, role)
        peer.kill('SIGSTOP')
        let isFull = false
        const before = end.writtenBytes
        end.onTold = (told) => {
          if (told === 'drained') isFull = false
        }
        // Until it was *enough* for a while.
        for (let calmMs = 0; calmMs < STOPPED_MS; ) {
          if (isFull) {
            await pause(10)
            calmMs += 10
            continue
          }
          calmMs = 0
          isFull = !end.writePiece()
          const taken = end.writtenBytes - before
          must(taken <= most, `${taken} bytes were taken for a peer that reads nothing`)
        }
        peer.kill('SIGCONT')
        await echoed(stage, end)
        await stage.until(() => !isFull, 'drained, once the peer had read everything')
      }
    },
  },
  {
    id: 'killed-leave-no-file',
    title: 'What killed processes have left at the place is gone once the next listener has come and gone.',
    needs: [NEEDS.processes, NEEDS.leftovers, NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      // Behind a first listener there is what the next ones use again.
      await (await stage.listen(place.listener())).listener.close()
      const before = await leftoversOf(place)
      for (const role of ROLES) {
        const { end, peer, open } = await withPeer(stage, role, place)
        if (role === 'listener') await killWhileDialling(stage, place, peer)
        peer.kill('SIGKILL')
        await stage.until(() => end.hasEnded || end.isClosed, `the end of a pipe whose ${role} was killed`)
        end.pipe.destroy()
        await stage.until(() => end.isClosed, 'closed')
        await open?.listener.close()
        if (role === 'listener') await untilAbsent(stage, place)
        const next = await stage.listen(place.listener())
        await stage.untilLess(2, async () => (await leftoversOf(place)) - before, 'files lie there')
        await stage.within(next.listener.close(), 'close() to resolve')
        await stage.untilLess(1, async () => (await leftoversOf(place)) - before, 'files lie there')
      }
    },
  },
  {
    id: 'unref-ed-process-ends',
    title: 'A process that has unref-ed its listener and its pipes ends by itself.',
    needs: [NEEDS.processes, NEEDS.keepsAlive],
    async run(stage) {
      for (const role of ROLES) {
        const { end } = await withPeer(stage, `unref-${role}`)
        await stage.until(() => end.hasEnded || end.isClosed, `the end of a process whose ${role} was unref-ed`)
      }
    },
  },
  {
    id: 'stale-address-of-processes',
    title:
      'Of several processes that take over from a killed one at the same moment one listens, and all others find it.',
    needs: [NEEDS.processes, NEEDS.goesStale, NEEDS.bothListen, NEEDS.tellsTaken, NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      await Promise.all(Array.from({ length: SUCCESSORS }, () => stage.spawn(place, 'successor')))
      for (let others = SUCCESSORS - 1; others > 0; others--) {
        const listener = await foundBy(stage, place, others)
        listener.pipe.write([Uint8Array.of(KILL_YOURSELF)])
        await stage.until(() => listener.hasEnded || listener.isClosed, 'the end of a process that kills itself')
        listener.pipe.destroy()
      }
    },
  },
]

/** Stops the listener, and kills one who dials it meanwhile: as soon as that has left something, if it does at all. */
async function killWhileDialling(stage: Stage, place: Place, listener: PeerProcess): Promise<void> {
  listener.kill('SIGSTOP')
  const before = await leftoversOf(place)
  const dialer = await stage.spawn(place, 'dialer')
  for (let waitedMs = 0; waitedMs < DIALLING_MS && (await leftoversOf(place)) <= before; waitedMs += 10) await pause(10)
  dialer.kill('SIGKILL')
}

/** A pipe to the process that listens, once it says that so many others have found it. */
async function foundBy(stage: Stage, place: Place, others: number): Promise<End> {
  for (;;) {
    let found = 0
    const end = await stage.dial(dialerOf(place), (fresh) => {
      fresh.onBytes = (chunk) => {
        found = chunk.at(-1) ?? found
      }
    })
    await stage.until(
      () => found === others || end.hasEnded || end.isClosed,
      `all ${others} others to find the one who listens`,
    )
    if (!end.hasEnded && !end.isClosed) return end
    // It was on its way out.
    end.pipe.destroy()
  }
}

interface WithPeer {
  readonly place: Place
  readonly peer: PeerProcess
  readonly end: End
  readonly open: Open | undefined
}

/** A pipe to another process of that role, over which a byte has gone there and back. */
async function withPeer(stage: Stage, role: PeerRole, where?: Place): Promise<WithPeer> {
  const place = where ?? (await stage.place())
  const isDialer = role === 'dialer' || role === 'unref-dialer'
  const open: Open | undefined = isDialer ? await stage.listen(place.listener()) : undefined
  const peer = await stage.spawn(place, role)
  const end = open === undefined ? await stage.dial(dialerOf(place)) : await stage.accepted(open, 0)
  end.write(1)
  await echoed(stage, end)
  return { place, peer, end, open }
}

/** Waits until all that was written has come back. */
async function echoed(stage: Stage, end: End): Promise<void> {
  await stage.arrival(end, end)
}
