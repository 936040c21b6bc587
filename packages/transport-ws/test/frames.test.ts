/** What a stranger may do with a WebSocket that is open, and a server with one that it was asked for. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { createHash, randomBytes } from 'node:crypto'
import { Connection, type ConnectionEvents, type Transport } from '@pairlink/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ws, webSocket } from '../src/index.js'
import {
  dialEnd,
  endOf,
  frame,
  freePort,
  listeningOnce,
  OPCODE,
  openStranger,
  portOf,
  requestOf,
  stranger,
  type End,
  type Stranger,
} from './place.js'

const KIB = 1024
const piece = (bytes: number): Buffer => Buffer.alloc(bytes, 7)

/** A stranger whose WebSocket is open, and the listener's end of it. */
async function opened(): Promise<[Stranger, End]> {
  const port = await freePort()
  const { accepted } = await listeningOnce(ws({ port }))
  const one = await openStranger(port)
  return [one, await accepted]
}

describe('what is allowed', () => {
  test('a message of 64 KiB', async () => {
    const [one, far] = await opened()
    one.socket.write(frame(OPCODE.binary, piece(64 * KIB)))
    await expect.poll(() => far.recorder.bytesRead).toBe(64 * KIB)
  })

  test('a message in 64 fragments, with pings between them', async () => {
    const [one, far] = await opened()
    for (let at = 0; at < 64; at++) {
      one.socket.write(frame(at === 0 ? OPCODE.binary : OPCODE.continuation, piece(KIB), { fin: at === 63 }))
      one.socket.write(frame(OPCODE.ping, piece(3)))
    }
    await expect.poll(() => far.recorder.bytesRead).toBe(64 * KIB)
    expect(far.recorder.calls).toEqual(['bytes'])
  })

  test('a ping, which is answered with its own bytes', async () => {
    const [one] = await opened()
    const before = one.read().length
    one.socket.write(frame(OPCODE.ping, Buffer.from('are you there')))
    const read = await one.until((all) => all.length >= before + 15)
    expect([...read.subarray(before, before + 2)]).toEqual([0x80 | OPCODE.pong, 13])
    expect(read.subarray(before + 2).toString()).toBe('are you there')
  })

  test('a pong that nobody has asked for', async () => {
    const [one, far] = await opened()
    one.socket.write(Buffer.concat([frame(OPCODE.pong, piece(5)), frame(OPCODE.binary, Buffer.from('on'))]))
    await far.recorder.told('bytes')
    expect(far.recorder.text).toBe('on')
  })

  test('a frame that comes byte by byte', async () => {
    const [one, far] = await opened()
    for (const byte of frame(OPCODE.binary, Buffer.from('bit by bit'))) {
      one.socket.write(Uint8Array.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await far.recorder.told('bytes')
    expect(far.recorder.text).toBe('bit by bit')
  })

  test.each([
    ['done', Buffer.from([0x03, 0xe8])],
    ['going away, as a page does that is left', Buffer.from([0x03, 0xe9])],
    ['without a code', Buffer.alloc(0)],
  ])('a close, %s, which is an orderly end', async (_name, payload) => {
    const [one, far] = await opened()
    one.socket.write(frame(OPCODE.binary, Buffer.from('all')))
    one.socket.write(frame(OPCODE.close, payload))
    await far.recorder.told('closed')
    expect([far.recorder.calls, far.recorder.error, far.recorder.text]).toEqual([
      ['bytes', 'ended', 'closed'],
      undefined,
      'all',
    ])
    await one.closed
  })

  test('a socket that ends without a close is cut off, with an error that is none of pairlink', async () => {
    const [one, far] = await opened()
    one.socket.end(frame(OPCODE.binary, Buffer.from('last words')))
    await far.recorder.told('closed')
    expect([far.recorder.calls, far.recorder.text]).toEqual([['bytes', 'closed'], 'last words'])
    expect(far.recorder.error?.message).toContain('cut off')
  })

  test('the last words of one who has gone are read, although writing to him fails first', async () => {
    const [one, far] = await opened()
    const wait = (ms: number): void => {
      const until = performance.now() + ms
      while (performance.now() < until);
    }
    one.socket.write(frame(OPCODE.binary, Buffer.from('last words')))
    one.socket.destroy()
    // The first write is answered with a reset, and the second one fails, both before anything is read.
    for (let round = 0; round < 3; round++) {
      wait(20)
      far.pipe.write([piece(1)])
    }
    await far.recorder.told('closed')
    expect(far.recorder.text).toBe('last words')
  })

  test('a reset is told as the system has it', async () => {
    const [one, far] = await opened()
    one.socket.resetAndDestroy()
    await far.recorder.told('closed')
    expect(far.recorder.error).toMatchObject({ code: 'ECONNRESET' })
  })
})

const broken: [string, string, Buffer[]][] = [
  ['text', 'a message of text', [frame(OPCODE.text, Buffer.from('hello'))]],
  ['text that is none', 'WS_ERR_INVALID_UTF8', [frame(OPCODE.text, Buffer.from([0xff, 0xfe]))]],
  ['a message without a mask', 'WS_ERR_EXPECTED_MASK', [frame(OPCODE.binary, piece(10), { masked: false })]],
  [
    'one byte more than 64 KiB',
    'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH',
    [frame(OPCODE.binary, piece(0), { length: 64 * KIB + 1 })],
  ],
  [
    'a length of 64 MiB',
    'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH',
    [frame(OPCODE.binary, piece(0), { length: 64 * KIB * KIB })],
  ],
  [
    'a length beyond all numbers',
    'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH',
    [Buffer.from([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0])],
  ],
  [
    'fragments of more than 64 KiB together',
    'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH',
    [frame(OPCODE.binary, piece(60 * KIB), { fin: false }), frame(OPCODE.continuation, piece(5 * KIB))],
  ],
  [
    '65 fragments',
    'WS_ERR_TOO_MANY_BUFFERED_PARTS',
    Array.from({ length: 65 }, (_, at) =>
      frame(at === 0 ? OPCODE.binary : OPCODE.continuation, piece(1), { fin: false }),
    ),
  ],
  [
    '65 empty fragments',
    'WS_ERR_TOO_MANY_BUFFERED_PARTS',
    Array.from({ length: 65 }, (_, at) =>
      frame(at === 0 ? OPCODE.binary : OPCODE.continuation, piece(0), { fin: false }),
    ),
  ],
  ['a compressed message', 'WS_ERR_UNEXPECTED_RSV_1', [frame(OPCODE.binary, piece(10), { reserved: 0x40 })]],
  ['an opcode that nobody knows', 'WS_ERR_INVALID_OPCODE', [frame(3, piece(10))]],
  ['a control frame that nobody knows', 'WS_ERR_INVALID_OPCODE', [frame(11, piece(1))]],
  ['a fragment of nothing', 'WS_ERR_INVALID_OPCODE', [frame(OPCODE.continuation, piece(10))]],
  [
    'a message inside of another',
    'WS_ERR_INVALID_OPCODE',
    [frame(OPCODE.binary, piece(1), { fin: false }), frame(OPCODE.binary, piece(1))],
  ],
  ['a ping in fragments', 'WS_ERR_EXPECTED_FIN', [frame(OPCODE.ping, piece(1), { fin: false })]],
  ['a ping of 126 bytes', 'WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH', [frame(OPCODE.ping, piece(126))]],
  ['a close of one byte', 'WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH', [frame(OPCODE.close, piece(1))]],
  [
    'a close with a code that must not travel',
    'WS_ERR_INVALID_CLOSE_CODE',
    [frame(OPCODE.close, Buffer.from([0x03, 0xee]))],
  ],
  [
    'a message behind its last one',
    'a message behind its last one',
    [frame(OPCODE.binary, piece(0)), frame(OPCODE.binary, piece(1))],
  ],
]

describe('what breaks a rule closes the pipe with PROTOCOL, and is not delivered', () => {
  test.each(broken)('%s', async (_name, fault, frames) => {
    const [one, far] = await opened()
    one.socket.write(frame(OPCODE.binary, Buffer.from('before')))
    for (const bytes of frames) one.socket.write(bytes)
    one.socket.write(frame(OPCODE.binary, Buffer.from('behind')))
    expect(await endOf(far)).toBe('PROTOCOL')
    expect(far.recorder.text).toBe('before')
    expect(far.recorder.error?.message).toContain('the other side sends')
    expect(far.recorder.error?.message).toContain(fault)
    await one.closed
  })

  test('pings without end, whose answers are not read', async () => {
    const [one, far] = await opened()
    one.socket.pause()
    const pings = Buffer.concat(Array.from({ length: 2000 }, () => frame(OPCODE.ping, piece(125))))
    let isOver = false
    void one.closed.then(() => (isOver = true))
    const before = process.memoryUsage().external
    for (let round = 0; round < 1000 && !isOver; round++) {
      if (!one.socket.write(pings)) await Promise.race([once(one.socket, 'drain').catch(() => undefined), one.closed])
    }
    expect(await endOf(far)).toBe('PROTOCOL')
    expect(process.memoryUsage().external - before).toBeLessThan(32 * KIB * KIB)
  })
})

describe('before any proof, memory stays bounded', () => {
  const KIND = {
    '64 MiB in one frame': () => [
      frame(OPCODE.binary, piece(0), { length: 64 * KIB * KIB }),
      ...Array(1024).fill(piece(64 * KIB)),
    ],
    '64 MiB in fragments of 64 KiB': () =>
      Array.from({ length: 1024 }, (_, at) =>
        frame(at === 0 ? OPCODE.binary : OPCODE.continuation, piece(64 * KIB), { fin: false }),
      ),
    '64 MiB in messages of 64 KiB': () => Array.from({ length: 1024 }, () => frame(OPCODE.binary, piece(64 * KIB))),
    '1,024 fragments of one byte': () =>
      Array.from({ length: 1024 }, (_, at) =>
        frame(at === 0 ? OPCODE.binary : OPCODE.continuation, piece(1), { fin: false }),
      ),
  } satisfies Record<string, () => Buffer[]>

  test.each(Object.keys(KIND) as (keyof typeof KIND)[])('of 16 strangers that send %s each', async (kind) => {
    const port = await freePort()
    const waits = new Connection({
      transport: ws({ port }),
      secret: 'a secret of these tests, long enough',
      logger: { error: () => undefined },
    })
    onTestFinished(() => waits.close())
    const refused: ConnectionEvents['refused'][] = []
    waits.on('refused', (event) => void refused.push(event))
    await waits.connect({ until: 'started' })
    const frames = KIND[kind]()
    const strangers = await Promise.all(Array.from({ length: 16 }, () => openStranger(port)))
    const before = process.memoryUsage()
    let peak = 0
    const send = async ({ socket, closed }: Stranger): Promise<void> => {
      let isOver = false
      void closed.then(() => (isOver = true))
      for (const bytes of frames) {
        if (isOver) return
        if (!socket.write(bytes)) await Promise.race([once(socket, 'drain').catch(() => undefined), closed])
        const { heapUsed, external } = process.memoryUsage()
        peak = Math.max(peak, heapUsed + external - before.heapUsed - before.external)
      }
    }
    await Promise.all(strangers.map(send))
    await Promise.all(strangers.map(({ closed }) => closed))
    // The strangers of this test hold their own part of it.
    expect(peak).toBeLessThan(64 * KIB * KIB)
    expect(refused).toHaveLength(16)
    // Whole messages get as far as the bytes of pairlink, and are none.
    const expected = kind === '64 MiB in messages of 64 KiB' ? 'not-pairlink' : 'protocol'
    for (const { reason } of refused) expect(reason).toBe(expected)
  })

  test('a message of 64 KiB that comes in single bytes is given up at 4,096 pieces', async () => {
    const [one, far] = await opened()
    const bytes = frame(OPCODE.binary, piece(64 * KIB))
    let isOver = false
    void far.recorder.told('closed').then(() => (isOver = true))
    let sent = 0
    // Only what is read piece by piece counts as pieces.
    for (const byte of bytes) {
      if (isOver) break
      one.socket.write(Uint8Array.of(byte))
      sent++
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await endOf(far)).toBe('PROTOCOL')
    expect(sent).toBeLessThan(64 * KIB)
  })
})

type Answer = (socket: Socket, request: string) => void

/** The port of a server that is made by hand, closed after the test. */
async function answeringPort(answer: Answer): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    onTestFinished(() => void socket.destroy())
    let request = ''
    const read = (chunk: Buffer): void => {
      request += chunk.toString('latin1')
      if (!request.includes('\r\n\r\n')) return
      socket.off('data', read)
      answer(socket, request)
    }
    socket.on('data', read)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return portOf(server)
}

const OURS = 'Sec-WebSocket-Protocol: pairlink.1'

function switching(request: string, ...more: string[]): string {
  const [, key = ''] = /sec-websocket-key: (.*)\r\n/i.exec(request) ?? []
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${accept}`,
    ...more,
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

describe('the masks of who dials', () => {
  /** Those of a message and of the empty one behind it, as hexadecimal digits. */
  async function masksOf(dialAt: (port: number) => Transport): Promise<string[]> {
    const message = piece(30)
    let answered: (one: Socket) => void = () => undefined
    const socket = new Promise<Socket>((resolve) => (answered = resolve))
    const port = await answeringPort((one, request) => {
      one.write(switching(request, OURS))
      answered(one)
    })
    const { pipe } = await dialEnd(dialAt(port))
    pipe.write([message])
    pipe.end()
    const headBytes = 6
    let read = Buffer.alloc(0)
    for await (const chunk of (await socket).iterator({ destroyOnReturn: false })) {
      read = Buffer.concat([read, chunk as Buffer])
      if (read.length >= 2 * headBytes + message.length) break
    }
    const behind = read.subarray(headBytes + message.length)
    expect([...read.subarray(0, 2), ...behind.subarray(0, 2)]).toEqual([0x82, 0x80 | message.length, 0x82, 0x80])
    const mask = read.subarray(2, headBytes)
    const payload = read.subarray(headBytes, headBytes + message.length)
    expect(payload.map((byte, at) => byte ^ (mask[at % 4] ?? NaN))).toEqual(message)
    return [mask, behind.subarray(2)].map((each) => each.toString('hex'))
  }

  test('are zeros at a port of this host, where nothing stands between', async () => {
    expect(await masksOf((port) => ws({ port }))).toEqual(['00000000', '00000000'])
  })

  test.each<[string, (port: number) => Transport]>([
    ['towards a URL', (port) => webSocket(`ws://127.0.0.1:${port}/pairlink`)],
    ['at a port that other hosts can reach', (port) => ws({ port, host: '0.0.0.0', allowNetwork: true })],
  ])('are random %s', async (_name, dialAt) => {
    const [first, second] = await masksOf(dialAt)
    expect(first).not.toBe('00000000')
    expect(second).not.toBe(first)
  })
})

