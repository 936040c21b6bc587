/** Two links face to face with fixed values, for tests that look at single messages. */
import { hash } from '../../src/connection/runtime.node.js'
import { utf8 } from '../../src/connection/text.js'
import {
  completeLimits,
  Link,
  NO_CLAIM,
  NO_ID,
  proofKey,
  Session,
  type Hello,
  type LinkOptions,
  type ProtocolEvent,
  type Side,
} from '../../src/protocol/index.js'

export const LIMITS = completeLimits({})
export const PEER: Record<Side, string> = { dialer: 'd'.repeat(32), listener: '1'.repeat(32) }
export const FRESH = 'f'.repeat(32)

export function helloOf(side: Side, more: Partial<Hello> = {}): Hello {
  return {
    side,
    instance: PEER[side],
    process: 'c'.repeat(32),
    nonce: new Uint8Array(32).fill(side === 'dialer' ? 1 : 2),
    features: 0,
    keepaliveMs: 2500,
    limits: LIMITS,
    claim: side === 'listener' ? NO_CLAIM : { attempt: 1, session: NO_ID, received: 0, peer: NO_ID, fresh: FRESH },
    about: new Uint8Array(0),
    cipherName: '',
    ...more,
  }
}

export function linkOf(
  side: Side,
  {
    secret = 'a secret',
    hello = {},
    ...more
  }: { secret?: string; hello?: Partial<Hello> } & Partial<Omit<LinkOptions, 'hello'>> = {},
): Link {
  return new Link({
    hello: helloOf(side, hello),
    key: proofKey(utf8.encode(secret), hash, utf8),
    hash,
    utf8,
    silenceMs: 20_000,
    handshakeTimeoutMs: 5000,
    now: 0,
    ...more,
  })
}

export function sessionOf(side: Side, more: Partial<ConstructorParameters<typeof Session>[0]> = {}): Session {
  const peer = PEER[side === 'dialer' ? 'listener' : 'dialer']
  return new Session({ id: FRESH, peer, attempt: 1, limits: LIMITS, peerLimits: LIMITS, drainMs: 5000, utf8, ...more })
}

/** What a link has to write, as one piece. */
export function written(link: Link, now = 0): Uint8Array {
  const chunks: Uint8Array[] = []
  for (let count = -1; count !== chunks.length; ) {
    count = chunks.length
    link.takeWrite(1 << 20, now, chunks)
  }
  return join(...chunks)
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

/** Feeds bytes and reads all events. Events are copied, since frequent ones are one object. */
export function feed(link: Link, bytes: Uint8Array, now = 0, chunkBytes = Infinity): ProtocolEvent[] {
  const events: ProtocolEvent[] = []
  for (let at = 0; at < bytes.length || at === 0; at += chunkBytes) {
    link.receive(bytes.subarray(at, Math.min(bytes.length, at + chunkBytes)), false, now)
    events.push(...polled(link))
    if (chunkBytes === Infinity) break
  }
  return events
}

export function polled(link: Link): ProtocolEvent[] {
  const events: ProtocolEvent[] = []
  for (let event = link.poll(); event !== undefined; event = link.poll()) events.push({ ...event })
  return events
}

export const FRESH_WELCOME = {
  verdict: 'fresh',
  welcome: { status: 'new', session: FRESH, received: 0 },
} as const

/** Both links open, both sessions attached, both first acknowledgements exchanged. */
export function opened(): { dialer: Link; listener: Link; asking: Session; answering: Session } {
  const dialer = linkOf('dialer')
  const listener = linkOf('listener')
  feed(listener, written(dialer))
  feed(dialer, written(listener))
  feed(listener, written(dialer))
  const answering = sessionOf('listener')
  listener.welcome(answering, FRESH_WELCOME, 0)
  const asking = sessionOf('dialer')
  dialer.receive(written(listener), false, 0)
  const welcomed = dialer.poll()
  if (welcomed?.type !== 'welcomed') throw new Error('expected a WELCOME')
  dialer.attach(asking, FRESH_WELCOME)
  polled(dialer)
  feed(listener, written(dialer))
  feed(dialer, written(listener))
  return { dialer, listener, asking, answering }
}

/** A frame as a hostile peer would write it. */
export function frame(
  kind: number,
  payload: Uint8Array = new Uint8Array(0),
  { flags = 0, content = 0, reserved = 0, id = 0, length = payload.length } = {},
): Uint8Array {
  const bytes = new Uint8Array(12 + payload.length)
  const view = new DataView(bytes.buffer)
  bytes.set([kind, flags, content, reserved])
  view.setUint32(4, id)
  view.setUint32(8, length)
  bytes.set(payload, 12)
  return bytes
}
