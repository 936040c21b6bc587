/**
 * How one link is protected (PROTOCOL.md, sections 5.2 and 11): what its first messages look like, what proves the secret,
 * and what encrypts the rest. It knows what must be said and not when: states, timers and sessions are the link's.
 */
import { CustomOpener, CustomSealer } from './custom.js'
import type { CustomEncryption, Encryption, Opener, SealedEncryption, SealedHandshake, Sealer } from './encryption.js'
import { MisuseError } from './errors.js'
import type { Side } from './hello.js'
import { encodePreamble } from './preamble.js'
import type { Hash, Utf8 } from './primitives.js'
import { dialerProof, listenerProof, PROOF_BYTES, transcriptHash } from './proof.js'
import { encodeFrame, HEADER_BYTES, KIND, type Mode } from './wire.js'

const PROLOGUE_LABEL = 'pairlink 1 sealed'
/** Magic, version and mode. The length that follows them is that of a message which proves it by being whole. */
const PROLOGUE_PREAMBLE_BYTES = 6

/** Members are called in the order in which they stand here; a listener reads first. */
export interface Guard {
  readonly mode: Mode
  /** Whether the first messages are frames; else they are bare, and as long as the preamble says. */
  readonly isFramed: boolean
  /** Whether PROVE, WELCOME and what is refused instead travel in records; else records begin behind PROVE and WELCOME. */
  readonly isProofSealed: boolean
  /** Our preamble and first message, with the body of our hello. */
  writeFirst(hello: Uint8Array): readonly [preamble: Uint8Array, message: Uint8Array]
  /** The body of their hello; undefined when the message does not verify. */
  readFirst(preamble: Uint8Array, message: Uint8Array): Uint8Array | undefined
  /** After both: 32 bytes that name this link on both sides, and no other. */
  agree(): Uint8Array
  readonly sealer: Sealer | undefined
  readonly opener: Opener | undefined
  /** The payload of PROVE. */
  prove(): Uint8Array
  isProof(payload: Uint8Array): boolean
  /** The payload of a WELCOME with this body. */
  welcome(body: Uint8Array): Uint8Array
  /** The body of a WELCOME; undefined when its proof is wrong. */
  readWelcome(payload: Uint8Array): Uint8Array | undefined
}

export interface GuardOptions {
  readonly side: Side
  /** From `proofKey`. */
  readonly key: Uint8Array
  /** Without it, the secret is proven and nothing is encrypted. */
  readonly encryption?: Encryption | undefined
  /** 32 random bytes that serve this link alone: a `sealed` encryption needs them. */
  readonly ephemeral?: Uint8Array | undefined
  readonly hash: Hash
  readonly utf8: Utf8
}

export function guardOf(options: GuardOptions): Guard {
  switch (options.encryption?.mode) {
    case undefined:
      return new ProofGuard(options)
    case 'custom':
      return new CustomGuard(options, options.encryption)
    case 'sealed':
      return new SealedGuard(options, options.encryption)
  }
}

type First = readonly [preamble: Uint8Array, message: Uint8Array]
const NOTHING = new Uint8Array(0)

class ProofGuard implements Guard {
  readonly mode: Mode = 'proof'
  readonly isFramed = true
  readonly isProofSealed = false
  protected readonly options: GuardOptions
  #own: First = [NOTHING, NOTHING]
  #theirs: First = [NOTHING, NOTHING]
  #transcript: Uint8Array = NOTHING

  constructor(options: GuardOptions) {
    this.options = options
  }

  get sealer(): Sealer | undefined {
    return undefined
  }

  get opener(): Opener | undefined {
    return undefined
  }

  writeFirst(hello: Uint8Array): First {
    const message = encodeFrame(KIND.HELLO, hello)
    this.#own = [encodePreamble(this.mode, message.length), message]
    return this.#own
  }

  readFirst(preamble: Uint8Array, message: Uint8Array): Uint8Array {
    this.#theirs = [preamble, message]
    return message.subarray(HEADER_BYTES)
  }

