/** For the tests in TypeScript. */
import type { Socket } from 'node:net'
import type { CustomCipher } from '@pairlink/crypto'

export interface Fault {
  readonly does: string
  readonly sides?: readonly string[]
  readonly modes?: readonly string[]
  readonly not?: string
  readonly at?: boolean
}
export const FAULTS: Readonly<Record<string, Fault>>

export interface SpeakOptions {
  readonly side: 'dialer' | 'listener'
  readonly mode: 'proof' | 'sealed' | 'custom'
  readonly secret: string
  readonly key?: Uint8Array
  readonly cipher?: CustomCipher
  readonly fault?: string
  /** 32 hexadecimal digits. */
  readonly instance?: string
  readonly dripMs?: number
  readonly drainMs?: number
  readonly keepaliveMs?: number
  readonly handshakeTimeoutMs?: number
  readonly answer?: (method: string, value: unknown) => unknown
}

export interface Ended {
  readonly by: string
  readonly reason?: string
  readonly text?: string
  readonly bytesRead: number
}

export interface Speaker {
  readonly paired: Promise<{ readonly session: string }>
  readonly ended: Promise<Ended>
  /** Queries and notifications, in their order. */
  readonly received: readonly { readonly type: string; readonly method: string; readonly value: unknown }[]
  query(method?: string, value?: unknown): Promise<unknown>
  notify(method?: string, value?: unknown): void
  close(text?: string): void
}

export function speak(socket: Socket, options: SpeakOptions): Speaker
