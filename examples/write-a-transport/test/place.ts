/** What the cases must know of the transport: where two can meet, and what it can do. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aes256gcm, generateKey, loadKey } from '@pairlink/crypto'
import type { Place, TransportManifest } from '@pairlink/testkit'
import { files } from '../src/index.js'

const PEER = fileURLToPath(new URL('peer.js', import.meta.url))

/** A folder that nobody has used. */
export function place(): Place & { readonly folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'pairlink-files-'))
  return {
    folder,
    listener: () => files(folder),
    spawn: (role) => spawn(process.execPath, [PEER, folder, role], { stdio: 'inherit' }),
    removeAddress: () => rmSync(join(folder, 'holder')),
    leftovers: () => readdirSync(folder).length,
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  }
}

export const manifest: TransportManifest = {
  reach: 'user',
  encrypted: false,
  listens: 'both',
  dials: 'both',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: 256 * 1024,
  holder: true,
  canBeLost: true, // who removes the link `holder` takes the address away
  goesStale: true, // a killed listener leaves that link
  keepsAlive: true,
  processes: true,
  countsLeftovers: true,
  encryption: aes256gcm(loadKey(generateKey())),
}
