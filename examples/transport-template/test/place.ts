/** What the cases must know of the transport: where two can meet, and what it can do. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Place, TransportManifest } from '@pairlink/testkit'
import { port } from '../src/index.js'
import { unusedPort } from './unused-port.js'

// #region place
const PEER = fileURLToPath(new URL('peer.js', import.meta.url))

/** A place that nobody has used: each case asks for one or more. */
export async function place(): Promise<Place> {
  const number = await unusedPort()
  return {
    listener: () => port(number),
    spawn: (role) => spawn(process.execPath, [PEER, String(number), role], { stdio: 'inherit' }),
  }
}
// #endregion place

// #region manifest
export const manifest: TransportManifest = {
  reach: 'host',
  encrypted: false,
  listens: 'both',
  dials: 'both',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: 64 * 1024, // a socket says so far earlier
  holder: false,
  canBeLost: false, // while a process holds a port, nobody takes it away
  goesStale: false, // and when the process has gone, so has the port
  keepsAlive: true,
  processes: true,
}
// #endregion manifest
