/** A pipe of a socket, seen from both sides: what the cases of the kit do not ask of it. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { unix } from '../src/index.js'
import { pipeCases } from './pipe-cases.js'
import { bothEnds, freshDirectory, type End } from './place.js'

describe.each(['the dialer', 'the listener'])('a pipe, seen from %s', (who) => {
  const ends = async (): Promise<[End, End]> => {
    const [dialer, listener] = await bothEnds(unix(join(freshDirectory(), 's')))
    return who === 'the dialer' ? [dialer, listener] : [listener, dialer]
  }

  pipeCases(ends, 'ended')

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
