/**
 * A hostile middle between two processes: takes apart what each says into first messages, frames and records, keeps it, and
 * passes on what the test makes of it. It knows how the bytes are cut and no key.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterwards, kept, type ModeName } from './endpoints.js'
import { folder } from './processes.js'

export type From = 'dialer' | 'listener'

/** One first message with its preamble, one frame, or one record with its length. */
export interface Unit {
  readonly bytes: Buffer
  readonly from: From
  /** From 0, the first message, on each link. */
  readonly at: number
  /** From 0. */
  readonly link: number
}

/** What is passed on in the place of a unit. */
export type Change = (unit: Unit) => readonly Uint8Array[]
const AS_IT_IS: Change = ({ bytes }) => [bytes]

const PREAMBLE_BYTES = 8
const HEADER_BYTES = 12

/** How many bytes the unit at the beginning of `bytes` has; undefined while that cannot be said. */
function lengthBytesOf(bytes: Buffer, at: number, mode: ModeName): number | undefined {
  if (at === 0) return bytes.length < PREAMBLE_BYTES ? undefined : PREAMBLE_BYTES + bytes.readUInt16BE(6)
  const isRecord = mode === 'sealed' || (mode === 'custom' && at >= 2)
  if (isRecord) return bytes.length < 2 ? undefined : 2 + bytes.readUInt16BE(0)
  return bytes.length < HEADER_BYTES ? undefined : HEADER_BYTES + bytes.readUInt32BE(8)
}

export class Middle {
  /** Where the one dials. */
  readonly path = join(folder(), 'm')
  readonly units: Unit[] = []
  change: Change = AS_IT_IS
  links = 0
  readonly #mode: ModeName
  readonly #server: Server
  readonly #waiters = new Set<() => void>()
  #dialer: Socket | undefined
  #listener: Socket | undefined

  private constructor(listenerPath: string, mode: ModeName) {
    this.#mode = mode
    this.#server = createServer({ allowHalfOpen: true }, (dialer) => {
      const link = this.links++
      const listener = connect({ path: listenerPath, allowHalfOpen: true })
      this.#dialer = dialer
      this.#listener = listener
      this.#pass(dialer, listener, 'dialer', link)
      this.#pass(listener, dialer, 'listener', link)
    })
  }

  static async to(listenerPath: string, mode: ModeName): Promise<Middle> {
    const middle = new Middle(listenerPath, mode)
    afterwards(() => middle.#server.close())
    middle.#server.listen(middle.path)
    await once(middle.#server, 'listening')
    return middle
  }

  heard(from: From, link?: number): Buffer[] {
    return this.units
      .filter((unit) => unit.from === from && (link === undefined || unit.link === link))
      .map(({ bytes }) => bytes)
  }

  /** Everything heard, in one piece. */
  get all(): Buffer {
    return Buffer.concat(this.units.map(({ bytes }) => bytes))
  }

  /** Resolves once there are so many units of that side. */
  async until(from: From, count: number): Promise<void> {
    while (this.heard(from).length < count) await new Promise<void>((resolve) => this.#waiters.add(resolve))
  }

  /** Writes to one side, as if the other had. */
  write(to: From, bytes: Uint8Array): void {
    const socket = to === 'dialer' ? this.#dialer : this.#listener
    socket?.write(bytes)
  }

  /** Ends the present link. */
  cut(): void {
    this.#dialer?.destroy()
  }

  #pass(from: Socket, to: Socket, side: From, link: number): void {
    kept(from)
    let rest = Buffer.alloc(0)
    let at = 0
    from.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      for (;;) {
        const lengthBytes = lengthBytesOf(rest, at, this.#mode)
        if (lengthBytes === undefined || rest.length < lengthBytes) break
        const unit: Unit = { bytes: rest.subarray(0, lengthBytes), from: side, at, link }
        rest = rest.subarray(lengthBytes)
        at++
        this.units.push(unit)
        for (const bytes of this.change(unit)) to.write(bytes)
        for (const waiter of this.#waiters) waiter()
        this.#waiters.clear()
      }
    })
    from.once('end', () => to.end())
    from.once('close', () => to.destroy())
  }
}
