import fc from 'fast-check'
import { hkdfSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { aes256gcm } from '../src/index.js'
import { Handshake } from '../src/noise.js'
import type { Provider } from '../src/provider.js'
import { sealed } from '../src/sealed.js'
import {
  agree,
  beginBoth,
  filled,
  flipped,
  fromHex,
  hash,
  hex,
  joined,
  PAIRS,
  PROLOGUE,
  PROVIDERS,
  SECRET,
  sure,
  utf8,
} from './providers.js'

const KEY = filled(1)

describe.each(PAIRS)('$name', ({ dialer: dialerProvider, listener: listenerProvider }) => {
  const both = () => beginBoth(sealed(dialerProvider, KEY), sealed(listenerProvider, KEY))

  test('both sides agree, and records pass both ways', () => {
    const { dialer, listener, payloads } = agree(both())
    expect(payloads.map((payload) => new TextDecoder().decode(payload))).toEqual([
      'hello from the dialer',
      'hello from the listener',
    ])
    expect(hex(dialer.hash)).toBe(hex(listener.hash))
    expect(dialer.hash.length).toBe(32)
    const text = utf8('a record')
    for (const [from, to] of [
      [dialer, listener],
      [listener, dialer],
    ] as const) {
      const record = joined(from.sealer.seal([text]))
      expect(record.length).toBe(text.length + from.sealer.overheadBytes)
      expect(to.opener.open(record)).toEqual(text)
    }
  })

  test('payloads are not in the messages', () => {
    const { messages } = agree(both())
    for (const message of messages) expect(Buffer.from(message).includes('hello')).toBe(false)
  })

  test('a flipped bit in any byte of the first message is seen', () => {
    const message = both()[0].write(utf8('hello'))
    for (let at = 0; at < message.length; at++) {
      expect(both()[1].read(flipped(message, at)), `byte ${at}`).toBeUndefined()
    }
  })

  test('a flipped bit in any byte of the answer is seen', () => {
    const { messages } = agree(both())
    for (let at = 0; at < messages[1].length; at++) {
      const [dialer] = both()
      dialer.write(utf8('hello from the dialer'))
      expect(dialer.read(flipped(messages[1], at)), `byte ${at}`).toBeUndefined()
    }
  })

  test('a shortened message is seen, whatever its length', () => {
    const { messages } = agree(both())
    for (const length of [0, 1, 31, 32, 33, 47, 48, messages[0].length - 1]) {
      expect(both()[1].read(messages[0].slice(0, length)), `${length} bytes`).toBeUndefined()
      const [dialer] = both()
      dialer.write(utf8('hello from the dialer'))
      expect(dialer.read(messages[1].slice(0, length)), `${length} bytes`).toBeUndefined()
    }
  })

  test('another key, another secret or another prologue does not verify', () => {
    const [dialer] = both()
    const message = dialer.write(utf8('hello'))
    const right = sealed(listenerProvider, KEY)
    const others = [
      sealed(listenerProvider, filled(2)).begin('listener', SECRET, PROLOGUE, filled(0x22), hash),
      right.begin('listener', filled(8), PROLOGUE, filled(0x22), hash),
      right.begin('listener', SECRET, utf8('Prologue'), filled(0x22), hash),
      right.begin('listener', SECRET, utf8(''), filled(0x22), hash),
    ]
    for (const other of others) expect(other.read(message)).toBeUndefined()
    expect(right.begin('listener', SECRET, PROLOGUE, filled(0x22), hash).read(message)).toEqual(utf8('hello'))
  })

  test("a dialer's own message sent back to it does not verify", () => {
    const [dialer] = both()
    expect(dialer.read(dialer.write(utf8('hello')))).toBeUndefined()
  })
})

/** All u-coordinates of low order on Curve25519 and its twist, as encodings of 32 bytes, little-endian. */
const LOW_ORDER = [
  ['0', '0000000000000000000000000000000000000000000000000000000000000000'],
  ['1', '0100000000000000000000000000000000000000000000000000000000000000'],
  ['order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
  ['order 8, the other', '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'],
  ['p-1', 'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'],
  ['p', 'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'],
  ['p+1', 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'],
  ['0, highest bit set', '0000000000000000000000000000000000000000000000000000000000000080'],
  ['1, highest bit set', '0100000000000000000000000000000000000000000000000000000000000080'],
  ['p-1, highest bit set', 'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff'],
  ['p, highest bit set', 'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff'],
  ['p+1, highest bit set', 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff'],
] as const

/** The provider with a public key of our choice, so that a message that carries it verifies in all other respects. */
const posing = (provider: Provider, publicKey: Uint8Array): Provider => ({
  ...provider,
  x25519: () => ({ publicKey, agree: () => filled(0x55) }),
})
/** A provider that derives zeros without a word, as some runtimes do. */
const careless = (provider: Provider): Provider => ({
  ...provider,
  x25519: (privateKey) => ({ publicKey: provider.x25519(privateKey).publicKey, agree: () => filled(0) }),
})

describe.each(PROVIDERS)('%s', (_name, provider) => {
  test.each(LOW_ORDER)('the public key %s is refused by both sides', (_what, encoded) => {
    const publicKey = fromHex(encoded)
    expect(provider.x25519(filled(0x22)).agree(publicKey)).toBeUndefined()

    const [dialer, listener] = beginBoth(sealed(posing(provider, publicKey), KEY), sealed(provider, KEY))
    const message = dialer.write(utf8('hello'))
    expect(hex(message.subarray(0, 32))).toBe(encoded)
    expect(listener.read(message)).toBeUndefined()

    const [honest, posed] = beginBoth(sealed(provider, KEY), sealed(posing(provider, publicKey), KEY))
    expect(posed.read(honest.write(utf8('hello')))).toEqual(utf8('hello'))
    expect(honest.read(posed.write(utf8('hello')))).toBeUndefined()
  })

  test('zeros that a provider derives are refused', () => {
    const [dialer, listener] = beginBoth(sealed(provider, KEY), sealed(careless(provider), KEY))
    expect(listener.read(dialer.write(utf8('hello')))).toBeUndefined()
  })

  test('the key agreement gives what RFC 7748, section 6.1, says', () => {
    const bob = provider.x25519(fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
    expect(hex(bob.publicKey)).toBe('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f')
    const alice = fromHex('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a')
    expect(hex(sure(bob.agree(alice)))).toBe('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742')
  })

  test('every call out of turn throws, and the second finish too', () => {
    const begin = () => beginBoth(sealed(provider, KEY))
    expect(() => begin()[1].write(utf8('x'))).toThrow(/out of turn; next is read/)
    expect(() => begin()[0].read(filled(0, 64))).toThrow(/out of turn; next is write/)
    expect(() => begin()[0].finish()).toThrow(/out of turn/)
    const [dialer, listener] = begin()
    const first = dialer.write(utf8('x'))
    expect(() => dialer.write(utf8('x'))).toThrow(/out of turn; next is read/)
    listener.read(first)
    expect(() => listener.read(first)).toThrow(/out of turn; next is write/)
    dialer.read(listener.write(utf8('x')))
    dialer.finish()
    expect(() => dialer.finish()).toThrow(/out of turn; next is nothing/)
  })

  test('after a message that does not verify nothing works any more', () => {
    const [, listener] = beginBoth(sealed(provider, KEY))
    expect(listener.read(filled(0, 64))).toBeUndefined()
    expect(() => listener.read(filled(0, 64))).toThrow(/next is nothing/)
    expect(() => listener.write(utf8('x'))).toThrow(/next is nothing/)
    expect(() => listener.finish()).toThrow(/next is nothing/)
  })

  test('a message longer than Noise allows is neither written nor read', () => {
    const [dialer, listener] = beginBoth(sealed(provider, KEY))
    expect(() => dialer.write(new Uint8Array(65_535 - 48 + 1))).toThrow(/too long/)
    expect(listener.read(new Uint8Array(65_536))).toBeUndefined()
    const [longest, reader] = beginBoth(sealed(provider, KEY))
    const message = longest.write(new Uint8Array(65_535 - 48))
    expect(message.length).toBe(65_535)
    expect(reader.read(message)?.length).toBe(65_535 - 48)
  })

  test('the psk is made of key and secret as PROTOCOL.md says', () => {
    const psk = new Uint8Array(hkdfSync('sha256', Buffer.concat([KEY, SECRET]), 'pairlink 1', 'sealed psk', 32))
    const reader = new Handshake(provider, hash, { side: 'listener', prologue: PROLOGUE, ephemeral: filled(0x22), psk })
    const [dialer] = beginBoth(sealed(provider, KEY))
    expect(reader.read(dialer.write(utf8('hello')))).toEqual(utf8('hello'))
  })

  test('two links under one key share nothing', () => {
    const encryption = sealed(provider, KEY)
    const one = agree(beginBoth(encryption))
    const other = agree([
      encryption.begin('dialer', SECRET, PROLOGUE, filled(0x33), hash),
      encryption.begin('listener', SECRET, PROLOGUE, filled(0x22), hash),
    ])
    expect(hex(one.dialer.hash)).not.toBe(hex(other.dialer.hash))
    const record = joined(one.dialer.sealer.seal([utf8('x')]))
    expect(other.listener.opener.open(record)).toBeUndefined()
  })

  test('key and ephemeral are copied, and what was read is not a view', () => {
    const key = KEY.slice()
    const ephemeral = filled(0x11)
    const dialer = sealed(provider, key).begin('dialer', SECRET, PROLOGUE, ephemeral, hash)
    const listenerEncryption = sealed(provider, key)
    key.fill(0xff)
    ephemeral.fill(0xff)
    const message = dialer.write(utf8('hello'))
    expect(hex(message)).toBe(hex(beginBoth(sealed(provider, KEY))[0].write(utf8('hello'))))
    const payload = sure(listenerEncryption.begin('listener', SECRET, PROLOGUE, filled(0x22), hash).read(message))
    message.fill(0)
    expect(payload).toEqual(utf8('hello'))
  })
})

test('all providers agree upon the same, whatever the keys', () => {
  const key = fc.uint8Array({ minLength: 32, maxLength: 32 })
  const agreed = (privateKey: Uint8Array, publicKey: Uint8Array) =>
    PROVIDERS.map(([, provider]) => {
      const agreement = provider.x25519(privateKey)
      return [agreement.publicKey, agreement.agree(publicKey)].map((bytes) => bytes && hex(bytes))
    })
  fc.assert(
    fc.property(key, key, (privateKey, publicKey) => {
      const [one, other] = agreed(privateKey, publicKey)
      expect(one).toEqual(other)
    }),
    {
      examples: [
        [filled(0), filled(9)],
        [filled(0xff), filled(0xff)],
      ],
    },
  )
})

describe('wrong arguments are a TypeError that does not show them', () => {
  test.each([[new Uint8Array(31)], [new Uint8Array(33)], [new Uint8Array(0)], ['k'.repeat(32)], [null], [undefined]])(
    'key %j',
    (key) => {
      expect(() => aes256gcm(key as Uint8Array)).toThrow(TypeError)
    },
  )
  test('a key of wrong length stays unseen', () => {
    expect(() => aes256gcm(filled(0xab, 31))).toThrow(/^aes256gcm: the key must have 32 bytes, not 31$/)
    expect(() => aes256gcm('sesame' as unknown as Uint8Array)).toThrow(
      /^aes256gcm: the key must be a Uint8Array of 32 bytes$/,
    )
  })
  test('an ephemeral key of wrong length', () => {
    expect(() => aes256gcm(KEY).begin('dialer', SECRET, PROLOGUE, filled(1, 31), hash)).toThrow(TypeError)
  })
})
