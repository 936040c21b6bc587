/** Ports of this host that nobody holds. They are tried and given back, so whoever gets one takes it soon. */
import { createServer } from 'node:net'

// Below those that the system gives to outgoing connections, or a dialer could be given a port that a row counts on.
// Test files that run at the same time have ports of their own: between a try and its use another one could have it.
const FILES_MAX = 8
const PORTS = 10_000 / FILES_MAX
const PORT_FIRST = 20_000 + (Number(process.env['VITEST_POOL_ID'] ?? 0) % FILES_MAX) * PORTS
const PORT_LAST = PORT_FIRST + PORTS - 1
let port = PORT_FIRST + ((process.pid * 37) % PORTS)

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
