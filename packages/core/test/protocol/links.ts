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
  type EndedEvent,
  type Hello,
  type LinkOptions,
  type ProtocolEvent,
  type Side,
} from '../../src/protocol/index.js'

export const LIMITS = completeLimits({})
export const PEER: Record<Side, string> = { dialer: 'd'.repeat(32), listener: '1'.repeat(32) }
export const FRESH = 'f'.repeat(32)
export const DRAIN_MS = 500
const WELCOME_BYTES = 12 + 25 + 32

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

/** What is other than usual about a link. */
export type LinkChanges = { secret?: string; hello?: Partial<Hello> } & Partial<Omit<LinkOptions, 'hello'>>

export function linkOf(side: Side, { secret = 'a secret', hello = {}, ...more }: LinkChanges = {}): Link {
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
  const common = { id: FRESH, peer, attempt: 1, limits: LIMITS, peerLimits: LIMITS, drainMs: DRAIN_MS, utf8 }
  return new Session({ ...common, ...more })
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

export function endOf(events: ProtocolEvent[]): EndedEvent['end'] {
  const last = events.at(-1)
  if (last?.type !== 'ended')
    throw new Error(`expected the end, saw ${events.map(({ type }) => type).join(', ') || 'nothing'}`)
  return last.end
}

export const FRESH_WELCOME = {
  verdict: 'fresh',
  welcome: { status: 'new', session: FRESH, received: 0 },
} as const

interface Links {
  readonly dialer: Link
  readonly listener: Link
}

interface Sessions {
  readonly asking: Session
  readonly answering: Session
}

/** Two links that have proven each other; the listener is left to welcome. */
export function proven(ofDialer: LinkChanges = {}, ofListener: LinkChanges = {}, now = 0): Links {
  const dialer = linkOf('dialer', { now, ...ofDialer })
  const listener = linkOf('listener', { now, ...ofListener })
  feed(listener, written(dialer, now), now)
  feed(dialer, written(listener, now), now)
  feed(listener, written(dialer, now), now)
  return { dialer, listener }
}

/** The four messages of a handshake, each as its bytes, and the ACK that goes out behind WELCOME. */
export function messages(): Links & Record<'hello' | 'challenge' | 'proof' | 'welcome' | 'firstAck', Uint8Array> {
  const dialer = linkOf('dialer')
  const listener = linkOf('listener')
  const hello = written(dialer)
  feed(listener, hello)
  const challenge = written(listener)
  feed(dialer, challenge)
  const proof = written(dialer)
  feed(listener, proof)
  listener.welcome(sessionOf('listener'), FRESH_WELCOME, 0)
  const welcomed = written(listener)
  const [welcome, firstAck] = [welcomed.subarray(0, WELCOME_BYTES), welcomed.subarray(WELCOME_BYTES)]
  return { dialer, listener, hello, challenge, proof, welcome, firstAck }
}

/** Proven links take sessions up: new ones, or such as go on where they are. @returns what the listener wrote, from WELCOME on */
export function carry(
  { dialer, listener }: Links,
  { asking, answering }: Sessions,
  how: 'fresh' | 'resume',
  now = 0,
): Uint8Array {
  const welcome = { status: 'resumed', session: FRESH, received: answering.received } as const
  const from = (received: number) => (how === 'fresh' ? FRESH_WELCOME : ({ verdict: how, welcome, received } as const))
  listener.welcome(answering, from(asking.received), now)
  const first = written(listener, now)
  dialer.receive(first, false, now)
  if (dialer.poll()?.type !== 'welcomed') throw new Error('expected a WELCOME')
  dialer.attach(asking, from(answering.received))
  return first
}

/** Both links open, both sessions attached, both first acknowledgements exchanged. */
export function opened(ofDialer: LinkChanges = {}, ofListener: LinkChanges = {}): Links & Sessions {
  const { dialer, listener } = proven(ofDialer, ofListener)
  // As a driver does it: the limits of the peer are those of its hello.
  const limitsOf = (own: LinkChanges, link: Link) => ({
    limits: { ...LIMITS, ...own.hello?.limits },
    peerLimits: link.peer?.limits ?? LIMITS,
  })
  const asking = sessionOf('dialer', limitsOf(ofDialer, dialer))
  const answering = sessionOf('listener', limitsOf(ofListener, listener))
  carry({ dialer, listener }, { asking, answering }, 'fresh')
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
