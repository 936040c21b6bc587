/** The mode `sealed` with the algorithms of this runtime. */
import { provider } from '#provider'
import type { SealedEncryption } from '@pairlink/core/protocol'
import { sealed } from './sealed.js'

/**
 * Encrypts every link with AES-256-GCM under fresh keys of its own, by the handshake Noise_NNpsk0_25519_AESGCM_SHA256. Who
 * learns the key later cannot read what was recorded before.
 * @param key 32 bytes, the same in both processes, as `generateKey` and `loadKey` give them; they are copied
 * @throws TypeError for anything but 32 bytes
 */
export function aes256gcm(key: Uint8Array): SealedEncryption {
  return sealed(provider, key)
}
