/** The algorithms on Node.js and those that have its modules. */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  type KeyObject,
} from 'node:crypto'
import { concat } from './bytes.js'
import { TAG_BYTES, type Aead, type Agreement, type Provider } from './provider.js'

const CIPHER = 'aes-256-gcm'
/** What stands before the 32 bytes of an X25519 key in PKCS #8 and in SubjectPublicKeyInfo (RFC 8410). */
const PRIVATE_KEY_HEAD = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20)
const PUBLIC_KEY_HEAD = Uint8Array.of(0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0)
/** As long as the records of the protocol may be. */
const JOINED_BYTES_MAX = 65_536
/** Copying so many bytes costs about as much as a call of update(). */
const SMALL_BYTES_MAX = 8192

/** Chunks are joined here, since one update() of many bytes is several times faster than many of few. */
let joined: Uint8Array | undefined

/** A plain Uint8Array: a Buffer has a `slice` that does not copy. Some runtimes cut Buffers from a shared pool. */
function plain(bytes: Buffer): Uint8Array {
  return bytes.buffer.byteLength === bytes.byteLength ? new Uint8Array(bytes.buffer) : new Uint8Array(bytes)
}

/** The same bytes in fewer pieces, which are valid until the next call: small neighbours are joined, large ones stay as they are. */
function fewer(chunks: readonly Uint8Array[]): readonly Uint8Array[] {
  if (chunks.length === 1) return chunks
  joined ??= new Uint8Array(JOINED_BYTES_MAX)
  const pieces: Uint8Array[] = []
  let from = 0
  let to = 0
  const endPiece = (): void => {
    if (to > from) pieces.push((joined as Uint8Array).subarray(from, to))
    from = to
  }
  for (const chunk of chunks) {
    if (chunk.length > SMALL_BYTES_MAX || to + chunk.length > JOINED_BYTES_MAX) {
      endPiece()
      pieces.push(chunk)
    } else {
      joined.set(chunk, to)
      to += chunk.length
    }
  }
  endPiece()
  return pieces
}

class NodeAead implements Aead {
  readonly #key: KeyObject

  constructor(key: Uint8Array) {
    this.#key = createSecretKey(key)
  }

  seal(nonce: Uint8Array, associated: Uint8Array, chunks: readonly Uint8Array[]): Uint8Array[] {
    const cipher = createCipheriv(CIPHER, this.#key, nonce)
    if (associated.length > 0) cipher.setAAD(associated)
    const pieces: Uint8Array[] = []
    for (const chunk of fewer(chunks)) {
      if (chunk.length > 0) pieces.push(cipher.update(chunk))
    }
    cipher.final()
    pieces.push(cipher.getAuthTag())
    return pieces
  }

  open(nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const lengthBytes = sealed.length - TAG_BYTES
    if (lengthBytes < 0) return undefined
    const decipher = createDecipheriv(CIPHER, this.#key, nonce)
    if (associated.length > 0) decipher.setAAD(associated)
    decipher.setAuthTag(sealed.subarray(lengthBytes))
    const opened = lengthBytes === 0 ? new Uint8Array(0) : plain(decipher.update(sealed.subarray(0, lengthBytes)))
    try {
      decipher.final()
    } catch {
      return undefined
    }
    return opened
  }
}

class NodeAgreement implements Agreement {
  readonly #privateKey: KeyObject
  readonly publicKey: Uint8Array

  constructor(privateKey: Uint8Array) {
    const der = concat([PRIVATE_KEY_HEAD, privateKey]) as Buffer
    this.#privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const exported = createPublicKey(this.#privateKey).export({ format: 'der', type: 'spki' })
    this.publicKey = new Uint8Array(exported.subarray(PUBLIC_KEY_HEAD.length))
  }

  agree(publicKey: Uint8Array): Uint8Array | undefined {
    const der = concat([PUBLIC_KEY_HEAD, publicKey]) as Buffer
    const theirs = createPublicKey({ key: der, format: 'der', type: 'spki' })
    try {
      return plain(diffieHellman({ privateKey: this.#privateKey, publicKey: theirs }))
    } catch {
      return undefined // Low order: OpenSSL refuses to derive zeros.
    }
  }
}

export const provider: Provider = {
  x25519: (privateKey) => new NodeAgreement(privateKey),
  aes256gcm: (key) => new NodeAead(key),
}
