/**
 * Two processes of the pure protocol on one virtual clock, and a wire between them that splits, joins, delays and cuts: a
 * driver in its smallest form. Everything is drawn from one seed.
 */
import { hash } from '../../src/connection/runtime.node.js'
import { utf8 } from '../../src/connection/text.js'
import {
  completeLimits,
  judgeClaim,
  judgeWelcome,
  Link,
  NO_CLAIM,
  NO_ID,
  proofKey,
  Session,
  type Delivery,
  type Hello,
  type Id,
  type Limits,
  type LinkEnd,
  type ProtocolEvent,
  type Side,
} from '../../src/protocol/index.js'
import { encryptionInUse } from '../connection/encryption.js'

/** A generator of fractions that repeats itself from the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export const key = proofKey(utf8.encode('a secret'), hash, utf8)

/** One process: at most one session, carried by at most one link at a time. */
export class Machine {
  link: Link | undefined
  session: Session | undefined
  readonly instance: Id
  readonly limits: Limits
  readonly drainMs: number
  readonly ends: LinkEnd[] = []
  onEvent: (event: ProtocolEvent) => void = () => undefined
  resumed = 0
  #attempt = 0
  #fresh: Id
  readonly #random: () => number

  constructor(name: string, limits: Partial<Limits>, random: () => number, drainMs = 500) {
    this.#random = random
    this.instance = name.repeat(32).slice(0, 32)
    this.limits = completeLimits(limits)
    this.drainMs = drainMs
    this.#fresh = this.#id()
  }

  #id(): Id {
    return Array.from({ length: 32 }, () => Math.floor(this.#random() * 16).toString(16)).join('')
  }

  #bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => Math.floor(this.#random() * 256))
  }

  /** A new link, on which nothing has been said; what the one before had not delivered is lost with it. */
  begin(side: Side, now: number): Link {
    const { session, limits } = this
    const { encryption } = encryptionInUse()
    const claim =
      side === 'listener'
        ? NO_CLAIM
        : {
            attempt: ++this.#attempt,
            session: session?.id ?? NO_ID,
            received: session?.received ?? 0,
            peer: session?.peer ?? NO_ID,
            fresh: this.#fresh,
          }
    this.link = new Link({
      hello: {
        side,
        instance: this.instance,
        process: this.instance,
        nonce: this.#bytes(32),
        features: 0,
        keepaliveMs: 2500,
        limits,
        claim,
        about: new Uint8Array(0),
        cipherName: encryption?.mode === 'custom' ? encryption.cipherName : '',
      },
      encryption,
      ephemeral: this.#bytes(32),
      key,
      hash,
      utf8,
      silenceMs: 20_000,
      handshakeTimeoutMs: 5000,
      now,
    })
    return this.link
  }

  /** Reads all events, settling the handshake itself and passing on the rest. */
  poll(now: number): void {
    const { link } = this
    if (link === undefined) {
      for (let event = this.session?.poll(); event !== undefined; event = this.session?.poll()) this.onEvent(event)
      return
    }
    for (let event = link.poll(); event !== undefined; event = link.poll()) {
      if (event.type === 'proven') {
        const judgement = judgeClaim(this.session, event.hello.instance, event.hello.claim)
        if (judgement.verdict !== 'resume' && judgement.verdict !== 'fresh') {
          link.drop(judgement.why)
          continue
        }
        const isResumed = judgement.verdict === 'resume'
        this.session = isResumed ? this.session : this.#newSession(judgement.welcome.session, event.hello)
        if (isResumed) this.resumed++
        if (this.session === undefined) throw new Error('no session')
        this.session.attempt = event.hello.claim.attempt
        link.welcome(this.session, judgement, now)
      } else if (event.type === 'welcomed') {
        const judgement = judgeWelcome(this.session, this.#fresh, event.welcome)
        if (judgement.verdict !== 'resume' && judgement.verdict !== 'fresh') {
          link.drop(judgement.why)
          continue
        }
        if (judgement.verdict === 'fresh') this.session = this.#newSession(event.welcome.session, event.hello)
        else this.resumed++
        this.#fresh = this.#id()
        if (this.session === undefined) throw new Error('no session')
        link.attach(this.session, judgement)
      } else if (event.type === 'ended') {
        this.ends.push(event.end)
      } else {
        this.onEvent(event)
      }
    }
  }

  #newSession(id: Id, hello: Hello): Session {
    const { limits, drainMs } = this
    const attempt = hello.claim.attempt
    return new Session({ id, peer: hello.instance, attempt, limits, peerLimits: hello.limits, drainMs, utf8 })
  }
}

