import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { aes256gcm, custom, type CustomCipher } from '../src/index.js'
import { agree, beginBoth, filled, hex, utf8 } from './providers.js'

const identity = (bytes: Uint8Array): Uint8Array => bytes

describe('custom', () => {
  test('gives core what it needs', () => {
    const encryption = custom({ name: 'none', encrypt: identity, decrypt: () => undefined })
    expect(encryption).toMatchObject({ mode: 'custom', cipherName: 'none' })
    expect(encryption.encrypt(utf8('x'))).toEqual(utf8('x'))
    expect(encryption.decrypt(utf8('x'))).toBeUndefined()
  })
  test('calls the methods on the object that they belong to', () => {
    class Xor implements CustomCipher {
      readonly name = 'xor'
      readonly #mask = 0xff
      encrypt(plain: Uint8Array): Uint8Array {
        return plain.map((byte) => byte ^ this.#mask)
      }
      decrypt(record: Uint8Array): Uint8Array {
        return this.encrypt(record)
      }
    }
    const encryption = custom(new Xor())
    expect(encryption.encrypt(filled(0, 1))).toEqual(filled(0xff, 1))
    expect(encryption.decrypt(filled(0xff, 1))).toEqual(filled(0, 1))
  })
  test.each([['a'], ['ü'.repeat(32)], ['x'.repeat(64)], ['😀'.repeat(16)]])('takes the name %j', (name) => {
    expect(custom({ name, encrypt: identity, decrypt: identity }).cipherName).toBe(name)
  })
  test.each([[''], ['x'.repeat(65)], ['ü'.repeat(33)], ['\ud800'], [7], [undefined], [null]])(
    'refuses the name %j',
    (name) => {
      expect(() => custom({ name, encrypt: identity, decrypt: identity } as CustomCipher)).toThrow(/^custom: name must/)
    },
  )
  test.each(['encrypt', 'decrypt'])('refuses without %s', (method) => {
    const cipher = { name: 'x', encrypt: identity, decrypt: identity }
    for (const wrong of [undefined, null, 'x', {}]) {
      expect(() => custom({ ...cipher, [method]: wrong } as CustomCipher)).toThrow(
        new TypeError(`custom: ${method} must be a function`),
      )
    }
  })
  test.each([[null], [undefined], ['x'], [7]])('refuses %j', (cipher) => {
    expect(() => custom(cipher as unknown as CustomCipher)).toThrow(TypeError)
  })
})

describe('keys are never shown', () => {
  /** Every way in which an object is usually printed. */
  const shown = (value: object): string =>
    [
      inspect(value, { depth: 9, showHidden: true }),
      JSON.stringify(value),
      String(value),
      Object.getOwnPropertyNames(value).join(),
    ].join('\n')
  const key = filled(0xa7)
  const traces = [hex(key), Buffer.from(key).toString('base64'), 'a7, ', 'a7 a7', '167']

  test('the traces that are looked for are what printing would leave', () => {
    const careless = shown({ key, buffer: Buffer.from(key) })
    expect(traces.filter((trace) => careless.includes(trace))).toEqual(['a7 a7', '167'])
  })
  test('neither by the encryption, nor by a handshake at any stage, nor by its records', () => {
    const encryption = aes256gcm(key)
    const handshakes = beginBoth(encryption)
    const before = handshakes.map(shown)
    const { dialer } = agree(handshakes)
    const texts = [
      shown(encryption),
      ...before,
      ...handshakes.map(shown),
      shown(dialer.sealer),
      shown(dialer.opener),
      inspect([encryption, handshakes, dialer.sealer, dialer.opener], { depth: 9, showHidden: true }),
    ]
    for (const text of texts) {
      for (const trace of traces) expect(text).not.toContain(trace)
      expect(text).not.toContain('Uint8Array(')
    }
  })
})
