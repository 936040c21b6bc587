/**
 * What can be wrong with the certificate that a peer shows: one word for programs, one sentence for people, and the byte by
 * which a listener tells it. The one table of all three; who judges and what follows is not known here.
 */
import { PairlinkError } from '@pairlink/core'

/** The first byte of a listener where it takes the dialer's certificate. */
export const ACCEPTED = 0x01

/** `byte`: what a listener sends instead of ACCEPTED. `text` goes on from "the certificate …". */
const PEER_FAULTS = {
  'missing-peer': { byte: 0x02, text: 'is missing: none was shown' },
  foreign: { byte: 0x03, text: 'is another one than this, or not signed by the CA' },
  expired: { byte: 0x04, text: 'has expired' },
  'not-yet-valid': { byte: 0x05, text: 'is not valid yet; compare the clocks' },
  purpose: { byte: 0x06, text: 'is not for this purpose; it needs clientAuth and serverAuth' },
  weak: { byte: 0x07, text: 'has a key or a signature that is too weak' },
} as const satisfies Record<string, { readonly byte: number; readonly text: string }>

export type PeerFault = keyof typeof PEER_FAULTS

/** A verdict of a newer version, which has more reasons. */
const UNKNOWN = 'unknown'

export function verdictByte(fault: PeerFault): number {
  return PEER_FAULTS[fault].byte
}

/** What this side says of the peer's certificate. `detail` is what OpenSSL calls it. */
export function peerFaultError(address: string, fault: PeerFault, detail?: string): PairlinkError {
  const more = detail === undefined ? '' : ` (${detail})`
  const text = `${address}: the certificate of the other side ${PEER_FAULTS[fault].text}${more}. ${REMEDY}`
  return new PairlinkError('CERTIFICATE', text, { reason: fault })
}

/** What the byte of a listener says that did not take our certificate. */
export function refusalError(address: string, byte: number): PairlinkError {
  for (const [reason, fault] of Object.entries(PEER_FAULTS)) {
    if (fault.byte !== byte) continue
    const text = `${address}: the other side refused our certificate: it ${fault.text}. ${REMEDY}`
    return new PairlinkError('CERTIFICATE', text, { reason })
  }
  const text = `${address}: the other side refused our certificate, for a reason that this version does not know (${byte})`
  return new PairlinkError('CERTIFICATE', text, { reason: UNKNOWN })
}

const REMEDY = 'Give both processes the same files'
