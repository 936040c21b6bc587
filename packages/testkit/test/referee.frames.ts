/** Frames and links made by hand, for the tests of the referee. */
import type { Limits } from '@pairlink/core'
import { Referee, type Player, type Side, type WatchedPipe } from '../src/sim/referee.js'

export const LIMITS: Limits = {
  messageBytesMax: 20_000,
  fragmentBytes: 4096,
  sendBytesMax: 5000,
  replayBytesMax: 8000,
  inboxBytesMax: 2000,
  reassemblyBytesMax: 20_000,
  handlersMax: 2,
  strangersMax: 4,
}

export const KEEPALIVE_MS = 1000

export function int(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, at) => Math.floor(value / 256 ** (bytes - 1 - at)) % 256)
}

export const hex = (text: string): number[] => Array.from(Buffer.from(text, 'hex'))
export const utf8 = (text: string): number[] => Array.from(Buffer.from(text))
/** An id of 16 times the same byte. */
export const id16 = (byte: number): number[] => new Array<number>(16).fill(byte)
const ZEROS = id16(0)

export const WHOLE = 0
export const FIRST = 7
export const FURTHER = 5
export const LAST = 1
export const TEXT = 1
export const BYTES = 2
export const JSON_TEXT = 3

export interface Head {
  readonly flags?: number
  readonly content?: number
  readonly id?: number
}

export function frame(kind: number, { flags = WHOLE, content = 0, id = 0 }: Head, ...payload: number[][]): number[] {
  const body = payload.flat()
  return [kind, flags, content, 0, ...int(id, 4), ...int(body.length, 4), ...body]
}

/** Bytes of content that begin with the number of the call. */
export function contentOf(call: number, sizeBytes = 8): number[] {
  return [...int(call, 4), ...new Array<number>(sizeBytes - 4).fill(7)]
}

export const FOREVER = 0xffffffff

export function query(id: number, call: number, remainingMs = FOREVER, sizeBytes = 8): number[] {
  return frame(16, { content: BYTES, id }, int(remainingMs, 4), [0], contentOf(call, sizeBytes))
}

/** The first fragment of a query. */
export function queryBegin(
  id: number,
  call: number,
  totalBytes: number,
  partBytes: number,
  remainingMs = FOREVER,
): number[] {
  const content = contentOf(call, partBytes)
  return frame(16, { flags: FIRST, content: BYTES, id }, int(totalBytes, 8), int(remainingMs, 4), [0], content)
}

/** A further fragment of anything. */
export function more(kind: number, flags: number, id: number, partBytes: number): number[] {
  return frame(kind, { flags, content: BYTES, id }, new Array<number>(partBytes).fill(7))
}

export const answer = (id: number, call: number, sizeBytes = 8): number[] =>
  frame(17, { content: BYTES, id }, contentOf(call, sizeBytes))
export const answerBegin = (id: number, call: number, totalBytes: number, partBytes: number): number[] =>
  frame(17, { flags: FIRST, content: BYTES, id }, int(totalBytes, 8), contentOf(call, partBytes))
export const fail = (id: number, reason: number): number[] => frame(18, { id }, [reason, 0, 0, 0])
export const cancel = (id: number): number[] => frame(19, { id })
export const notify = (call: number, sizeBytes = 8): number[] =>
  frame(20, { content: BYTES }, [0], contentOf(call, sizeBytes))
export const notifyBegin = (id: number, call: number, totalBytes: number, partBytes: number): number[] =>
  frame(20, { flags: FIRST, content: BYTES, id }, int(totalBytes, 8), [0], contentOf(call, partBytes))
export const ack = (received: number, consumed = 0): number[] => frame(32, {}, int(received, 8), int(consumed, 8))
export const ping = (token: number): number[] => frame(33, {}, int(token, 8))
export const pong = (token: number): number[] => frame(34, {}, int(token, 8))
export const close = (): number[] => frame(35, {}, [0, 0])
export const prove = (): number[] => frame(2, {}, new Array<number>(32).fill(9))
export const welcome = (isResumed: boolean, session: number[], received = 0): number[] =>
  frame(3, {}, [isResumed ? 1 : 0], session, int(received, 8), new Array<number>(32).fill(9))
export const refuse = (reason: number): number[] => frame(4, {}, [reason, 1, 0], int(0, 4), [0, 0])

export const preamble = (first: number[], mode = 0): number[] => [...utf8('PLNK'), 1, mode, ...int(first.length, 2)]

export interface Claim {
  readonly attempt: number
  readonly session?: number[]
  readonly received?: number
  readonly peer?: number[]
  readonly fresh?: number[]
}

export interface HelloFields {
  readonly side: number
  readonly instance: number[]
  readonly process?: number[]
  readonly nonce?: number[]
  readonly limits?: Limits
  readonly keepaliveMs?: number
  readonly claim?: Claim
}

let nonces = 0

