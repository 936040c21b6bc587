/**
 * The mutual proof of one shared secret (PROTOCOL.md, section 5.2). The secret never crosses the wire; what does is a MAC
 * over the transcript, with a label for each side, so that a proof reflected or carried to another link is worth nothing.
 */
import type { Hash, Utf8 } from './primitives.js'

export const PROOF_BYTES = 32
const KEY_BYTES = 32
const SALT = 'pairlink 1'
const KEY_INFO = 'proof key'
const DIALER_LABEL = 'pairlink 1 dialer proof'
const LISTENER_LABEL = 'pairlink 1 listener proof'

/** The key of all proofs under one secret, by HKDF; derived once per connection and kept instead of the secret. */
export function proofKey(secret: Uint8Array, hash: Hash, utf8: Utf8): Uint8Array {
  return hash.hkdfSha256(secret, utf8.encode(SALT), utf8.encode(KEY_INFO), KEY_BYTES)
}

/** Both preambles and both hellos, each as its exact bytes, the dialer's first. Its first 16 bytes name the link. */
export function transcriptHash(
  hash: Hash,
  parts: readonly [
    dialerPreamble: Uint8Array,
    dialerHello: Uint8Array,
    listenerPreamble: Uint8Array,
    listenerHello: Uint8Array,
  ],
): Uint8Array {
  return hash.sha256(...parts)
}

export function dialerProof(key: Uint8Array, transcript: Uint8Array, hash: Hash, utf8: Utf8): Uint8Array {
  return hash.hmacSha256(key, utf8.encode(DIALER_LABEL), transcript)
}

/** Covers the body of the WELCOME, so that nobody can change what became of the session. */
export function listenerProof(
  key: Uint8Array,
  transcript: Uint8Array,
  welcomeBody: Uint8Array,
  hash: Hash,
  utf8: Utf8,
): Uint8Array {
  return hash.hmacSha256(key, utf8.encode(LISTENER_LABEL), transcript, welcomeBody)
}