describe('a server that answers otherwise', () => {
  const dialledAt = async (answer: Answer): Promise<End> =>
    dialEnd(webSocket(`ws://127.0.0.1:${await answeringPort(answer)}/pairlink`))

  test.each<[string, Answer, string]>([
    ['with a page', (socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'), '200 OK'],
    [
      'with a page without end',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n')
        const more = (): void => void (socket.write(piece(64 * KIB)) ? setImmediate(more) : socket.once('drain', more))
        more()
      },
      '200 OK',
    ],
    [
      'that there is nothing',
      (socket) => void socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'),
      '404 Not Found',
    ],
    [
      'that it is elsewhere',
      (socket) => void socket.end('HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n'),
      '302 Found',
    ],
    [
      'with something else than HTTP',
      (socket) => void socket.end('220 mail.example ESMTP ready\r\n'),
      'does not speak HTTP',
    ],
    ['by hanging up', (socket) => void socket.end(), 'hung up'],
    ['by a reset', (socket) => void socket.resetAndDestroy(), 'hung up'],
    [
      'with another protocol',
      (socket, request) => void socket.write(switching(request, 'Sec-WebSocket-Protocol: chat')),
      'subprotocol',
    ],
    ['without a protocol', (socket, request) => void socket.write(switching(request)), 'subprotocol'],
    [
      'with compression',
      (socket, request) => void socket.write(switching(request, OURS, 'Sec-WebSocket-Extensions: permessage-deflate')),
      'extension',
    ],
    ['to another key', (socket) => void socket.write(switching('', OURS)), 'Accept'],
  ])('%s is no pairlink', async (_name, answer, text) => {
    const near = await dialledAt(answer)
    near.pipe.write([Buffer.from('a hello')])
    expect(await endOf(near)).toBe('NOT_PAIRLINK')
    expect(near.recorder.calls).toEqual(['closed'])
    expect(near.recorder.error?.message).toContain(text)
  })

  test.each<[string, Buffer]>([
    ['text', frame(OPCODE.text, Buffer.from('hello'), { masked: false })],
    ['a mask', frame(OPCODE.binary, piece(5))],
    ['a message of more than 64 KiB', frame(OPCODE.binary, piece(0), { masked: false, length: 64 * KIB + 1 })],
  ])('%s over a WebSocket is PROTOCOL', async (_name, bytes) => {
    const near = await dialledAt((socket, request) => {
      socket.write(switching(request, OURS))
      socket.write(bytes)
    })
    expect(await endOf(near)).toBe('PROTOCOL')
  })

  test('what comes right behind its answer is delivered', async () => {
    const near = await dialledAt((socket, request) => {
      socket.write(
        Buffer.concat([
          Buffer.from(switching(request, OURS)),
          frame(OPCODE.binary, Buffer.from('at once'), { masked: false }),
        ]),
      )
    })
    await near.recorder.told('bytes')
    expect(near.recorder.text).toBe('at once')
  })

  test('that says nothing stays until it is destroyed', async () => {
    const near = await dialledAt(() => undefined)
    expect(near.pipe.write([Buffer.from('x')])).toBe(false)
    near.pipe.destroy()
    await near.recorder.told('closed')
    expect([near.recorder.calls, near.recorder.error]).toEqual([['closed'], undefined])
  })
})

describe('a stranger that never asks', () => {
  test('says nothing, and stays until it is destroyed', async () => {
    const port = await freePort()
    const { accepted } = await listeningOnce(ws({ port }))
    const one = stranger(port)
    const far = await accepted
    far.pipe.destroy()
    await Promise.all([far.recorder.told('closed'), one.closed])
    expect([far.recorder.calls, far.recorder.error]).toEqual([['closed'], undefined])
  })

  test('asks for ever, and is given up when the time of the handshake is up', async () => {
    const port = await freePort()
    const waits = new Connection({
      transport: ws({ port }),
      secret: 'a secret of these tests, long enough',
      handshakeTimeoutMs: 300,
      logger: { error: () => undefined },
    })
    onTestFinished(() => waits.close())
    await waits.connect({ until: 'started' })
    const refused = new Promise<ConnectionEvents['refused']>((resolve) => waits.on('refused', resolve))
    const one = stranger(port)
    one.socket.write(requestOf(port).slice(0, -2))
    const trickle = setInterval(() => one.socket.write('X-More: of it\r\n'), 20)
    onTestFinished(() => {
      clearInterval(trickle)
    })
    expect((await refused).reason).toBe('silent')
    await one.closed
  })

  test('asks with headers without end, and is told that they are too large', async () => {
    const port = await freePort()
    const { accepted } = await listeningOnce(ws({ port }))
    const one = stranger(port)
    one.socket.write(requestOf(port).slice(0, -2))
    const junk = `X-Junk: ${randomBytes(500).toString('hex')}\r\n`
    for (let at = 0; at < 100; at++) one.socket.write(junk)
    const far = await accepted
    expect(await endOf(far)).toBe('NOT_PAIRLINK malformed')
    await one.closed
  })

  test.each([
    '\0\0\0\0\0\0\0\0\0\0\0\0',
    'PLNK\x01\x00\x00\x10',
    'SSH-2.0-OpenSSH_9\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01',
  ])('says %j instead, and is told from others', async (text) => {
    const port = await freePort()
    const { accepted } = await listeningOnce(ws({ port }))
    const one = stranger(port)
    one.socket.write(Buffer.from(text, 'latin1'))
    const far = await accepted
    expect(await endOf(far)).toBe('NOT_PAIRLINK malformed')
    expect(far.recorder.error?.message).toContain('without WebSocket')
    await one.closed
    expect(one.read().toString()).toContain('HTTP/1.1 400 Bad Request')
  })
})