export function hello({ side, instance, process, nonce, limits = LIMITS, keepaliveMs, claim }: HelloFields): number[] {
  const { attempt, session, received, peer, fresh } = claim ?? { attempt: 0 }
  return frame(
    1,
    {},
    [side],
    instance,
    process ?? instance,
    nonce ?? int(++nonces, 32),
    int(0, 4),
    int(keepaliveMs ?? KEEPALIVE_MS, 4),
    int(limits.messageBytesMax, 8),
    int(limits.replayBytesMax, 8),
    int(limits.inboxBytesMax, 8),
    int(limits.reassemblyBytesMax, 8),
    int(limits.fragmentBytes, 4),
    int(limits.handlersMax, 4),
    int(attempt, 8),
    session ?? ZEROS,
    int(received ?? 0, 8),
    peer ?? ZEROS,
    fresh ?? ZEROS,
    [0, 0],
  )
}

/** A process of the scene, with one connection. */
export class Actor implements Player {
  readonly name: string
  readonly limits: Limits
  readonly instance: number[]
  /** When it was woken last. */
  awake = 0
  readonly #scene: Scene

  constructor(scene: Scene, name: string, byte: number, limits: Limits) {
    this.#scene = scene
    this.name = name
    this.instance = id16(byte)
    this.limits = limits
  }

  now(): number {
    return this.#scene.now
  }

  isOpen(): boolean {
    return true
  }

  awakeSince(): number {
    return this.awake
  }
}

/** A referee, three processes, and one clock. */
export class Scene {
  now = 10_000
  readonly faults: { readonly rule: string; readonly text: string }[] = []
  /** When the callers of calls stop waiting; of those that are not here nothing is known. */
  readonly expiries = new Map<number, number>()
  readonly referee: Referee
  readonly a: Actor
  readonly b: Actor
  readonly c: Actor

  constructor(limits: Partial<Limits> = {}) {
    const complete = { ...LIMITS, ...limits }
    this.a = new Actor(this, 'A', 0xaa, complete)
    this.b = new Actor(this, 'B', 0xbb, complete)
    this.c = new Actor(this, 'C', 0xcc, complete)
    this.referee = new Referee({
      fault: (rule, text) => this.faults.push({ rule, text }),
      expiresAt: (call) => this.expiries.get(call),
    })
  }

  get rules(): string[] {
    return [...new Set(this.faults.map(({ rule }) => rule))]
  }

  /** Time passes, and the referee looks. */
  pass(ms: number): void {
    this.now += ms
    this.referee.look()
  }

  /** A pipe from one to the other on which nothing was written. */
  pipe(dialer: Actor = this.a, listener: Actor = this.b): TestPipe {
    return new TestPipe(this, dialer, listener)
  }

  /** A pipe on which both have said HELLO and the dialer PROVE. */
  proven(claim: Claim = { attempt: 1, fresh: id16(1) }, dialer: Actor = this.a, listener: Actor = this.b): TestPipe {
    const pipe = this.pipe(dialer, listener)
    pipe.hello('dialer', { claim })
    pipe.hello('listener')
    pipe.say('dialer', prove())
    return pipe
  }

  /** A link with a new session under the id of sixteen times 1, and both first ACKs. */
  link(claim: Claim = { attempt: 1, fresh: id16(1) }, dialer: Actor = this.a, listener: Actor = this.b): TestPipe {
    const pipe = this.proven(claim, dialer, listener)
    pipe.say('listener', welcome(false, claim.fresh ?? ZEROS), ack(0))
    pipe.say('dialer', ack(0))
    return pipe
  }

  /** What A claims on its second dial, of the session that `link` has made. */
  again(received: number, attempt = 2): Claim {
    return { attempt, session: id16(1), received, peer: this.b.instance, fresh: id16(2) }
  }
}

export class TestPipe {
  readonly watched: WatchedPipe
  readonly #actors: Readonly<Record<Side, Actor>>
  readonly #underWay: Record<Side, number[]> = { dialer: [], listener: [] }

  constructor(scene: Scene, dialer: Actor, listener: Actor) {
    this.#actors = { dialer, listener }
    this.watched = scene.referee.watch(dialer, listener)
  }

  hello(side: Side, more: Partial<HelloFields> = {}): void {
    const { instance, limits } = this.#actors[side]
    const first = hello({ side: side === 'dialer' ? 0 : 1, instance, limits, ...more })
    this.say(side, preamble(first), first)
  }

  /** Writes, and nothing arrives yet. */
  write(from: Side, ...frames: number[][]): void {
    const bytes = frames.flat()
    this.watched.wrote(from, Uint8Array.from(bytes))
    this.#underWay[from].push(...bytes)
  }

  /** What was written by `from` arrives: all of it, or so many bytes. */
  arrive(from: Side, count = Infinity): void {
    const bytes = this.#underWay[from].splice(0, count)
    this.watched.delivered(from === 'dialer' ? 'listener' : 'dialer', Uint8Array.from(bytes))
  }

  /** Writes, and all of it arrives. */
  say(from: Side, ...frames: number[][]): void {
    this.write(from, ...frames)
    this.arrive(from)
  }

  /** Both ends let go. */
  end(): void {
    this.watched.over('dialer')
    this.watched.over('listener')
  }
}
