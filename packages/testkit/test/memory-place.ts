/** The memory transport as the cases see it. */
import { aes256gcm } from '../../crypto/src/index.js'
import { type MemoryPlace, type Place, type TransportManifest } from '../src/index.js'

export const MANIFEST: TransportManifest = {
  reach: 'user',
  encrypted: false,
  listens: 'both',
  dials: 'both',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: 64 * 1024,
  holder: true,
  canBeLost: true,
  goesStale: true,
  keepsAlive: false,
  countsHandles: true,
  countsLeftovers: true,
  processes: false,
  encryption: aes256gcm(new Uint8Array(32).fill(7)),
}

export function placeOf(place: MemoryPlace): Place {
  return {
    listener: () => place.transport(),
    leaveStale: async () => {
      await place.transport().listen(() => undefined, new AbortController().signal)
      place.killListener()
    },
    removeAddress: () => {
      place.removeAddress()
    },
    handles: () => place.handles,
    // What lies at this place is what is open there.
    leftovers: () => place.handles,
  }
}
