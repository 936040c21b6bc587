/** Ports of this host that nobody holds. They are tried and given back, so whoever gets one takes it soon. */
import { createServer } from 'node:net'

// Below those that the system gives to outgoing connections, or a dialer could be given a port that a row counts on.
const PORT_FIRST = 20_000
const PORT_LAST = 29_999
let port = PORT_FIRST + ((process.pid * 37) % (PORT_LAST - PORT_FIRST))

export async function unusedPort(): Promise<number> {
  for (;;) {
    port = port >= PORT_LAST ? PORT_FIRST : port + 1
    const candidate = port
    if (await isFree(candidate)) return candidate
  }
}

function isFree(candidate: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => {
      resolve(false)
    })
    server.listen(candidate, '127.0.0.1', () => {
      server.close(() => {
        resolve(true)
      })
    })
  })
}
