/** Both providers by name, and small steps that many tests take. */
import type { SealedEncryption, SealedHandshake, SealedKeys } from '@pairlink/core/protocol'
import { hash } from '../../core/src/connection/runtime.node.js'
import type { Provider } from '../src/provider.js'
import { provider as noble } from '../src/provider.default.js'
import { provider as node } from '../src/provider.node.js'

export const PROVIDERS: readonly (readonly [name: string, provider: Provider])[] = [
  ['node', node],
  ['noble', noble],
]

export const PAIRS = PROVIDERS.flatMap(([dialerName, dialer]) =>
  PROVIDERS.map(([listenerName, listener]) => ({ name: `${dialerName} to ${listenerName}`, dialer, listener })),
)

export { hash }

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
export const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
export const filled = (byte: number, lengthBytes = 32): Uint8Array => new Uint8Array(lengthBytes).fill(byte)
export const joined = (pieces: readonly Uint8Array[] | undefined): Uint8Array => {
  if (pieces === undefined) throw new Error('nothing was sealed')
  return new Uint8Array(Buffer.concat(pieces))
}

/** The bytes with one bit changed. */
export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice()
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

export function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('did not verify')
  return value
}

export const SECRET = filled(7)
export const PROLOGUE = utf8('prologue')

export function beginBoth(dialer: SealedEncryption, listener = dialer): [SealedHandshake, SealedHandshake] {
  return [
    dialer.begin('dialer', SECRET, PROLOGUE, filled(0x11), hash),
    listener.begin('listener', SECRET, PROLOGUE, filled(0x22), hash),
  ]
}

export interface Agreed {
  readonly dialer: SealedKeys
  readonly listener: SealedKeys
  readonly messages: readonly [Uint8Array, Uint8Array]
  readonly payloads: readonly [Uint8Array, Uint8Array]
}

/** A whole handshake. */
export function agree([dialer, listener]: [SealedHandshake, SealedHandshake]): Agreed {
  const first = dialer.write(utf8('hello from the dialer'))
  const firstPayload = sure(listener.read(first))
  const second = listener.write(utf8('hello from the listener'))
  const secondPayload = sure(dialer.read(second))
  return {
    dialer: dialer.finish(),
    listener: listener.finish(),
    messages: [first, second],
    payloads: [firstPayload, secondPayload],
  }
}
