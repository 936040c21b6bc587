// A WebSocket made by hand, as a stream of bytes over a connected socket: each write goes out as messages of its own, and the
// end is that of the socket. It judges nothing of what the other side does.
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Duplex } from 'node:stream'

const BINARY = 0x82
const CLOSE = 0x88
const MASKED = 0x80
const MASK_BYTES = 4
const MESSAGE_BYTES_MAX = 65_536
const HEAD_END = '\r\n\r\n'
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const PROTOCOL = 'Sec-WebSocket-Protocol: pairlink.1'

/** What a dialer asks for. */
export function request({ port }) {
  const key = randomBytes(16).toString('base64')
  const lines = [`Host: 127.0.0.1:${port}`, `Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 13', PROTOCOL]
  return head('GET /pairlink HTTP/1.1', lines)
}

/** What a listener answers to that. */
export function answer(asked) {
  const key = /^sec-websocket-key: *(\S+)/im.exec(asked)?.[1] ?? ''
  const accepted = createHash('sha1')
    .update(key + GUID)
    .digest('base64')
  return head('HTTP/1.1 101 Switching Protocols', [`Sec-WebSocket-Accept: ${accepted}`, PROTOCOL])
}

function head(first, lines) {
  return [first, 'Connection: Upgrade', 'Upgrade: websocket', ...lines].join('\r\n') + HEAD_END
}

/** Resolves to a WebSocket that is open; never, where the socket ends before. */
export async function openWebSocket(socket, side, address) {
  if (side === 'dialer') socket.write(request(address))
  const [asked, rest] = await headOf(socket)
  if (side === 'listener') socket.write(answer(asked))
  return new HandmadeWebSocket(socket, side, rest)
}

/** What is read up to the empty line, and what has come behind it. */
export async function headOf(socket) {
  let read = Buffer.alloc(0)
  for (;;) {
    const [chunk] = await once(socket, 'data')
    read = Buffer.concat([read, chunk])
    const at = read.indexOf(HEAD_END)
    if (at >= 0) return [read.toString('latin1', 0, at), read.subarray(at + HEAD_END.length)]
  }
}

class HandmadeWebSocket extends Duplex {
  /** Of messages, without what WebSocket adds. */
  bytesRead = 0
  #socket
  #isMasked
  #rest
  #isOver = false

  constructor(socket, side, rest) {
    super()
    this.#socket = socket
    this.#isMasked = side === 'dialer'
    this.#rest = rest
    socket.on('data', (chunk) => this.#take(chunk))
    socket.once('end', () => this.#over())
    socket.on('error', (error) => this.destroy(error))
    socket.once('close', () => this.destroy())
  }

  /** As it travels. */
  framed(bytes) {
    const frames = []
    for (let at = 0; at < bytes.length; at += MESSAGE_BYTES_MAX) {
      const payload = bytes.subarray(at, at + MESSAGE_BYTES_MAX)
      // With a mask of zeros the bytes stay what they are.
      frames.push(this.#header(payload.length), Buffer.alloc(this.#isMasked ? MASK_BYTES : 0), payload)
    }
    return Buffer.concat(frames)
  }

  /** As it is, whatever WebSocket allows. */
  writeRaw(bytes, written) {
    this.#socket.write(bytes, written)
  }

  _write(bytes, _, done) {
    this.#socket.write(this.framed(bytes), done)
  }

  _final(done) {
    this.#socket.end(done)
  }

  _read() {
    this.#socket.resume()
  }

  _destroy(error, done) {
    this.#socket.destroy()
    done(error)
  }

  #header(length) {
    const mask = this.#isMasked ? MASKED : 0
    if (length < 126) return Buffer.from([BINARY, mask | length])
    if (length < MESSAGE_BYTES_MAX) return Buffer.from([BINARY, mask | 126, length >> 8, length & 0xff])
    const header = Buffer.alloc(10)
    header.set([BINARY, mask | 127])
    header.writeBigUInt64BE(BigInt(length), 2)
    return header
  }

  #take(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) {
      if (this.#isOver) return
      this.bytesRead += frame.payload.length
      if (frame.kind === CLOSE) this.#over()
      else if (frame.kind === BINARY && !this.push(frame.payload)) this.#socket.pause()
    }
  }

  #over() {
    this.#isOver = true
    this.push(null)
  }

  /** The next whole frame; they are never fragments here. */
  #next() {
    const rest = this.#rest
    if (rest.length < 2) return undefined
    const short = rest[1] & 0x7f
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
    const maskBytes = (rest[1] & MASKED) === 0 ? 0 : MASK_BYTES
    const begin = 2 + lengthBytes + maskBytes
    if (rest.length < begin) return undefined
    const length = lengthBytes === 0 ? short : rest.readUIntBE(lengthBytes === 8 ? 4 : 2, lengthBytes === 8 ? 6 : 2)
    if (rest.length < begin + length) return undefined
    const payload = Buffer.from(rest.subarray(begin, begin + length))
    const mask = rest.subarray(begin - maskBytes, begin)
    if (maskBytes > 0) for (let at = 0; at < length; at++) payload[at] ^= mask[at % MASK_BYTES]
    this.#rest = rest.subarray(begin + length)
    return { kind: rest[0], payload }
  }
}
