/**
 * X25519 where there are no Node.js modules: the ladder of @noble/curves alone. Its ready-made `x25519` has all of Ed25519
 * behind it, whose tables cost a page far more than they save in the one or two handshakes that it has. It must not know
 * what is agreed upon.
 */
import { pow } from '@noble/curves/abstract/modular.js'
import { montgomery } from '@noble/curves/abstract/montgomery.js'

/** RFC 7748: the prime of section 4.1, the scalar of section 5, and the inverse by Fermat's little theorem. */
export const x25519 = /* @__PURE__ */ (() => {
  const prime = (1n << 255n) - 19n
  return montgomery({
    P: prime,
    type: 'x25519',
    powPminus2: (x) => pow(x, prime - 2n, prime),
    adjustScalarBytes(bytes: Uint8Array) {
      bytes[0] = (bytes[0] ?? 0) & 0b1111_1000
      bytes[31] = ((bytes[31] ?? 0) & 0b0111_1111) | 0b0100_0000
      return bytes
    },
  })
})()
