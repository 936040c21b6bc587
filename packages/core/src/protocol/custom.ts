/**
 * The records of a cipher of the user's (PROTOCOL.md, section 11.3): link, direction and counter stand before each
 * plaintext and are checked after it was decrypted, so that a naive cipher is safe from replay, here and on other links.
 */
import type { CustomEncryption, Opener, Sealer } from './encryption.js'
import { CipherError } from './errors.js'
import type { Side } from './hello.js'
import { writeU64 } from './wire.js'

const LINK_BYTES = 16
const PREFIX_BYTES = LINK_BYTES + 1 + 8
const OVERHEAD_BYTES_MAX = 256
const DIRECTION: Record<Side, number> = { dialer: 0, listener: 1 }

function prefix(link: Uint8Array, from: Side): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES)
  bytes.set(link.subarray(0, LINK_BYTES))
  bytes[LINK_BYTES] = DIRECTION[from]
  return bytes
}

export class CustomSealer implements Sealer {
  readonly overheadBytes = PREFIX_BYTES + OVERHEAD_BYTES_MAX
  readonly #encryption: CustomEncryption
  readonly #prefix: Uint8Array
  #counter = 0

  constructor(encryption: CustomEncryption, link: Uint8Array, from: Side) {
    this.#encryption = encryption
    this.#prefix = prefix(link, from)
  }

  /** @throws CipherError when the cipher throws, or gives something that is no record */
  seal(chunks: readonly Uint8Array[]): Uint8Array[] | undefined {
    if (this.#counter > Number.MAX_SAFE_INTEGER) return undefined
    writeU64(this.#prefix, LINK_BYTES + 1, this.#counter++)
    const plain = new Uint8Array(PREFIX_BYTES + chunks.reduce((sum, chunk) => sum + chunk.length, 0))
    plain.set(this.#prefix)
    let at = PREFIX_BYTES
    for (const chunk of chunks) {
      plain.set(chunk, at)
      at += chunk.length
    }
    // A copy, since the cipher may use its memory again before the pipe has written this.
    return [new Uint8Array(this.#encrypt(plain))]
  }

  #encrypt(plain: Uint8Array): Uint8Array {
    const { cipherName } = this.#encryption
    const limitBytes = plain.length + OVERHEAD_BYTES_MAX
    let record: unknown
    try {
      record = this.#encryption.encrypt(plain)
    } catch (cause) {
      throw new CipherError(`encrypt of '${cipherName}' threw`, { cause })
    }
    if (!(record instanceof Uint8Array)) throw notBytes('encrypt', cipherName, record)
    if (record.length > 0 && record.length <= limitBytes) return record
    throw new CipherError(
      `encrypt of '${cipherName}' made a record of ${record.length} bytes; the limit is ${limitBytes}`,
    )
  }
}

export class CustomOpener implements Opener {
  readonly #encryption: CustomEncryption
  readonly #prefix: Uint8Array
  #counter = 0
  #failure: unknown

  constructor(encryption: CustomEncryption, link: Uint8Array, from: Side) {
    this.#encryption = encryption
    this.#prefix = prefix(link, from)
  }

  get failure(): unknown {
    return this.#failure
  }

  /** @throws CipherError when the cipher gives something that is neither bytes nor undefined */
  open(record: Uint8Array): Uint8Array | undefined {
    if (this.#counter > Number.MAX_SAFE_INTEGER) return undefined
    let plain: unknown
    this.#failure = undefined
    // It may overwrite what it reads, which is the pipe's.
    const copy = new Uint8Array(record)
    try {
      plain = this.#encryption.decrypt(copy)
    } catch (error) {
      this.#failure = error
      return undefined
    }
    if (plain === undefined) return undefined
    if (!(plain instanceof Uint8Array)) throw notBytes('decrypt', this.#encryption.cipherName, plain)
    if (plain.length < PREFIX_BYTES) return undefined
    writeU64(this.#prefix, LINK_BYTES + 1, this.#counter++)
    for (let at = 0; at < PREFIX_BYTES; at++) if (plain[at] !== this.#prefix[at]) return undefined
    return new Uint8Array(plain.subarray(PREFIX_BYTES))
  }
}

const ignore = (): void => undefined

/** What a cipher gave instead of bytes; records are made one after another, so it cannot take its time. */
function notBytes(name: string, cipherName: string, value: unknown): CipherError {
  const isPromise = typeof value === 'object' && value !== null && 'then' in value
  // Nobody else would hear of its failure, and it must not end the process.
  if (isPromise) (value as PromiseLike<unknown>).then(ignore, ignore)
  const what = isPromise ? ', not a promise' : ''
  return new CipherError(`${name} of '${cipherName}' must return a Uint8Array${what}`)
}
