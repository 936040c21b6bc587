/** The memory transport keeps the contract of transports. */
import { describe } from 'vitest'
import { memory, transportCases } from '../src/index.js'
import { MANIFEST, placeOf } from './memory-place.js'
import { runCases } from './run-cases.js'

describe.each([
  ['as it is', {}],
  ['that delivers small chunks, which the receiver owns', { chunkBytes: 1000, transient: false }],
])('memory() %s', (_name, options) => {
  runCases(transportCases(() => placeOf(memory(options)), MANIFEST))
})
