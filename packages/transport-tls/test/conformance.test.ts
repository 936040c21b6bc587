/** tls() keeps the contract of transports at a port and at a path, by the cases that authors of other transports run. */
import { spawn } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aes256gcm } from '../../crypto/src/index.js'
import { transportCases } from '@pairlink/testkit'
import { beforeAll, describe } from 'vitest'
import { runCases } from '../../testkit/test/run-cases.js'
import { programOf } from '../../transport-net/test/children.js'
import { generateCertificate, tls } from '../src/index.js'
import { freshNames } from './certificates.js'
import type { Order } from './conformance-peer.js'
import { freshPlace, KINDS } from './place.js'

const PEER = fileURLToPath(new URL('conformance-peer.ts', import.meta.url))
const files = freshNames()
beforeAll(() => generateCertificate(files))

describe.each(KINDS)('tls() at %s', (kind) => {
  const isPath = kind === 'a path'
  const cases = transportCases(
    async () => {
      const place = await freshPlace(kind)
      const path = 'path' in place ? String(place.path) : ''
      return {
        listener: () => tls(place, files),
        removeAddress: () => {
          rmSync(path)
        },
        leftovers: () => readdirSync(dirname(path)).length,
        spawn: async (role) => {
          const order: Order = [place, files, role]
          return spawn(process.execPath, [await programOf(PEER), JSON.stringify(order)], { stdio: 'inherit' })
        },
      }
    },
    {
      reach: isPath ? 'user' : 'host',
      encrypted: true,
      listens: 'both',
      dials: 'both',
      tellsTaken: true,
      manyPipes: true,
      halfClose: true,
      enoughBytes: 256 * 1024,
      holder: isPath,
      canBeLost: isPath,
      goesStale: isPath,
      countsLeftovers: isPath,
      keepsAlive: true,
      processes: true,
      encryption: aes256gcm(new Uint8Array(32).fill(7)),
    },
  )
  runCases(cases)
})
