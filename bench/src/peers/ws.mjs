// @ts-check
// The reference for WebSocket: the package `ws` as a careful user would take it. Over TCP on loopback, both ends in
// Node.js, no compression; a message is an id (u32 little endian) and the payload; callbacks by id in an array. The socket
// is corked, so that all messages of a turn leave in one write. No handshake of its own, no timeouts, no promises.

import { WebSocket, WebSocketServer } from 'ws'

/** @import { Open, Payload } from '../workloads.mjs' */

const ID_BYTES = 4
const NOTIFICATION_ID = 0xffffffff
const HOST = '127.0.0.1'
const OPTIONS = { perMessageDeflate: false }

/** @type {Open} */
export async function open({ port, role, payloads, onQuery, onNotify, onError }) {
  const { encode, decode } = CODECS[payloads]

  if (role === 'answerer') {
    const server = new WebSocketServer({ ...OPTIONS, host: HOST, port })
    server.on('connection', (webSocket, { socket }) => {
      const send = corked(webSocket, socket)
      webSocket.on('error', onError)
      webSocket.on('message', (/** @type {Buffer} */ message) => {
        const id = message.readUInt32LE()
        if (id === NOTIFICATION_ID) onNotify(decode(message))
        else send(encode(id, onQuery(decode(message))))
      })
    })
    await new Promise((resolve, reject) => server.once('error', reject).once('listening', () => resolve(undefined)))
    return UNUSED_ASKER
  }

  const webSocket = new WebSocket(`ws://${HOST}:${port}`, OPTIONS)
  /** @type {import('node:net').Socket} */
  const socket = await new Promise((resolve, reject) => {
    webSocket.once('error', reject)
    webSocket.once('upgrade', (response) => webSocket.once('open', () => resolve(response.socket)))
  })
  webSocket.on('error', onError)
  const send = corked(webSocket, socket)
  /** @type {((answer: Payload) => void)[]} */
  const waiting = []
  /** @type {number[]} */
  const freeIds = []
  webSocket.on('message', (/** @type {Buffer} */ message) => {
    const id = message.readUInt32LE()
    freeIds.push(id)
    waiting[id](decode(message))
  })
  return {
    ask(query, done) {
      const id = freeIds.length > 0 ? /** @type {number} */ (freeIds.pop()) : waiting.length
      waiting[id] = done
      send(encode(id, query))
    },
    tell: (message) => send(encode(NOTIFICATION_ID, message)),
    whenTaken(done) {
      if (socket.writableNeedDrain) socket.once('drain', done)
      else done()
    },
  }
}

/** @type {Awaited<ReturnType<Open>>} */
const UNUSED_ASKER = { ask() {}, tell() {}, whenTaken() {} }

/**
 * @param {WebSocket} webSocket
 * @param {import('node:net').Socket} socket
 * @returns {(message: Buffer) => void}
 */
function corked(webSocket, socket) {
  let isCorked = false
  const uncork = () => {
    isCorked = false
    socket.uncork()
  }
  return (message) => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      process.nextTick(uncork)
    }
    webSocket.send(message)
  }
}

/**
 * How an id and a payload become a message, and the message a payload.
 * @type {Record<string, { encode: (id: number, payload: any) => Buffer, decode: (message: Buffer) => any }>}
 */
const CODECS = {
  bytes: {
    encode(id, payload) {
      const message = messageOf(id, payload.length)
      message.set(payload, ID_BYTES)
      return message
    },
    decode: (message) => message.subarray(ID_BYTES),
  },
  string: {
    encode: encodeText,
    decode: textOf,
  },
  json: {
    encode: (id, payload) => encodeText(id, JSON.stringify(payload)),
    decode: (message) => JSON.parse(textOf(message)),
  },
}

/**
 * @param {number} id
 * @param {string} text
 */
function encodeText(id, text) {
  const message = messageOf(id, Buffer.byteLength(text))
  message.write(text, ID_BYTES)
  return message
}

/** @param {Buffer} message */
function textOf(message) {
  return message.toString('utf8', ID_BYTES)
}

/**
 * @param {number} id
 * @param {number} payloadBytes
 */
function messageOf(id, payloadBytes) {
  const message = Buffer.allocUnsafe(ID_BYTES + payloadBytes)
  message.writeUInt32LE(id)
  return message
}
