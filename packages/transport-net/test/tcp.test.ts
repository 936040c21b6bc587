/** TCP as a meeting place: what can be said before anything is dialled, whose a port is, and how far it reaches. */
import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Transport } from '@pairlink/core'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { tcp, tcp4, tcp6, type TcpOptions } from '../src/index.js'
import { child } from './children.js'
import {
  bothEnds,
  drop,
  freePort,
  freshDirectory,
  listenerOf,
  listening,
  never,
  pipeOf,
  portOf,
  rejection,
} from './place.js'

/** A server without this package, closed after the test; its port. */
async function rawServer(host: string, onSocket: (socket: Socket) => void = () => undefined): Promise<number> {
  const server = createServer(onSocket).listen(0, host)
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return portOf(server)
}

/** A port that is bound and on which nobody listens: that of an outgoing connection. */
async function boundPort(): Promise<number> {
  const socket = connect(await rawServer('127.0.0.1'), '127.0.0.1')
  await once(socket, 'connect')
  onTestFinished(() => void socket.destroy())
  return socket.localPort ?? 0
}

const hasIpv6 = await freePort('::1').then(
  () => true,
  () => false,
)
if (!hasIpv6) console.log('SKIPPED what needs ::1: this machine has no IPv6')

const makers: [string, (options: TcpOptions) => Transport][] = [
  ['tcp', tcp],
  ['tcp4', tcp4],
  ['tcp6', tcp6],
]

describe.each(makers)('%s: arguments that can never work are a TypeError', (scheme, make) => {
  test.each([0, -1, 65_536, 1.5, NaN, Infinity, '80', undefined, null])('port %j', (port) => {
    expect(() => make({ port } as TcpOptions)).toThrow(TypeError)
    expect(() => make({ port } as TcpOptions)).toThrow(`${scheme}: port must be a whole number from 1 to 65535`)
  })
  test.each(['', 7, null])('host %j', (host) => {
    expect(() => make({ port: 1, host } as TcpOptions)).toThrow(TypeError)
  })
  test.each(['yes', 1, null])('allowNetwork %j', (allowNetwork) => {
    expect(() => make({ port: 1, allowNetwork } as unknown as TcpOptions)).toThrow(TypeError)
  })
  test('an unknown option', () => {
    expect(() => make({ port: 1, hots: 'x' } as TcpOptions)).toThrow(
      `${scheme}: unknown option 'hots'; known are port, host, allowNetwork`,
    )
  })
  test.each([undefined, null, 80])('options %j', (options) => {
    expect(() => make(options as unknown as TcpOptions)).toThrow(TypeError)
  })
  test('both ends of the range of ports are allowed', () => {
    for (const port of [1, 65_535]) expect(make({ port }).address).toContain(`:${port}`)
  })
})

test('an address of the other family is a TypeError', () => {
  expect(() => tcp4({ port: 1, host: '::1' })).toThrow(TypeError)
  expect(() => tcp6({ port: 1, host: '127.0.0.1' })).toThrow(TypeError)
})

test.each<[Transport, string, string]>([
  [tcp({ port: 5 }), 'tcp://127.0.0.1:5', 'host'],
  [tcp4({ port: 5 }), 'tcp4://127.0.0.1:5', 'host'],
  [tcp6({ port: 5 }), 'tcp6://[::1]:5', 'host'],
  [tcp({ port: 5, host: '::1' }), 'tcp://[::1]:5', 'host'],
  [tcp({ port: 5, host: '127.8.9.10' }), 'tcp://127.8.9.10:5', 'host'],
  [tcp({ port: 5, host: 'localhost' }), 'tcp://localhost:5', 'host'],
  [tcp({ port: 5, host: '127.0.0.1', allowNetwork: true }), 'tcp://127.0.0.1:5', 'host'],
  [tcp({ port: 5, host: '0.0.0.0' }), 'tcp://0.0.0.0:5', 'network'],
  [tcp({ port: 5, host: '::' }), 'tcp://[::]:5', 'network'],
  [tcp({ port: 5, host: '192.0.2.1' }), 'tcp://192.0.2.1:5', 'network'],
  [tcp({ port: 5, host: '127.0.0.1.example' }), 'tcp://127.0.0.1.example:5', 'network'],
  [tcp({ port: 5, host: 'localhost.example' }), 'tcp://localhost.example:5', 'network'],
])('%# the address and the reach', (transport, address, reach) => {
  expect([transport.address, transport.reach, transport.encrypted]).toEqual([address, reach, false])
})

