/**
 * A listening socket that a service manager has opened and handed over. Such a process only listens; the other one dials
 * the same address in its own way, with `failover: false`, since the place is the manager's to give.
 */
import { createServer } from 'node:net'
import { PairlinkError, type Listener, type Pipe, type Transport } from '@pairlink/core'
import { addressInvalid } from './address.js'
import { checkOptions } from './options.js'
import { PLAIN } from './pipe.js'
import { bind, isLoopback, ServerListener } from './server.js'

export interface InheritedOptions {
  /** The number of the descriptor: 3 for the first that systemd passes. */
  readonly fd: number
  /** Lets the link leave this host, where it must be encrypted. */
  readonly allowNetwork?: boolean
}

/**
 * Meets at a listening socket of a service manager. Closing the connection closes the descriptor, so a process can do it
 * once.
 * @throws TypeError for what is not the number of a descriptor
 */
export function inherited(options: InheritedOptions): Transport {
  checkOptions('inherited', options, ['fd', 'allowNetwork'])
  const { fd, allowNetwork = false } = options
  if (!Number.isInteger(fd) || fd < 0) throw new TypeError('inherited: fd must be the number of a descriptor')
  if (typeof allowNetwork !== 'boolean') throw new TypeError('inherited: allowNetwork must be true or false')
  const address = `fd:${fd}`
  return {
    address,
    reach: allowNetwork ? 'network' : 'host',
    encrypted: false,
    dial(signal: AbortSignal): Promise<'absent'> {
      return signal.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve('absent')
    },
    async listen(accept: (pipe: Pipe) => void, signal: AbortSignal): Promise<Listener> {
      signal.throwIfAborted()
      const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        accept(PLAIN.accepted(socket))
      })
      try {
        await bind(server, { fd })
      } catch (error) {
        const { code = 'an error' } = error as NodeJS.ErrnoException
        throw addressInvalid(address, `it is not a socket that listens (${code})`, 'Look at the service manager', error)
      }
      const bound = server.address()
      if (!allowNetwork && typeof bound === 'object' && bound !== null && !isLoopback(bound.address)) {
        server.close()
        const text = `${address}: it listens at ${bound.address}, beyond this host. Let the service manager listen at 127.0.0.1, or use allowNetwork: true with encryption`
        throw new PairlinkError('NOT_LOCAL', text)
      }
      if (signal.aborted) server.close()
      signal.throwIfAborted()
      return new ServerListener(server)
    },
  }
}
