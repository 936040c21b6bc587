/** The mode `custom`: a cipher of the user's. It must not know what the cipher does; core guards the order of records. */
import type { CustomEncryption } from '@pairlink/core/protocol'

const NAME_BYTES_MAX = 64

export interface CustomCipher {
  /** 1 to 64 bytes of UTF-8; both processes must say the same. */
  readonly name: string
  /** Gives the record for a plaintext, at most 256 bytes longer. */
  encrypt(plain: Uint8Array): Uint8Array
  /** Gives the plaintext of a record; throws, or gives undefined, for what was not encrypted with the same key. */
  decrypt(record: Uint8Array): Uint8Array | undefined
}

/**
 * Encrypts with a cipher of your own, which must also authenticate. Link, direction and counter of each record are put
 * inside the plaintext and checked, so that records cannot be replayed or reordered even when the cipher allows it.
 * @param cipher may be an object of your own: its methods are called on it
 * @throws TypeError for a name that does not fit, or what is not a function
 */
export function custom(cipher: CustomCipher): CustomEncryption {
  if (typeof cipher !== 'object' || (cipher as object | null) === null) {
    throw new TypeError('custom: pass an object with name, encrypt and decrypt')
  }
  return Object.freeze<CustomEncryption>({
    mode: 'custom',
    cipherName: checkedName(cipher.name),
    encrypt: bound(cipher, 'encrypt'),
    decrypt: bound(cipher, 'decrypt'),
  })
}

function checkedName(name: unknown): string {
  if (typeof name !== 'string' || !name.isWellFormed()) throw new TypeError('custom: name must be a well-formed string')
  const lengthBytes = new TextEncoder().encode(name).length
  if (lengthBytes >= 1 && lengthBytes <= NAME_BYTES_MAX) return name
  throw new TypeError(`custom: name must have 1 to ${NAME_BYTES_MAX} bytes of UTF-8, not ${lengthBytes}`)
}

function bound<Name extends 'encrypt' | 'decrypt'>(cipher: CustomCipher, name: Name): CustomCipher[Name] {
  const method: unknown = cipher[name]
  if (typeof method !== 'function') throw new TypeError(`custom: ${name} must be a function`)
  return method.bind(cipher) as CustomCipher[Name]
}
