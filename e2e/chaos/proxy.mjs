/**
 * Stands between two processes and makes a bad line of their link: drops it, lets only one side learn of it, holds bytes back,
 * loses the last ones. It knows sockets and bytes, and nothing of what they mean.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

export class Proxy {
  #server
  /** The link that both sides have spoken on last, until it is taken. */
  #link
  #waiter
  #sockets = new Set()
  /** When the next link is to be dropped. */
  #ahead

  /** @param {{ path: string } | { host: string, port: number }} to where whoever listens is found */
  constructor(to) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (dialer) => {
      const listener = connect({ ...to, allowHalfOpen: true, noDelay: true })
      for (const socket of [dialer, listener]) {
        this.#sockets.add(socket)
        socket.on('error', () => undefined)
        socket.once('close', () => this.#sockets.delete(socket))
      }
      const link = new Link({ dialer, listener }, () => {
        this.#link = link
        this.#waiter?.()
      })
      if (this.#ahead !== undefined) link.dropAt(this.#ahead)
      this.#ahead = undefined
    })
  }

  /** Drops the next link when so many bytes of that side have passed. */
  dropNextAt({ side, bytes }) {
    this.#ahead = { side, bytes }
  }

  async listen(at) {
    this.#server.listen(at)
    await once(this.#server, 'listening')
  }

  /** Resolves to a link that was not given before and on which both sides have spoken; to undefined when there is none in time. */
  async next(withinMs) {
    const deadline = performance.now() + withinMs
    while (this.#link === undefined || this.#link.isOver) {
      const leftMs = deadline - performance.now()
      if (leftMs <= 0) return undefined
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, leftMs)
        this.#waiter = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const link = this.#link
    this.#link = undefined
    return link
  }

  close() {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** What is dialled here and passed on there. */
class Link {
  /** When both sides had spoken. */
  spokenAt = Infinity
  #sockets
  #directions

  /** @param {() => void} spoken called once both sides have spoken */
  constructor(sockets, spoken) {
    const { dialer, listener } = (this.#sockets = sockets)
    const silent = new Set(['dialer', 'listener'])
    const spoke = (side) => {
      if (!silent.delete(side) || silent.size > 0) return
      this.spokenAt = performance.now()
      spoken()
    }
    this.#directions = [
      new Direction(dialer, listener, () => spoke('dialer')),
      new Direction(listener, dialer, () => spoke('listener')),
    ]
  }

  /** Whether one side knows of its end. */
  get isOver() {
    return this.#sockets.dialer.destroyed || this.#sockets.listener.destroyed
  }

  drop() {
    for (const socket of Object.values(this.#sockets)) socket.destroy()
  }

  /** With an RST where there is one, which takes from either side what it has not read yet. */
  reset() {
    for (const socket of Object.values(this.#sockets)) {
      if (socket.remotePort === undefined) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  /** Only that side learns of the end. What the other one still says is lost, until it finds out by itself. */
  halfOpen(side) {
    for (const direction of this.#directions) direction.lose(0)
    this.#sockets[side].destroy()
  }

  /** Nothing is passed on for a while, in either direction; then all of it. */
  stall(forMs) {
    for (const direction of this.#directions) direction.stall(true)
    setTimeout(() => {
      for (const direction of this.#directions) direction.stall(false)
    }, forMs)
  }

  /** Drops it when so many bytes of that side have passed. */
  dropAt({ side, bytes }) {
    const [fromDialer, fromListener] = this.#directions
    const direction = side === 'dialer' ? fromDialer : fromListener
    direction.after(bytes, () => this.drop())
  }

  /** Of what comes from now on only so many bytes of each direction arrive, then both sides learn of the end. */
  loseLast(bytes, forMs) {
    for (const direction of this.#directions) direction.lose(bytes)
    setTimeout(() => this.drop(), forMs)
  }
}

/** From one socket to another, no faster than that one takes it. */
class Direction {
  #from
  #isStalled = false
  #isFull = false
  /** Set once bytes are lost: how many still pass. Never more than that, as a stream without its middle would be no bad line. */
  #leftBytes = Infinity
  /** How many bytes pass until something happens, and what. */
  #aheadBytes = Infinity
  #act

  constructor(from, to, spoke) {
    this.#from = from
    from.on('data', (chunk) => {
      spoke()
      const passed = chunk.subarray(0, Math.min(this.#leftBytes, this.#aheadBytes))
      this.#leftBytes -= passed.length
      this.#aheadBytes -= passed.length
      if (passed.length > 0 && !to.destroyed) {
        this.#isFull = !to.write(passed)
        this.#flow()
      }
      if (this.#aheadBytes === 0) this.#act()
    })
    for (const event of ['drain', 'close']) {
      to.on(event, () => {
        this.#isFull = false
        this.#flow()
      })
    }
    from.once('end', () => {
      if (this.#leftBytes === Infinity) to.end()
      else from.end()
    })
    from.once('close', () => {
      if (!from.readableEnded && this.#leftBytes === Infinity) to.destroy()
    })
  }

  stall(isStalled) {
    this.#isStalled = isStalled
    this.#flow()
  }

  lose(leftBytes) {
    this.#leftBytes = Math.min(this.#leftBytes, leftBytes)
  }

  /** Once bytes have come and so many of them have passed; behind them, none passes. */
  after(bytes, act) {
    this.#aheadBytes = bytes
    this.#act = act
  }

  #flow() {
    if (this.#isStalled || this.#isFull) this.#from.pause()
    else this.#from.resume()
  }
}
