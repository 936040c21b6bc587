/** The outbox against a plain array of frames: nothing lost, doubled, reordered or changed, whatever is acknowledged or replayed. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KIND } from '../../src/protocol/index.js'
import { Outbox, SLAB_BYTES } from '../../src/protocol/outbox.js'
import { HEADER_BYTES, writeU32 } from '../../src/protocol/wire.js'
import { frame, join } from './links.js'

const NO_REFRESH = (): void => {}

/** Queues a frame of which `inline` is copied and `external`, if any, is referred to. @returns its bytes on the wire */
function push(
  outbox: Outbox,
  inline: Uint8Array,
  external?: Uint8Array,
  {
    kind = KIND.ANSWER as number,
    id = 0,
    now = 0,
    borrower = -1,
    release = undefined as (() => void) | undefined,
  } = {},
): Uint8Array {
  outbox.frame(kind, 0, 2, id, inline.length, external?.length ?? 0, now)
  outbox.bytes.set(inline, outbox.at)
  if (external !== undefined) outbox.refer(external, borrower, release)
  return frame(kind, join(inline, external ?? new Uint8Array(0)), { id, content: 2 })
}

function taken(outbox: Outbox, budgetBytes = Infinity, now = 0): Uint8Array[] {
  const out: Uint8Array[] = []
  outbox.take(budgetBytes, now, out)
  return out
}

const numbered = (size: number, value: number): Uint8Array => new Uint8Array(size).fill(value)
const sizeOf = (chunks: readonly Uint8Array[]): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0)

type Step =
  | { readonly do: 'push'; readonly inline: number; readonly external: number }
  | { readonly do: 'take'; readonly budget: number }
  | { readonly do: 'ack'; readonly part: number }
  | { readonly do: 'rewind'; readonly part: number }

const sizes = fc.oneof(fc.nat(40), fc.nat(4000), fc.constantFrom(0, SLAB_BYTES - HEADER_BYTES, 30_000))
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('push' as const), inline: sizes, external: fc.constant(0) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('push' as const),
        inline: fc.nat(300),
        external: fc.integer({ min: 1, max: 70_000 }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constant('take' as const), budget: fc.integer({ min: 1, max: 150_000 }) }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('ack' as const), part: fc.nat(100) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('rewind' as const), part: fc.nat(100) }) },
  ),
  { maxLength: 80, size: 'max' },
)

describe('the outbox', () => {
  it('hands over exactly the frames that a list of them would, over any pushes, takes, acknowledgements and replays', () => {
    const seen = { acks: 0, rewinds: 0, replayed: 0 }
    fc.assert(
      fc.property(steps, (script) => {
        const outbox = new Outbox(NO_REFRESH)
        /** Every frame there ever was, and the number of the last acknowledged and the last handed to the present pipe. */
        const frames: Uint8Array[] = []
        let [acked, cursor, handed] = [0, 0, 0]
        /** What the present pipe has been given, as chunks that must not change, and as the frames they must be. */
        let chunks: Uint8Array[] = []
        let firstOnPipe = 1
        const released: number[] = []
        const references: number[] = []
        for (const step of script) {
          if (step.do === 'push') {
            const seq = frames.length + 1
            const external = step.external > 0 ? numbered(step.external, seq & 0xff) : undefined
            if (external !== undefined) references.push(seq)
            const release = (): void => void released.push(seq)
            frames.push(push(outbox, numbered(step.inline, seq & 0xff), external, { id: seq, release }))
          } else if (step.do === 'take') {
            const out = taken(outbox, step.budget)
            const size = sizeOf(out)
            // Work is done while there is any, and the budget is left behind by a slab and a payload at the most.
            expect(size > 0).toBe(cursor < frames.length)
            expect(size).toBeLessThan(step.budget + SLAB_BYTES + 70_000)
            chunks.push(...out)
            for (let rest = size; rest > 0; cursor++) rest -= frames[cursor]?.length ?? Infinity
            handed = Math.max(handed, cursor)
            const expected = join(...frames.slice(firstOnPipe - 1, cursor))
            expect(Buffer.compare(join(...chunks), expected)).toBe(0)
          } else if (step.do === 'ack') {
            // What is acknowledged may be overwritten: forget those chunks first.
            const seq = acked + Math.floor(((cursor - acked) * step.part) / 100)
            const gone = sizeOf(frames.slice(firstOnPipe - 1, seq))
            chunks = without(chunks, gone)
            firstOnPipe = seq + 1
            acked = seq
            outbox.acknowledge(seq)
            seen.acks++
          } else {
            const seq = acked + Math.floor(((cursor - acked) * step.part) / 100)
            seen.replayed += cursor - seq
            acked = cursor = seq
            chunks = []
            firstOnPipe = seq + 1
            outbox.rewind(seq)
            seen.rewinds++
          }
          expect(outbox.queuedSeq).toBe(frames.length)
          expect(outbox.ackedSeq).toBe(acked)
          expect(outbox.cursorSeq).toBe(cursor)
          expect(outbox.handedSeq).toBe(handed)
          expect(outbox.unhandedBytes).toBe(sizeOf(frames.slice(cursor)))
          expect(outbox.pending).toBe(cursor < frames.length)
          // What is retained is what is not acknowledged, and at most one slab more.
          const unacknowledged = sizeOf(frames.slice(acked, cursor))
          expect(outbox.retainedBytes).toBeGreaterThanOrEqual(unacknowledged)
          expect(outbox.retainedBytes).toBeLessThan(unacknowledged + SLAB_BYTES)
          // Each payload is given back once, in order, when its frame is acknowledged and not before.
          expect(released).toEqual(references.filter((seq) => seq <= acked))
          // Chunks on the present pipe are as they were.
          expect(Buffer.compare(join(...chunks), join(...frames.slice(firstOnPipe - 1, cursor)))).toBe(0)
        }
      }),
      { numRuns: 150 },
    )
    expect(Math.min(seen.acks, seen.rewinds, seen.replayed)).toBeGreaterThan(50)
  })

  it('is empty when everything was acknowledged, and goes on in the same block', () => {
    const outbox = new Outbox(NO_REFRESH)
    const blocks = new Set<ArrayBufferLike>()
    for (let seq = 1; seq <= 1000; seq++) {
      const bytes = push(outbox, numbered(500, seq & 0xff), undefined, { id: seq })
      const chunks = taken(outbox)
      expect(join(...chunks)).toEqual(bytes)
      for (const chunk of chunks) blocks.add(chunk.buffer)
      outbox.acknowledge(seq)
      expect([outbox.retainedBytes, outbox.unhandedBytes, outbox.pending]).toEqual([0, 0, false])
    }
    expect(blocks.size).toBe(1)
  })

  it('uses the blocks again that acknowledgements have freed', () => {
    const outbox = new Outbox(NO_REFRESH)
    const blocks = new Set<ArrayBufferLike>()
    for (let seq = 1; seq <= 600; seq++) {
      push(outbox, numbered(30_000, 1))
      for (const chunk of taken(outbox)) blocks.add(chunk.buffer)
      if (seq > 8) outbox.acknowledge(seq - 8)
    }
    expect(blocks.size).toBeLessThan(12)
  })

  it('keeps what a caller takes back as it was, handed over or not', () => {
    const outbox = new Outbox(NO_REFRESH)
    const [first, second, other] = [numbered(3000, 1), numbered(3000, 2), numbered(3000, 3)]
    const wire = [
      push(outbox, numbered(5, 0), first, { borrower: 4 }),
      push(outbox, numbered(5, 0), second, { borrower: 4 }),
      push(outbox, numbered(5, 0), other, { borrower: 5 }),
    ]
    taken(outbox, 1)
    outbox.unborrow(4)
    first.fill(0xee)
    second.fill(0xee)
    outbox.rewind(0)
    const replayed = taken(outbox)
    expect(join(...replayed)).toEqual(join(...wire))
    // Nobody asked for the third: it is not copied.
    expect(replayed.map((chunk) => chunk.buffer)).toContain(other.buffer)
    expect(replayed.map((chunk) => chunk.buffer)).not.toContain(second.buffer)
  })

  it('refers to a payload outside, and does not copy it', () => {
    const outbox = new Outbox(NO_REFRESH)
    const payload = numbered(3000, 1)
    push(outbox, numbered(5, 0), payload)
    expect(taken(outbox)).toContain(payload)
  })
})

