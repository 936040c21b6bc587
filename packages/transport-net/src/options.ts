/** Checks what all transports of this package are given. */

/** @throws TypeError for what is not an object, or has a name that is not known */
export function checkOptions(who: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw new TypeError(`${who}: the options must be an object`)
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new TypeError(`${who}: unknown option '${name}'; known are ${known.join(', ')}`)
  }
}
