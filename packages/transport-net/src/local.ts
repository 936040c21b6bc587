/**
 * A private meeting place by name alone. Where it lies depends on the user and the name and on nothing else, so that two
 * processes cannot wait in two places: not on the environment, nor on what exists at the moment.
 */
import { mkdirSync } from 'node:fs'
import type { Transport } from '@pairlink/core'
import { addressInvalid, checkPrivateDirectory, ownUid } from './address.js'
import { UnixTransport } from './unix.js'

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/

/**
 * Meets at `/tmp/pairlink-<uid>/<name>.sock`, in a directory that only this user can enter.
 * @param name 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a dot
 * @throws TypeError for another name
 */
export function local(name: string): Transport {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new TypeError("local: the name must be 1 to 64 letters, digits, '.', '_' or '-', not beginning with a dot")
  }
  const directory = (): string => `/tmp/pairlink-${ownUid()}`
  // Without user ids there is no such place; dialling says so, and this constructor need not.
  const uid = process.getuid?.() ?? 'none'
  return new UnixTransport(`/tmp/pairlink-${uid}/${name}.sock`, `local:${name}`, 0o600, () => {
    ensurePrivate(directory())
  })
}

function ensurePrivate(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code !== 'EEXIST')
      throw addressInvalid(directory, `it cannot be made (${code ?? 'an error'})`, 'Check /tmp', cause)
  }
  checkPrivateDirectory(directory)
}