  agree(): Uint8Array {
    const { side, hash } = this.options
    this.#transcript = transcriptHash(
      hash,
      side === 'dialer' ? [...this.#own, ...this.#theirs] : [...this.#theirs, ...this.#own],
    )
    return this.#transcript
  }

  prove(): Uint8Array {
    return this.#proof()
  }

  isProof(payload: Uint8Array): boolean {
    return this.options.hash.equal(payload, this.#proof())
  }

  welcome(body: Uint8Array): Uint8Array {
    const { key, hash, utf8 } = this.options
    return joined([body, listenerProof(key, this.#transcript, body, hash, utf8)])
  }

  readWelcome(payload: Uint8Array): Uint8Array | undefined {
    const body = payload.subarray(0, Math.max(0, payload.length - PROOF_BYTES))
    return this.options.hash.equal(payload, this.welcome(body)) ? body : undefined
  }

  #proof(): Uint8Array {
    const { key, hash, utf8 } = this.options
    return dialerProof(key, this.#transcript, hash, utf8)
  }
}

/** The proof, and behind it a first record without content: whoever holds another key is told before there is a pair. */
class CustomGuard extends ProofGuard {
  override readonly mode = 'custom'
  readonly #encryption: CustomEncryption
  #sealer: Sealer | undefined
  #opener: Opener | undefined

  constructor(options: GuardOptions, encryption: CustomEncryption) {
    super(options)
    this.#encryption = encryption
  }

  override get sealer(): Sealer | undefined {
    return this.#sealer
  }

  override get opener(): Opener | undefined {
    return this.#opener
  }

  override agree(): Uint8Array {
    const name = super.agree()
    this.#sealer = new CustomSealer(this.#encryption, name, this.options.side)
    this.#opener = new CustomOpener(this.#encryption, name, this.options.side === 'dialer' ? 'listener' : 'dialer')
    return name
  }

  override prove(): Uint8Array {
    return joined([super.prove(), ...(this.#sealer?.seal([]) ?? [])])
  }

  override isProof(payload: Uint8Array): boolean {
    if (!super.isProof(payload.subarray(0, PROOF_BYTES))) return false
    return this.#opener?.open(payload.subarray(PROOF_BYTES))?.length === 0
  }
}

/** The first messages prove the secret by being readable; PROVE shows that the dialer's was not an old one. */
class SealedGuard implements Guard {
  readonly mode = 'sealed'
  readonly isFramed = false
  readonly isProofSealed = true
  sealer: Sealer | undefined
  opener: Opener | undefined
  readonly #options: GuardOptions
  readonly #encryption: SealedEncryption
  #handshake: SealedHandshake | undefined

  constructor(options: GuardOptions, encryption: SealedEncryption) {
    this.#options = options
    this.#encryption = encryption
  }

  writeFirst(hello: Uint8Array): First {
    const message = this.#begun().write(hello)
    return [encodePreamble(this.mode, message.length), message]
  }

  readFirst(_preamble: Uint8Array, message: Uint8Array): Uint8Array | undefined {
    return this.#begun().read(message)
  }

  agree(): Uint8Array {
    const { hash, sealer, opener } = this.#begun().finish()
    this.sealer = sealer
    this.opener = opener
    return hash
  }

  prove(): Uint8Array {
    return NOTHING
  }

  isProof(payload: Uint8Array): boolean {
    return payload.length === 0
  }

  welcome(body: Uint8Array): Uint8Array {
    return body
  }

  readWelcome(payload: Uint8Array): Uint8Array {
    return payload
  }

  #begun(): SealedHandshake {
    const { side, key, ephemeral, hash, utf8 } = this.#options
    if (ephemeral === undefined) throw new MisuseError('A sealed link needs `ephemeral`, 32 random bytes of its own')
    // Both sides are in this mode and version by now, so the dialer's preamble is what ours would be.
    const start = encodePreamble(this.mode, 1).subarray(0, PROLOGUE_PREAMBLE_BYTES)
    const prologue = joined([utf8.encode(PROLOGUE_LABEL), start])
    this.#handshake ??= this.#encryption.begin(side, key, prologue, ephemeral, hash)
    return this.#handshake
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
