/** unix() and tcp() keep the contract of transports, by the cases that authors of other transports run. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aes256gcm } from '../../crypto/src/index.js'
import { transportCases, type PeerProcess, type PeerRole, type TransportManifest } from '@pairlink/testkit'
import { describe } from 'vitest'
import { runCases } from '../../testkit/test/run-cases.js'
import { tcp, unix } from '../src/index.js'
import { leaveStale, programOf } from './children.js'
import type { Where } from './conformance-peer.js'
import { freshDirectory } from './place.js'

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
        leaveStale: () => leaveStale(path),
        removeAddress: () => {
          rmSync(path)
        },
        spawn: (role) => spawnPeer({ path }, role),
      }
    },
    { ...SOCKETS, reach: 'user', holder: true, canBeLost: true, goesStale: true },
  )
  runCases(cases)
})

describe('tcp()', () => {
  const cases = transportCases(
    async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      await new Promise((resolve) => server.close(resolve))
      return { listener: () => tcp({ port }), spawn: (role) => spawnPeer({ port }, role) }
    },
    { ...SOCKETS, reach: 'host', holder: false, canBeLost: false, goesStale: false },
  )
  runCases(cases)
})
