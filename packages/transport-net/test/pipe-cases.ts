/**
 * What pipes of sockets are held to beyond the contract that the kit looks at, seen from either end: a reader that is late,
 * and an end of both directions on the spot. It knows no transport.
 */
import { expect, test } from 'vitest'
import type { End } from './place.js'

/** Tests of the pipes that `ends` makes. The other side of one that is destroyed has `ended` by itself, or is `closed`. */
export function pipeCases(ends: () => Promise<[near: End, far: End]>, gone: 'ended' | 'closed'): void {
  test('what was written before the end arrives although the other side reads late', async () => {
    const [near, far] = await ends()
    near.pipe.write([Buffer.alloc(100_000, 1)])
    near.pipe.end()
    const blockedUntil = performance.now() + 200
    while (performance.now() < blockedUntil);
    await far.recorder.told('ended')
    expect(Buffer.concat(far.recorder.chunks)).toHaveLength(100_000)
    far.pipe.end()
    await near.recorder.told('closed')
  })

  test('destroy closes once, last, and never synchronously; nothing after it does anything', async () => {
    const [near, far] = await ends()
    near.pipe.write([Buffer.from('x')])
    await far.recorder.told('bytes')
    near.recorder.calls.length = 0
    near.pipe.destroy()
    near.pipe.destroy()
    expect(near.recorder.calls).toEqual([])
    expect(near.pipe.write([Buffer.from('late')])).toBe(true)
    near.pipe.end()
    await near.recorder.told('closed')
    await far.recorder.told(gone)
    far.pipe.write([Buffer.from('to nobody')])
    far.pipe.end()
    far.pipe.destroy()
    await far.recorder.told('closed')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(near.recorder.calls).toEqual(['closed'])
    expect(near.recorder.error).toBeUndefined()
    expect(far.recorder.calls.filter((call) => call === 'closed')).toHaveLength(1)
    expect(far.recorder.calls.at(-1)).toBe('closed')
    expect(far.recorder.text).toBe('x')
  })
}
