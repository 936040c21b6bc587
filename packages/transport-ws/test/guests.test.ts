/** Who may ask for a WebSocket: paths, Hosts, Origins and the rest of a request, at a port and at a server. */
import { createServer } from 'node:http'
import { Connection, type ConnectionEvents } from '@pairlink/core'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { attachWs, ws, type AttachOptions } from '../src/index.js'
import {
  answerTo,
  endOf,
  freePort,
  listeningOnce,
  openStranger,
  portOf,
  requestOf,
  stranger,
  webServer,
  type Ask,
} from './place.js'

const SECRET = 'the secret of these tests, long enough'
const LISTED = 'https://app.example'

describe.each(['a port', 'a server'])('at %s', (kind) => {
  let port = 0
  beforeEach(() => {
    port = 0
  })

  async function place(options: AttachOptions) {
    if (kind === 'a port') {
      port = await freePort()
      return listeningOnce(ws({ port, ...options }))
    }
    const server = await webServer()
    port = portOf(server)
    return listeningOnce(attachWs(server, options))
  }

  const asking = (headers: Ask['headers'], more: Ask = {}): Ask => ({ ...more, headers: { ...headers } })

  test.each<[string, Ask]>([
    ['without an Origin, as what is no browser', {}],
    ['with an Origin that is listed', asking({ Origin: LISTED })],
    ['with an Origin that is listed, in other letters', asking({ Origin: 'HTTPS://App.Example' })],
    ['with an Origin that was listed with its usual port', asking({ Origin: 'http://other.example' })],
    ['with an Origin of a scheme that URLs do not know', asking({ Origin: 'chrome-extension://abcdef' })],
    ['under localhost', asking({ Host: 'localhost' })],
    ['under localhost, in other letters and with a port', asking({ Host: 'LocalHost:9' })],
    ['under an address of loopback', asking({ Host: '127.1.2.3:80' })],
    ['under ::1', asking({ Host: '[::1]:80' })],
    ['behind a ?', { path: '/pairlink?room=1' }],
    ['with more protocols than ours', asking({ 'Sec-WebSocket-Protocol': 'chat, pairlink.1' })],
    ['with compression, which it does not get', asking({ 'Sec-WebSocket-Extensions': 'permessage-deflate' })],
  ])('%s a request is let in', async (_name, ask) => {
    const origins = [LISTED, 'http://other.example:80', 'chrome-extension://abcdef']
    await place({ origins })
    const one = stranger(port)
    one.socket.write(requestOf(port, ask))
    const read = (await one.until((all) => all.includes('\r\n\r\n'))).toString()
    expect(read).toMatch(/^HTTP\/1\.1 101 /)
    expect(read).toMatch(/^Sec-WebSocket-Protocol: pairlink\.1\r$/im)
    expect(read).not.toMatch(/^Sec-WebSocket-Extensions/im)
  })

  test.each<[string, Ask, number, string]>([
    ['another path', { path: '/other' }, 404, 'path'],
    ['a longer path', { path: '/pairlink/' }, 404, 'path'],
    ['a path in other letters', { path: '/Pairlink' }, 404, 'path'],
    ['an Origin that is not listed', asking({ Origin: 'https://evil.example' }), 403, 'origin'],
    ['an Origin that begins like a listed one', asking({ Origin: `${LISTED}.evil.example` }), 403, 'origin'],
    ['a listed Origin with another port', asking({ Origin: `${LISTED}:8443` }), 403, 'origin'],
    ['a listed Origin with another scheme', asking({ Origin: 'http://app.example' }), 403, 'origin'],
    ['the Origin of the server itself', asking({ Origin: 'http://127.0.0.1' }), 403, 'origin'],
    ['the Origin of a sandbox', asking({ Origin: 'null' }), 403, 'origin'],
    ['an empty Origin', asking({ Origin: '' }), 403, 'origin'],
    ['a Host that a page has made lead here', asking({ Host: 'rebound.example' }), 403, 'host'],
    ['a Host that begins like localhost', asking({ Host: 'localhost.evil.example' }), 403, 'host'],
    ['a Host that begins like loopback', asking({ Host: '127.0.0.1.evil.example' }), 403, 'host'],
    ['a Host with more than a host', asking({ Host: 'evil.example@localhost' }), 403, 'host'],
    ['a Host that is a path', asking({ Host: 'localhost/x' }), 403, 'host'],
    ['another address', asking({ Host: '192.0.2.1' }), 403, 'host'],
    ['a second Host', asking({ host: 'evil.example' }), 400, 'malformed'],
    ['an empty Host', asking({ Host: '' }), 403, 'host'],
    [
      'another version',
      asking({ 'Sec-WebSocket-Version': '8', 'Sec-WebSocket-Origin': 'https://evil.example' }),
      426,
      'version',
    ],
    ['no version', asking({ 'Sec-WebSocket-Version': undefined }), 426, 'version'],
    ['another protocol', asking({ 'Sec-WebSocket-Protocol': 'pairlink.2' }), 400, 'subprotocol'],
    ['no protocol', asking({ 'Sec-WebSocket-Protocol': undefined }), 400, 'subprotocol'],
    ['no key', asking({ 'Sec-WebSocket-Key': undefined }), 400, 'malformed'],
    ['a broken key', asking({ 'Sec-WebSocket-Key': 'short' }), 400, 'malformed'],
    ['broken protocols', asking({ 'Sec-WebSocket-Protocol': 'pairlink.1,,' }), 400, 'malformed'],
    ['an upgrade to something else', asking({ Upgrade: 'h2c' }), 426, 'upgrade'],
    ['another method', { method: 'DELETE' }, 426, 'upgrade'],
  ])('%s is refused with a status and a sentence, and the listener is told', async (_name, ask, status, reason) => {
    const { accepted } = await place({ origins: [LISTED] })
    const answer = await answerTo(port, ask)
    expect(answer.status).toBe(status)
    expect(answer.body).toMatch(/^[A-Z].*\.\n$/)
    expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8')
    const far = await accepted
    expect(await endOf(far)).toBe(`NOT_PAIRLINK ${reason}`)
    expect(far.recorder.calls).toEqual(['closed'])
  })

  test('what a stranger has sent is told to the listener, short and in one line, and not to him', async () => {
    const { accepted } = await place({})
    const origin = `https://evil.example/\u009b${'x'.repeat(5000)}`
    const answer = await answerTo(port, asking({ Origin: origin }))
    expect(answer.body).not.toContain('evil')
    const far = await accepted
    await far.recorder.told('closed')
    const text = far.recorder.error?.message ?? ''
    expect(text).toContain('https://evil.example/')
    expect(text).toContain('add it to origins')
    expect(text.length).toBeLessThan(600)
    expect(text).not.toMatch(/\p{Cc}/u)
  })

  test('no Origin is let in where none is listed', async () => {
    await place({})
    expect((await answerTo(port, asking({ Origin: LISTED }))).status).toBe(403)
  })

  test('a Host that is listed is let in, and stands in the place of localhost', async () => {
    await place({ hosts: ['App.Example', '2001:db8::1'] })
    for (const host of ['app.example', 'app.example:8443', '[2001:db8::1]:80']) {
      await openStranger(port, asking({ Host: host }))
    }
    expect((await answerTo(port, asking({ Host: 'localhost' }))).status).toBe(403)
    expect((await answerTo(port, asking({ Host: 'www.app.example' }))).status).toBe(403)
  })

  test('another path is another place', async () => {
    await place({ path: '/other/place' })
    await openStranger(port, { path: '/other/place' })
    expect((await answerTo(port, { path: '/pairlink' })).status).toBe(404)
  })

  test('the event refused and the log tell it, people once for each kind', async () => {
    const server = kind === 'a port' ? undefined : await webServer()
    port = server === undefined ? await freePort() : portOf(server)
    const warnings: string[] = []
    const waits = new Connection({
      transport: server === undefined ? ws({ port }) : attachWs(server),
      secret: SECRET,
      logger: { error: () => undefined, warn: (_fields, message) => void warnings.push(message) },
    })
    onTestFinished(() => waits.close())
    const refused: ConnectionEvents['refused'][] = []
    waits.on('refused', (event) => void refused.push(event))
    await waits.connect({ until: 'started' })
    await answerTo(port, asking({ Origin: 'https://evil.example' }))
    await answerTo(port, asking({ Origin: 'https://worse.example' }))
    await answerTo(port, asking({ Host: 'evil.example' }))
    await expect.poll(() => refused.length).toBe(3)
    expect(refused.map(({ reason, error }) => [reason, error?.code, error?.reason])).toEqual([
      ['not-pairlink', 'NOT_PAIRLINK', 'origin'],
      ['not-pairlink', 'NOT_PAIRLINK', 'origin'],
      ['not-pairlink', 'NOT_PAIRLINK', 'host'],
    ])
    expect(warnings).toHaveLength(2)
    expect(warnings[0]).toContain('"https://evil.example"')
    expect(warnings[1]).toContain('"evil.example"')
  })
})

