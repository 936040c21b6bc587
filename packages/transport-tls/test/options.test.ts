/** What is said before anything is dialled: wrong arguments, addresses, and how far they reach. */
import { beforeAll, expect, test } from 'vitest'
import { tcp } from '@pairlink/transport-net'
import { generateCertificate, tls, type TlsFiles, type TlsPlace } from '../src/index.js'
import { freshNames } from './certificates.js'
import { freshPlace, never, rejectionOf } from './place.js'

const files = freshNames()
beforeAll(() => generateCertificate(files))

test.each<[string, TlsPlace]>([
  ['a port that is none', { port: 0 }],
  ['a family that is none', { port: 1, family: 5 as 4 }],
  ['an address of the other family', { port: 1, host: '::1', family: 4 }],
  ['a host that is none', { port: 1, host: '' }],
  ['neither a port nor a path', {} as TlsPlace],
  ['both', { port: 1, path: '/x' } as TlsPlace],
  ['a mode for a port', { port: 1, mode: 0o600 } as TlsPlace],
  ['a family for a path', { path: '/x', family: 4 } as TlsPlace],
  ['an empty path', { path: '' }],
  ['a mode that is none', { path: '/x', mode: -1 }],
  ['an unknown name', { port: 1, hots: 'x' } as TlsPlace],
  ['allowNetwork in the wrong place', { port: 1, allowNetwork: true } as TlsPlace],
  ['nothing', undefined as unknown as TlsPlace],
  ['a number', 80 as unknown as TlsPlace],
])('%s is a TypeError', (_name, where) => {
  expect(() => tls(where, files)).toThrow(TypeError)
})

test.each<[string, Partial<Record<keyof TlsFiles, unknown>>]>([
  ['an empty certFile', { certFile: '' }],
  ['a missing keyFile', { keyFile: undefined }],
  ['a keyFile with a zero byte', { keyFile: 'a\0b' }],
  ['a caFile that is no string', { caFile: 7 }],
  ['an older minVersion', { minVersion: 'TLSv1.1' }],
  ['an allowNetwork that is neither', { allowNetwork: 1 }],
  ['an unknown name', { passphrase: 'x' } as object],
])('%s is a TypeError', (_name, more) => {
  expect(() => tls({ port: 1 }, { ...files, ...more } as TlsFiles)).toThrow(TypeError)
})

test.each([undefined, null, 'x'])('files %j are a TypeError', (wrong) => {
  expect(() => tls({ port: 1 }, wrong as unknown as TlsFiles)).toThrow(TypeError)
})

test.each<[TlsPlace, string, string]>([
  [{ port: 5 }, 'tls://127.0.0.1:5', 'host'],
  [{ port: 5, family: 4 }, 'tls://127.0.0.1:5', 'host'],
  [{ port: 5, family: 6 }, 'tls://[::1]:5', 'host'],
  [{ port: 5, host: '192.0.2.1' }, 'tls://192.0.2.1:5', 'network'],
  [{ path: '/run/x.sock' }, 'tls+unix:/run/x.sock', 'user'],
  [{ path: '/run/x.sock', mode: 0o660 }, 'tls+unix:/run/x.sock', 'host'],
])('%# the address and the reach', (where, address, reach) => {
  const transport = tls(where, files)
  expect([transport.address, transport.reach, transport.encrypted]).toEqual([address, reach, true])
})

test('nothing is dialled beyond this host without allowNetwork', async () => {
  const where = { port: 9, host: '192.0.2.1' }
  expect(await rejectionOf(tls(where, files).dial(never))).toBe('NOT_LOCAL')
  expect(await rejectionOf(tls(where, files).listen(() => undefined, never))).toBe('NOT_LOCAL')
  expect(await tls(where, { ...files, allowNetwork: true }).listen(() => undefined, never)).toBe('cannot')
})

test('nobody there is absent, and a place that is taken is taken, as without TLS', async () => {
  const place = await freshPlace('a port')
  expect(await tls(place, files).dial(never)).toBe('absent')
  const listener = await tls(place, files).listen((pipe) => pipe.destroy(), never)
  if (typeof listener === 'string' || !('close' in listener)) throw new Error('nothing listens')
  expect(await tcp({ port: 'port' in place ? place.port : 0 }).listen(() => undefined, never)).toBe('taken')
  await listener.close()
})
