/**
 * One watched pipe: its preambles, its handshake and the states of its link (sections 2, 4, 5 and 8 of PROTOCOL.md), and which of
 * several links of two instances counts. What a session's frames mean is the concern of its lanes.
 */
import { Duties } from './duties.js'
import {
  ackOf,
  Broken,
  FrameReader,
  helloOf,
  KIND,
  refusalOf,
  tokenOf,
  welcomeOf,
  ZEROS,
  type Frame,
  type Hello,
  type Welcome,
} from './frames.js'
import { Lane, type Court, type Player, type Sent } from './lane.js'

export type Side = 'dialer' | 'listener'

/** A pipe in proof mode, of which everything is told. */
export interface WatchedPipe {
  /** In the order in which it was handed to the pipe. The bytes are copied. */
  wrote(from: Side, bytes: Uint8Array): void
  /** As it is given to the program of that side; a prefix of what was written, whose borders mean nothing. */
  delivered(to: Side, bytes: Uint8Array): void
  /** The pipe has said "enough", or has drained. */
  full(from: Side, isFull: boolean): void
  /** That side has let go of the pipe, or was told that it is closed, or its process is dead. Nothing more is judged for it. */
  over(side: Side): void
  /** The program of that side ends the pipe by itself, before `over`. */
  destroyed(side: Side): void
}

/** What is still written when everything is over was under way inside the writer. */
const END_SLACK_MS = 50
const AT_ONCE_MS = 5
/** Section 5.5. */
const REASON = { self: 4, busy: 5 } as const
/** Of what the hello says, what is fixed for a session's life and stands in the limits: section 10. */
const ANNOUNCED = [
  'messageBytesMax',
  'replayBytesMax',
  'inboxBytesMax',
  'reassemblyBytesMax',
  'fragmentBytes',
  'handlersMax',
] as const

/** What all links share. */
export interface World extends Court {
  /** Complete frames seen written. */
  frames: number
  readonly instances: Map<string, Instance>
  /** The process id of each player. */
  readonly processes: Map<string, string>
  readonly nonces: Set<string>
  readonly freshIds: Set<string>
}

export function newWorld(court: Court): World {
  return { ...court, frames: 0, instances: new Map(), processes: new Map(), nonces: new Set(), freshIds: new Set() }
}

/** One connection object. */
interface Instance {
  readonly id: string
  readonly player: Player
  readonly keepaliveMs: number
  attempt: number
  fresh: string | undefined
  /**
   * Whether its fresh id goes on: it is kept until a WELCOME was read, and never used again. A WELCOME that resumes and is not
   * accepted has used nothing, so both are let pass then.
   */
  freshness: 'kept' | 'used' | 'either'
  /** By the peer's instance: the end that counts, the last on which a WELCOME was written or read. */
  readonly current: Map<string, End>
  held: Session | undefined
  /** An end on which a WELCOME was read, and nobody can tell yet whether it was accepted. */
  doubted: End | undefined
  /** The highest attempt that this one, listening, has welcomed, by the dialer's instance. */
  readonly welcomed: Map<string, number>
}

interface Session {
  readonly id: string
  /** By the instance that writes. */
  readonly lanes: ReadonlyMap<string, Lane>
  readonly dialer: Instance
  readonly listener: Instance
}

/** Something on its way: its last byte stands at `endBytes` of what its end has written. */
interface Item {
  readonly endBytes: number
  readonly frame: Frame
  readonly sent: Sent | undefined
}

interface Doubt {
  readonly item: Item
  readonly at: number
}

