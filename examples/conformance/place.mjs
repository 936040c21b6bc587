// place.mjs: what the cases of the contract must know of a transport, here of a unix socket.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unix } from '@pairlink/transport-net'

// #region place
/** A place that nobody has used. */
export function place() {
  const directory = mkdtempSync(join(tmpdir(), 'conformance-'))
  const path = join(directory, 'socket')
  return {
    listener: () => unix(path),
    removeAddress: () => rmSync(path),
    dispose: () => rmSync(directory, { recursive: true }),
  }
}
// #endregion place

// #region manifest
export const manifest = {
  reach: 'user',
  encrypted: false,
  listens: 'both',
  dials: 'both',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: 65_536,
  holder: true,
  canBeLost: true,
  goesStale: false, // it does, but this place cannot leave it so
  keepsAlive: true,
  processes: false, // it can, but this place has no second program
}
// #endregion manifest
