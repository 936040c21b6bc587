import { describe, expect, it } from 'vitest'
import * as core from '@pairlink/core'
import * as net from '@pairlink/transport-net'
import * as pairlink from '../src/index.js'

const { transportFromUrl } = pairlink

describe('transportFromUrl', () => {
  it.each([
    ['unix:/run/x.sock', 'unix:/run/x.sock', 'user'],
    ['unix:/tmp/a b%20c.sock', 'unix:/tmp/a b%20c.sock', 'user'],
    ['local:name', 'local:name', 'user'],
    ['tcp://127.0.0.1:1234', 'tcp://127.0.0.1:1234', 'host'],
    ['tcp://:1234', 'tcp://127.0.0.1:1234', 'host'],
    ['tcp://localhost:1234/', 'tcp://localhost:1234', 'host'],
    ['tcp4://127.0.0.1:1234', 'tcp4://127.0.0.1:1234', 'host'],
    ['tcp6://[::1]:1234', 'tcp6://[::1]:1234', 'host'],
    ['tcp://10.1.2.3:1234', 'tcp://10.1.2.3:1234', 'network'],
  ])('takes %s', (url, address, reach) => {
    expect(transportFromUrl(url)).toMatchObject({ address, reach })
  })

  it('resolves a relative path now', () => {
    expect(transportFromUrl('unix:x.sock').address).toBe(`unix:${process.cwd()}/x.sock`)
  })

  it.each([
    '',
    'x',
    '/run/x.sock',
    'http://127.0.0.1:80',
    'UNIX:/x',
    'unix:',
    'local:',
    'local:../x',
    'tcp:1234',
    'tcp://127.0.0.1',
    'tcp://127.0.0.1:0',
    'tcp://127.0.0.1:65536',
    'tcp://127.0.0.1:1234/path',
    'tcp://user@127.0.0.1:1234',
    'tcp4://[::1]:1234',
  ])("refuses '%s' with a TypeError", (url) => {
    expect(() => transportFromUrl(url)).toThrow(TypeError)
  })

  it('refuses what is no string', () => {
    expect(() => transportFromUrl(1234 as unknown as string)).toThrow(TypeError)
  })

  it('passes on that the network is allowed', async () => {
    const dialled = transportFromUrl('tcp://localhost:1', { allowNetwork: true }).dial(new AbortController().signal)
    expect(await dialled).toBe('absent')
    const refused = transportFromUrl('tcp://192.0.2.1:1').dial(new AbortController().signal)
    await expect(refused).rejects.toMatchObject({ code: 'NOT_LOCAL' })
  })
})

it('exports all of core and transport-net', () => {
  expect(pairlink).toMatchObject({ ...core, ...net })
})
