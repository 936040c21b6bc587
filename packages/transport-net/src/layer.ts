/**
 * For authors of layers between a socket and its pipe, such as TLS: the same meeting places with other pipes. What a layer
 * does with the bytes is not known here.
 */
import type { OnReadOpts, Socket } from 'node:net'
import type { Pipe } from '@pairlink/core'

export { checkOptions, type TcpOptions, type UnixOptions } from './options.js'
export { socketPipe } from './pipe.js'
export { tcpWith, type TcpFamily } from './tcp.js'
export { unixWith } from './unix.js'

/** What turns a socket into the pipe that is handed on. Every socket is made with `allowHalfOpen`. */
export interface Layer {
  /** True when bytes are encrypted and the peer authenticated. */
  readonly encrypted: boolean
  /** Called before an address is taken. @throws PairlinkError when nothing that comes in could be made a pipe */
  check(): void
  /** The pipe of an accepted socket; what is wrong with it is told by the pipe. */
  accepted(socket: Socket): Pipe
  /**
   * Called before anything is dialled.
   * @throws PairlinkError when no retry can help; the dial rejects with it
   */
  dialling(): Dialling
}

/** One dial of a layer. */
export interface Dialling {
  /** The buffer that the socket reads into, where the layer reads from the socket itself. */
  readonly onread?: OnReadOpts
  /**
   * The pipe of the connected socket, from which nothing was read.
   * @param holder who accepted, for the pipe to carry
   */
  readonly pipe: (socket: Socket, holder: string | undefined) => Pipe
}
