/** As a user might write a cipher in haste: the same nonce for every record. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { CustomCipher } from '../src/index.js'

const ALGORITHM = 'chacha20-poly1305'
const OPTIONS = { authTagLength: 16 }
const NONCE = new Uint8Array(12)

export function naive(keyByte: number, name = 'naive'): CustomCipher {
  const key = new Uint8Array(32).fill(keyByte)
  return {
    name,
    encrypt(plain) {
      const cipher = createCipheriv(ALGORITHM, key, NONCE, OPTIONS)
      return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    },
    decrypt(record) {
      const decipher = createDecipheriv(ALGORITHM, key, NONCE, OPTIONS)
      decipher.setAuthTag(record.subarray(-16))
      return Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()])
    },
  }
}
