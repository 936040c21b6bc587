/** Whoever meets us there and is no pairlink over TLS: other versions, other programs, no TLS at all, silence. */
import { once } from 'node:events'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Socket } from 'node:net'
import { isPairlinkError } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'
import { generateCertificate } from '../src/index.js'
import { ACCEPTED } from '../src/faults.js'
import { freshNames } from './certificates.js'
import {
  at,
  dialEnd,
  endOf,
  freshPlace,
  KINDS,
  listeningOnce,
  optionsOf,
  plainClient,
  plainServer,
  tlsClient,
  tlsServer,
  type Place,
} from './place.js'

const files = freshNames()
beforeAll(() => generateCertificate(files))

const greet = (socket: Socket): void => void socket.write(Uint8Array.of(ACCEPTED))

describe.each(KINDS)('at %s', (kind) => {
  const plain = (place: Place) => ('port' in place ? tcp({ port: place.port }) : unix(place.path))

  describe('a dialer', () => {
    test('that knows TLS 1.2 alone is turned away, unless minVersion lets it in', async () => {
      const options = { ...optionsOf(files), maxVersion: 'TLSv1.2' as const }
      const strict = await freshPlace(kind)
      const refused = await listeningOnce(at(strict, files))
      const client = tlsClient(strict, options)
      await client.end
      expect(client.read()).toHaveLength(0)
      expect(await endOf(await refused.accepted)).toBe('NOT_PAIRLINK')

      const lenient = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(lenient, { ...files, minVersion: 'TLSv1.2' }))
      const { socket } = tlsClient(lenient, options)
      socket.write('old')
      const far = await accepted
      await far.recorder.told('bytes')
      expect([socket.getProtocol(), far.recorder.text]).toEqual(['TLSv1.2', 'old'])
    })

    test('half-closes over TLS 1.2, too', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, { ...files, minVersion: 'TLSv1.2' }))
      const options = { ...optionsOf(files), maxVersion: 'TLSv1.2' as const, allowHalfOpen: true }
      const { socket, read } = tlsClient(place, options)
      const far = await accepted
      socket.end('all')
      await far.recorder.told('ended')
      far.pipe.write([Buffer.from('afterwards')])
      far.pipe.end()
      await once(socket, 'close')
      expect(far.recorder.text).toBe('all')
      expect(read().subarray(1).toString()).toBe('afterwards')
    })

    test('cannot renegotiate', async () => {
      const again = await freshPlace(kind)
      const second = await listeningOnce(at(again, { ...files, minVersion: 'TLSv1.2' }))
      const client = tlsClient(again, { ...optionsOf(files), maxVersion: 'TLSv1.2' })
      await once(client.socket, 'secureConnect')
      client.socket.write('x')
      await (await second.accepted).recorder.told('bytes')
      let isRenegotiated = false
      client.socket.renegotiate({}, (error) => (isRenegotiated = error === null))
      const [error] = (await once(client.socket, 'error')) as [NodeJS.ErrnoException]
      expect([isRenegotiated, error.code]).toEqual([false, 'ERR_SSL_NO_RENEGOTIATION'])
    })

    test.each([
      ['another protocol', ['h2']],
      ['none', []],
    ])('that speaks %s inside TLS is no pairlink, and gets no verdict', async (_name, ALPNProtocols) => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const client = tlsClient(place, { ...optionsOf(files), ALPNProtocols })
      await client.end
      expect(client.read()).toHaveLength(0)
      expect(await endOf(await accepted)).toBe('NOT_PAIRLINK')
    })

    test.each(['GET / HTTP/1.1\r\n\r\n', 'PL01 hello, this is no TLS', '\0\0\0\0\0\0\0\0\0\0\0\0'])(
      'without TLS that says %j is told from others',
      async (text) => {
        const place = await freshPlace(kind)
        const { accepted } = await listeningOnce(at(place, files))
        plainClient(place).write(text)
        const far = await accepted
        expect(await endOf(far)).toBe('NOT_PAIRLINK')
        expect(far.recorder.error?.message).toContain('without TLS')
      },
    )

    test('that hangs up in the handshake is gone, without an error of pairlink', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const client = plainClient(place)
      client.end(Uint8Array.of(0x16, 0x03))
      const far = await accepted
      await far.recorder.told('closed')
      expect(isPairlinkError(far.recorder.error)).toBe(false)
      expect(far.recorder.calls).toEqual(['closed'])
    })

    test('that says nothing stays until it is destroyed', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const client = plainClient(place)
      const far = await accepted
      expect(far.pipe.write([Buffer.from('x')])).toBe(false)
      const gone = once(client, 'close')
      far.pipe.destroy()
      await far.recorder.told('closed')
      client.resume()
      await gone
      expect([far.recorder.calls, far.recorder.error]).toEqual([['closed'], undefined])
    })

    test('of pairlink without TLS is told from others', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const near = await dialEnd(plain(place))
      near.pipe.write([Buffer.from('hello from a pipe without TLS')])
      expect(await endOf(await accepted)).toBe('NOT_PAIRLINK')
    })

    test('is offered no way to resume a session', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const { socket } = tlsClient(place, optionsOf(files))
      const sessions: Buffer[] = []
      socket.on('session', (session: Buffer) => sessions.push(session))
      await once(socket, 'secureConnect')
      ;(await accepted).pipe.write([Buffer.alloc(100_000)])
      await once(socket, 'data')
      for (const session of sessions) {
        const next = await freshPlace(kind)
        const second = await listeningOnce(at(next, files))
        const client = tlsClient(next, { ...optionsOf(files), session } as object)
        await once(client.socket, 'secureConnect')
        expect(client.socket.isSessionReused()).toBe(false)
        ;(await second.accepted).pipe.destroy()
      }
    })
  })

  describe('a listener', () => {
    test('that knows TLS 1.2 alone is no pairlink, unless minVersion lets it be', async () => {
      const options = { ...optionsOf(files), maxVersion: 'TLSv1.2' as const }
      const place = await freshPlace(kind)
      await tlsServer(place, options, greet)
      expect(await endOf(await dialEnd(at(place, files)))).toBe('NOT_PAIRLINK')
      const near = await dialEnd(at(place, { ...files, minVersion: 'TLSv1.2' }))
      near.pipe.write([Buffer.from('old')])
      await near.recorder.told('drained')
    })

    test.each([
      ['another protocol', ['h2']],
      ['none', []],
    ])('that speaks %s inside TLS is no pairlink', async (_name, ALPNProtocols) => {
      const place = await freshPlace(kind)
      await tlsServer(place, { ...optionsOf(files), ALPNProtocols }, greet)
      expect(await endOf(await dialEnd(at(place, files)))).toBe('NOT_PAIRLINK')
    })

    test('without TLS that answers something else is no pairlink', async () => {
      const place = await freshPlace(kind)
      await plainServer(place, (socket) => void socket.write('220 mail.example ESMTP ready\r\n'))
      const near = await dialEnd(at(place, files))
      expect(await endOf(near)).toBe('NOT_PAIRLINK')
      expect(near.recorder.error?.message).toContain('does not speak TLS')
    })

    test.each<[string, (socket: Socket) => void]>([
      ['ends', (socket) => void socket.end()],
      ['is gone at once', (socket) => void socket.destroy()],
      ['is gone after our first bytes', (socket) => void socket.once('data', () => socket.destroy())],
      // Only TCP has resets.
      [
        'resets',
        (socket) => void socket.once('data', () => (kind === 'a port' ? socket.resetAndDestroy() : socket.destroy())),
      ],
    ])('that %s without a word may use no TLS', async (_name, onSocket) => {
      const place = await freshPlace(kind)
      await plainServer(place, onSocket)
      const near = await dialEnd(at(place, files))
      expect(await endOf(near)).toBe('NOT_PAIRLINK')
      expect(near.recorder.error?.message).toContain('may not use TLS')
      expect(near.recorder.calls).toEqual(['closed'])
    })

    test('that hangs up before its verdict has not let us in', async () => {
      const place = await freshPlace(kind)
      await tlsServer(place, optionsOf(files), (socket) => void socket.end())
      const near = await dialEnd(at(place, files))
      near.pipe.write([Buffer.from('waiting')])
      expect(await endOf(near)).toBe('NOT_PAIRLINK')
      expect(near.recorder.calls).toEqual(['closed'])
    })

    test('gets nothing of ours before its verdict, and what comes with it is delivered', async () => {
      const place = await freshPlace(kind)
      let arrived: (socket: Socket) => void = () => undefined
      const secured = new Promise<Socket>((resolve) => (arrived = resolve))
      await tlsServer(place, optionsOf(files), arrived)
      const near = await dialEnd(at(place, files))
      near.pipe.write([Buffer.from('ours')])
      const socket = await secured
      const order: string[] = []
      socket.on('data', (chunk: Buffer) => order.push(chunk.toString()))
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
      order.push('verdict')
      socket.write(Buffer.from([ACCEPTED, ...Buffer.from('theirs')]))
      await once(socket, 'data')
      expect(order).toEqual(['verdict', 'ours'])
      expect(near.recorder.text).toBe('theirs')
    })

    test('that says nothing stays until it is destroyed', async () => {
      const place = await freshPlace(kind)
      let arrived: (socket: Socket) => void = () => undefined
      const connected = new Promise<Socket>((resolve) => (arrived = resolve))
      await plainServer(place, arrived)
      const near = await dialEnd(at(place, files))
      expect(near.pipe.write([Buffer.from('x')])).toBe(false)
      const [first] = (await once(await connected, 'data')) as [Buffer]
      expect(first[0]).toBe(0x16)
      expect(near.recorder.calls).toEqual([])
      near.pipe.destroy()
      await near.recorder.told('closed')
      expect([near.recorder.calls, near.recorder.error]).toEqual([['closed'], undefined])
    })
  })
})
