// @ts-check
// The reference over `node:tls` on the same unix socket: what the platform's own encryption costs.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { generateCertificate } from '@pairlink/transport-tls'
import { openRaw } from './raw.mjs'

/** @type {import('../workloads.mjs').Open} */
export async function open(options) {
  if (options.role === 'asker') return openRaw(options, { batched: true, secure })
  const folder = mkdtempSync(path.join(tmpdir(), 'bench-tls-'))
  const certFile = path.join(folder, 'cert.pem')
  const keyFile = path.join(folder, 'key.pem')
  await generateCertificate({ certFile, keyFile })
  const pair = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
  rmSync(folder, { recursive: true })
  return openRaw(options, {
    batched: true,
    createServer: (onSocket) => tls.createServer({ ...pair, minVersion: 'TLSv1.3' }, onSocket),
  })
}

/** @param {import('node:net').Socket} socket */
async function secure(socket) {
  // Who answers is not what is measured here.
  const secured = tls.connect({ socket, minVersion: 'TLSv1.3', rejectUnauthorized: false })
  await new Promise((resolve, reject) => secured.once('error', reject).once('secureConnect', () => resolve(undefined)))
  return secured
}