/** One side of one pipe. */
class End {
  readonly side: Side
  readonly player: Player
  readonly peer: Player
  readonly reader: FrameReader
  hello: Hello | undefined
  instance: Instance | undefined
  /** Frames written. */
  frames = 0
  isRefusing = false
  /** Something broken was written; what follows cannot be told apart any more. */
  isBroken = false
  isOver = false
  isFull = false
  roomSince = -Infinity
  #items: Item[] = []
  #head = 0
  /** Of what this end has written, what was given to the other. */
  givenBytes = 0
  /** Frames of the handshake that this end has read. */
  readonly read = new Set<number>()
  provenAt = Infinity
  /** What this end has read or written as WELCOME. */
  welcome: Welcome | undefined
  /** A WELCOME was written or read here, and on no newer link of the same two instances. */
  counts = false
  /** Of a dialer: the session that the WELCOME has named. */
  offered: Session | undefined
  /** The session that this end takes part in, and what it owes there. */
  session: Session | undefined
  duties: Duties | undefined
  out: Lane | undefined;
  in: Lane | undefined
  /** The numbers of the next sequenced frame to be written. */
  nextNumber = 1
  hasWrittenFirst = false
  /** What was given to this end behind a WELCOME that it has not answered yet. */
  readonly doubts: Doubt[] = []
  hasWrittenClose = false
  hasReadClose = false
  finishedAt: number | undefined

  constructor(side: Side, player: Player, peer: Player, reader: FrameReader) {
    this.side = side
    this.player = player
    this.peer = peer
    this.reader = reader
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  /** The next frame that the other has been given whole. */
  shift(): Item | undefined {
    const item = this.#items[this.#head]
    if (item === undefined || item.endBytes > this.givenBytes) return undefined
    if (++this.#head === this.#items.length) {
      this.#items = []
      this.#head = 0
    }
    return item
  }

  /** Both goodbyes have passed, as this end sees it. */
  get isLeaving(): boolean {
    return this.hasWrittenClose && this.hasReadClose
  }

  /** Since when it has been running and could write. */
  get freeSince(): number {
    return this.isFull ? Infinity : Math.max(this.player.awakeSince(), this.roomSince)
  }
}

export class WatchedLink implements WatchedPipe {
  readonly #world: World
  readonly #dialer: End
  readonly #listener: End

  constructor(world: World, dialer: Player, listener: Player) {
    this.#world = world
    this.#dialer = this.#end('dialer', dialer, listener)
    this.#listener = this.#end('listener', listener, dialer)
  }

  get isOver(): boolean {
    return this.#dialer.isOver && this.#listener.isOver
  }

  #end(side: Side, player: Player, peer: Player): End {
    const reader = new FrameReader(
      peer.limits.fragmentBytes,
      (isRefusing) => {
        this.#preamble(end, isRefusing)
      },
      (frame) => {
        this.#wrote(end, frame)
      },
    )
    const end = new End(side, player, peer, reader)
    return end
  }

