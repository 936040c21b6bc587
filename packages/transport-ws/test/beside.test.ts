/** A server that is not ours alone: other handlers of its upgrades, requests that are not for us, and what its owner does with it. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { connect } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import { Connection, type ConnectionEvents } from '@pairlink/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { drop } from '../../transport-net/test/place.js'
import { attachWs, webSocket } from '../src/index.js'
import {
  answerTo,
  dialEnd,
  endOf,
  listening,
  listeningOnce,
  openStranger,
  ownCertificate,
  portOf,
  requestOf,
  stranger,
  webServer,
} from './place.js'

const SECRET = 'the secret of these tests, long enough'

function connection(transport: ReturnType<typeof attachWs>, more: object = {}): Connection {
  const made = new Connection({
    transport,
    secret: SECRET,
    logger: { error: () => undefined },
    onQuery: (query) => query,
    ...more,
  })
  onTestFinished(() => made.close())
  return made
}

/** The application's own WebSockets, which say hello. */
function theirs(options: ConstructorParameters<typeof WebSocketServer>[0]): WebSocketServer {
  const server = new WebSocketServer(options)
  server.on('connection', (one) => {
    one.on('error', () => undefined)
    one.send('hello')
    setImmediate(() => {
      one.send('still here')
    })
  })
  return server
}

/** What a WebSocket of the application at that path is told first. */
async function helloAt(port: number, path: string): Promise<string> {
  const one = new WebSocket(`ws://127.0.0.1:${port}${path}`)
  onTestFinished(() => {
    one.terminate()
  })
  const [message] = (await once(one, 'message')) as [Buffer]
  return message.toString()
}

const orders = [
  ['that came first', true],
  ['that came second', false],
] as const

