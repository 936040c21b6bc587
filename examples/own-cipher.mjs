// own-cipher.mjs: run it twice. The pair encrypts with ChaCha20-Poly1305, which is given to pairlink as two functions.
import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { Connection } from '@pairlink/core'
import { custom, generateKey, loadKey, saveKey } from '@pairlink/crypto'
import { local } from '@pairlink/transport-net'

const [name = 'own-cipher', keyFile = 'own-cipher.key'] = process.argv.slice(2)

// #region cipher
const NAME = 'chacha20-poly1305'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const options = { authTagLength: TAG_BYTES }

/** A record is a nonce, the ciphertext, and a tag that fits no other record. */
function chacha20poly1305(key) {
  return {
    name: NAME,
    encrypt(plain) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(NAME, key, nonce, options)
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    },
    decrypt(record) {
      if (record.length < NONCE_BYTES + TAG_BYTES) return undefined
      const decipher = createDecipheriv(NAME, key, record.subarray(0, NONCE_BYTES), options)
      decipher.setAuthTag(record.subarray(-TAG_BYTES))
      const plain = decipher.update(record.subarray(NONCE_BYTES, -TAG_BYTES))
      decipher.final() // throws when the tag is wrong; without this line nothing is authenticated
      return plain
    },
  }
}
// #endregion cipher

// #region check
// What every cipher must pass: it opens its own records, and no record of which a single bit is another.
function check(cipher) {
  const plain = randomBytes(100)
  const record = cipher.encrypt(plain)
  assert.deepEqual(cipher.decrypt(record), plain)
  for (let at = 0; at < record.length * 8; at++) {
    const changed = Uint8Array.from(record)
    changed[at >> 3] ^= 1 << (at & 7)
    assert.equal(isOpened(cipher, changed), false)
  }
  for (let length = 0; length < record.length; length++) {
    assert.equal(isOpened(cipher, record.subarray(0, length)), false)
  }
}

function isOpened(cipher, record) {
  try {
    return cipher.decrypt(record) !== undefined
  } catch {
    return false
  }
}
// #endregion check

// #region use
try {
  saveKey(keyFile, generateKey())
} catch (error) {
  if (error.reason !== 'exists') throw error
}
const cipher = chacha20poly1305(loadKey(keyFile))
check(cipher)

const connection = new Connection({
  transport: local(name),
  secret: 'super-secret',
  encryption: custom(cipher),
  onQuery: (query) => (query === 'hello' ? 'world' : undefined),
})

await connection.connect()
console.log(await connection.query('hello')) // both print "world"
await connection.close()
// #endregion use
