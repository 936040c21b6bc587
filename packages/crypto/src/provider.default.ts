/** The algorithms where there are no Node.js modules: browsers above all, whose own cryptography is asynchronous. */
import { gcm } from '@noble/ciphers/aes.js'
import { concat } from './bytes.js'
import { TAG_BYTES, type Aead, type Agreement, type Provider } from './provider.js'
import { x25519 } from './x25519.js'

class NobleAead implements Aead {
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = new Uint8Array(key)
  }

  seal(nonce: Uint8Array, associated: Uint8Array, chunks: readonly Uint8Array[]): Uint8Array[] {
    const [only] = chunks
    const plain = only !== undefined && chunks.length === 1 ? only : concat(chunks)
    return [gcm(this.#key, nonce, associated).encrypt(plain)]
  }

  open(nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < TAG_BYTES) return undefined
    const cipher = gcm(this.#key, nonce, associated)
    try {
      return cipher.decrypt(sealed)
    } catch {
      return undefined
    }
  }
}

class NobleAgreement implements Agreement {
  readonly #privateKey: Uint8Array
  readonly publicKey: Uint8Array

  constructor(privateKey: Uint8Array) {
    this.#privateKey = new Uint8Array(privateKey)
    this.publicKey = x25519.getPublicKey(this.#privateKey)
  }

  agree(publicKey: Uint8Array): Uint8Array | undefined {
    try {
      return x25519.getSharedSecret(this.#privateKey, publicKey)
    } catch {
      return undefined // Low order; the lengths are right by construction.
    }
  }
}

export const provider: Provider = {
  x25519: (privateKey) => new NobleAgreement(privateKey),
  aes256gcm: (key) => new NobleAead(key),
}
