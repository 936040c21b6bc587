/**
 * A private meeting place by name alone. Where it lies depends on the user and the name and on nothing else, so that two
 * processes cannot wait in two places: not on the environment, nor on what exists at the moment.
 */
import { mkdirSync } from 'node:fs'
import type { Transport } from '@pairlink/core'
import { addressInvalid, checkPrivateDirectory } from './address.js'
import { checkOptions, type LockOptions } from './options.js'
import { PLAIN } from './pipe.js'
import { lockingOf, UnixTransport } from './unix.js'
import { windowsPipe } from './windows.js'

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/

/**
 * Meets at `/tmp/pairlink-<uid>/<name>.sock`, in a directory that only this user can enter; on Windows at a named pipe of
 * this user.
 * @param name 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a dot
 * @throws TypeError for another name, or an option that can never work
 */
export function local(name: string, options: LockOptions = {}): Transport {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new TypeError("local: the name must be 1 to 64 letters, digits, '.', '_' or '-', not beginning with a dot")
  }
  checkOptions('local', options, ['lock'])
  const locking = lockingOf('local', options)
  const uid = process.getuid?.()
  if (uid === undefined) return windowsPipe(name, `local:${name}`)
  const directory = `/tmp/pairlink-${uid}`
  return new UnixTransport({
    path: `${directory}/${name}.sock`,
    address: `local:${name}`,
    access: { mode: 0o600, gid: undefined },
    owner: undefined,
    locking,
    layer: PLAIN,
    ownsDirectory: true,
    checkPlace: () => {
      ensurePrivate(directory)
    },
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
