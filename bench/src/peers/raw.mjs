// @ts-check
// The reference: about as little as a Node program can do for a query and its answer. `net` over a unix socket, an
// 8-byte header (id and length, u32 little endian), one write per turn of the loop, callbacks by id in an array. No
// handshake, no timeouts, no promises, no limits; and no tricks either: the socket is read by plain `data` events.
//
// Small frames of a turn are copied into a slab, large payloads go by reference, both in one `writev`. A large frame is
// read into a buffer that is allocated once, when its header is known.

import net from 'node:net'

/** @import { Open, Payload } from '../workloads.mjs' */

/**
 * What encrypts one socket: chunks of one flush in, chunks to be written out; and what was read in, to be given back in clear.
 * @typedef {{ seal: (chunks: Uint8Array[]) => Uint8Array[], opens: (onChunk: (chunk: Buffer) => void) => (chunk: Buffer) => void }} Shield
 *
 * @typedef {object} Variant
 * @property {boolean} batched
 * @property {() => Shield} [shield]
 * @property {(onSocket: (socket: net.Socket) => void) => net.Server} [createServer]
 * @property {(socket: net.Socket) => Promise<net.Socket>} [secure] makes of a socket that is being dialled one that is ready
 */

const HEADER_BYTES = 8
const SLAB_BYTES = 64 * 1024
const COPIED_BYTES_MAX = 2 * 1024
const NOTIFICATION_ID = 0xffffffff

/** @type {Open} */
export const open = (options) => openRaw(options, { batched: true })

/**
 * @param {Parameters<Open>[0]} options
 * @param {Variant} variant
 * @returns {ReturnType<Open>}
 */
export async function openRaw({ path, role, payloads, onQuery, onNotify, onError }, variant) {
  const { decode, append } = CODECS[payloads]
  const { shield, createServer = net.createServer, secure = connected } = variant

  if (role === 'answerer') {
    const server = createServer((socket) => {
      socket.on('error', onError)
      const shielded = shield?.()
      const writer = new Writer(socket, variant.batched, shielded)
      readFrames(socket, shielded, (id, bytes, start, end) => {
        if (id === NOTIFICATION_ID) onNotify(decode(bytes, start, end))
        else append(writer, id, onQuery(decode(bytes, start, end)))
      })
    })
    await new Promise((resolve, reject) => server.once('error', reject).listen(path, () => resolve(undefined)))
    return UNUSED_ASKER
  }

  const socket = await secure(net.connect(path))
  socket.on('error', onError)
  const shielded = shield?.()
  const writer = new Writer(socket, variant.batched, shielded)
  /** @type {((answer: Payload) => void)[]} */
  const waiting = []
  /** @type {number[]} */
  const freeIds = []
  readFrames(socket, shielded, (id, bytes, start, end) => {
    const done = waiting[id]
    freeIds.push(id)
    done(decode(bytes, start, end))
  })
  return {
    ask(query, done) {
      const id = freeIds.length > 0 ? /** @type {number} */ (freeIds.pop()) : waiting.length
      waiting[id] = done
      append(writer, id, query)
    },
    tell: (message) => append(writer, NOTIFICATION_ID, message),
    whenTaken: (done) => writer.whenTaken(done),
  }
}

/** @param {net.Socket} socket */
async function connected(socket) {
  await new Promise((resolve, reject) => socket.once('error', reject).once('connect', () => resolve(undefined)))
  return socket
}

/** @type {Awaited<ReturnType<Open>>} */
const UNUSED_ASKER = { ask() {}, tell() {}, whenTaken() {} }

/** Gathers the frames of a turn and writes them at its end. */
class Writer {
  /**
   * @param {net.Socket} socket
   * @param {boolean} batched
   * @param {Shield} [shield]
   */
  constructor(socket, batched, shield) {
    this.socket = socket
    this.shield = shield
    this.batched = batched
    this.slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
    this.slabWritten = 0
    this.slabUsed = 0
    /** @type {Uint8Array[]} chunks of this turn that stand before what the slab holds */
    this.chunks = []
    this.scheduled = false
    this.flush = this.flush.bind(this)
  }

  /**
   * @param {number} id
   * @param {Uint8Array} payload
   */
  frame(id, payload) {
    const length = payload.length
    if (length > COPIED_BYTES_MAX) {
      this.header(id, length, 0)
      this.endSlabChunk()
      this.chunks.push(payload)
    } else {
      const start = this.header(id, length, length)
      this.slab.set(payload, start)
      this.slabUsed = start + length
    }
    this.schedule()
  }

