/** What another process does in the cases that need one: it meets, and sends back whatever it reads. */
import type { Pipe, Transport } from '@pairlink/core'
import { setTimeout } from '../timers.js'
import type { PeerRole } from './manifest.js'

/** No case takes longer. Whoever is left alone by a runner that has crashed ends by itself. */
const LIFE_MS = 120_000
const LOOK_MS = 20

/**
 * Runs one side in a process of its own, for `Place.spawn`: listens or dials at the transport's address, and echoes. The
 * process ends when it is killed, or after two minutes.
 */
export async function runPeer(transport: Transport, role: PeerRole): Promise<void> {
  setTimeout(() => {
    process.exit(1)
  }, LIFE_MS)
  const never = new AbortController().signal
  if (role === 'listener') {
    const listener = await transport.listen(echo, never)
    if (typeof listener === 'string') throw new Error(`listen() gave '${listener}'`)
    return
  }
  for (;;) {
    const dialled = await transport.dial(never)
    if (typeof dialled !== 'string') {
      echo(dialled)
      return
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

function echo(pipe: Pipe): void {
  pipe.start({
    bytes(chunk, transient) {
      pipe.write([transient ? new Uint8Array(chunk) : chunk])
    },
    drained() {},
    ended() {
      pipe.end()
    },
    closed() {},
  })
}
