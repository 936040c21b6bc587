/** Some hundreds of runs of what `npm run fuzz` does for minutes, with the handshake and the records of this package. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { targetsOf } from '../../../e2e/fuzz/targets.mjs'
import { testTarget } from '../../core/test/protocol/fuzzing.js'
import { sealed } from '../src/sealed.js'
import { agree, beginBoth, filled, joined, PROVIDERS, utf8 } from './providers.js'

const KEY = filled(1)
/** Those of `npm run fuzz` that are about encryption; the rest is core's. */
const isSealed = ({ name }: { readonly name: string }): boolean => name.includes('sealed')

describe.each(PROVIDERS)('with the algorithms of %s', (name, provider) => {
  for (const target of targetsOf([sealed(provider, KEY)]).filter(isSealed))
    testTarget(target, name === 'node' ? 150 : 20)

  const runs = { numRuns: name === 'node' ? 300 : 30 }

  test('no changed first message is read, and none throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(400), fc.nat(3), (bytes, at, how) => {
        const [dialer, listener] = beginBoth(sealed(provider, KEY))
        const message = dialer.write(utf8('hello'))
        const cut = at % message.length
        const kept = message.subarray(0, cut)
        const variants = [bytes, joined([kept, bytes]), joined([kept, bytes, message.subarray(cut)]), kept]
        const changed = variants[how] ?? bytes
        const payload = listener.read(changed)
        expect(payload !== undefined).toBe(Buffer.compare(changed, message) === 0)
      }),
      runs,
    )
  })

  test('records are read as long as they come as they were sent, and none after another one', () => {
    const step = fc.tuple(fc.constantFrom('next', 'next', 'again', 'skip', 'flip', 'cut', 'noise'), fc.nat(10_000))
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), fc.uint8Array({ maxLength: 60 }), (steps, noise) => {
        const { dialer, listener } = agree(beginBoth(sealed(provider, KEY)))
        let isIntact = true
        let last: Uint8Array = noise
        for (const [index, [how, at]] of steps.entries()) {
          const plain = utf8(`record ${index}`)
          const record = how === 'again' || how === 'noise' ? noise : joined(dialer.sealer.seal([plain]))
          if (how === 'skip') last = joined(dialer.sealer.seal([plain]))
          else if (how === 'next') last = record
          else if (how === 'flip') last = record.map((byte, place) => (place === at % record.length ? byte ^ 4 : byte))
          else if (how === 'cut') last = record.subarray(0, at % record.length)
          else if (how === 'noise') last = noise
          isIntact &&= how === 'next'
          const opened = listener.opener.open(last)
          expect(opened).toEqual(isIntact ? plain : undefined)
        }
      }),
      runs,
    )
  })
})
