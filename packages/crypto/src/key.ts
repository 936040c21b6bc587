/** What a key is: 32 bytes, of which no error says any. It knows nothing of where they come from or go. */
import { isBytes } from './bytes.js'

export const KEY_BYTES = 32

/** @throws TypeError for anything but 32 bytes */
export function checkKey(who: string, key: unknown): asserts key is Uint8Array {
  if (!isBytes(key)) throw new TypeError(`${who}: the key must be a Uint8Array of ${KEY_BYTES} bytes`)
  if (key.length !== KEY_BYTES) throw new TypeError(`${who}: the key must have ${KEY_BYTES} bytes, not ${key.length}`)
}
