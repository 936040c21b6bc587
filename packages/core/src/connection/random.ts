/** Where randomness enters: ids and nonces are made here and passed on as values. */
import { idFromBytes, type Id } from '../protocol/index.js'

export interface Random {
  bytes(count: number): Uint8Array
  /** From 0 inclusive to 1 exclusive; for jitter, not for secrets. */
  fraction(): number
}

export const systemRandom: Random = {
  bytes: (count) => globalThis.crypto.getRandomValues(new Uint8Array(count)),
  fraction: () => Math.random(),
}

export function randomId(random: Random): Id {
  return idFromBytes(random.bytes(16))
}
