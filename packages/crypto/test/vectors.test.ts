import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Handshake } from '../src/noise.js'
import { fromHex, hash, hex, joined, PAIRS, sure } from './providers.js'

interface Vector {
  readonly protocol_name: string
  readonly init_prologue: string
  readonly init_psks?: readonly string[]
  readonly init_ephemeral: string
  readonly resp_prologue: string
  readonly resp_psks?: readonly string[]
  readonly resp_ephemeral: string
  readonly handshake_hash: string
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[]
}

const file = new URL('../../../vectors/noise-nn-25519-sha256.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { readonly vectors: readonly Vector[] }

const psk = (psks: readonly string[] | undefined): { psk?: Uint8Array } =>
  psks?.[0] === undefined ? {} : { psk: fromHex(psks[0]) }

test('the file holds both patterns', () => {
  expect(vectors.map((vector) => vector.protocol_name)).toEqual([
    'Noise_NN_25519_AESGCM_SHA256',
    'Noise_NNpsk0_25519_AESGCM_SHA256',
  ])
})

describe.each(PAIRS)('$name', (pair) => {
  test.each(vectors)('the public vector of $protocol_name', (vector) => {
    const dialer = new Handshake(pair.dialer, hash, {
      side: 'dialer',
      prologue: fromHex(vector.init_prologue),
      ephemeral: fromHex(vector.init_ephemeral),
      ...psk(vector.init_psks),
    })
    const listener = new Handshake(pair.listener, hash, {
      side: 'listener',
      prologue: fromHex(vector.resp_prologue),
      ephemeral: fromHex(vector.resp_ephemeral),
      ...psk(vector.resp_psks),
    })
    const [first, second, ...transport] = vector.messages
    const firstMessage = dialer.write(fromHex(sure(first).payload))
    expect(hex(firstMessage)).toBe(sure(first).ciphertext)
    expect(hex(sure(listener.read(firstMessage)))).toBe(sure(first).payload)
    const secondMessage = listener.write(fromHex(sure(second).payload))
    expect(hex(secondMessage)).toBe(sure(second).ciphertext)
    expect(hex(sure(dialer.read(secondMessage)))).toBe(sure(second).payload)

    const [atDialer, atListener] = [dialer.finish(), listener.finish()]
    expect(hex(atDialer.hash)).toBe(vector.handshake_hash)
    expect(hex(atListener.hash)).toBe(vector.handshake_hash)
    expect(transport.length).toBe(4)
    for (const [at, { payload, ciphertext }] of transport.entries()) {
      const [from, to] = at % 2 === 0 ? [atDialer, atListener] : [atListener, atDialer]
      const record = joined(from.sealer.seal([fromHex(payload)]))
      expect(hex(record)).toBe(ciphertext)
      expect(hex(sure(to.opener.open(record)))).toBe(payload)
    }
  })
})
