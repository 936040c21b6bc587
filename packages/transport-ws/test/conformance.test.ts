/** Each way of getting a WebSocket keeps the contract of transports, by the cases that authors of other transports run. */
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transportCases, type PeerProcess, type PeerRole, type TransportManifest } from '@pairlink/testkit'
import { describe } from 'vitest'
import { aes256gcm } from '../../crypto/src/index.js'
import { runCases } from '../../testkit/test/run-cases.js'
import { programOf } from '../../transport-net/test/children.js'
import { webSocket as platformWebSocket } from '../src/browser.js'
import { attachWs, webSocket, ws } from '../src/index.js'
import { freePort, ownCertificate, portOf } from './place.js'

const PEER = fileURLToPath(new URL('conformance-peer.ts', import.meta.url))
// It looks for modules that need not be there, which a bundle cannot.
const WS = join(dirname(createRequire(import.meta.url).resolve('ws')), 'wrapper.mjs')

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

async function spawnPeer(port: number, role: PeerRole): Promise<PeerProcess> {
  return spawn(process.execPath, [await programOf(PEER, { ws: WS }), JSON.stringify([port, role])], {
    stdio: 'inherit',
  })
}

describe('ws() at both ends', () => {
  const cases = transportCases(
    async () => {
      const port = await freePort()
      return { listener: () => ws({ port }), spawn: (role) => spawnPeer(port, role) }
    },
    { ...MANIFEST, processes: true },
  )
  runCases(cases)
})

describe('webSocket() of browsers at ws()', () => {
  const cases = transportCases(
    async () => {
      const port = await freePort()
      return { listener: () => ws({ port }), dialer: () => platformWebSocket(`ws://127.0.0.1:${port}/pairlink`) }
    },
    { ...MANIFEST, listens: 'listener', enoughBytes: 256 * 1024, keepsAlive: false },
  )
  runCases(cases)
})

describe('webSocket() of Node.js at ws()', () => {
  const cases = transportCases(
    async () => {
      const port = await freePort()
      return { listener: () => ws({ port }), dialer: () => webSocket(`ws://127.0.0.1:${port}/pairlink`) }
    },
    { ...MANIFEST, listens: 'listener' },
  )
  runCases(cases)
})

const ANSWERED = 'a server that listens answers every dial with a pipe, also where nobody has the path'

describe.each([
  ['http', false],
  ['https', true],
])('webSocket() of Node.js at attachWs() of %s', (_name, encrypted) => {
  const cases = transportCases(
    async () => {
      const { cert, key } = await ownCertificate()
      const server = encrypted ? createSecureServer({ cert, key }) : createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const url = `${encrypted ? 'wss' : 'ws'}://localhost:${portOf(server)}/pairlink`
      return {
        listener: () => attachWs(server),
        dialer: () => webSocket(url, encrypted ? { ca: cert } : {}),
        dispose: () => void server.close(),
      }
    },
    {
      ...MANIFEST,
      encrypted,
      listens: 'listener',
      dials: 'dialer',
      tellsTaken: false,
      except: {
        'dial-with-nobody-there': ANSWERED,
        'close-frees-the-address': ANSWERED,
        'abort-listen': ANSWERED,
        'no-descriptor-left': ANSWERED,
      },
    },
  )
  runCases(cases)
})
