/**
 * Named pipes of Windows as a Transport. The first instance of a pipe is lock and address in one and goes with its process,
 * so there is nothing stale to take over. Written from the documentation of Node and Windows, and untested.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import type { Listener, Pipe, Transport } from '@pairlink/core'
import { addressInvalid } from './address.js'
import { dialPipe, PLAIN } from './pipe.js'
import { bind, ServerListener } from './server.js'

export function windowsPipe(name: string, address: string): Transport {
  // The pipes of all users share one space of names, and a user's name may hold what a pipe's may not.
  const user = createHash('sha256').update(userInfo().username).digest('hex').slice(0, 16)
  const path = `\\\\.\\pipe\\pairlink-${user}-${name}`
  return {
    address,
    reach: 'user',
    encrypted: false,
    async dial(signal: AbortSignal): Promise<Pipe | 'absent' | 'again' | 'full'> {
      signal.throwIfAborted()
      const dialled = await dialPipe({ path }, signal, undefined, () => true, PLAIN.dialling())
      if (dialled === 'wrong') return 'again'
      if (!(dialled instanceof Error)) return dialled
      if (dialled.code === 'ENOENT') return 'absent'
      if (dialled.code === 'EBUSY' || dialled.code === 'EPIPE') return 'again'
      throw addressInvalid(path, `it cannot be dialled (${dialled.code ?? ''})`, 'Check who made it', dialled)
    },
    async listen(accept: (pipe: Pipe) => void, signal: AbortSignal): Promise<Listener | 'taken'> {
      signal.throwIfAborted()
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        accept(PLAIN.accepted(socket))
      })
      try {
        await bind(server, { path })
      } catch (error) {
        const { code = '' } = error as NodeJS.ErrnoException
        if (code === 'EADDRINUSE' || code === 'EACCES') return 'taken'
        throw addressInvalid(path, `no pipe can be made there (${code})`, 'Choose another name', error)
      }
      if (signal.aborted) server.close()
      signal.throwIfAborted()
      return new ServerListener(server)
    },
  }
}
