/** A WebSocket as a Pipe, seen from both sides, for each way of getting one. */
import { randomBytes } from 'node:crypto'
import { describe, expect, test, vi } from 'vitest'
import { pipeCases } from '../../transport-net/test/pipe-cases.js'
import { bothEnds, freshPlace, KINDS, type End } from './place.js'

/** What a sink was told, without the ends of waiting: a write before it is open is told to wait, too. */
function told({ recorder }: End): string[] {
  return recorder.calls.filter((call) => call !== 'drained')
}

const sides = KINDS.flatMap((kind) => [
  { kind, who: 'the dialer' },
  { kind, who: 'the listener' },
])

describe.each(sides)('a pipe at $kind, seen from $who', ({ kind, who }) => {
  const ends = async (): Promise<[End, End]> => {
    const [dialer, listener] = await bothEnds(await freshPlace(kind))
    return who === 'the dialer' ? [dialer, listener] : [listener, dialer]
  }

  pipeCases(ends, 'closed')

  test('carries many chunks of any size in order', async () => {
    const [near, far] = await ends()
    const parts = [0, 1, 100, 16_384, 16_385, 65_535, 65_536, 65_537, 1_000_000].map((size) => randomBytes(size))
    const expected = Buffer.concat([...parts, ...parts, ...parts])
    for (const part of parts) near.pipe.write([part])
    near.pipe.write([...parts, ...parts])
    near.pipe.write([])
    near.pipe.end()
    await far.recorder.told('ended')
    expect(Buffer.concat(far.recorder.chunks).equals(expected)).toBe(true)
    far.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
    expect([near.recorder.error, far.recorder.error]).toEqual([undefined, undefined])
  })

  test('what is written before it is open arrives', async () => {
    const place = await freshPlace(kind)
    const [dialer, listener] = await bothEnds(place)
    const [near, far] = who === 'the dialer' ? [dialer, listener] : [listener, dialer]
    near.pipe.write([Buffer.from('early, ')])
    near.pipe.write([Buffer.from('and in order')])
    await expect.poll(() => far.recorder.text).toBe('early, and in order')
  })

  test('nothing, written before it is open, is not waited for', async () => {
    const [near] = await ends()
    expect(near.pipe.write([])).toBe(true)
    expect(near.pipe.write([new Uint8Array(0)])).toBe(true)
  })

  test('any number of chunks may be written before it is open', async () => {
    const [near, far] = await ends()
    near.pipe.write(Array.from({ length: 200_000 }, (_, at) => Uint8Array.of(at)))
    await expect.poll(() => far.recorder.bytesRead).toBe(200_000)
    const read = Buffer.concat(far.recorder.chunks)
    expect(read.every((byte, at) => byte === at % 256)).toBe(true)
  })

  test('says enough, and drained when what was written has left', async () => {
    const [near, far] = await ends()
    let written = 0
    while (near.pipe.write([Buffer.alloc(262_144)])) written++
    await near.recorder.told('drained')
    // What a socket of the system holds, and no more.
    expect(written).toBeLessThan(100)
    expect(near.pipe.write([Buffer.from('x')])).toBe(true)
    near.pipe.end()
    await far.recorder.told('ended')
    expect(far.recorder.bytesRead).toBe((written + 1) * 262_144 + 1)
    far.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
  })

  test('ends one direction: the other side goes on sending, and both are closed when it has ended too', async () => {
    const [near, far] = await ends()
    near.pipe.write([Buffer.from('before')])
    near.pipe.end()
    expect(near.pipe.write([Buffer.from('behind the end')])).toBe(true)
    await far.recorder.told('ended')
    expect(far.recorder.text).toBe('before')
    far.pipe.write([Buffer.from('afterwards')])
    far.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
    expect(near.recorder.text).toBe('afterwards')
    expect(told(near)).toEqual(['bytes', 'ended', 'closed'])
    expect(told(far)).toEqual(['bytes', 'ended', 'closed'])
  })

  test('both may end at the same moment', async () => {
    const [near, far] = await ends()
    near.pipe.write([Buffer.from('a')])
    far.pipe.write([Buffer.from('b')])
    near.pipe.end()
    far.pipe.end()
    near.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
    expect([told(near), near.recorder.text, near.recorder.error]).toEqual([
      ['bytes', 'ended', 'closed'],
      'b',
      undefined,
    ])
    expect([told(far), far.recorder.text, far.recorder.error]).toEqual([['bytes', 'ended', 'closed'], 'a', undefined])
  })

  test('16 MB in each direction at once arrive whole', async () => {
    const [near, far] = await ends()
    const bytes = randomBytes(16_000_000)
    const pump = async ({ pipe, recorder }: End): Promise<void> => {
      for (let at = 0; at < bytes.length; at += 250_000) {
        const count = recorder.calls.filter((call) => call === 'drained').length
        if (pipe.write([bytes.subarray(at, at + 250_000)])) continue
        await vi.waitUntil(() => recorder.calls.filter((call) => call === 'drained').length > count, {
          interval: 1,
          timeout: 15_000,
        })
      }
      pipe.end()
    }
    await Promise.all([pump(near), pump(far), near.recorder.told('closed'), far.recorder.told('closed')])
    expect(Buffer.concat(near.recorder.chunks).equals(bytes)).toBe(true)
    expect(Buffer.concat(far.recorder.chunks).equals(bytes)).toBe(true)
  })

  test('destroy inside of a delivery is the end of deliveries', async () => {
    const [near, far] = await ends()
    const { recorder } = far
    const deliver = recorder.bytes.bind(recorder)
    recorder.bytes = (chunk, transient) => {
      deliver(chunk, transient)
      far.pipe.destroy()
    }
    near.pipe.write([Buffer.alloc(1_000_000)])
    await recorder.told('closed')
    expect(told(far)).toEqual(['bytes', 'closed'])
    await near.recorder.told('closed')
  })

  test('writing to a peer that has gone is no unhandled error', async () => {
    const [near, far] = await ends()
    far.pipe.write([Buffer.from('last words')])
    await near.recorder.told('bytes')
    far.pipe.destroy()
    for (let round = 0; round < 10; round++) near.pipe.write([Buffer.alloc(100_000)])
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
    expect(near.recorder.text).toBe('last words')
  })

  test('what had arrived from a peer that has gone is read, whatever is written to it meanwhile', async () => {
    const [near, far] = await ends()
    // Open on both sides first.
    near.pipe.write([Buffer.from('x')])
    far.pipe.write([Buffer.from('y')])
    await Promise.all([near.recorder.told('bytes'), far.recorder.told('bytes')])
    far.pipe.write([Buffer.from(', last words')])
    far.pipe.end()
    const blockedUntil = performance.now() + 50
    while (performance.now() < blockedUntil);
    for (let round = 0; round < 10; round++) near.pipe.write([Buffer.alloc(100_000)])
    await near.recorder.told('ended')
    expect(near.recorder.text).toBe('y, last words')
  })

  test('fake timers of an application do not stop it', async () => {
    const [near, far] = await ends()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'setImmediate', 'Date', 'performance'] })
    try {
      while (near.pipe.write([Buffer.alloc(262_144)]));
      await near.recorder.told('drained')
      near.pipe.end()
      await far.recorder.told('ended')
      far.pipe.end()
      await near.recorder.told('ended')
    } finally {
      vi.useRealTimers()
    }
  })
})
