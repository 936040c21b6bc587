// The usual recipe for "whoever comes first listens", without pairlink: bind; if the address is in use, connect; if that is
// refused, unlink and bind again. It has the well-known hole that two processes may both find the same stale file, and the
// second one unlinks the socket of the first. It is raced to show that the harness sees this.
import { unlinkSync } from 'node:fs'
import { connect, createServer } from 'node:net'

/** @import { Go, Report } from './racer.mjs' */

/** Nobody is told to try for ever. */
const TRIES_MAX = 20

export class Recipe {
  #id
  #where
  #pausesMs
  #report
  /** @type {Set<{ destroy(): void }>} */
  #sockets = new Set()
  /** @type {import('node:net').Server | undefined} */
  #server
  #isClosed = false

  /** @param {Go} go @param {Report} report */
  constructor({ id, address, pausesMs = [] }, report) {
    this.#id = id
    this.#where = 'port' in address ? { port: address.port, host: '127.0.0.1' } : { path: address.path }
    this.#pausesMs = pausesMs
    this.#report = report
  }

  /** Resolves when it is paired. @throws the system's error, or one with the code PAIR_BUSY */
  async run() {
    for (let tries = 0; tries < TRIES_MAX && !this.#isClosed; tries++) {
      const first = await attempt(this.#bind())
      if (first.error === undefined) return first.value
      if (first.error.code !== 'EADDRINUSE') throw first.error
      await this.#pause(0)
      const second = await attempt(this.#dial())
      if (second.error === undefined) return second.value
      if (second.error.code !== 'ECONNREFUSED' && second.error.code !== 'ENOENT') throw second.error
      await this.#pause(1)
      if (this.#where.path !== undefined) unlinkIfThere(this.#where.path)
      await this.#pause(2)
    }
    throw new Error(`No luck in ${TRIES_MAX} tries`)
  }

  async close() {
    this.#isClosed = true
    for (const socket of this.#sockets) socket.destroy()
    const server = this.#server
    if (server !== undefined) await new Promise((resolve) => server.close(resolve))
  }

  /** Listens, and resolves when somebody came: the first is the other one, the rest are told that it is busy. */
  #bind() {
    return new Promise((resolve, reject) => {
      let isPaired = false
      const server = createServer((socket) => {
        this.#keep(socket)
        socket.write(`${this.#id} ${isPaired ? 'busy' : 'paired'}\n`)
        if (isPaired) return
        isPaired = true
        firstLine(socket, (line) => resolve({ role: 'listener', other: Number(line), about: Number(line) }))
      })
      server.once('error', reject)
      server.listen(this.#where, () => {
        this.#server = server
        this.#report('listening')
      })
    })
  }

  #dial() {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#where)
      this.#keep(socket)
      socket.once('error', reject)
      socket.once('end', () => reject(Object.assign(new Error('Hung up'), { code: 'ECONNRESET' })))
      firstLine(socket, (line) => {
        const [id, word] = line.split(' ')
        if (word !== 'paired') reject(Object.assign(new Error('Two are paired'), { code: 'PAIR_BUSY' }))
        else resolve({ role: 'dialer', other: Number(id), about: Number(id) })
        socket.write(`${this.#id}\n`)
      })
    })
  }

  #keep(/** @type {import('node:net').Socket} */ socket) {
    socket.on('error', () => undefined)
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  async #pause(/** @type {number} */ step) {
    const ms = this.#pausesMs[step] ?? 0
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
  }
}

async function attempt(/** @type {Promise<any>} */ promise) {
  try {
    return { value: await promise }
  } catch (error) {
    return { error: /** @type {NodeJS.ErrnoException} */ (error) }
  }
}

function firstLine(/** @type {import('node:net').Socket} */ socket, /** @type {(line: string) => void} */ take) {
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => {
    const before = text.includes('\n')
    text += chunk
    if (!before && text.includes('\n')) take(text.slice(0, text.indexOf('\n')))
  })
}

function unlinkIfThere(/** @type {string} */ path) {
  try {
    unlinkSync(path)
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error
  }
}
