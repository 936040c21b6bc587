// `npm run vectors`: makes the files of vectors/ anew from the protocol as it is now. A difference is a change of the wire.
import { bin, runAndExit, setUp } from './setup.mjs'

setUp('nothing')
process.env.UPDATE_VECTORS = '1'
runAndExit(bin('vitest'), [
  'run',
  'packages/core/test/protocol/vectors.test.ts',
  'packages/crypto/test/link-vectors.test.ts',
])
