/** ws() and webSocket() keep the contract of transports, by the cases that authors of other transports run. */
import { transportCases, type TransportManifest } from '@pairlink/testkit'
import { describe } from 'vitest'
import { aes256gcm } from '../../crypto/src/index.js'
import { runCases } from '../../testkit/test/run-cases.js'
import { webSocket } from '../src/browser.js'
import { ws } from '../src/index.js'
import { freePort } from './place.js'

const MANIFEST: TransportManifest = {
  reach: 'host',
  encrypted: false,
  listens: 'both',
  dials: 'both',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: 64 * 1024,
  holder: false,
  canBeLost: false,
  goesStale: false,
  keepsAlive: true,
  processes: false,
  encryption: aes256gcm(new Uint8Array(32).fill(7)),
}

describe('ws() at both ends', () => {
  const cases = transportCases(async () => {
    const port = await freePort()
    return { listener: () => ws({ port }) }
  }, MANIFEST)
  runCases(cases)
})

describe('webSocket() of browsers at ws()', () => {
  const cases = transportCases(
    async () => {
      const port = await freePort()
      return { listener: () => ws({ port }), dialer: () => webSocket(`ws://127.0.0.1:${port}/pairlink`) }
    },
    { ...MANIFEST, listens: 'listener', enoughBytes: 256 * 1024, keepsAlive: false },
  )
  runCases(cases)
})
