/** A pipe between two that hold the same files: what the cases of the kit do not ask of it, through TLS. */
import { createHash, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Transport } from '@pairlink/core'
import { generateCertificate } from '../src/index.js'
import { freshNames, hasOpenssl, opensslCertificate, type Files } from './certificates.js'
import { pipeCases } from '../../transport-net/test/pipe-cases.js'
import { at, bothEnds, dialEnd, freshPlace, KINDS, listening, listeningOnce, Recorder, type End } from './place.js'

const files = freshNames()
beforeAll(() => generateCertificate(files))

const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe.each(KINDS)('at %s', (kind) => {
  const transport = async (pair: Files = files): Promise<Transport> => at(await freshPlace(kind), pair)

  describe.each(['the dialer', 'the listener'])('seen from %s', (who) => {
    const ends = async (): Promise<[End, End]> => {
      const [dialer, listener] = await bothEnds(await transport())
      return who === 'the dialer' ? [dialer, listener] : [listener, dialer]
    }

    /** Both ends once they can be written to. */
    const openEnds = async (): Promise<[End, End]> => {
      const [near, far] = await ends()
      for (const { pipe } of [near, far]) pipe.write([Buffer.from('!')])
      await Promise.all([near.recorder.told('bytes'), far.recorder.told('bytes')])
      for (const { recorder } of [near, far]) recorder.chunks.length = 0
      return [near, far]
    }

    pipeCases(openEnds, 'ended')

    test('what is written before the handshake is done arrives, and drained says that it has left', async () => {
      const [near, far] = await ends()
      expect(near.pipe.write([Buffer.from('first '), Buffer.from('words')])).toBe(false)
      expect(near.pipe.write([Buffer.from(', and more')])).toBe(false)
      await near.recorder.told('drained')
      near.pipe.end()
      await far.recorder.told('ended')
      expect(far.recorder.text).toBe('first words, and more')
      expect(near.recorder.calls.filter((call) => call === 'drained')).toHaveLength(1)
    })

    test('what is ended before the handshake is done arrives whole', async () => {
      const [near, far] = await ends()
      near.pipe.write([Buffer.from('all')])
      near.pipe.end()
      expect(near.pipe.write([Buffer.from('too late')])).toBe(true)
      await far.recorder.told('ended')
      expect(far.recorder.text).toBe('all')
      far.pipe.end()
      await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
      expect([near.recorder.error, far.recorder.error]).toEqual([undefined, undefined])
    })

    test('8 MB arrive unchanged, both ways at once', async () => {
      const [near, far] = await openEnds()
      const [there, back] = [randomBytes(8_000_000), randomBytes(8_000_000)]
      near.pipe.write([there])
      near.pipe.end()
      far.pipe.write([back.subarray(0, 10), back.subarray(10)])
      far.pipe.end()
      await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
      expect(sum(Buffer.concat(far.recorder.chunks))).toBe(sum(there))
      expect(sum(Buffer.concat(near.recorder.chunks))).toBe(sum(back))
      expect([near.recorder.error, far.recorder.error]).toEqual([undefined, undefined])
    })

    test('destroy during the handshake closes both ends', async () => {
      const [near, far] = await ends()
      near.pipe.destroy()
      expect(near.recorder.calls).toEqual([])
      await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
      expect(near.recorder.error).toBeUndefined()
      expect([near.recorder.calls, far.recorder.calls]).toEqual([['closed'], ['closed']])
    })

    test('writing to a peer that has gone is no unhandled error, and what had arrived is read first', async () => {
      const [near, far] = await openEnds()
      far.pipe.write([Buffer.from('last words')])
      far.pipe.destroy()
      for (let round = 0; round < 10; round++) near.pipe.write([Buffer.alloc(100_000)])
      await near.recorder.told('closed')
      expect(near.recorder.text).toBe('last words')
    })
  })

  test('the handshake goes on inside: the pipe is there before it, and writes nothing of ours', async () => {
    const place = await transport()
    const { accepted } = await listeningOnce(place)
    const near = await dialEnd(place)
    expect(near.pipe.write([Buffer.from('x')])).toBe(false)
    expect(near.recorder.calls).toEqual([])
    const far = await accepted
    await far.recorder.told('bytes')
    expect(far.recorder.text).toBe('x')
  })

  describe('the handles', () => {
    /** Sockets and servers that keep this process alive. */
    const handles = (): number => process.getActiveResourcesInfo().filter((name) => /TCP|Pipe/.test(name)).length

    test('are gone when both ends and the listener are closed, wherever the handshakes were', async () => {
      const place = await transport()
      const before = handles()
      const accepted: End[] = []
      const listener = await listening(place, (pipe) => {
        const recorder = new Recorder()
        accepted.push({ pipe, recorder })
        pipe.start(recorder)
        pipe.write([Buffer.from('hello')])
      })
      const open = await dialEnd(place)
      await open.recorder.told('bytes')
      const early = await dialEnd(place)
      expect(handles()).toBeGreaterThan(before)
      early.pipe.destroy()
      open.pipe.destroy()
      await accepted[0]?.recorder.told('ended')
      accepted[0]?.pipe.destroy()
      await Promise.all([early, open].map(({ recorder }) => recorder.told('closed')))
      await expect.poll(() => accepted.map(({ recorder }) => recorder.calls.at(-1))).toEqual(['closed', 'closed'])
      await listener.close()
      // Those of earlier tests may have gone meanwhile.
      expect(handles()).toBeLessThanOrEqual(before)
    })

    test('do not keep the process alive after unref, before and after the handshake', async () => {
      const place = await transport()
      const { accepted } = await listeningOnce(place)
      const near = await dialEnd(place)
      const far = await accepted
      const all = handles()
      near.pipe.unref()
      far.pipe.unref()
      expect(handles()).toBe(all - 2)
      near.pipe.write([Buffer.from('x')])
      await far.recorder.told('bytes')
      expect(handles()).toBe(all - 2)
      near.pipe.ref()
      far.pipe.ref()
      expect(handles()).toBe(all)
      near.pipe.unref()
      expect(handles()).toBe(all - 1)
    })
  })
})

describe.skipIf(!hasOpenssl)('files that were made by openssl', () => {
  test.each(['RSA 2048', 'RSA-PSS', 'P-256', 'P-384', 'P-521', 'Ed25519', 'Ed448'])('%s', async (key) => {
    const [near, far] = await bothEnds(at(await freshPlace('a port'), opensslCertificate(key)))
    near.pipe.write([Buffer.from('there')])
    far.pipe.write([Buffer.from('back')])
    await Promise.all([near.recorder.told('bytes'), far.recorder.told('bytes')])
    expect([near.recorder.text, far.recorder.text]).toEqual(['back', 'there'])
  })
})