describe('beyond this host', () => {
  test('nothing is dialled without allowNetwork', async () => {
    const accepted: number[] = []
    let arrived: () => void = () => undefined
    const control = new Promise<void>((resolve) => (arrived = resolve))
    const port = await rawServer('0.0.0.0', (socket) => {
      accepted.push(socket.remotePort ?? 0)
      socket.destroy()
      arrived()
    })
    const transport = tcp({ port, host: '0.0.0.0' })
    expect(await rejection(transport.dial(never), 'NOT_LOCAL')).toContain('allowNetwork: true')
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    await once(socket, 'connect')
    await control
    expect(accepted).toEqual([socket.localPort])
  })

  test('nothing is listened on without allowNetwork', async () => {
    const port = await freePort()
    expect(await rejection(tcp({ port, host: '0.0.0.0' }).listen(drop, never), 'NOT_LOCAL')).toContain('0.0.0.0')
    expect(await tcp({ port }).dial(never)).toBe('absent')
  })

  test('a name is not looked up without allowNetwork', async () => {
    // Looking it up would be another error.
    const transport = tcp({ port: 1, host: 'no-such-host.invalid' })
    await rejection(transport.dial(never), 'NOT_LOCAL')
    await rejection(transport.listen(drop, never), 'NOT_LOCAL')
  })

  test('with allowNetwork all addresses of this host are listened on', async () => {
    const transport = tcp({ port: await freePort(), host: '0.0.0.0', allowNetwork: true })
    await listening(transport)
    pipeOf(await transport.dial(never))
  })

  test("an address of another host can only be dialled, so listening is 'cannot'", async () => {
    const transport = tcp({ port: 40_000, host: '192.0.2.1', allowNetwork: true })
    expect(await transport.listen(drop, never)).toBe('cannot')
  })
})

describe.each<[string, (port: number) => Transport]>([
  ['tcp', (port) => tcp({ port })],
  ['tcp4', (port) => tcp4({ port })],
  ["tcp with host 'localhost'", (port) => tcp({ port, host: 'localhost' })],
  ["tcp4 with host 'localhost'", (port) => tcp4({ port, host: 'localhost' })],
  ...(hasIpv6 ? [['tcp6', (port: number) => tcp6({ port })] as [string, (port: number) => Transport]] : []),
])('%s', (_name, make) => {
  const port = (): Promise<number> => freePort(_name === 'tcp6' ? '::1' : '127.0.0.1')

  test('nobody there is absent, one who listens is a pipe, and after close nobody is there', async () => {
    const transport = make(await port())
    expect(await transport.dial(never)).toBe('absent')
    const listener = await listening(transport)
    pipeOf(await transport.dial(never))
    expect(listener.close()).toBe(listener.close())
    await listener.close()
    expect(await transport.dial(never)).toBe('absent')
    await listening(transport)
  })

  test('the port belongs to one alone; the other is told that it is taken', async () => {
    const number = await port()
    const results = await Promise.all([make(number).listen(drop, never), make(number).listen(drop, never)])
    expect(results.filter((result) => result === 'taken')).toHaveLength(1)
    for (const result of results) if (result !== 'taken') listenerOf(result)
  })

  test('a half-closed pipe delivers everything that was written before, in both directions', async () => {
    const [near, far] = await bothEnds(make(await port()))
    const [there, back] = [randomBytes(5_000_000), randomBytes(3_000_000)]
    near.pipe.write([there])
    near.pipe.end()
    await far.recorder.told('ended')
    expect(Buffer.concat(far.recorder.chunks).equals(there)).toBe(true)
    far.pipe.write([back])
    far.pipe.end()
    await Promise.all([near.recorder.told('closed'), far.recorder.told('closed')])
    expect(Buffer.concat(near.recorder.chunks).equals(back)).toBe(true)
    expect([near.recorder.error, far.recorder.error]).toEqual([undefined, undefined])
  })
})

test.skipIf(!hasIpv6)('tcp6 leaves the same port of IPv4 alone', async () => {
  const port = await freePort('::1')
  await listening(tcp6({ port, host: '::', allowNetwork: true }))
  expect(await tcp4({ port }).dial(never)).toBe('absent')
  await listening(tcp4({ port }))
})

