import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Provider } from '../src/provider.js'
import { Nonces, RecordOpener, RecordSealer } from '../src/records.js'
import { filled, flipped, hex, joined, PAIRS, PROVIDERS, sure, utf8 } from './providers.js'

const KEY = filled(3)
const LAST = 2n ** 64n - 2n

const sealer = (provider: Provider, first = 0n): RecordSealer =>
  new RecordSealer(provider.aes256gcm(KEY), new Nonces(first))
const opener = (provider: Provider, first = 0n): RecordOpener =>
  new RecordOpener(provider.aes256gcm(KEY), new Nonces(first))

/** Records `record 0`, `record 1` … */
function sealedRecords(provider: Provider, count: number): Uint8Array[] {
  const from = sealer(provider)
  return Array.from({ length: count }, (_, at) => joined(from.seal([utf8(`record ${at}`)])))
}

describe.each(PAIRS)('$name', ({ dialer, listener }) => {
  test('any plaintext in any chunks comes out whole', () => {
    const chunk = fc.uint8Array({ maxLength: 300 })
    const large = fc.integer({ min: 0, max: 70_000 }).map((length) => filled(length % 251, length))
    const record = fc.array(fc.oneof({ weight: 9, arbitrary: chunk }, { weight: 1, arbitrary: large }), {
      maxLength: 12,
    })
    fc.assert(
      fc.property(fc.array(record, { maxLength: 4 }), (records) => {
        const [from, to] = [sealer(dialer), opener(listener)]
        for (const chunks of records) {
          // At an odd place of a larger buffer, as what comes from a socket is.
          const sent = joined([filled(0, 3), ...sure(from.seal(chunks))]).subarray(3)
          expect(Buffer.compare(sure(to.open(sent)), joined(chunks))).toBe(0)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('each byte of a record is guarded', () => {
    const [record = filled(0)] = sealedRecords(dialer, 1)
    for (let at = 0; at < record.length; at++) expect(opener(listener).open(flipped(record, at))).toBeUndefined()
  })
})

describe.each(PROVIDERS)('%s', (_name, provider) => {
  const open = (records: readonly (Uint8Array | undefined)[]): (string | undefined)[] => {
    const to = opener(provider)
    return records.map((record) => {
      const plain = to.open(sure(record))
      return plain && new TextDecoder().decode(plain)
    })
  }

  test('records in order come out in order', () => {
    expect(open(sealedRecords(provider, 3))).toEqual(['record 0', 'record 1', 'record 2'])
  })
  test('a record that comes twice ends the direction', () => {
    const [a, b] = sealedRecords(provider, 2)
    expect(open([a, a, b])).toEqual(['record 0', undefined, undefined])
  })
  test('records that change places end the direction', () => {
    const [a, b, c] = sealedRecords(provider, 3)
    expect(open([a, c, b])).toEqual(['record 0', undefined, undefined])
  })
  test('a record that is missing ends the direction', () => {
    const [a, , c] = sealedRecords(provider, 3)
    expect(open([a, c])).toEqual(['record 0', undefined])
  })
  test('a record that was changed ends the direction, and the right one after it does not help', () => {
    const [a = filled(0), b] = sealedRecords(provider, 2)
    expect(open([flipped(a, 0), a, b])).toEqual([undefined, undefined, undefined])
  })
  test('a record that was cut short is seen, whatever its length', () => {
    const [record = filled(0)] = sealedRecords(provider, 1)
    for (let length = 0; length < record.length; length++) {
      expect(opener(provider).open(record.slice(0, length)), `${length} bytes`).toBeUndefined()
    }
  })
  test('a record of the other direction, under another key, is seen', () => {
    const [record = filled(0)] = sealedRecords(provider, 1)
    expect(new RecordOpener(provider.aes256gcm(filled(4))).open(record)).toBeUndefined()
  })

  test('an empty record is 16 bytes and opens to nothing', () => {
    for (const chunks of [[], [new Uint8Array(0)], [new Uint8Array(0), new Uint8Array(0)]]) {
      const record = joined(sealer(provider).seal(chunks))
      expect(record.length).toBe(16)
      expect(opener(provider).open(record)).toEqual(new Uint8Array(0))
    }
  })

  test('the last nonce is used, the one after it never', () => {
    const [from, to] = [sealer(provider, LAST), opener(provider, LAST)]
    const record = joined(from.seal([utf8('last')]))
    expect(to.open(record)).toEqual(utf8('last'))
    for (let again = 0; again < 2; again++) {
      expect(from.seal([utf8('one more')])).toBeUndefined()
      expect(to.open(record)).toBeUndefined()
    }
  })
  test('records pass the border of 32 bits', () => {
    const first = 2n ** 32n - 2n
    const [from, to] = [sealer(provider, first), opener(provider, first)]
    for (let count = 0; count < 4; count++) expect(to.open(joined(from.seal([utf8('x')])))).toEqual(utf8('x'))
  })

  test('what is sealed and opened lies in memory of its own, and what is opened is a plain Uint8Array', () => {
    const chunks = [utf8('one'), utf8('two')]
    const pieces = sure(sealer(provider).seal(chunks))
    for (const chunk of chunks) chunk.fill(0)
    sealer(provider).seal([filled(9, 100), filled(9, 100)])
    expect(pieces.every((piece) => piece instanceof Uint8Array)).toBe(true)
    const record = joined(pieces)
    const plain = sure(opener(provider).open(record))
    record.fill(0)
    expect(plain).toEqual(utf8('onetwo'))
    expect(Object.getPrototypeOf(plain)).toBe(Uint8Array.prototype)
    expect(plain.buffer.byteLength).toBe(plain.length)
  })
})

describe('nonces', () => {
  const after = (first: bigint, count: number): string[] => {
    const nonces = new Nonces(first)
    return Array.from({ length: count }, () => hex(nonces.next() ?? new Uint8Array(0)))
  }
  test('four zero bytes and a big-endian counter', () => {
    expect(after(0n, 2)).toEqual(['000000000000000000000000', '000000000000000000000001'])
    expect(after(0x0102030405060708n, 1)).toEqual(['000000000102030405060708'])
  })
  test('the lower half carries into the upper', () => {
    expect(after(0xffff_ffffn, 2)).toEqual(['0000000000000000ffffffff', '000000000000000100000000'])
    expect(after(2n ** 53n, 2)).toEqual(['000000000020000000000000', '000000000020000000000001'])
  })
  test('the highest value stays unused', () => {
    expect(after(LAST, 3)).toEqual(['00000000fffffffffffffffe', '', ''])
  })
})