describe.each(orders)('beside a WebSocketServer %s', (_name, isFirst) => {
  async function both(server: Server, make: () => WebSocketServer) {
    if (isFirst) make()
    const ours = await listeningOnce(attachWs(server))
    if (!isFirst) make()
    return ours
  }

  test.each(['http', 'https'])(
    'for all paths of a server of %s, ours is refused, and the process lives',
    async (kind) => {
      const server = await webServer(kind === 'http' ? createServer() : createSecureServer(await ownCertificate()))
      const { accepted } = await both(server, () => theirs({ server }))
      const scheme = kind === 'http' ? 'ws' : 'wss'
      const near = await dialEnd(
        webSocket(
          `${scheme}://localhost:${portOf(server)}/pairlink`,
          kind === 'http' ? {} : { ca: (await ownCertificate()).cert },
        ),
      )
      const far = await accepted
      expect(await endOf(far)).toBe('NOT_PAIRLINK answered')
      expect(far.recorder.error?.message).toContain('another handler of this server answers this path')
      await near.recorder.told('closed')
    },
  )

  test('for another path, theirs is served and ours is refused: it answers all paths', async () => {
    const server = await webServer()
    const { accepted } = await both(server, () => theirs({ server, path: '/chat' }))
    expect(await helloAt(portOf(server), '/chat')).toBe('hello')
    const near = await dialEnd(webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`))
    expect(await endOf(near)).toBe('NOT_PAIRLINK')
    expect(near.recorder.error?.message).toContain('400')
    expect(await endOf(await accepted)).toBe('NOT_PAIRLINK answered')
  })

  test('with noServer and a path of its own, both are served', async () => {
    const server = await webServer()
    const make = (): WebSocketServer => {
      const chat = theirs({ noServer: true })
      server.on('upgrade', (request, socket, head) => {
        if (request.url !== '/chat') return
        chat.handleUpgrade(request, socket, head, (one) => chat.emit('connection', one, request))
      })
      return chat
    }
    await both(server, make)
    expect(await helloAt(portOf(server), '/chat')).toBe('hello')
    await openStranger(portOf(server))
  })
})

test('a handler that destroys what it does not know is told of', async () => {
  const server = await webServer()
  server.on('upgrade', (_request, socket) => socket.destroy())
  const { accepted } = await listeningOnce(attachWs(server))
  stranger(portOf(server)).socket.write(requestOf(portOf(server)))
  expect(await endOf(await accepted)).toBe('NOT_PAIRLINK answered')
})

test('a socket that was kept alive for pages before is let in', async () => {
  const server = await webServer(createServer((_request, response) => void response.end('page')))
  server.on('upgrade', () => undefined)
  await listeningOnce(attachWs(server))
  const one = stranger(portOf(server))
  one.socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await one.until((read) => read.includes('page'))
  one.socket.write(requestOf(portOf(server)))
  expect((await one.until((read) => read.includes('101 Switching'))).toString()).toContain('HTTP/1.1 101 ')
})

describe('a path that is nobody’s', () => {
  test('beside another handler is refused once that had its time, and told', async () => {
    const server = await webServer()
    server.on('upgrade', () => undefined)
    const { accepted } = await listeningOnce(attachWs(server))
    expect((await answerTo(portOf(server), { path: '/nope' })).status).toBe(404)
    expect(await endOf(await accepted)).toBe('NOT_PAIRLINK path')
  })

  test('is left to the other handler when we have gone meanwhile', async () => {
    const server = await webServer()
    server.on('upgrade', () => undefined)
    const { listener } = await listeningOnce(attachWs(server))
    const asked = once(server, 'upgrade')
    const one = stranger(portOf(server))
    one.socket.write(requestOf(portOf(server), { path: '/nope' }))
    await asked
    await new Promise((resolve) => setImmediate(resolve))
    await listener.close()
    await new Promise((resolve) => setTimeout(resolve, 1200))
    expect(one.read().toString()).toBe('')
  })
})

describe.each(['http', 'https'])('an upgrade to something else, at a server of %s', (kind) => {
  async function ask(requests: string): Promise<string> {
    const server = await webServer(kind === 'http' ? createServer() : createSecureServer(await ownCertificate()))
    server.on('request', (request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => response.end(`<${request.method ?? ''} ${request.url ?? ''} ${body}>`))
    })
    await listening(attachWs(server))
    const port = portOf(server)
    const socket =
      kind === 'http'
        ? connect(port, '127.0.0.1')
        : connectSecurely({ port, host: '127.0.0.1', ca: (await ownCertificate()).cert })
    let read = ''
    socket.on('data', (chunk: Buffer) => (read += chunk.toString()))
    socket.write(requests)
    await once(socket, 'close')
    return read
  }

  const H2C = 'Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'
  const LAST = 'GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

  test('is a request like any other, as before', async () => {
    const read = await ask(`GET /page HTTP/1.1\r\n${H2C}\r\n${LAST}`)
    expect(read).toContain('<GET /page >')
    expect(read).toContain('<GET /last >')
  })

  test.each([
    ['whole', 'Content-Length: 4\r\n\r\nbody'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n'],
  ])('keeps its body, %s', async (_name, body) => {
    const read = await ask(`POST /page HTTP/1.1\r\n${H2C}${body}${LAST}`)
    expect(read).toContain('<POST /page body>')
    expect(read).toContain('<GET /last >')
  })
})

describe('a server that its owner closes', () => {
  test('lets what is under way be done, and the pair lives', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    let begun: () => void = () => undefined
    const handling = new Promise<void>((resolve) => (begun = resolve))
    const listens = connection(attachWs(server), {
      keepaliveMs: 50,
      onQuery: async (query: unknown) => {
        begun()
        await new Promise((resolve) => setTimeout(resolve, 300))
        return query
      },
    })
    const dials = connection(webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`))
    const apart: ConnectionEvents['apart'][] = []
    listens.on('apart', (event) => void apart.push(event))
    await Promise.all([listens.connect(), dials.connect()])
    const answer = dials.query('slow')
    await handling
    const closed = once(server, 'close')
    server.close()
    expect(await answer).toBe('slow')
    expect([listens.state, dials.state, apart]).toEqual(['paired', 'paired', []])
    await Promise.all([dials.close(), listens.close()])
    await closed
  })

  test('and lets listen again has us at the same path', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const listens = connection(attachWs(server))
    await listens.connect({ until: 'started' })
    await new Promise((resolve) => server.close(resolve))
    await webServer(server)
    const dials = connection(webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`))
    await dials.connect()
    expect(await dials.query('here')).toBe('here')
  })

  test('and lets listen beyond this host refuses each request', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { accepted } = await listeningOnce(attachWs(server))
    await new Promise((resolve) => server.close(resolve))
    server.listen(0, '0.0.0.0')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    expect((await answerTo(portOf(server))).status).toBe(403)
    const far = await accepted
    expect(await endOf(far)).toBe('NOT_PAIRLINK reach')
    expect(far.recorder.error?.message).toContain('"0.0.0.0"')
  })
})

test.each([
  ['right behind the call', (): void => undefined],
  ['a moment later', () => Promise.resolve()],
])('a listen that is aborted %s leaves nothing at the server', async (_name, moment) => {
  const server = await webServer()
  const abort = new AbortController()
  const work = attachWs(server).listen(drop, abort.signal)
  const rejected = expect(work).rejects.toThrow('enough')
  await moment()
  abort.abort(new Error('enough'))
  await rejected
  expect(server.listenerCount('upgrade')).toBe(0)
  await listening(attachWs(server))
})

test('a server that does not listen yet is what is waited for', async () => {
  const server = createServer()
  const listens = connection(attachWs(server))
  const waiting = new Promise<ConnectionEvents['waiting']>((resolve) => listens.on('waiting', resolve))
  const paired = listens.connect()
  expect((await waiting).error?.message).toContain('the server does not listen yet')
  await webServer(server)
  const dials = connection(webSocket(`ws://127.0.0.1:${portOf(server)}/pairlink`))
  await Promise.all([paired, dials.connect()])
})
