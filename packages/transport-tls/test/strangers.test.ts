/** Whoever meets us there and is no pairlink over TLS: other versions, other programs, no TLS at all, silence. */
import { copyFileSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Socket } from 'node:net'
import { isPairlinkError, type Pipe } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'
import { generateCertificate } from '../src/index.js'
import { ACCEPTED } from '../src/faults.js'
import { freshNames, type Files } from './certificates.js'
import {
  at,
  dialEnd,
  endOf,
  freshPlace,
  KINDS,
  listening,
  listeningOnce,
  optionsOf,
  plainClient,
  plainServer,
  Recorder,
  tlsClient,
  tlsServer,
  type Place,
} from './place.js'

const files = freshNames()
beforeAll(() => generateCertificate(files))

function copyOf({ certFile, keyFile }: Files): Files {
  const copy = freshNames()
  copyFileSync(certFile, copy.certFile)
  copyFileSync(keyFile, copy.keyFile)
  return copy
}

/** What a dialer sends first. */
async function helloOf(place: Place): Promise<Buffer> {
  let arrived: (chunk: Buffer) => void = () => undefined
  const hello = new Promise<Buffer>((resolve) => (arrived = resolve))
  await plainServer(place, (socket) => socket.once('data', arrived))
  tlsClient(place, optionsOf(files))
  return hello
}

/** A socket that sends so many bytes at a time, and nothing else between them. */
function slowly(socket: Socket, bytesMax: number): Duplex {
  socket.setNoDelay(true)
  const send = (bytes: Buffer, done: () => void): void => {
    if (bytes.length === 0) done()
    else socket.write(bytes.subarray(0, bytesMax), () => setImmediate(send, bytes.subarray(bytesMax), done))
  }
  const duplex = new Duplex({
    read: () => undefined,
    write: (bytes: Buffer, _encoding, done) => {
      send(bytes, done)
    },
    final: (done) => {
      socket.end(done)
    },
  })
  socket.on('data', (chunk: Buffer) => duplex.push(chunk))
  socket.on('end', () => duplex.push(null))
  return duplex
}

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

    test('that says nothing costs no look at the files; its first byte does', async () => {
      const place = await freshPlace(kind)
      const pair = copyOf(files)
      const { accepted } = await listeningOnce(at(place, pair))
      const client = plainClient(place)
      const far = await accepted
      rmSync(pair.certFile)
      client.write(Uint8Array.of(0x16))
      expect(await endOf(far)).toBe('CERTIFICATE missing')
      expect(far.recorder.calls).toEqual(['closed'])
    })

    test('that hangs up without a byte is gone, without an error of pairlink', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const client = plainClient(place)
      const far = await accepted
      const gone = once(client, 'close')
      client.end()
      await far.recorder.told('closed')
      client.resume()
      await gone
      expect(far.recorder.error?.message).toContain('hung up before its first byte')
      expect(isPairlinkError(far.recorder.error)).toBe(false)
      expect(far.recorder.calls).toEqual(['closed'])
    })

    test('that is gone before it is looked at leaves no more than a closed pipe', async () => {
      const place = await freshPlace(kind)
      let arrived: (pipe: Pipe) => void = () => undefined
      const accepted = new Promise<Pipe>((resolve) => (arrived = resolve))
      await listening(at(place, files), (pipe) => {
        arrived(pipe)
      })
      const client = plainClient(place)
      const pipe = await accepted
      client.destroy()
      await once(client, 'close')
      const recorder = new Recorder()
      pipe.start(recorder)
      await recorder.told('closed')
      expect(isPairlinkError(recorder.error)).toBe(false)
      expect(recorder.calls).toEqual(['closed'])
    })

    test('that resets without a byte is gone, with what the system says of it', async (ctx) => {
      if (kind === 'a path') {
        console.log('SKIPPED a reset before the first byte at a path: only TCP has resets')
        return ctx.skip()
      }
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const client = plainClient(place)
      const far = await accepted
      client.resetAndDestroy()
      await far.recorder.told('closed')
      expect(far.recorder.error).toMatchObject({ code: 'ECONNRESET' })
      expect(far.recorder.calls).toEqual(['closed'])
    })

    test('that hangs up right behind its hello is gone, without an error of pairlink', async () => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const hello = await helloOf(await freshPlace(kind))
      const client = plainClient(place)
      const far = await accepted
      client.end(hello)
      await far.recorder.told('closed')
      expect(isPairlinkError(far.recorder.error)).toBe(false)
      expect(far.recorder.calls).toEqual(['closed'])
    })

    test.each([1, 7, 100_000])('that sends %d bytes at a time is let in, and half-closes', async (bytesMax) => {
      const place = await freshPlace(kind)
      const { accepted } = await listeningOnce(at(place, files))
      const raw = plainClient(place)
      const socket = connectTls({
        ...(optionsOf(files) as object),
        socket: slowly(raw, bytesMax),
        rejectUnauthorized: false,
      })
      socket.on('error', () => undefined)
      const read: Buffer[] = []
      socket.on('data', (chunk: Buffer) => read.push(chunk))
      socket.write('bit by bit')
      const far = await accepted
      far.pipe.write([Buffer.from('back')])
      socket.end()
      await far.recorder.told('ended')
      expect(far.recorder.text).toBe('bit by bit')
      far.pipe.write([Buffer.from(', and afterwards')])
      far.pipe.end()
      await far.recorder.told('closed')
      await expect.poll(() => Buffer.concat(read).subarray(1).toString()).toBe('back, and afterwards')
      expect(far.recorder.error).toBeUndefined()
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
