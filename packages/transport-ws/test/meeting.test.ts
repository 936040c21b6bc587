/** Each way of getting a WebSocket as a meeting place: who is there, whose a place is, and what is left behind. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { createServer as createNetServer } from 'node:net'
import { isPairlinkError } from '@pairlink/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { drop, listenerOf, rejection } from '../../transport-net/test/place.js'
import { attachWs, webSocket, ws } from '../src/index.js'
import {
  answerTo,
  bothEnds,
  dialEnd,
  endOf,
  freePort,
  listening,
  listeningOnce,
  never,
  openStranger,
  ownCertificate,
  portOf,
  webServer,
} from './place.js'

/** Waits until a server that is not ours has seen the dial. */
async function silentServer(): Promise<{ readonly port: number; readonly dialled: Promise<unknown> }> {
  const server = createNetServer((socket) => {
    socket.on('error', () => undefined).resume()
    onTestFinished(() => void socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return { port: portOf(server), dialled: once(server, 'connection') }
}

const hasIpv6 = await freePort('::1').then(
  () => true,
  () => false,
)
if (!hasIpv6) console.log('this host has no ::1: what would be there is not tried')

describe('a port', () => {
  test('belongs to one alone; the other is told that it is taken', async () => {
    const port = await freePort()
    const results = await Promise.all([ws({ port }).listen(drop, never), ws({ port }).listen(drop, never)])
    expect(results.filter((result) => result === 'taken')).toHaveLength(1)
    for (const result of results) if (result !== 'taken') listenerOf(result)
  })

  test('beyond this host is neither dialled nor listened at without allowNetwork', async () => {
    const transport = ws({ port: await freePort(), host: '0.0.0.0' })
    await rejection(transport.dial(never), 'NOT_LOCAL')
    await rejection(transport.listen(drop, never), 'NOT_LOCAL')
  })

  test('beyond this host, the own host is let in', async () => {
    const transport = ws({ port: await freePort(), host: '0.0.0.0', allowNetwork: true })
    const [near, far] = await bothEnds({ listener: transport, dialer: transport })
    near.pipe.write([Buffer.from('x')])
    await far.recorder.told('bytes')
  })

  test('one that is aborted during the dial rejects with the reason', async () => {
    const transport = ws({ port: await freePort() })
    await listening(transport)
    const abort = new AbortController()
    const work = transport.dial(abort.signal)
    abort.abort(new Error('enough'))
    await expect(work).rejects.toThrow('enough')
    await expect(transport.dial(abort.signal)).rejects.toThrow('enough')
    await expect(transport.listen(drop, abort.signal)).rejects.toThrow('enough')
  })

  test('a program without WebSocket that holds it is no pairlink', async () => {
    const { port } = await silentServer()
    const near = await dialEnd(ws({ port }))
    near.pipe.destroy()
    await near.recorder.told('closed')
    expect(near.recorder.calls).toEqual(['closed'])
  })

  test('another path of the same port is told by its status', async () => {
    const port = await freePort()
    await listeningOnce(ws({ port }))
    const near = await dialEnd(webSocket(`ws://127.0.0.1:${port}/elsewhere`))
    expect(await endOf(near)).toBe('NOT_PAIRLINK')
    expect(near.recorder.error?.message).toContain('404 Not Found: There is no pairlink at this path.')
  })

  test('the whole of it serves one who only dials', async () => {
    const port = await freePort()
    const [near, far] = await bothEnds({ listener: ws({ port }), dialer: webSocket(`ws://localhost:${port}/pairlink`) })
    near.pipe.write([Buffer.from('x')])
    await far.recorder.told('bytes')
  })
})

describe('a server', () => {
  test('is never dialled', async () => {
    expect(await attachWs(await webServer()).dial(never)).toBe('absent')
  })

  test('that does not listen yet is waited for', async () => {
    const server = createServer()
    let isListening = false
    const work = attachWs(server)
      .listen(drop, never)
      .then((result) => {
        isListening = true
        return result
      })
    await new Promise((resolve) => setImmediate(resolve))
    expect(isListening).toBe(false)
    await webServer(server)
    listenerOf(await work)
    await openStranger(portOf(server))
  })

  test('that is waited for is left without a trace when that is aborted', async () => {
    const server = createServer()
    const abort = new AbortController()
    const work = attachWs(server).listen(drop, abort.signal)
    expect(server.listenerCount('listening')).toBeGreaterThan(0)
    const before = server.listenerCount('listening')
    abort.abort(new Error('enough'))
    await expect(work).rejects.toThrow('enough')
    expect(server.listenerCount('listening')).toBe(before - 1)
    await expect(attachWs(server).listen(drop, abort.signal)).rejects.toThrow('enough')
  })

  test('that listens beyond this host is refused without allowNetwork', async () => {
    const server = createServer().listen(0, '0.0.0.0')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    expect(await rejection(attachWs(server).listen(drop, never), 'NOT_LOCAL')).toContain('0.0.0.0')
    expect(server.listenerCount('upgrade')).toBe(0)
    await listening(attachWs(server, { allowNetwork: true }))
  })

  test('has each path once, and again after it was given up', async () => {
    const server = await webServer()
    const listener = await listening(attachWs(server))
    await rejection(attachWs(server).listen(drop, never), 'ADDRESS_IN_USE')
    await listening(attachWs(server, { path: '/other' }))
    expect(listener.close()).toBe(listener.close())
    await listener.close()
    await listening(attachWs(server))
  })

  test('is left as it was', async () => {
    const server = await webServer(createServer((_request, response) => void response.end('page')))
    const listener = await listening(attachWs(server))
    expect(server.listenerCount('upgrade')).toBe(1)
    listener.unref()
    listener.ref()
    await listener.close()
    expect(server.listenerCount('upgrade')).toBe(0)
    expect(server.listening).toBe(true)
    // Without anybody who takes upgrades it is a request like any other.
    expect((await answerTo(portOf(server), { headers: { Connection: 'close, upgrade' } })).status).toBe(200)
  })

  test('can be at a path of the file system', async () => {
    const server = createServer().listen(`\0pairlink-ws-${process.pid}`)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    await listening(attachWs(server))
  })
})

describe('a URL', () => {
  test('is never listened at', async () => {
    expect(await webSocket(`ws://127.0.0.1:${await freePort()}/`).listen(drop, never)).toBe('cannot')
  })

  test('where nobody is is absent', async () => {
    expect(await webSocket(`ws://127.0.0.1:${await freePort()}/`).dial(never)).toBe('absent')
    expect(await webSocket(`wss://127.0.0.1:${await freePort()}/`).dial(never)).toBe('absent')
  })

  test.skipIf(!hasIpv6)('of localhost finds a server at ::1, too', async () => {
    const server = createServer().listen(0, '::1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const [near, far] = await bothEnds({
      listener: attachWs(server),
      dialer: webSocket(`ws://localhost:${portOf(server)}/pairlink`),
    })
    near.pipe.write([Buffer.from('x')])
    await far.recorder.told('bytes')
  })

  test.each(['ws', 'wss'])('of %s at one who says nothing stays until it is destroyed', async (scheme) => {
    const { port, dialled } = await silentServer()
    const near = await dialEnd(webSocket(`${scheme}://127.0.0.1:${port}/`))
    await dialled
    expect(near.pipe.write([Buffer.from('x')])).toBe(false)
    near.pipe.destroy()
    await near.recorder.told('closed')
    expect([near.recorder.calls, near.recorder.error]).toEqual([['closed'], undefined])
  })

  describe('with TLS', () => {
    async function secureServer(): Promise<{ readonly port: number; readonly ca: Buffer }> {
      const { cert, key } = await ownCertificate()
      const server = await webServer(createSecureServer({ cert, key }))
      server.on('tlsClientError', () => undefined)
      await listeningOnce(attachWs(server))
      return { port: portOf(server), ca: cert }
    }

    test('whose certificate is trusted opens, by name and by address', async () => {
      const { port, ca } = await secureServer()
      for (const host of ['localhost', '127.0.0.1']) {
        const near = await dialEnd(webSocket(`wss://${host}:${port}/pairlink`, { ca }))
        near.pipe.write([Buffer.from('x')])
        await near.recorder.told('drained')
      }
    })

    test('takes the CA as text, too', async () => {
      const { port, ca } = await secureServer()
      const near = await dialEnd(webSocket(`wss://localhost:${port}/pairlink`, { ca: ca.toString() }))
      near.pipe.write([Buffer.from('x')])
      await near.recorder.told('drained')
    })

    test('whose certificate is not trusted is CERTIFICATE, and nothing of ours is sent', async () => {
      const { port } = await secureServer()
      const near = await dialEnd(webSocket(`wss://localhost:${port}/pairlink`))
      near.pipe.write([Buffer.from('x')])
      expect(await endOf(near)).toBe('CERTIFICATE foreign')
      expect(near.recorder.calls).toEqual(['closed'])
    })

    test('whose certificate is of another name is CERTIFICATE', async () => {
      const { cert, key } = await ownCertificate()
      const server = createSecureServer({ cert, key }).listen(0, '127.0.0.2')
      server.on('tlsClientError', () => undefined)
      await once(server, 'listening')
      onTestFinished(() => void server.close())
      await listening(attachWs(server))
      const near = await dialEnd(webSocket(`wss://127.0.0.2:${portOf(server)}/pairlink`, { ca: cert }))
      expect(await endOf(near)).toBe('CERTIFICATE foreign')
      expect(near.recorder.error?.message).toContain('ALTNAME')
    })

    test('without TLS there is no pairlink', async () => {
      const port = await freePort()
      await listeningOnce(ws({ port }))
      expect(await endOf(await dialEnd(webSocket(`wss://localhost:${port}/pairlink`)))).toBe('NOT_PAIRLINK')
    })

    test('and without TLS at a server with it, neither', async () => {
      const { port } = await secureServer()
      const near = await dialEnd(webSocket(`ws://localhost:${port}/pairlink`))
      expect(await endOf(near)).toBe('NOT_PAIRLINK')
    })

    test('that ends in the middle of a transfer is no unhandled error', async () => {
      const { cert, key } = await ownCertificate()
      const server = await webServer(createSecureServer({ cert, key }))
      const place = {
        listener: attachWs(server),
        dialer: webSocket(`wss://localhost:${portOf(server)}/pairlink`, { ca: cert }),
      }
      const [near, far] = await bothEnds(place)
      far.pipe.write([Buffer.from('x')])
      await near.recorder.told('bytes')
      near.pipe.write([Buffer.alloc(1_000_000)])
      far.pipe.destroy()
      await near.recorder.told('closed')
      expect(isPairlinkError(near.recorder.error)).toBe(false)
    })
  })
})
