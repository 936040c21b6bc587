/** unix() and tcp() keep the contract of transports, by the cases that authors of other transports run. */
import { spawn } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aes256gcm } from '../../crypto/src/index.js'
import { transportCases, type PeerProcess, type PeerRole, type TransportManifest } from '@pairlink/testkit'
import { describe } from 'vitest'
import { runCases } from '../../testkit/test/run-cases.js'
import { tcp, unix } from '../src/index.js'
import { programOf } from './children.js'
import type { Where } from './conformance-peer.js'
import { freePort, freshDirectory } from './place.js'

const PEER = fileURLToPath(new URL('conformance-peer.ts', import.meta.url))

const SOCKETS: Omit<TransportManifest, 'reach' | 'holder' | 'canBeLost' | 'goesStale'> = {
  encrypted: false,
  listens: 'both',
  dials: 'both',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: 64 * 1024,
  keepsAlive: true,
  processes: true,
  encryption: aes256gcm(new Uint8Array(32).fill(7)),
}

async function spawnPeer(where: Where, role: PeerRole): Promise<PeerProcess> {
  return spawn(process.execPath, [await programOf(PEER), JSON.stringify([where, role])], { stdio: 'inherit' })
}

describe('unix()', () => {
  const cases = transportCases(
    () => {
      const path = join(freshDirectory(), 's')
      return {
        listener: () => unix(path),
        removeAddress: () => {
          rmSync(path)
        },
        leftovers: () => readdirSync(dirname(path)).length,
        spawn: (role) => spawnPeer({ path }, role),
      }
    },
    { ...SOCKETS, reach: 'user', holder: true, canBeLost: true, goesStale: true, countsLeftovers: true },
  )
  runCases(cases)
})

describe('tcp()', () => {
  const cases = transportCases(
    async () => {
      const port = await freePort()
      return { listener: () => tcp({ port }), spawn: (role) => spawnPeer({ port }, role) }
    },
    { ...SOCKETS, reach: 'host', holder: false, canBeLost: false, goesStale: false },
  )
  runCases(cases)
})
