/** Making, keeping and loading keys. It knows nothing of file systems, which not every runtime has. */
import { readKeyFile, writeKeyFile } from '#files'
import { isBytes } from './bytes.js'
import { checkKey, KEY_BYTES } from './key.js'

export interface SaveKeyOptions {
  /** Replaces what is at the path, atomically; false by default. */
  readonly overwrite?: boolean
}

export interface LoadKeyOptions {
  /** Takes a file of any owner, and one that group or others can read or write; false by default. */
  readonly allowShared?: boolean
}

/** 32 bytes in hexadecimal, base64 or base64url: no name that anybody gives to a file. */
const KEY_AS_TEXT = /^(?:[0-9a-f]{64}|[A-Za-z0-9+_-]{43}|[A-Za-z0-9+/_-]{43}=)$/i

/** 32 random bytes. */
export function generateKey(): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(KEY_BYTES))
}

/**
 * Writes the 32 bytes, and nothing else, to a file that its owner alone can read and write. The file appears whole or not at
 * all, and is on disk when this returns. Needs Node.js.
 * @param path in a directory that exists; with `overwrite` a symbolic link is replaced, not followed
 * @throws PairlinkError `KEY_INVALID`, `reason` being `exists`, `missing` (the directory), `directory` or `unwritable`
 * @throws TypeError for wrong arguments
 */
export function saveKey(path: string, key: Uint8Array, options: SaveKeyOptions = {}): void {
  checkPath('saveKey', path)
  checkKey('saveKey', key)
  writeKeyFile(path, key, flag('saveKey', options, 'overwrite'))
}

/**
 * The 32 bytes of a key. A file holds exactly these, and nothing else: what `saveKey` writes, and Go's simple-ipc too.
 * @param pathOrBytes a path needs Node.js; bytes are checked and copied
 * @throws PairlinkError `KEY_INVALID`, `reason` being `link`, `directory`, `not-a-file`, `length`, `missing`, `shared`, `owner`
 * or `unreadable`
 * @throws TypeError for wrong arguments, bytes of another length among them
 */
export function loadKey(pathOrBytes: string | Uint8Array, options: LoadKeyOptions = {}): Uint8Array {
  const isSharedAllowed = flag('loadKey', options, 'allowShared')
  if (isBytes(pathOrBytes)) {
    checkKey('loadKey', pathOrBytes)
    return new Uint8Array(pathOrBytes)
  }
  checkPath('loadKey', pathOrBytes)
  if (KEY_AS_TEXT.test(pathOrBytes)) {
    // Without the text: it is most likely a key, and errors are logged.
    throw new TypeError('loadKey: this looks like a key as text; pass its 32 bytes')
  }
  return readKeyFile(pathOrBytes, isSharedAllowed)
}

function checkPath(who: string, path: unknown): asserts path is string {
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return
  throw new TypeError(`${who}: the path must be a string that is not empty and has no zero byte`)
}

function flag(who: string, options: unknown, name: string): boolean {
  if (typeof options !== 'object' || options === null) throw new TypeError(`${who}: the options must be an object`)
  for (const other of Object.keys(options)) {
    if (other !== name) throw new TypeError(`${who}: unknown option '${other}'; known is ${name}`)
  }
  const value = (options as Record<string, unknown>)[name] ?? false
  if (typeof value !== 'boolean') throw new TypeError(`${who}: ${name} must be true or false`)
  return value
}