  #at(side: Side): End {
    return side === 'dialer' ? this.#dialer : this.#listener
  }

  #other(end: End): End {
    return end === this.#dialer ? this.#listener : this.#dialer
  }

  #fault(rule: string, end: End, text: string): void {
    this.#world.fault(rule, `${end.player.name} (${end.side}): ${text}`)
  }

  // ---- told by the pipe

  wrote(from: Side, bytes: Uint8Array): void {
    const end = this.#at(from)
    if (end.isOver || end.isBroken || bytes.length === 0) return
    this.#judgeEnd(end)
    try {
      end.reader.push(bytes)
    } catch (error) {
      if (!(error instanceof Broken)) throw error
      end.isBroken = true
      this.#fault(error.rule, end, error.message)
    }
    this.#noteEnd(end)
  }

  delivered(to: Side, bytes: Uint8Array): void {
    const end = this.#at(to)
    if (end.isOver) return
    const writer = this.#other(end)
    const now = end.player.now()
    writer.givenBytes += bytes.length
    end.duties?.heard(now)
    for (let item = writer.shift(); item !== undefined; item = writer.shift()) this.#arrive(end, item, now)
    this.#noteEnd(end)
  }

  full(from: Side, isFull: boolean): void {
    const end = this.#at(from)
    end.isFull = isFull
    if (!isFull) end.roomSince = end.player.now()
  }

  over(side: Side): void {
    this.#at(side).isOver = true
  }

  /** Section 5.4: whoever has proven the secret is welcomed or refused, unless its attempt is late. */
  destroyed(side: Side): void {
    const [end, other] = [this.#at(side), this.#other(this.#at(side))]
    const { hello, instance: dialing } = other
    if (
      side === 'dialer' ||
      end.provenAt === Infinity ||
      end.isOver ||
      other.isOver ||
      end.welcome !== undefined ||
      end.isRefusing
    )
      return
    if (hello === undefined || dialing === undefined || !end.player.isOpen()) return
    // What was waited for meanwhile, such as the end of the time for which a place is kept, cannot be seen here.
    const isAtOnce = end.player.now() - end.provenAt <= AT_ONCE_MS && end.player.awakeSince() <= end.provenAt
    if (!isAtOnce || hello.attempt <= (end.instance?.welcomed.get(dialing.id) ?? -1)) return
    this.#fault('wire-turned-away', end, `it ends the link of attempt ${hello.attempt}, which has proven the secret`)
  }

  look(): void {
    for (const end of [this.#dialer, this.#listener]) {
      // An end that may half-close owes nothing any more, nor does one that another link has replaced.
      if (end.duties === undefined || end.isOver || end.isLeaving || end.isFull) continue
      if (end.counts) end.duties.look(end.player.now(), end.freeSince)
    }
  }

  // ---- written: what the state allows (sections 2, 4, 5)

  #preamble(end: End, isRefusing: boolean): void {
    end.isRefusing = isRefusing
    if (end.side === 'dialer') {
      if (isRefusing) this.#fault('wire-state', end, 'a dialer that refuses')
    } else if (!isRefusing && !end.read.has(KIND.hello)) {
      this.#fault('wire-state', end, 'it writes before it has read preamble and HELLO of the dialer')
    }
  }

  #wrote(end: End, frame: Frame): void {
    this.#world.frames++
    const index = end.frames++
    let sent: Sent | undefined
    if (index < 2) this.#handshake(end, frame, index)
    else sent = this.#open(end, frame)
    end.push({ endBytes: end.reader.endBytes, frame, sent })
  }

  #handshake(end: End, frame: Frame, index: number): void {
    const { kind, name } = frame
    const isListener = end.side === 'listener'
    if (kind === KIND.hello && index === 0 && !end.isRefusing) {
      this.#hello(end, helloOf(frame))
      return
    }
    if (kind === KIND.prove && index === 1 && !isListener) {
      if (!end.read.has(KIND.hello)) this.#fault('wire-state', end, 'PROVE before it has read a HELLO')
      return
    }
    if (kind === KIND.welcome && index === 1 && isListener && !end.isRefusing) {
      this.#welcome(end, welcomeOf(frame))
      return
    }
    // Behind the bit of its preamble a REFUSE is the first message; else it takes the place of WELCOME.
    if (kind === KIND.refuse && isListener && index === (end.isRefusing ? 0 : 1)) {
      this.#refuse(end, refusalOf(frame))
      end.isRefusing = true
      return
    }
    this.#fault('wire-state', end, `${name} as frame ${index + 1} of its handshake`)
  }

  /** Section 4, from the state "open" on. */
  #open(end: End, frame: Frame): Sent | undefined {
    const { kind, name } = frame
    if (end.isRefusing) {
      this.#fault('wire-state', end, `${name} behind REFUSE`)
      return undefined
    }
    if (end.welcome === undefined) {
      const is = end.read.has(KIND.refuse) ? 'behind the REFUSE that it has read' : 'between PROVE and WELCOME'
      this.#fault('wire-state', end, `${name} ${is}`)
      return undefined
    }
    if (kind < KIND.query) {
      this.#fault('wire-state', end, `${name} on an open link`)
      return undefined
    }
    if (!end.hasWrittenFirst) this.#first(end, frame)
    if (!end.counts) return undefined
    const { out, duties } = end
    if (out === undefined || duties === undefined) return undefined
    // Section 8.1. On a later link only what was asked before the goodbye is written again.
    const isClosed = end.hasWrittenClose || (out.isClosed && end.nextNumber > out.written)
    if (isClosed && (kind === KIND.query || kind === KIND.notify)) {
      this.#fault('wire-after-close', end, `${name} behind CLOSE`)
    }
    if (frame.isSequenced) return out.write(frame, end.nextNumber++)
    switch (kind) {
      case KIND.ack: {
        const { received, consumed } = ackOf(frame)
        end.in?.report(received, consumed)
        duties.reported(received, end.player.now())
        break
      }
      case KIND.ping:
        duties.hasPinged()
        break
      case KIND.pong:
        duties.pong(tokenOf(frame))
        break
      default:
        if (end.hasWrittenClose) this.#fault('wire-after-close', end, 'a second CLOSE')
        end.hasWrittenClose = true
        out.close(frame, end.nextNumber)
    }
    return undefined
  }

  /** Section 5.3: the first frame behind WELCOME. */
  #first(end: End, frame: Frame): void {
    end.hasWrittenFirst = true
    if (frame.kind !== KIND.ack) this.#fault('wire-first-ack', end, `${frame.name} is the first frame behind WELCOME`)
    // A dialer that writes has accepted what it was told.
    if (end.side === 'dialer') this.#accept(end)
  }

  // ---- HELLO (sections 5.1, 5.4)

  #hello(end: End, hello: Hello): void {
    end.hello = hello
    const { player } = end
    const rule = 'wire-hello'
    if (hello.side !== (end.side === 'dialer' ? 0 : 1)) this.#fault(rule, end, 'the side of the other')
    if (hello.instance === this.#other(end).hello?.instance) this.#fault(rule, end, 'the instance of the other')
    for (const name of ANNOUNCED) {
      if (hello[name] !== player.limits[name]) {
        this.#fault(rule, end, `${name} ${hello[name]}, and its limit is ${player.limits[name]}`)
      }
    }
    const process = this.#world.processes.get(player.name) ?? hello.process
    this.#world.processes.set(player.name, process)
    if (hello.process !== process) this.#fault(rule, end, 'another process id than before')
    if (this.#world.nonces.has(hello.nonce)) this.#fault(rule, end, 'the nonce of another link')
    this.#world.nonces.add(hello.nonce)

    const instance = this.#instance(end, hello)
    end.instance = instance
    if (end.side === 'dialer') {
      this.#claim(end, instance, hello)
    } else if (
      hello.attempt !== 0 ||
      hello.received !== 0 ||
      [hello.session, hello.peer, hello.fresh].some((id) => id !== ZEROS)
    ) {
      this.#fault(rule, end, 'a listener that claims something')
    }
  }

  #instance(end: End, { instance: id, keepaliveMs }: Hello): Instance {
    const known = this.#world.instances.get(id)
    if (known !== undefined) {
      if (known.player.name !== end.player.name) this.#fault('wire-hello', end, `the instance of ${known.player.name}`)
      if (known.keepaliveMs !== keepaliveMs)
        this.#fault('wire-hello', end, `keepaliveMs ${keepaliveMs}, once ${known.keepaliveMs}`)
      return known
    }
    const made: Instance = {
      id,
      player: end.player,
      keepaliveMs,
      attempt: -1,
      fresh: undefined,
      freshness: 'used',
      current: new Map(),
      held: undefined,
      doubted: undefined,
      welcomed: new Map(),
    }
    this.#world.instances.set(id, made)
    return made
  }

  #claim(end: End, instance: Instance, { attempt, session: id, received, peer, fresh }: Hello): void {
    if (attempt <= instance.attempt) this.#fault('wire-attempt', end, `attempt ${attempt} after ${instance.attempt}`)
    instance.attempt = Math.max(attempt, instance.attempt)

    if (fresh === ZEROS) this.#fault('wire-fresh', end, 'a fresh id of zeros')
    const isKept = fresh === instance.fresh
    if (instance.freshness === 'kept' && !isKept)
      this.#fault('wire-fresh', end, 'another fresh id, and no WELCOME was read')
    const mayStay = isKept && instance.freshness !== 'used'
    if (!mayStay && this.#world.freshIds.has(fresh)) {
      this.#fault('wire-fresh', end, 'a fresh id that was offered before')
    }
    this.#world.freshIds.add(fresh)
    instance.fresh = fresh
    instance.freshness = 'kept'

    if (id === ZEROS) {
      instance.doubted = undefined
      if (received !== 0 || peer !== ZEROS) this.#fault('wire-claim', end, 'no session, and a count or a peer of it')
      return
    }
    this.#settle(instance, id, received)
    const { held } = instance
    if (held?.id !== id) {
      this.#fault('wire-claim', end, 'it claims a session that it does not hold')
      return
    }
    const other = held.dialer === instance ? held.listener : held.dialer
    const lane = held.lanes.get(other.id)
    if (peer !== other.id) this.#fault('wire-claim', end, 'the peer of its session is another')
    if (lane === undefined) return
    if (received !== lane.received) {
      this.#fault('wire-claim', end, `it claims to have ${received} frames, and ${lane.received} were given to it`)
    }
    // Section 8.3: for a side that has read CLOSE, the session ends with the link.
    if (lane.hasCloseArrived) this.#fault('wire-claim', end, 'it has read CLOSE in the session that it claims')
  }

  /**
   * A WELCOME was read, frames behind it, and the link has ended before anything was written to it. Whether that was taken over
   * is told by the count that is stated next: either all of it or nothing.
   */
  #settle(instance: Instance, id: string, received: number): void {
    const { doubted } = instance
    instance.doubted = undefined
    if (doubted?.welcome?.session !== id || doubted.session !== undefined) return
    const before = instance.held?.id === id ? this.#heardOf(instance, instance.held).received : 0
    const frames = doubted.doubts.filter(({ item }) => item.frame.isSequenced).length
    if (instance.held?.id === id && received === before) return
    if (received === before + frames) this.#accept(doubted)
  }

  /** What the other side of that session sends to this one. */
  #heardOf(instance: Instance, session: Session): Lane {
    const other = session.dialer === instance ? session.listener : session.dialer
    return laneOf(session, other)
  }

  // ---- REFUSE (sections 5.1, 5.2, 5.4)

  /** Whoever is watched speaks this version in this mode and knows the secret, so these are all that can be right. */
  #refuse(end: End, reason: number): void {
    const rule = 'wire-refuse'
    const other = this.#other(end)
    if (!end.read.has(KIND.hello)) {
      this.#fault(rule, end, 'REFUSE before it has read a HELLO')
      return
    }
    switch (reason) {
      case REASON.self:
        if (other.hello?.instance === end.instance?.id) return
        this.#fault(rule, end, 'self, and the dialer is another instance')
        return
      case REASON.busy:
        if (end.isRefusing || !end.read.has(KIND.prove))
          this.#fault(rule, end, 'busy, and the dialer has proven nothing')
        return
      default:
        this.#fault(rule, end, `reason ${reason}, and the dialer has done nothing of that kind`)
    }
  }

  // ---- WELCOME (sections 5.3, 5.4)

  #welcome(end: End, welcome: Welcome): void {
    const dialer = this.#other(end)
    const { instance: listening } = end
    const { instance: dialing, hello: claim } = dialer
    end.welcome = welcome
    if (!end.read.has(KIND.prove)) this.#fault('wire-state', end, 'WELCOME before it has read a PROVE')
    if (listening === undefined || dialing === undefined || claim === undefined) return
    const isLive = this.#judgeLive(end, listening, dialing, claim, welcome)
    this.#settle(listening, welcome.session, welcome.received)
    const known = this.#heldWith(listening, dialing, welcome.session)
    const session = welcome.isResumed
      ? this.#resumed(end, listening, dialing, claim, welcome, known)
      : this.#new(end, listening, dialing, claim, welcome, known, isLive)
    if (session === undefined) return
    // Item 1 of 5.4. What a listener still holds can be told when its link still lives, and when it goes on with it.
    const last = listening.welcomed.get(dialing.id) ?? -1
    if (claim.attempt <= last && (isLive || known !== undefined)) {
      this.#fault('wire-attempt', end, `it welcomes attempt ${claim.attempt} after ${last}`)
    }
    listening.welcomed.set(dialing.id, Math.max(last, claim.attempt))
    this.#count(end, listening)
    listening.held = session
    const out = laneOf(session, listening)
    const heard = laneOf(session, dialing)
    out.acknowledge(welcome.isResumed ? claim.received : 0)
    heard.state(welcome.received)
    this.#begin(end, session, out, heard, welcome.isResumed ? claim.received : 0)
  }

  /** From here on this link counts, and no older one of the same two instances. */
  #count(end: End, { current }: Instance): void {
    const peer = this.#other(end).instance?.id ?? ''
    const before = current.get(peer)
    if (before !== undefined) before.counts = false
    current.set(peer, end)
    end.counts = true
  }

  #heldWith({ held }: Instance, peer: Instance, id: string): Session | undefined {
    return held?.id === id && held.lanes.has(peer.id) ? held : undefined
  }

  /**
   * Sections 5.4 and 5.6: there is one pair at a time. Whether a pair is still one when its peer has said goodbye is left open
   * by 5.6 and 8.1, so such a link is no obstacle here.
   */
  #judgeOthers(end: End, instance: Instance): void {
    const peer = this.#other(end).instance?.id
    for (const [other, one] of instance.current) {
      if (other !== peer && isPaired(one)) {
        this.#fault('wire-welcome-busy', end, 'it begins with one while its link with another lives')
      }
    }
  }

  /** @returns whether the listener surely holds a session with this dialer's instance */
  #judgeLive(end: End, listening: Instance, dialing: Instance, claim: Hello, welcome: Welcome): boolean {
    this.#judgeOthers(end, listening)
    const current = listening.current.get(dialing.id)
    if (current?.session === undefined || !isPaired(current)) return false
    // Item 2: what is held and claimed is resumed. Nobody can tell from outside that it is held but by a link that lives.
    if (claim.session === current.session.id && !welcome.isResumed) {
      this.#fault('wire-welcome-session', end, 'a new session, and the one that it holds was claimed')
    }
    return true
  }

  /** Item 2 of 5.4. */
  #resumed(
    end: End,
    listening: Instance,
    dialing: Instance,
    claim: Hello,
    welcome: Welcome,
    known: Session | undefined,
  ): Session | undefined {
    const rule = 'wire-welcome-session'
    if (claim.session !== welcome.session) this.#fault(rule, end, 'it resumes a session that was not claimed')
    if (known === undefined) {
      this.#fault(rule, end, 'it resumes a session that it does not hold')
      return undefined
    }
    const heard = laneOf(known, dialing)
    const out = laneOf(known, listening)
    if (heard.hasCloseArrived) this.#fault(rule, end, 'it resumes a session in which it has read CLOSE')
    if (welcome.received !== heard.received) {
      const text = `it says ${welcome.received} frames, and ${heard.received} were given to it`
      this.#fault('wire-welcome-count', end, text)
    }
    if (claim.received < out.acknowledged || claim.received > out.written) {
      const text = `it accepts a count of ${claim.received}, and ${out.acknowledged} to ${out.written} are possible`
      this.#fault('wire-welcome-count', end, text)
    }
    return known
  }

  /** Items 3 and 4 of 5.4. */
  #new(
    end: End,
    listening: Instance,
    dialing: Instance,
    claim: Hello,
    welcome: Welcome,
    known: Session | undefined,
    isLive: boolean,
  ): Session | undefined {
    const rule = 'wire-welcome-session'
    if (welcome.session !== claim.fresh) this.#fault(rule, end, 'a new session under an id that was not offered')
    if (welcome.received !== 0) this.#fault('wire-welcome-count', end, `a new session with ${welcome.received} frames`)
    if (known === undefined) {
      const [from, to] = Lane.pair(dialing.player, listening.player, this.#world)
      const lanes = new Map([
        [dialing.id, from],
        [listening.id, to],
      ])
      return { id: welcome.session, lanes, dialer: dialing, listener: listening }
    }
    const isUntouched =
      known.dialer === dialing && laneOf(known, dialing).received === 0 && laneOf(known, listening).acknowledged === 0
    if (!isUntouched) {
      this.#fault(rule, end, 'an id that has served before')
      return undefined
    }
    if (!isLive) laneOf(known, listening).mayRestart()
    return known
  }

  /** A dialer has accepted the WELCOME that it has read. */
  #accept(end: End): void {
    const { instance, welcome, hello: claim } = end
    if (instance === undefined || welcome === undefined || claim === undefined || end.session !== undefined) return
    instance.doubted = undefined
    const session = end.offered
    if (session === undefined || session.dialer === session.listener) return
    this.#judgeOthers(end, instance)
    const heard = this.#heardOf(instance, session)
    const out = laneOf(session, instance)
    if (welcome.isResumed) {
      if (instance.held !== session)
        this.#fault('wire-welcome-session', end, 'it resumes a session that it does not hold')
      if (heard.received !== claim.received) {
        const text = `${heard.received} frames were given to it, and it goes on from a claim of ${claim.received}`
        this.#fault('wire-claim', end, text)
      }
      if (welcome.received < out.acknowledged || welcome.received > out.written) {
        const text = `it accepts a count of ${welcome.received}, and ${out.acknowledged} to ${out.written} are possible`
        this.#fault('wire-welcome-count', end, text)
      }
      out.acknowledge(welcome.received)
      heard.state(claim.received)
    }
    instance.held = session
    instance.freshness = 'used'
    this.#begin(end, session, out, heard, welcome.received)
    for (const { item, at } of end.doubts) this.#take(end, item, at)
    end.doubts.length = 0
  }

  /** The end takes part in the session from here on. Its first sequenced frame has the number behind `count`. */
  #begin(end: End, session: Session, out: Lane, heard: Lane, count: number): void {
    end.session = session
    end.out = out
    end.in = heard
    end.nextNumber = count + 1
    const { limits } = end.player
    const keepaliveMs = end.hello?.keepaliveMs ?? Infinity
    const fault = (rule: string, text: string): void => {
      this.#fault(rule, end, text)
    }
    const { replayBytesMax } = end.peer.limits
    end.duties = new Duties(replayBytesMax, limits.inboxBytesMax, keepaliveMs, end.player.now(), fault)
  }

  // ---- given to the reader

  #arrive(end: End, item: Item, now: number): void {
    const { frame } = item
    const { kind } = frame
    if (kind < KIND.query) {
      end.read.add(kind)
      if (kind === KIND.prove) end.provenAt = now
      if (kind === KIND.welcome) this.#readWelcome(end)
      return
    }
    // A link that another has replaced does not count any more, whatever was given together.
    if (!end.counts) return
    if (end.session === undefined) end.doubts.push({ item, at: now })
    else this.#take(end, item, now)
  }

  #readWelcome(end: End): void {
    const { instance } = end
    const { welcome } = this.#other(end)
    if (instance === undefined || welcome === undefined) return
    end.welcome = welcome
    instance.freshness = welcome.isResumed ? 'either' : 'used'
    instance.doubted = end
    end.offered = this.#other(end).session
    this.#count(end, instance)
  }

  #take(end: End, { frame, sent }: Item, now: number): void {
    const { in: heard, out, duties } = end
    if (heard === undefined || out === undefined || duties === undefined) return
    if (sent !== undefined) {
      if (sent.number <= heard.received) return
      heard.arrive(sent, frame, now)
      duties.tookOver(sent.number, frame.bytes.length, now)
      return
    }
    switch (frame.kind) {
      case KIND.ack: {
        const { received, consumed } = ackOf(frame)
        out.acknowledge(received)
        out.consume(consumed)
        return
      }
      case KIND.ping:
        duties.wasPinged(tokenOf(frame), now)
        return
      case KIND.close:
        end.hasReadClose = true
        heard.hasCloseArrived = true
    }
  }

  // ---- the end (section 8.2)

  /** Both goodbyes have passed and nothing is open: this end half-closes. */
  #noteEnd(end: End): void {
    if (!end.isLeaving || end.finishedAt !== undefined) return
    if (end.out?.asked === 0 && end.in?.owed === 0) end.finishedAt = end.player.now()
  }

  /** The half-close itself is not seen here; what is written long after it was due is. */
  #judgeEnd(end: End): void {
    const { finishedAt } = end
    if (finishedAt === undefined) return
    if (end.player.now() - Math.max(finishedAt, end.freeSince) > END_SLACK_MS) {
      this.#fault('wire-end', end, 'it writes when both goodbyes have passed and everything is answered')
    }
  }
}

function laneOf(session: Session, sender: Instance): Lane {
  const lane = session.lanes.get(sender.id)
  if (lane === undefined) throw new Error('an instance that is not in the session')
  return lane
}

/** Its link lives, and its peer has not said goodbye. */
function isPaired({ session, isOver, hasReadClose }: End): boolean {
  return session !== undefined && !isOver && !hasReadClose
}
