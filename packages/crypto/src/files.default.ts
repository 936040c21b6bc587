/** Keys in files where there are none. */
import type * as node from './files.node.js'

function refuse(): never {
  throw new TypeError('keys in files need Node.js; pass the 32 bytes')
}

export const readKeyFile: typeof node.readKeyFile = refuse
export const writeKeyFile: typeof node.writeKeyFile = refuse