describe('at a port', () => {
  test.each<[string, Ask]>([
    ['a page', { headers: { Connection: 'close', Upgrade: undefined } }],
    ['a form', { method: 'POST', headers: { Connection: 'close', Upgrade: undefined, 'Content-Length': '100000' } }],
  ])('who asks for %s is told what is there', async (_name, ask) => {
    const port = await freePort()
    const { accepted } = await listeningOnce(ws({ port }))
    const answer = await answerTo(port, ask)
    expect([answer.status, answer.headers.upgrade]).toEqual([426, 'websocket'])
    expect(answer.body).toContain('no page')
    expect(await endOf(await accepted)).toBe('NOT_PAIRLINK upgrade')
  })

  test('headers that are too long are told as such', async () => {
    const port = await freePort()
    const { accepted } = await listeningOnce(ws({ port }))
    expect((await answerTo(port, { headers: { Cookie: 'x'.repeat(100_000) } })).status).toBe(431)
    const far = await accepted
    expect(await endOf(far)).toBe('NOT_PAIRLINK malformed')
    expect(far.recorder.error?.message).toContain('longer headers than Node.js reads')
  })

  test('a page of another path, Host or Origin learns no more than a WebSocket would', async () => {
    const port = await freePort()
    await listeningOnce(ws({ port }))
    const page = { Connection: 'close', Upgrade: undefined }
    expect((await answerTo(port, { path: '/favicon.ico', headers: page })).status).toBe(404)
    expect((await answerTo(port, { headers: { ...page, Host: 'rebound.example' } })).status).toBe(403)
    expect((await answerTo(port, { headers: { ...page, Origin: 'https://evil.example' } })).status).toBe(403)
  })

  test('the own host is let in, whatever hosts are listed', async () => {
    const port = await freePort()
    await listeningOnce(ws({ port, host: 'localhost', hosts: ['app.example'] }))
    await openStranger(port, { headers: { Host: `localhost:${port}` } })
    expect((await answerTo(port, { headers: { Host: '127.0.0.1' } })).status).toBe(403)
  })
})

