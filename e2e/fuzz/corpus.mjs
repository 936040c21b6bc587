// Inputs that are kept: `corpus/<target>/<name>.hex`. Each ends in a way in which no other does; those that are called
// `crash-…` made something happen that must not.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeInput, encodeInput } from './inputs.mjs'

/**
 * @import { Input } from './inputs.mjs'
 * @import { Target } from './targets.mjs'
 */

const folder = fileURLToPath(new URL('./corpus', import.meta.url))
const NAME_DIGITS = 10

/** @returns {{ name: string, input: Input }[]} */
export function kept(/** @type {Target} */ target) {
  const own = join(folder, target.name)
  if (!existsSync(own)) return []
  const names = readdirSync(own).filter((name) => name.endsWith('.hex'))
  return names.sort().map((name) => ({ name, input: decodeInput(readFileSync(join(own, name), 'utf8')) }))
}

/** Puts an input into the corpus and returns the path of its file. */
export function keep(/** @type {Target} */ target, /** @type {Input} */ input, prefix = '') {
  const content = encodeInput(input)
  const name = `${prefix}${createHash('sha256').update(content).digest('hex').slice(0, NAME_DIGITS)}.hex`
  mkdirSync(join(folder, target.name), { recursive: true })
  writeFileSync(join(folder, target.name, name), content)
  return join(folder, target.name, name)
}
