/** A listening socket that another process opened. */
import { once } from 'node:events'
import { closeSync, openSync, renameSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { describe, expect, onTestFinished, test } from 'vitest'
import { inherited } from '../src/index.js'
import { child } from './children.js'
import { drop, freshDirectory, never, rejection } from './place.js'

const isWindows = process.platform === 'win32'
if (isWindows) console.log('SKIPPED inherited sockets: Windows has no descriptors for them')

/** A server as a service manager has it, and the number of its descriptor. */
async function managed(where: { path: string } | { port: 0; host: string }): Promise<{ server: Server; fd: number }> {
  const server = createServer().listen(where)
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return { server, fd: (server as unknown as { _handle: { fd: number } })._handle.fd }
}

async function connected(socket: Socket): Promise<Socket> {
  await once(socket, 'connect')
  onTestFinished(() => void socket.destroy())
  return socket
}

describe('arguments that can never work are a TypeError', () => {
  test.each([-1, 1.5, '3', undefined, null, NaN])('fd %j', (fd) => {
    expect(() => inherited({ fd } as { fd: number })).toThrow(TypeError)
  })
  test.each(['yes', 1, null])('allowNetwork %j', (allowNetwork) => {
    expect(() => inherited({ fd: 3, allowNetwork } as { fd: number })).toThrow(TypeError)
  })
  test('an unknown option, or none at all', () => {
    expect(() => inherited({ fd: 3, name: 'x' } as { fd: number })).toThrow(/unknown option 'name'; known are fd/)
    expect(() => inherited(3 as unknown as { fd: number })).toThrow(TypeError)
  })
})

test('the address names the descriptor', () => {
  const { address, encrypted } = inherited({ fd: 3 })
  expect({ address, encrypted }).toEqual({ address: 'fd:3', encrypted: false })
})

test('a dial is always absent, and rejects when it is aborted', async () => {
  const transport = inherited({ fd: 3 })
  expect(await transport.dial(never)).toBe('absent')
  expect(await transport.dial(never)).toBe('absent')
  await expect(transport.dial(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
})

describe.skipIf(isWindows)('a socket handed over to another process', () => {
  test.each(['unix', 'tcp'])('of %s accepts there, and after close nobody does', async (kind) => {
    const path = join(freshDirectory(), 's')
    const { server, fd } = await managed(kind === 'unix' ? { path } : { port: 0, host: '127.0.0.1' })
    const port = kind === 'unix' ? 0 : (server.address() as AddressInfo).port
    const dial = (): Socket => (kind === 'unix' ? connect(`${path}.moved`) : connect(port, '127.0.0.1'))
    const heir = await child({ do: 'inherited', fd: 3 }, { fd })
    expect([await heir.line(), await heir.line()]).toEqual(['absent', 'listener'])
    // From now on only the heir accepts. Closing the server would remove its path.
    if (kind === 'unix') renameSync(path, `${path}.moved`)
    await new Promise((resolve) => server.close(resolve))
    const socket = await connected(dial())
    const echoed = buffer(socket)
    socket.end('through an inherited socket')
    expect((await echoed).toString()).toBe('through an inherited socket')
    expect(await heir.line()).toBeUndefined()
    const [error] = (await once(dial(), 'error')) as [NodeJS.ErrnoException]
    expect(error.code).toBe('ECONNREFUSED')
  })
})

describe.skipIf(isWindows)('what is no socket that listens is ADDRESS_INVALID', () => {
  test('a descriptor of a file', async () => {
    const fd = openSync('/dev/null', 'r')
    onTestFinished(() => {
      closeSync(fd)
    })
    const message = await rejection(inherited({ fd }).listen(drop, never))
    expect(message).toContain(`fd:${fd}`)
  })

  test('a descriptor that is not open', async () => {
    await rejection(inherited({ fd: 1_000_000 }).listen(drop, never))
  })

  test('a socket that is connected', async () => {
    const { server } = await managed({ port: 0, host: '127.0.0.1' })
    const socket = await connected(connect((server.address() as AddressInfo).port, '127.0.0.1'))
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
    // In another process, since libuv lets one have a socket only once.
    const heir = await child({ do: 'inherited', fd: 3 }, { fd })
    expect([await heir.line(), await heir.line()]).toEqual(['absent', 'rejected ADDRESS_INVALID'])
  })
})

test('an abort before listening rejects, and leaves the socket to its owner', async () => {
  const { server, fd } = await managed({ port: 0, host: '127.0.0.1' })
  await expect(inherited({ fd }).listen(drop, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
  await connected(connect((server.address() as AddressInfo).port, '127.0.0.1'))
})

describe.skipIf(isWindows)('a socket that listens at all addresses', () => {
  test.each([
    [false, 'rejected NOT_LOCAL'],
    [true, 'listener'],
  ])('with allowNetwork %j: %s', async (allowNetwork, expected) => {
    const { fd } = await managed({ port: 0, host: '0.0.0.0' })
    expect(inherited({ fd, allowNetwork }).reach).toBe(allowNetwork ? 'network' : 'host')
    const heir = await child({ do: 'inherited', fd: 3, allowNetwork }, { fd })
    expect([await heir.line(), await heir.line()]).toEqual(['absent', expected])
  })
})
