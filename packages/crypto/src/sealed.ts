/**
 * The mode `sealed`: a Noise handshake per link, whose psk is made of the key that both processes hold and of their secret.
 * It must not know which library computes.
 */
import type { SealedEncryption } from '@pairlink/core/protocol'
import { concat } from './bytes.js'
import { checkKey } from './key.js'
import { Handshake } from './noise.js'
import type { Provider } from './provider.js'

const PSK_BYTES = 32
const SALT = 'pairlink 1'
const PSK_INFO = 'sealed psk'

/** The key stands in a closure, where neither inspection nor JSON finds it. */
export function sealed(provider: Provider, key: Uint8Array): SealedEncryption {
  checkKey('aes256gcm', key)
  const ownKey = new Uint8Array(key)
  const utf8 = new TextEncoder()
  return Object.freeze<SealedEncryption>({
    mode: 'sealed',
    begin(side, secret, prologue, ephemeral, hash) {
      checkKey('begin, ephemeral', ephemeral)
      const psk = hash.hkdfSha256(concat([ownKey, secret]), utf8.encode(SALT), utf8.encode(PSK_INFO), PSK_BYTES)
      return new Handshake(provider, hash, { side, prologue, ephemeral, psk })
    },
  })
}