/** One direction of a wire: bytes on their way, delivered when the random source says so. */
interface Lane {
  readonly from: Machine
  readonly to: Machine
  bytes: Uint8Array[]
}

export class World {
  now = 1000
  readonly random: () => number
  readonly a: Machine
  readonly b: Machine
  #lanes: Lane[] = []
  cuts = 0

  constructor(seed: number, limits: Partial<Limits> = {}, drainMs?: number) {
    this.random = seeded(seed)
    this.a = new Machine('a', limits, this.random, drainMs)
    this.b = new Machine('b', limits, this.random, drainMs)
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound)
  }

  /** Connects the two anew: `dialer` dials. Bytes on the old wire are lost. */
  connect(dialer: Machine = this.a): void {
    const listener = dialer === this.a ? this.b : this.a
    dialer.begin('dialer', this.now)
    listener.begin('listener', this.now)
    this.#lanes = [
      { from: dialer, to: listener, bytes: [] },
      { from: listener, to: dialer, bytes: [] },
    ]
  }

  /** The wire breaks: what was on it is lost, and both ends are told. */
  cut(): void {
    this.cuts++
    for (const { to, bytes } of this.#lanes) {
      // Some of what was under way may still arrive.
      if (this.random() < 0.5) this.#deliver(to, bytes, this.below(2000))
    }
    this.#lanes = []
    for (const machine of [this.a, this.b]) {
      machine.link?.pipeEnded(this.now)
      machine.poll(this.now)
      machine.link = undefined
    }
  }

  get isUp(): boolean {
    return this.a.link?.session !== undefined && this.b.link?.session !== undefined
  }

  /** One round: both write, some of what is on the wire arrives, time goes on by `ms`. True when anything moved. */
  step(ms: number, everything = false): boolean {
    let moved = false
    for (const lane of this.#lanes) {
      lane.from.poll(this.now)
      const out: Uint8Array[] = []
      lane.from.link?.takeWrite(everything ? 262_144 : 1 + this.below(20_000), this.now, out)
      for (const chunk of out) lane.bytes.push(chunk.slice())
      moved ||= out.length > 0
    }
    for (const lane of this.#lanes) {
      moved ||= lane.bytes.length > 0
      const total = lane.bytes.reduce((sum, chunk) => sum + chunk.length, 0)
      lane.bytes = this.#deliver(lane.to, lane.bytes, everything ? total : this.below(total + 1))
    }
    this.now += ms
    for (const machine of [this.a, this.b]) {
      machine.link?.tick(this.now)
      machine.session?.tick(this.now)
      machine.poll(this.now)
    }
    return moved
  }

  /** Goes on until nothing moves for longer than an acknowledgement waits. */
  settle(): void {
    for (let quiet = 0, rounds = 0; quiet < 60; rounds++) {
      if (rounds > 100_000) throw new Error('it does not settle')
      quiet = this.step(1, true) ? 0 : quiet + 1
    }
  }

  /** Delivers the first `count` bytes in chunks of any size and returns the rest. */
  #deliver(to: Machine, bytes: Uint8Array[], count: number): Uint8Array[] {
    const all = new Uint8Array(bytes.reduce((sum, chunk) => sum + chunk.length, 0))
    let filled = 0
    for (const chunk of bytes) {
      all.set(chunk, filled)
      filled += chunk.length
    }
    let at = 0
    const end = Math.min(count, all.length)
    while (at < end) {
      const size = Math.min(end - at, 1 + this.below(this.random() < 0.3 ? 30 : 70_000))
      const isTransient = this.random() < 0.5
      const chunk = all.slice(at, at + size)
      to.link?.receive(chunk, isTransient, this.now)
      to.poll(this.now)
      // What was read into one buffer is overwritten by the next read.
      if (isTransient) chunk.fill(0xee)
      at += size
    }
    return at < all.length ? [all.slice(at)] : []
  }
}

/** What a test knows of one call. */
export interface Call {
  readonly number: number
  readonly sizeBytes: number
  handled: number
  outcome: 'open' | 'answered' | 'failed' | 'timeout' | 'cancelled'
  delivery: Delivery | undefined
}
