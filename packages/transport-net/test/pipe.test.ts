import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import type { Pipe } from '@pairlink/core'
import { describe, expect, test } from 'vitest'
import { unix } from '../src/index.js'
import { dialled, freshDirectory, listening, Recorder } from './place.js'

interface End {
  readonly pipe: Pipe
  readonly recorder: Recorder
}

/** Both ends of one pipe, the dialer's first. */
async function bothEnds(): Promise<[End, End]> {
  const transport = unix(join(freshDirectory(), 's'))
  let arrived: (end: End) => void = () => undefined
  const accepted = new Promise<End>((resolve) => (arrived = resolve))
  await listening(transport, (pipe) => {
    const recorder = new Recorder()
    pipe.start(recorder)
    arrived({ pipe, recorder })
  })
  const pipe = await dialled(transport)
  const recorder = new Recorder()
  pipe.start(recorder)
  return [{ pipe, recorder }, await accepted]
}

describe.each(['the dialer', 'the listener'])('a pipe, seen from %s', (who) => {
  const ends = async (): Promise<[End, End]> => {
    const [dialer, listener] = await bothEnds()
    return who === 'the dialer' ? [dialer, listener] : [listener, dialer]
  }

  test('carries many chunks of any size in order', async () => {
    const [near, far] = await ends()
    const parts = [0, 1, 100, 16_384, 70_000, 1_000_000].map((size) => randomBytes(size))
    const expected = Buffer.concat([...parts, ...parts])
    for (const part of parts) near.pipe.write([part])
    near.pipe.write(parts)
    near.pipe.end()
    await far.recorder.told('ended')
    expect(Buffer.concat(far.recorder.chunks).equals(expected)).toBe(true)
    far.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
  })

  test('says enough, and drained when what was written has left', async () => {
    const [near, far] = await ends()
    while (near.pipe.write([Buffer.alloc(262_144)]));
    await near.recorder.told('drained')
    near.pipe.destroy()
    await far.recorder.told('ended')
    far.pipe.destroy()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
  })

  test('half-closes: the other side goes on sending, and both are closed when it has ended too', async () => {
    const [near, far] = await ends()
    near.pipe.end()
    await far.recorder.told('ended')
    far.pipe.write([Buffer.from('afterwards')])
    far.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
    expect(near.recorder.text).toBe('afterwards')
    expect(near.recorder.calls).toEqual(['bytes', 'ended', 'closed'])
  })

  test('what was flushed before the end arrives although the other side reads late', async () => {
    const [near, far] = await ends()
    near.pipe.write([Buffer.alloc(100_000, 1)])
    near.pipe.end()
    const blockedUntil = performance.now() + 200
    while (performance.now() < blockedUntil);
    await far.recorder.told('ended')
    expect(far.recorder.bytesRead).toBe(100_000)
    far.pipe.end()
    await near.recorder.told('closed')
  })

  test('destroy closes once, last, and never synchronously; nothing after it does anything', async () => {
    const [near, far] = await ends()
    near.pipe.destroy()
    near.pipe.destroy()
    expect(near.recorder.calls).toEqual([])
    expect(near.pipe.write([Buffer.from('late')])).toBe(true)
    near.pipe.end()
    await near.recorder.told('closed')
    await far.recorder.told('ended')
    far.pipe.write([Buffer.from('to nobody')])
    far.pipe.destroy()
    await far.recorder.told('closed')
    expect(near.recorder.calls.filter((call) => call === 'closed')).toHaveLength(1)
    expect(far.recorder.calls.at(-1)).toBe('closed')
  })

  test('writing to a peer that has gone is no unhandled error, and what had arrived is read first', async () => {
    const [near, far] = await ends()
    far.pipe.write([Buffer.from('last words')])
    far.pipe.destroy()
    for (let round = 0; round < 10; round++) near.pipe.write([Buffer.alloc(100_000)])
    await near.recorder.told('bytes')
    expect(near.recorder.text).toBe('last words')
    near.pipe.destroy()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
  })
})