describe('at a server', () => {
  test('its other requests are answered as before, and the same path without an upgrade is', async () => {
    const server = await webServer(createServer((request, response) => void response.end(`page ${request.url ?? ''}`)))
    await listeningOnce(attachWs(server))
    for (const path of ['/', '/pairlink']) {
      const answer = await fetch(`http://127.0.0.1:${portOf(server)}${path}`)
      expect(await answer.text()).toBe(`page ${path}`)
    }
  })

  test('a path is left alone where somebody else takes upgrades', async () => {
    const server = await webServer()
    server.on('upgrade', (request, socket) => {
      if (request.url === '/theirs') setImmediate(() => socket.end('HTTP/1.1 418 Theirs\r\n\r\n'))
    })
    await listeningOnce(attachWs(server))
    expect((await answerTo(portOf(server), { path: '/theirs' })).status).toBe(418)
    await openStranger(portOf(server))
  })

  test('two connections have a path each, and a third path is nobody’s', async () => {
    const server = await webServer()
    const one = await listeningOnce(attachWs(server, { path: '/one' }))
    const two = await listeningOnce(attachWs(server, { path: '/two' }))
    await openStranger(portOf(server), { path: '/one' })
    await openStranger(portOf(server), { path: '/two' })
    await Promise.all([one.accepted, two.accepted])
    expect((await answerTo(portOf(server), { path: '/three' })).status).toBe(404)
  })
})
