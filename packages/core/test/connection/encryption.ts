/** What the connections and links of these tests encrypt with: nothing, unless a setup file says otherwise. */
import { test } from 'vitest'
import type { Encryption } from '../../src/index.js'

let inUse: Encryption | undefined

export function useEncryption(encryption: Encryption): void {
  inUse = encryption
}

export function encryptionInUse(): { readonly encryption?: Encryption } {
  return inUse === undefined ? {} : { encryption: inUse }
}

/** For tests that read what goes over the pipe: skipped where that is encrypted. */
export function clearTest(name: string, body: () => Promise<void>): void {
  test.skipIf(inUse !== undefined)(inUse === undefined ? name : `${name} (reads bytes in clear)`, body)
}
