/** Cases of an open `Pipe`: every byte once and in order, bounded memory, whose the chunks are, and when the sink is called. */
import type { Pipe } from '@pairlink/core'
import { clock, turn } from '../timers.js'
import { isSame, streamBytes } from './bytes.js'
import type { Case } from './case.js'
import type { End } from './end.js'
import { NEEDS } from './manifest.js'
import { must, dialerOf, pause } from './stage.js'

/** Around the sizes at which frames, records, buffers and messages change their form. */
const SIZES = [
  1, 2, 3, 125, 126, 127, 1023, 1024, 1025, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300_000, 1_000_001,
]
const MANY_CHUNKS = 3000
const LARGE_BYTES = 64 * 1024 * 1024
/** Together they are more than systems hold. */
const LARGE_WRITE_BYTES = 2 * 1024 * 1024
const LARGE_ROUNDS = 8
const SLOW_MS = 100
/** Longer than a moment, and shorter than anybody's patience. */
const IDLE_MS = 1200
const RING_BYTES = 8 * 1024 * 1024
/** What systems hold beside what waits in the process, on both sides together. */
const SYSTEM_BYTES = 8 * 1024 * 1024

export const PIPE_CASES: readonly Case[] = [
  {
    id: 'bytes-of-all-sizes',
    title: 'The borders of chunks mean nothing: chunks of every size arrive whole, an empty one is nothing.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        for (const size of SIZES) {
          near.write(size)
          await stage.arrival(near, far)
        }
        near.write(0)
        near.write(0, 1, 0)
        near.write(...SIZES, 0)
        await stage.arrival(near, far)
        // More than systems take with one call, and each a part of something larger.
        near.write(...Array.from({ length: MANY_CHUNKS }, (_, at) => 1 + (at % 3)))
        const whole = streamBytes(near.writtenBytes, 3000)
        near.pipe.write([whole.subarray(0, 1000), whole.subarray(1000, 1001), whole.subarray(1001)])
        near.writtenBytes += whole.length
        await stage.arrival(near, far)
        await stage.calm()
        must(!far.hasEnded && !far.isClosed, `behind an empty chunk the other end ${far.story}`)
      })
    },
  },
  {
    id: 'order',
    title: 'A pipe is an ordered stream: what was written first arrives first.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        for (let round = 0; round < 50; round++) {
          for (let at = 0; at < 20; at++) near.write(1 + ((at * 7) % 13), 1 + 300 * (at % 3), 5)
          if (round % 2 === 0) await turn()
        }
        await stage.arrival(near, far)
      })
    },
  },
  {
    id: 'first-words',
    title: 'What is written to a pipe as soon as it is there arrives, on both sides.',
    async run(stage) {
      const [near, far] = await stage.pipe((end) => {
        // In the same turn in which the pipe was received, as the core does.
        void Promise.resolve().then(() => end.write(10, 100_000))
      })
      await stage.until(() => near.writtenBytes > 0 && far.writtenBytes > 0, 'both to be started')
      await stage.arrival(near, far)
      await stage.arrival(far, near)
    },
  },
  {
    id: 'large-both-ways',
    title: '64 MB go both ways at once and arrive unchanged, and whoever waits after *enough* keeps memory bounded.',
    async run(stage) {
      const { enoughBytes } = stage.manifest
      const [near, far] = await stage.pipe()
      let mostBytes = 0
      const watch = (): void => {
        mostBytes = Math.max(mostBytes, near.writtenBytes - far.readBytes, far.writtenBytes - near.readBytes)
      }
      await Promise.all([stage.paced(near, far, LARGE_BYTES, watch), stage.paced(far, near, LARGE_BYTES, watch)])
      await stage.arrival(near, far)
      await stage.arrival(far, near)
      if (enoughBytes === false) return
      const most = `${mostBytes} bytes were under way in one direction although the writer obeyed`
      must(mostBytes <= enoughBytes + SYSTEM_BYTES, most)
    },
  },
  {
    id: 'says-enough',
    title: 'write returns false for *enough*, before more than the stated bytes wait to leave the process.',
    needs: [NEEDS.enough],
    async run(stage) {
      const enoughBytes = stage.manifest.enoughBytes || 0
      await stage.bothWays(async (near, far) => {
        fill(near)
        const taken = `${near.writtenBytes} bytes were taken before *enough* was said`
        must(near.writtenBytes <= enoughBytes + SYSTEM_BYTES, taken)
        await stage.arrival(near, far)
      })
    },
  },
  {
    id: 'drained-behind-enough',
    title: 'After write has returned false, drained is called when everything written so far has left the process.',
    needs: [NEEDS.enough],
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        if (near.write(1)) {
          await stage.arrival(near, far)
          await stage.calm()
          must(near.drains === 0, 'drained was called, and write had never returned false')
        }
        for (let round = 0; round < 4; round++) {
          fill(near)
          // The core writes a last word also to a pipe that has had enough.
          if (round % 2 === 1) near.write(100)
          const { drains } = near
          await stage.until(() => near.drains > drains || near.isClosed, 'drained, after write had returned false')
          must(!near.isClosed, `the pipe broke: it ${near.story}`)
        }
        // What was said to have left is with the other side, or held by the system, which bounds what it holds.
        let heldBytes = 0
        let rounds = 0
        const more = (): void => {
          heldBytes = Math.max(heldBytes, near.writtenBytes - far.readBytes)
          if (rounds++ < LARGE_ROUNDS) fill(near, () => near.write(LARGE_WRITE_BYTES))
        }
        near.onTold = (told) => {
          if (told === 'drained') more()
        }
        await stage.arrival(near, far)
        more()
        await stage.until(() => rounds > LARGE_ROUNDS || near.isClosed, 'drained, again and again')
        must(heldBytes <= SYSTEM_BYTES, `drained was called, and ${heldBytes} bytes had not been read`)
        await stage.arrival(near, far)
      })
    },
  },
  {
    id: 'chunks-are-free-once-drained',
    title: 'Once drained was called, the writer may use the chunks again: the pipe does not need them any more.',
    needs: [NEEDS.enough],
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        const written: Uint8Array[] = []
        near.onTold = (told) => {
          if (told === 'drained') for (const chunk of written.splice(0)) chunk.fill(0x55)
        }
        const writeAndKeep = (): boolean => {
          const chunk = streamBytes(near.writtenBytes, 40_000)
          near.writtenBytes += chunk.length
          written.push(chunk)
          return near.pipe.write([chunk])
        }
        for (let round = 0; round < 4; round++) {
          const { drains } = near
          fill(near, writeAndKeep)
          await stage.until(() => near.drains > drains || far.readBytes === near.writtenBytes, 'drained')
        }
        await stage.arrival(near, far)
      })
    },
  },
  {
    id: 'written-chunks-stay',
    title: 'A pipe does not change the chunks that it was given: the core sends them again over the next link.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        const written = [1, 50, 126, 5000, 65_536, 300_000].map((size) => {
          const chunk = streamBytes(near.writtenBytes, size)
          near.writtenBytes += size
          return chunk
        })
        const before = written.map((chunk) => chunk.slice())
        for (const chunk of written) near.pipe.write([chunk])
        await stage.arrival(near, far)
        const changed = written.findIndex((chunk, place) => !isSame(chunk, before[place] ?? chunk))
        must(changed < 0, `a chunk of ${written[changed]?.length ?? 0} bytes was changed`)
      })
    },
  },
  {
    id: 'received-chunks-are-owned',
    title: 'A chunk that was not called transient belongs to the receiver: nobody changes it any more.',
    async run(stage) {
      const kept: { readonly chunk: Uint8Array; readonly copy: Uint8Array }[] = []
      const keep = (end: End): void => {
        end.onBytes = (chunk, isTransient) => {
          // Not `slice`: that of a Buffer does not copy.
          if (!isTransient) kept.push({ chunk, copy: new Uint8Array(chunk) })
        }
      }
      await stage.bothWays(async (near, far) => {
        for (const size of SIZES) near.write(size)
        await stage.arrival(near, far)
        for (let round = 0; round < 20; round++) {
          near.write(1000)
          await turn()
        }
        // More than a ring of buffers has.
        await stage.paced(near, far, RING_BYTES)
        await stage.arrival(near, far)
        near.pipe.destroy()
        far.pipe.destroy()
        await stage.until(() => near.isClosed && far.isClosed, 'both ends to be closed')
        await stage.calm()
        const changed = kept.find(({ chunk, copy }) => !isSame(chunk, copy))
        must(changed === undefined, `a chunk of ${changed?.copy.length ?? 0} bytes was overwritten after the call`)
        kept.length = 0
      }, keep)
    },
  },
  {
    id: 'never-from-inside',
    title: 'A pipe calls its sink from an event of its own, never from inside one of its methods.',
    async run(stage) {
      await stage.bothWays(async (first, second) => {
        const calls: Calls = { inside: [], found: [] }
        const [near, far] = [watched(first, calls), watched(second, calls)]
        // Answers from inside an event, as the core does.
        let answers = 0
        second.onBytes = () => {
          if (answers++ < 20) far.write([new Uint8Array(100)])
        }
        for (let round = 0; round < 3; round++) {
          for (let writes = 0; writes < 200 && near.write([new Uint8Array(65_536)]); writes++) continue
          await stage.until(() => second.readBytes >= 65_536 || second.isClosed, 'bytes to arrive')
          await stage.calm()
        }
        near.unref()
        near.ref()
        near.end()
        near.end()
        await stage.until(() => second.hasEnded || second.isClosed, 'the end to arrive')
        far.write([new Uint8Array(10)])
        far.end()
        await stage.until(() => first.isClosed && second.isClosed, 'both ends to be closed')
        near.destroy()
        far.destroy()
        await stage.calm()
        must(calls.found.length === 0, calls.found[0] ?? '')
      })
      await stage.bothWays(async (first, second) => {
        const calls: Calls = { inside: [], found: [] }
        const [near, far] = [watched(first, calls), watched(second, calls)]
        near.write([new Uint8Array(10)])
        near.destroy()
        await stage.until(() => second.hasEnded || second.isClosed, 'the end to arrive')
        far.destroy()
        await stage.until(() => first.isClosed && second.isClosed, 'both ends to be closed')
        must(calls.found.length === 0, calls.found[0] ?? '')
      })
    },
  },
  {
    id: 'may-be-called-from-inside',
    title: 'The sink may call any method of the pipe before it returns: what it says in that moment counts.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        far.onTold = (told) => {
          if (told === 'ended') far.pipe.end()
        }
        near.write(1000)
        near.pipe.end()
        await stage.until(() => near.isClosed && far.isClosed, 'closed on both sides, end being called inside ended')
      })
      await stage.bothWays(async (near, far) => {
        // Once: that it is called again for each chunk would hide that the first one counted for nothing.
        far.onBytes = () => {
          far.onBytes = undefined
          far.pipe.destroy()
        }
        near.write(...Array.from({ length: 20 }, () => 50_000))
        await stage.until(() => far.isClosed, 'closed, destroy being called inside bytes')
        await stage.until(() => near.hasEnded || near.isClosed, 'the other side to notice')
      })
    },
  },
  {
    id: 'lives-through-a-pause',
    title: 'A pipe that has had nothing to carry for a while is as good as before: the next byte arrives, alone.',
    async run(stage) {
      const [near, far] = await stage.pipe()
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.write(1)
        await stage.arrival(from, to)
      }
      await pause(IDLE_MS)
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.write(1)
        await stage.arrival(from, to)
      }
    },
  },
  {
    id: 'slow-reader',
    title: 'A receiver that takes its time loses nothing, however much has arrived meanwhile.',
    async run(stage) {
      await stage.bothWays(async (near, far) => {
        const slowUntil = clock() + SLOW_MS
        far.onBytes = () => {
          // The whole process stands still for it, as for a handler that computes.
          const until = Math.min(slowUntil, clock() + 10)
          while (clock() < until) continue
        }
        await stage.paced(near, far, 4 * 1024 * 1024)
        await stage.arrival(near, far)
      })
    },
  },
  {
    id: 'pipes-do-not-mix',
    title: 'Each pipe is a stream of its own: what is written to one arrives at its other end and nowhere else.',
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const open = await stage.listen(place.listener())
      const pairs: [End, End][] = []
      for (let at = 0; at < 4; at++) {
        const near = await stage.dial(dialerOf(place))
        pairs.push([near, await stage.accepted(open, at)])
      }
      for (let round = 0; round < 20; round++) {
        for (const [at, [near, far]] of pairs.entries()) {
          near.write(100 + at)
          far.write(200 + at)
        }
        await turn()
      }
      for (const [near, far] of pairs) {
        await stage.arrival(near, far)
        await stage.arrival(far, near)
      }
      const [[one] = [], [, two] = []] = pairs
      one?.pipe.destroy()
      await stage.calm()
      two?.write(1000)
      const [, second] = pairs
      if (second !== undefined) await stage.arrival(second[1], second[0])
    },
  },
]

