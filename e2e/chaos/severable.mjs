/**
 * A Transport whose links run through a proxy and can be cut from within the process. It listens at its own place and dials
 * another one, where the proxy stands; whether there is anybody, and who, is asked at its own place, as the proxy cannot tell.
 */

export class Severable {
  #own
  #proxied
  #lines = new Set()

  constructor(own, proxied) {
    this.#own = own
    this.#proxied = proxied
    this.address = own.address
    this.reach = own.reach
    this.encrypted = own.encrypted
  }

  async dial(signal) {
    const direct = await this.#own.dial(signal)
    if (typeof direct === 'string') return direct
    hangUp(direct)
    const pipe = await this.#proxied.dial(signal)
    return typeof pipe === 'string' ? 'again' : this.#line(pipe, direct.holder)
  }

  async listen(accept, signal, silent) {
    const listener = await this.#own.listen((pipe) => accept(this.#line(pipe, pipe.holder)), signal, silent)
    if (typeof listener === 'string' || !('start' in listener)) return listener
    hangUp(listener) // somebody is there after all, and is dialled through the proxy
    return 'taken'
  }

  refusedBy() {
    return this.#own.refusedBy?.()
  }

  obstacle() {
    return this.#own.obstacle?.()
  }

  /**
   * Ends every link of this process.
   * @param {'destroy' | 'end'} way both directions at once, or its own alone, behind the back of whoever writes there
   */
  cut(way) {
    for (const line of this.#lines) line.pipe[way]()
  }

  #line(pipe, holder) {
    const line = new Line(pipe, holder, () => this.#lines.delete(line))
    this.#lines.add(line)
    return line
  }
}

/** A pipe that is known until it is closed. */
class Line {
  #closed

  constructor(pipe, holder, closed) {
    this.pipe = pipe
    if (holder !== undefined) this.holder = holder
    this.#closed = closed
  }

  start(sink) {
    this.pipe.start({
      bytes: (chunk, transient) => sink.bytes(chunk, transient),
      drained: () => sink.drained(),
      ended: () => sink.ended(),
      closed: (error) => {
        this.#closed()
        sink.closed(error)
      },
    })
  }

  write(chunks) {
    return this.pipe.write(chunks)
  }

  end() {
    this.pipe.end()
  }

  destroy() {
    this.pipe.destroy()
  }

  ref() {
    this.pipe.ref()
  }

  unref() {
    this.pipe.unref()
  }
}

function hangUp(pipe) {
  const ignore = () => undefined
  pipe.start({ bytes: ignore, drained: ignore, ended: ignore, closed: ignore })
  pipe.destroy()
}
