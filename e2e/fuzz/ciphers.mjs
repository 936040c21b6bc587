// A cipher as a user might write one in haste: the same nonce for every record, and it authenticates.
import { createCipheriv, createDecipheriv } from 'node:crypto'

/** @import { CustomEncryption } from '@pairlink/core' */

const ALGORITHM = 'chacha20-poly1305'
const TAG_BYTES = 16
const OPTIONS = { authTagLength: TAG_BYTES }
const KEY = new Uint8Array(32).fill(7)
const NONCE = new Uint8Array(12)

/** @type {CustomEncryption} */
export const naiveCipher = {
  mode: 'custom',
  cipherName: 'naive',
  encrypt(plain) {
    const cipher = createCipheriv(ALGORITHM, KEY, NONCE, OPTIONS)
    return new Uint8Array(Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]))
  },
  decrypt(record) {
    const decipher = createDecipheriv(ALGORITHM, KEY, NONCE, OPTIONS)
    decipher.setAuthTag(record.subarray(-TAG_BYTES))
    return new Uint8Array(Buffer.concat([decipher.update(record.subarray(0, -TAG_BYTES)), decipher.final()]))
  },
}
