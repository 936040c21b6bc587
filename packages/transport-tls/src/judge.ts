/**
 * Whether a peer may come in, by the certificate that it has shown. The same on both sides. What the verdict leads to is
 * not known here.
 */
import type { X509Certificate } from 'node:crypto'
import type { PeerFault } from './faults.js'
import { dateFault, type Credentials } from './files.js'

/** What OpenSSL says of a chain that does not lead to the CA; everything else is `foreign`. */
const CHAIN_FAULTS: Readonly<Record<string, PeerFault>> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'not-yet-valid',
  INVALID_PURPOSE: 'purpose',
  EE_KEY_TOO_SMALL: 'weak',
  CA_KEY_TOO_SMALL: 'weak',
  CA_MD_TOO_WEAK: 'weak',
}

/** What the handshake says of a peer. */
export interface Shown {
  readonly certificate: X509Certificate | undefined
  /** Node's verdict on the chain, for the purpose of that side; undefined for a good one. */
  readonly chainError: string | undefined
}

export interface Fault {
  readonly fault: PeerFault
  readonly detail?: string
}

/**
 * Without a CA the certificate must be ours, byte for byte: one that is signed by ours is another one. With a CA the chain
 * alone counts, and no name, since both sides are the same program.
 * @returns undefined for a peer that may come in
 */
export function judge({ certificate, chainError }: Shown, credentials: Credentials, nowMs?: number): Fault | undefined {
  if (certificate === undefined) return { fault: 'missing-peer' }
  if (!credentials.isPinned) {
    if (chainError === undefined) return undefined
    return { fault: CHAIN_FAULTS[chainError] ?? 'foreign', detail: chainError }
  }
  if (!certificate.raw.equals(credentials.own.raw)) return { fault: 'foreign' }
  const fault = dateFault(certificate, nowMs)
  return fault === undefined ? undefined : { fault }
}
