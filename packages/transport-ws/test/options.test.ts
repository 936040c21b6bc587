/** What is said before anything is dialled: wrong arguments, addresses, and how far they reach. */
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { expect, test } from 'vitest'
import { webSocket as platformWebSocket } from '../src/browser.js'
import { attachWs, webSocket, ws, type AttachOptions, type HttpServer, type WsOptions } from '../src/index.js'

const wrong: [string, object][] = [
  ['a path without a /', { path: 'pairlink' }],
  ['a path with a ?', { path: '/x?y' }],
  ['a path with a #', { path: '/x#y' }],
  ['a path as no URL has it', { path: '/a b' }],
  ['a path with dots', { path: '/a/../b' }],
  ['a path that is a host', { path: '//host/x' }],
  ['a path that is none', { path: 7 }],
  ['a path with a % that stands for nothing', { path: '/%zz' }],
  ['origins that are no list', { origins: 'https://app.example' }],
  ['an Origin that is no string', { origins: [7] }],
  ['every Origin', { origins: ['*'] }],
  ['many Origins in one', { origins: ['https://*.example'] }],
  ['the Origin of sandboxes', { origins: ['null'] }],
  ['an Origin with a path', { origins: ['https://app.example/'] }],
  ['an Origin without a host', { origins: ['https://'] }],
  ['an Origin with a port that there is not', { origins: ['https://app.example:99999'] }],
  ['an Origin without a scheme', { origins: ['app.example'] }],
  ['hosts that are no list', { hosts: 'app.example' }],
  ['a host with a port', { hosts: ['app.example:80'] }],
  ['a host with a path', { hosts: ['app.example/x'] }],
  ['an empty host', { hosts: [''] }],
  ['many hosts in one', { hosts: ['*.example'] }],
  ['every host', { hosts: ['a b'] }],
  ['an allowNetwork that is neither', { allowNetwork: 1 }],
  ['an unknown name', { orgins: [] }],
]

test.each(wrong)('%s is a TypeError, at a port and at a server', (_name, more) => {
  expect(() => ws({ port: 1, ...more } as WsOptions)).toThrow(TypeError)
  expect(() => ws({ port: 1, ...more } as WsOptions)).toThrow(/^ws: /)
  expect(() => attachWs(createServer(), more as AttachOptions)).toThrow(TypeError)
  expect(() => attachWs(createServer(), more as AttachOptions)).toThrow(/^attachWs: /)
})

test.each([{ port: 0 }, { port: '80' }, { port: 1, host: '' }, undefined, null, 80])('%j is no place', (options) => {
  expect(() => ws(options as unknown as WsOptions)).toThrow(TypeError)
})

test.each([undefined, null, {}, () => undefined])('%j is no server', (server) => {
  expect(() => attachWs(server as unknown as HttpServer)).toThrow(TypeError)
})

test('an application that is no server itself is a TypeError, which says where the server is', () => {
  const express = Object.assign(() => undefined, EventEmitter.prototype, { listen: () => createServer() })
  const koa = Object.assign(new EventEmitter(), { listen: () => createServer() })
  for (const application of [express, koa]) {
    expect(() => attachWs(application as unknown as HttpServer)).toThrow(TypeError)
    expect(() => attachWs(application as unknown as HttpServer)).toThrow('what app.listen() of Express or Koa gives')
  }
})

const makers = [
  ['of Node.js', webSocket],
  ['of the platform', platformWebSocket],
] as const

test.each(makers)('webSocket %s takes no URL but one of a WebSocket', (_name, make) => {
  for (const url of [
    '',
    'localhost:80',
    'http://localhost',
    'ws://',
    'ws://localhost/#x',
    'ws://user:word@localhost/',
  ]) {
    expect(() => make(url)).toThrow(TypeError)
    expect(() => make(url)).toThrow(/^webSocket: /)
  }
  expect(() => make(undefined as unknown as string)).toThrow(TypeError)
})

test.each([{ ca: 7 }, { cert: 'x' }, null])('webSocket with %j is a TypeError', (options) => {
  expect(() => webSocket('wss://localhost/', options as object)).toThrow(TypeError)
})

test.each<[WsOptions, string, string]>([
  [{ port: 5 }, 'ws://127.0.0.1:5/pairlink', 'host'],
  [{ port: 5, host: 'localhost', path: '/a/b' }, 'ws://localhost:5/a/b', 'host'],
  [{ port: 5, host: 'LocalHost' }, 'ws://LocalHost:5/pairlink', 'host'],
  [{ port: 5, host: '::1' }, 'ws://[::1]:5/pairlink', 'host'],
  [{ port: 80, path: '/' }, 'ws://127.0.0.1:80/', 'host'],
  [{ port: 5, host: '192.0.2.1' }, 'ws://192.0.2.1:5/pairlink', 'network'],
  [{ port: 5, host: '0.0.0.0', allowNetwork: true }, 'ws://0.0.0.0:5/pairlink', 'network'],
])('%j: the address and the reach', (options, address, reach) => {
  const transport = ws(options)
  expect([transport.address, transport.reach, transport.encrypted]).toEqual([address, reach, false])
})

test.each(makers)('webSocket %s: the address, the reach, and whether it is encrypted', (_name, make) => {
  const of = (url: string | URL): unknown[] => {
    const { address, reach, encrypted } = make(url)
    return [address, reach, encrypted]
  }
  expect(of('ws://localhost:5/pairlink')).toEqual(['ws://localhost:5/pairlink', 'host', false])
  expect(of('ws://127.0.0.1/x?y')).toEqual(['ws://127.0.0.1/x?y', 'host', false])
  expect(of('ws://[::1]:5/')).toEqual(['ws://[::1]:5/', 'host', false])
  expect(of('ws://app.example/x')).toEqual(['ws://app.example/x', 'network', false])
  expect(of(new URL('wss://app.example/x'))).toEqual(['wss://app.example/x', 'network', true])
})

test('attachWs: the address, the reach, and whether it is encrypted', () => {
  const of = (server: HttpServer, options: AttachOptions): unknown[] => {
    const { address, reach, encrypted } = attachWs(server, options)
    return [address, reach, encrypted]
  }
  expect(of(createServer(), {})).toEqual(['ws+attached:/pairlink', 'host', false])
  expect(of(createServer(), { path: '/x', allowNetwork: true })).toEqual(['ws+attached:/x', 'network', false])
  expect(of(createSecureServer(), {})).toEqual(['wss+attached:/pairlink', 'host', true])
})