  /**
   * Puts a header into the slab, which then has room for `room` more bytes; returns where they begin.
   * @param {number} id
   * @param {number} length
   * @param {number} room
   */
  header(id, length, room) {
    if (this.slabUsed + HEADER_BYTES + room > SLAB_BYTES) {
      this.endSlabChunk()
      this.slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.slabWritten = 0
      this.slabUsed = 0
    }
    const { slab, slabUsed } = this
    slab.writeUInt32LE(id, slabUsed)
    slab.writeUInt32LE(length, slabUsed + 4)
    this.slabUsed = slabUsed + HEADER_BYTES
    return this.slabUsed
  }

  endSlabChunk() {
    if (this.slabUsed === this.slabWritten) return
    this.chunks.push(this.slab.subarray(this.slabWritten, this.slabUsed))
    this.slabWritten = this.slabUsed
  }

  schedule() {
    if (!this.batched) return this.flush()
    if (this.scheduled) return
    this.scheduled = true
    process.nextTick(this.flush)
  }

  flush() {
    this.scheduled = false
    const { socket } = this
    this.endSlabChunk()
    const chunks = this.shield === undefined ? this.chunks : this.shield.seal(this.chunks)
    if (chunks.length === 1) {
      socket.write(chunks[0])
    } else {
      socket.cork()
      for (const chunk of chunks) socket.write(chunk)
      socket.uncork()
    }
    this.chunks.length = 0
  }

  /** @param {() => void} done */
  whenTaken(done) {
    if (this.slabUsed > this.slabWritten || this.chunks.length > 0) this.flush()
    if (this.socket.writableNeedDrain) this.socket.once('drain', done)
    else done()
  }
}

/**
 * @param {net.Socket} socket
 * @param {Shield | undefined} shield
 * @param {(id: number, bytes: Buffer, start: number, end: number) => void} onFrame
 */
function readFrames(socket, shield, onFrame) {
  const header = Buffer.alloc(HEADER_BYTES)
  let headerFilled = 0
  let id = 0
  /** @type {Buffer | undefined} a payload of which only a part has arrived */
  let payload
  let payloadFilled = 0

  /** @param {Buffer} chunk */
  const onChunk = (chunk) => {
    const end = chunk.length
    let at = 0
    while (at < end) {
      if (payload !== undefined) {
        const copied = chunk.copy(payload, payloadFilled, at)
        at += copied
        payloadFilled += copied
        if (payloadFilled < payload.length) return
        const whole = payload
        payload = undefined
        onFrame(id, whole, 0, whole.length)
        continue
      }
      let length
      if (headerFilled === 0 && end - at >= HEADER_BYTES) {
        id = chunk.readUInt32LE(at)
        length = chunk.readUInt32LE(at + 4)
        at += HEADER_BYTES
      } else {
        const copied = chunk.copy(header, headerFilled, at)
        at += copied
        headerFilled += copied
        if (headerFilled < HEADER_BYTES) return
        headerFilled = 0
        id = header.readUInt32LE(0)
        length = header.readUInt32LE(4)
      }
      if (end - at >= length) {
        const start = at
        at += length
        onFrame(id, chunk, start, at)
      } else {
        payload = Buffer.allocUnsafeSlow(length)
        payloadFilled = 0
      }
    }
  }
  socket.on('data', shield === undefined ? onChunk : shield.opens(onChunk))
}

/**
 * How a payload becomes bytes and back. Strings are written into the slab without a Buffer of their own.
 * @type {Record<string, {
 *   decode: (bytes: Buffer, start: number, end: number) => any,
 *   append: (writer: Writer, id: number, payload: any) => void,
 * }>}
 */
const CODECS = {
  bytes: {
    decode: (bytes, start, end) => bytes.subarray(start, end),
    append: (writer, id, payload) => writer.frame(id, payload),
  },
  string: {
    decode: (bytes, start, end) => bytes.toString('utf8', start, end),
    append: appendText,
  },
  json: {
    decode: (bytes, start, end) => JSON.parse(bytes.toString('utf8', start, end)),
    append: (writer, id, payload) => appendText(writer, id, JSON.stringify(payload)),
  },
}

/**
 * Small texts only: the slab must hold the longest encoding there could be.
 * @param {Writer} writer
 * @param {number} id
 * @param {string} text
 */
function appendText(writer, id, text) {
  const start = writer.header(id, 0, text.length * 3)
  const length = writer.slab.write(text, start)
  writer.slab.writeUInt32LE(length, start - 4)
  writer.slabUsed = start + length
  writer.schedule()
}
