/** The simulated pipe keeps the contract of pipes: order, nothing lost before an end, one end, room told. */
import { expect, test } from 'vitest'
import { Dice } from '../src/sim/dice.js'
import { SimProcess } from '../src/sim/process.js'
import { Time } from '../src/sim/time.js'
import { SimPipe, type WireNature } from '../src/sim/wire.js'

const plain: WireNature = { delayMs: [1, 5], splits: 0.5, joins: 0.5, capacityBytes: 1000, losesTail: 0 }

function pipes(seed: number, nature: Partial<WireNature> = {}) {
  const time = new Time()
  const wire = { time, dice: new Dice(seed), nature: { ...plain, ...nature }, watcher: undefined }
  const processes = [new SimProcess('a', time, 0), new SimProcess('b', time, 500)] as const
  const [a, b] = [new SimPipe(processes[0], wire, undefined), new SimPipe(processes[1], wire, undefined)]
  a.join(b)
  b.join(a)
  const ends = [a, b].map((pipe) => {
    const end = { pipe, bytes: [] as number[], events: [] as string[] }
    pipe.start({
      bytes: (chunk) => end.bytes.push(...chunk),
      drained: () => end.events.push('drained'),
      ended: () => end.events.push('ended'),
      closed: () => end.events.push('closed'),
    })
    return end
  })
  const run = (untilMs = 10_000): void => {
    while (time.step(untilMs)) continue
  }
  const [near, far] = ends
  if (near === undefined || far === undefined) throw new Error('two ends')
  return { near, far, processes, run, time }
}

const numbers = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, at) => at)

test('all bytes arrive in order before the end, in any pieces', () => {
  for (let seed = 0; seed < 50; seed++) {
    const { near, far, run } = pipes(seed)
    for (let at = 0; at < 200; at += 10) near.pipe.write([numbers(200).subarray(at, at + 10)])
    near.pipe.end()
    far.pipe.end()
    run()
    expect(far.bytes).toEqual([...numbers(200)])
    expect([near.events, far.events]).toEqual([
      ['ended', 'closed'],
      ['ended', 'closed'],
    ])
  }
})

test('a writer is told "enough" and then of room, also when the reader is stopped meanwhile', () => {
  const { near, far, processes, run, time } = pipes(1)
  processes[1].stop()
  expect(near.pipe.write([new Uint8Array(2000)])).toBe(false)
  run(time.now + 1000)
  expect([near.events, far.bytes.length]).toEqual([[], 0])
  processes[1].wake()
  run(time.now + 1000)
  expect([near.events, far.bytes.length]).toEqual([['drained'], 2000])
})

test('a cut loses nothing but the end of what is under way, and those learn of it who are told', () => {
  for (let seed = 0; seed < 50; seed++) {
    const { near, far, run } = pipes(seed)
    near.pipe.write([numbers(100)])
    near.pipe.cut(0.5, true)
    far.pipe.cut(1, false)
    near.pipe.write([numbers(100)])
    run()
    expect(far.bytes).toEqual([...numbers(50)])
    expect([near.events, far.events]).toEqual([['closed'], []])
  }
})

test('a process that goes on sees its timers first, then what has arrived', () => {
  const { near, far, processes, run, time } = pipes(1)
  const [, b] = processes
  b.stop()
  b.after(50, () => far.events.push('timer'))
  near.pipe.end()
  run(time.now + 100)
  expect(far.events).toEqual([])
  b.wake()
  run(time.now + 100)
  expect(far.events).toEqual(['timer', 'ended'])
})