describe('the socket', () => {
  test('sends at once, at both ends', async () => {
    const transport = tcp({ port: await freePort() })
    let arrived: () => void = () => undefined
    const accepted = new Promise<void>((resolve) => (arrived = resolve))
    await listening(transport, (pipe) => {
      drop(pipe)
      arrived()
    })
    // All sockets of TCP share the object that asks the system.
    const other = connect(await rawServer('127.0.0.1'), '127.0.0.1')
    await once(other, 'connect')
    const handle = Object.getPrototypeOf((other as unknown as { _handle: object })._handle) as {
      setNoDelay: (isOn: boolean) => number
    }
    other.destroy()
    const asked = vi.spyOn(handle, 'setNoDelay')
    onTestFinished(() => {
      asked.mockRestore()
    })
    pipeOf(await transport.dial(never))
    await accepted
    expect(asked.mock.calls).toEqual([[true], [true]])
  })

  test('that is aborted during the dial rejects with the reason', async () => {
    const transport = tcp({ port: await freePort() })
    await listening(transport)
    const abort = new AbortController()
    const work = transport.dial(abort.signal)
    abort.abort(new Error('enough'))
    await expect(work).rejects.toThrow('enough')
  })

  test.each(['127.0.0.1', 'localhost'])(
    'that is aborted while it begins to listen at %s leaves the port free',
    async (host) => {
      const port = await freePort()
      const abort = new AbortController()
      const work = tcp({ port, host }).listen(drop, abort.signal)
      setImmediate(() => {
        abort.abort(new Error('enough'))
      })
      const result = await work.catch((error: Error) => error.message)
      if (typeof result !== 'string') await listenerOf(result).close()
      else expect(result).toBe('enough')
      await listening(tcp({ port }))
    },
  )
})

describe('a port that is bound and not listened on', () => {
  test('is taken for about a second, and then ADDRESS_IN_USE', async () => {
    const transport = tcp({ port: await boundPort() })
    const begun = performance.now()
    for (;;) {
      expect(await transport.dial(never)).toBe('absent')
      const result = await transport.listen(drop, never).catch((error: unknown) => error)
      if (result !== 'taken') {
        expect(await rejection(Promise.reject(result), 'ADDRESS_IN_USE')).toContain(transport.address)
        break
      }
      // Pauses as whoever dials does; the time is read off the clock.
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const took = performance.now() - begun
    expect(took).toBeGreaterThan(900)
    expect(took).toBeLessThan(3000)
  })

  test('counts anew after a dial that succeeded', async () => {
    const port = await freePort()
    const transport = tcp({ port })
    const other = tcp({ port })
    const listener = await listening(other)
    expect(await transport.listen(drop, never)).toBe('taken')
    const until = performance.now() + 1050
    pipeOf(await transport.dial(never))
    await new Promise((resolve) => setTimeout(resolve, until - performance.now()))
    expect(await transport.listen(drop, never)).toBe('taken')
    await listener.close()
  })
})

describe('a dial that would meet itself', () => {
  test('is absent, where the only port for it is the one dialled', async (context) => {
    // Only in a network of its own can a port for outgoing connections be forced, for all programs in it.
    const port = 40_001
    const enter = `ip link set lo up && echo '${port} ${port}' > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"`
    const wrap = ['unshare', '-n', 'sh', '-c', enter, 'sh']
    const lineOf = async (order: 'dial-raw' | 'dial'): Promise<string | undefined> => {
      const dialler = await child({ do: order, port }, { wrap })
      return dialler.line()
    }
    const control = await lineOf('dial-raw').catch((error: unknown) => String(error))
    if (control !== 'itself') {
      console.log(`SKIPPED a dial that would meet itself: no network of its own (${control})`)
      context.skip()
    }
    expect(await lineOf('dial')).toBe('absent')
  })
})

describe('without descriptors', () => {
  async function starved(): Promise<(string | undefined)[]> {
    const path = join(freshDirectory(), 's')
    const wrap = ['sh', '-c', 'ulimit -n 200 && exec "$@"', 'sh']
    const hungry = await child({ do: 'starve', path, port: await freePort(), left: 2 }, { wrap })
    return [await hungry.line(), await hungry.line()]
  }

  test('unix gives no error for good', async () => {
    const [unixResult] = await starved()
    expect(unixResult).toBeOneOf(['taken', 'cannot'])
  })

  test('tcp gives no error for good', async () => {
    const [, tcpResult] = await starved()
    expect(tcpResult).toBeOneOf(['taken', 'cannot'])
  })
})
