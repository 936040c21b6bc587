/** Cases with another process, which is killed or stopped: what no end within this process can show. */
import { must, dialerOf, pause, type Open, type Stage } from './stage.js'
import type { Case } from './case.js'
import type { End } from './end.js'
import { NEEDS, type PeerProcess, type PeerRole, type Place } from './manifest.js'

const ROLES: readonly PeerRole[] = ['listener', 'dialer']
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
        for (let last = ''; last !== 'absent'; ) {
          const dialled = await stage.dialOnce(dialerOf(place))
          // A process that is ending may still be dialled, and hangs up.
          if (typeof dialled === 'object') stage.started(dialled).pipe.destroy()
          last = typeof dialled === 'object' ? 'a Pipe' : dialled
          stage.waitingFor = `a dial to a listener that was killed to give 'absent' (the last one gave ${last})`
          await pause(10)
        }
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
]

interface WithPeer {
  readonly place: Place
  readonly peer: PeerProcess
  readonly end: End
}

/** A pipe to another process of that role, over which a byte has gone there and back. */
async function withPeer(stage: Stage, role: PeerRole): Promise<WithPeer> {
  const place = await stage.place()
  const open: Open | undefined = role === 'dialer' ? await stage.listen(place.listener()) : undefined
  const peer = await stage.spawn(place, role)
  const end = open === undefined ? await stage.dial(dialerOf(place)) : await stage.accepted(open, 0)
  end.write(1)
  await echoed(stage, end)
  return { place, peer, end }
}

/** Waits until all that was written has come back. */
async function echoed(stage: Stage, end: End): Promise<void> {
  await stage.arrival(end, end)
}
