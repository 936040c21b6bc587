// @ts-check
// The reference with one AES-256-GCM record for each write: about as little as encryption can cost a Node program. One key
// for both processes and a counter as nonce; no handshake.

import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto'
import { openRaw } from './raw.mjs'

const ALGORITHM = 'aes-256-gcm'
const LENGTH_BYTES = 4
const TAG_BYTES = 16
const KEY = createSecretKey(Buffer.alloc(32, 7))

/** @type {import('../workloads.mjs').Open} */
export const open = (options) => openRaw(options, { batched: true, shield })

function shield() {
  const sent = Buffer.alloc(12)
  const received = Buffer.alloc(12)
  return {
    /** @param {Uint8Array[]} chunks */
    seal(chunks) {
      const cipher = createCipheriv(ALGORITHM, KEY, next(sent))
      const head = Buffer.allocUnsafe(LENGTH_BYTES)
      const record = [head, ...chunks.map((chunk) => cipher.update(chunk))]
      cipher.final()
      record.push(cipher.getAuthTag())
      head.writeUInt32LE(record.reduce((sum, { length }) => sum + length, -LENGTH_BYTES))
      return record
    },
    /** @param {(chunk: Buffer) => void} onChunk */
    opens: (onChunk) =>
      readRecords((record) => {
        const decipher = createDecipheriv(ALGORITHM, KEY, next(received))
        decipher.setAuthTag(record.subarray(-TAG_BYTES))
        const plain = decipher.update(record.subarray(0, -TAG_BYTES))
        decipher.final()
        onChunk(plain)
      }),
  }
}

/** @param {Buffer} nonce */
function next(nonce) {
  nonce.writeUInt32LE(nonce.readUInt32LE(0) + 1)
  return nonce
}

/**
 * @param {(record: Buffer) => void} onRecord
 * @returns {(chunk: Buffer) => void}
 */
function readRecords(onRecord) {
  const head = Buffer.alloc(LENGTH_BYTES)
  let headFilled = 0
  /** @type {Buffer | undefined} a record of which only a part has arrived */
  let record
  let filled = 0
  return (chunk) => {
    let at = 0
    while (at < chunk.length) {
      if (record === undefined) {
        const copied = chunk.copy(head, headFilled, at)
        at += copied
        headFilled += copied
        if (headFilled < LENGTH_BYTES) return
        headFilled = 0
        const length = head.readUInt32LE()
        if (chunk.length - at >= length) {
          onRecord(chunk.subarray(at, at + length))
          at += length
          continue
        }
        record = Buffer.allocUnsafeSlow(length)
        filled = 0
      }
      const copied = chunk.copy(record, filled, at)
      at += copied
      filled += copied
      if (filled < record.length) return
      const whole = record
      record = undefined
      onRecord(whole)
    }
  }
}