/** Writes until it is *enough*, in one turn, so that nothing can be read meanwhile. */
function fill(end: End, write = (): boolean => end.writePiece()): void {
  const before = end.writtenBytes
  while (write()) {
    const taken = end.writtenBytes - before
    must(taken <= LARGE_BYTES, `${taken} bytes were taken, and *enough* was not said`)
  }
}

/** What a watched pipe is asked for at the moment, in this process. */
interface Calls {
  readonly inside: string[]
  readonly found: string[]
}

/** The same pipe, whose methods say when a sink is called before they return: in one process, the sink of either end. */
function watched(end: End, { inside, found }: Calls): Pick<Pipe, 'write' | 'end' | 'destroy' | 'ref' | 'unref'> {
  const { pipe } = end
  const during = <T>(name: string, call: () => T): T => {
    inside.push(name)
    try {
      return call()
    } finally {
      inside.pop()
    }
  }
  end.onTold = (told) => {
    const name = inside.at(-1)
    if (name !== undefined) found.push(`${told} was called from inside ${name}`)
  }
  const plain = (name: 'end' | 'destroy' | 'ref' | 'unref') => (): void => {
    during(`${name}()`, () => {
      pipe[name]()
    })
  }
  return {
    write: (chunks) => during('write()', () => pipe.write(chunks)),
    end: plain('end'),
    destroy: plain('destroy'),
    ref: plain('ref'),
    unref: plain('unref'),
  }
}