describe('a QUERY in the outbox', () => {
  /** An outbox whose refresh writes the id into the field, and the ids that it was called with. */
  function refreshing(): { outbox: Outbox; ids: number[] } {
    const ids: number[] = []
    const outbox = new Outbox((bytes, at, id) => {
      ids.push(id)
      writeU32(bytes, at, id)
    })
    return { outbox, ids }
  }

  it('is written as it is when it did not wait', () => {
    const { outbox, ids } = refreshing()
    push(outbox, numbered(5, 9), undefined, { kind: KIND.QUERY, id: 1, now: 100 })
    expect(join(...taken(outbox, Infinity, 110)).subarray(HEADER_BYTES)).toEqual(numbered(5, 9))
    expect(ids).toEqual([])
  })

  it('is refreshed when it waited, was withdrawn or is replayed, and nothing but its field changes', () => {
    for (const why of ['waited', 'withdrawn', 'replayed'] as const) {
      const { outbox, ids } = refreshing()
      const [external, now] = [numbered(3000, 8), why === 'waited' ? 111 : 100]
      push(outbox, numbered(20, 7), undefined, { now: 100 })
      push(outbox, numbered(20, 9), undefined, { kind: KIND.QUERY, id: 1, now: 100 })
      push(outbox, numbered(20, 9), external, { kind: KIND.QUERY, id: 2, now: 100 })
      push(outbox, numbered(20, 9), undefined, { kind: KIND.QUERY, id: 3, now: 100 })
      if (why === 'withdrawn') outbox.withdrawn = true
      if (why === 'replayed') {
        taken(outbox, Infinity, 100)
        expect(ids).toEqual([])
        outbox.rewind(0)
      }
      const field = (id: number): Uint8Array => join(Uint8Array.of(0, 0, 0, id), numbered(16, 9))
      expect(join(...taken(outbox, Infinity, now))).toEqual(
        join(
          frame(KIND.ANSWER, numbered(20, 7), { content: 2 }),
          frame(KIND.QUERY, field(1), { id: 1, content: 2 }),
          frame(KIND.QUERY, join(field(2), external), { id: 2, content: 2 }),
          frame(KIND.QUERY, field(3), { id: 3, content: 2 }),
        ),
      )
      expect([...new Set(ids)], why).toEqual([1, 2, 3])
    }
  })

  it('is left as it is when it lies behind the point up to which the peer has all', () => {
    const { outbox, ids } = refreshing()
    for (const id of [1, 2, 3]) push(outbox, numbered(5, 9), undefined, { kind: KIND.QUERY, id })
    taken(outbox)
    outbox.rewind(2)
    taken(outbox)
    expect(ids).toEqual([3])
  })
})

/** `chunks` behind their first `gone` bytes, as views of the same memory. */
function without(chunks: readonly Uint8Array[], gone: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  let at = 0
  for (const chunk of chunks) {
    if (at + chunk.length > gone) rest.push(chunk.subarray(Math.max(0, gone - at)))
    at += chunk.length
  }
  return rest
}
