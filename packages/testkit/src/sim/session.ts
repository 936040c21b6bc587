/**
 * Runs one schedule: two or three processes with the real Connection in them, on one clock, and everybody who watches. What it
 * finds is the same in each run of the same schedule.
 */
import type { Encryption } from '@pairlink/core'
import { SimAddress } from './address.js'
import { Dice } from './dice.js'
import { Ledger } from './ledger.js'
import { Player } from './player.js'
import { SimProcess } from './process.js'
import { Referee, type WatchedPipe } from './referee.js'
import type { CallPlan, Protection, Schedule, Step } from './schedule.js'
import { Time } from './time.js'
import type { SimPipe, Wire, WireWatcher } from './wire.js'

export interface Finding {
  /** The rule that was broken; its name does not change. */
  readonly rule: string
  readonly text: string
  /** When, in milliseconds since the session began. */
  readonly atMs: number
}

/** What happened in one session, or in many. */
export interface Counts {
  frames: number
  cuts: number
  resumes: number
  resets: number
  calls: number
  handled: number
}

export interface SessionReport {
  /** Empty when nothing was wrong; else the first things that were. */
  readonly findings: readonly Finding[]
  readonly counts: Counts
}

export interface SessionOptions {
  /** How the protections that are not `open` encrypt. Where one is missing its sessions are open. */
  readonly encryptions?: Partial<Record<Protection, Encryption>>
  /** Told of everything that happens, as text for people. */
  readonly trace?: ((line: string) => void) | undefined
}

const FINDINGS_MAX = 5
/** PROTOCOL.md, 5.6: so old may the sign of life be for which somebody is turned away. */
const BUSY_VALID_MS = 1000
/** Between two looks at what grows. */
const STEPS_PER_LOOK = 16
/** Slack of the driver's own pauses, in virtual milliseconds. */
const SLACK_MS = 5000
const STEPS_MAX = 2_000_000
/** What a timer may be late by, and what is then done first. */
const LATE_MS = 200
/** No piece of a fragment but its payload: header, total, remaining time and method of a query. */
const FRAME_OVERHEAD_BYTES = 64

/**
 * Runs one session in virtual time; `schedule` from `drawSchedule` or by hand. The same schedule gives the same report.
 * Never rejects for what it finds.
 */
export async function runSession(schedule: Schedule, options: SessionOptions = {}): Promise<SessionReport> {
  const session = new SimSession(schedule, options)
  const rejected = (error: unknown): void => {
    session.fault('rejects-nothing', `a promise was rejected and nobody was there to know: ${String(error)}`)
  }
  process.on('unhandledRejection', rejected)
  try {
    return await session.run()
  } finally {
    process.off('unhandledRejection', rejected)
  }
}

class SimSession {
  readonly #schedule: Schedule
  readonly #time = new Time()
  readonly #wireDice: Dice
  readonly #address: SimAddress
  readonly #ledger: Ledger
  readonly #referee: Referee | undefined
  readonly #encryption: Encryption | undefined
  readonly #trace: (line: string) => void
  readonly #findings: Finding[] = []
  readonly #counts: Counts = { frames: 0, cuts: 0, resumes: 0, resets: 0, calls: 0, handled: 0 }
  /** The present incarnation of each process. */
  readonly #players: Player[] = []
  readonly #everybody = new Map<string, Player>()
  #incarnations = 0
  #stalledUntil = 0
  /** Everybody is closing, and nobody takes the place of one that is closed. */
  #isOver = false
  /** When a process was given a byte of another one, by both names. */
  readonly #heard = new Map<string, number>()

  constructor(schedule: Schedule, { encryptions = {}, trace }: SessionOptions) {
    this.#schedule = schedule
    this.#trace = trace ?? (() => undefined)
    this.#encryption = encryptions[schedule.protection]
    const { limits } = schedule.options
    const { fault } = this
    this.#ledger = new Ledger({
      fault,
      hasArrived: (number) => this.#referee?.hasArrived(number),
      mayHaveRun: (number) => this.#referee?.mayHaveRun(number),
      singleBytesMax: limits.fragmentBytes - FRAME_OVERHEAD_BYTES,
    })
    if (this.#encryption === undefined) {
      this.#referee = new Referee({
        fault,
        expiresAt: (number) => {
          const call = this.#ledger.calls[number]
          if (call === undefined || call.plan.kind === 'notify') return undefined
          // Also with the handler that asks: its promise may have to wait until a pipe lets go of bytes that were lent.
          const isCancelled = call.cancelledAt !== undefined || call.within?.abortedWith !== undefined
          return call.outcome === undefined && !isCancelled ? call.expiresAt : 0
        },
      })
    }
    this.#wireDice = Dice.of(schedule.seed, 'wire')
    this.#address = new SimAddress({
      time: this.#time,
      dice: Dice.of(schedule.seed, 'address'),
      kind: schedule.address,
      stepMs: [0, 1],
      wire: (dialer, listener) => this.#wire(dialer, listener),
    })
  }

  async run(): Promise<SessionReport> {
    const { processes, steps, kind } = this.#schedule
    const dice = Dice.of(this.#schedule.seed, 'start')
    for (let who = 0; who < processes; who++) {
      this.#time.at(dice.below(20), () => {
        this.#start(who)
      })
    }
    let lastMs = 30
    for (const step of steps) {
      lastMs = Math.max(lastMs, step.atMs + effectMs(step))
      this.#time.at(step.atMs, () => {
        this.#apply(step)
      })
    }
    await this.#runUntil(lastMs, () => false)
    if (kind === 'liveness') await this.#heal()
    this.#ledger.finish(kind === 'liveness' && this.#findings.length === 0)
    for (const player of this.#everybody.values()) player.process.kill()
    this.#counts.frames = this.#referee?.frames ?? 0
    this.#counts.calls = this.#ledger.calls.length
    this.#counts.handled = this.#ledger.calls.filter(({ run }) => run !== undefined).length
    return { findings: this.#findings, counts: this.#counts }
  }

  readonly fault = (rule: string, text: string): void => {
    if (this.#findings.length >= FINDINGS_MAX) return
    this.#findings.push({ rule, text, atMs: this.#time.now })
    this.#trace(`${this.#stamp()} !! ${rule}: ${text}`)
  }

  // ---- time

  /** One thing after another, each with all that it brings about, until `isOver` or that moment. True when it is over. */
  async #runUntil(endMs: number, isOver: () => boolean): Promise<boolean> {
    for (let steps = 1; this.#findings.length === 0; steps++) {
      if (isOver()) return true
      if (!this.#time.step(endMs)) break
      await settle()
      this.#referee?.look()
      if (steps % STEPS_PER_LOOK === 0) this.#look()
      if (steps > STEPS_MAX) {
        this.fault('rests', `after ${STEPS_MAX} steps it is still busy`)
        return false
      }
    }
    return isOver()
  }

  /** Nothing is broken any more: everything that should happen does, within a stated time. */
  async #heal(): Promise<void> {
    const { options } = this.#schedule
    const alive = (): Player[] => this.#players.filter(({ isAlive, isClosing }) => isAlive && !isClosing)
    const pairMs =
      options.silenceMs * 2 + options.handshakeTimeoutMs * 3 + options.holdMs + options.delayMs * 3 + SLACK_MS
    const isPaired = (): boolean => {
      const paired = alive().filter(({ state }) => state === 'paired')
      const [a, b] = paired
      return paired.length === 2 && a?.peerInstance === b?.name && b?.peerInstance === a?.name
    }
    if (!(await this.#expect('pair-heals', pairMs, isPaired, () => this.#states()))) return
    const openMs = pairMs + this.#workMs()
    // A third process waits for its turn, and its calls with it.
    const paired = (): Player[] => alive().filter(({ state }) => state === 'paired')
    const opened = () => this.#ledger.open.filter(({ asker }) => asker.state === 'paired')
    const isSettled = (): boolean => isPaired() && opened().length === 0
    const open = (): string =>
      opened()
        .map(({ number }) => `#${number}`)
        .join(', ')
    if (!(await this.#expect('settles', openMs, isSettled, () => `still open: ${open()}; ${this.#states()}`))) return
    // Handlers that do not stop, and what is owed for them.
    const isLevel = (): boolean =>
      isPaired() && paired().every((player) => levels(player).every(([, level]) => level === 0))
    const levelText = (): string =>
      paired()
        .map((player) => `${player.name} ${levelsText(player)}`)
        .join('; ')
    if (!(await this.#expect('levels-return', openMs, isLevel, levelText))) return
    await this.#closeAll()
  }

  async #closeAll(): Promise<void> {
    const { options } = this.#schedule
    this.#isOver = true
    const players = this.#players.filter(({ isAlive }) => isAlive)
    for (const player of players) if (!player.isClosing) void player.close(options.drainMs)
    const isOver = (): boolean => players.every(({ isClosed }) => isClosed)
    if (!(await this.#expect('closes', options.drainMs + SLACK_MS, isOver, () => this.#states()))) return
    const timers = (): number => players.reduce((sum, { process }) => sum + process.timersPending, 0)
    const isGone = (): boolean => timers() === 0 && this.#address.pipes.length === 0 && !this.#address.isHeld
    const left = (): string =>
      `${timers()} timers, ${this.#address.pipes.length} pipes, the address ${this.#address.isHeld ? 'held' : 'free'}`
    // Notifications that have arrived are still handled.
    await this.#expect('nothing-left', SLACK_MS + this.#workMs(), isGone, left)
  }

  async #expect(rule: string, withinMs: number, isSo: () => boolean, text: () => string): Promise<boolean> {
    if (await this.#runUntil(this.#time.now + withinMs, isSo)) return true
    if (this.#findings.length === 0) this.fault(rule, `not within ${Math.round(withinMs)} ms: ${text()}`)
    return false
  }

  /** How long all that was asked can take, one after another and at the slowest that a window can go. */
  #workMs(): number {
    const { wire, options } = this.#schedule
    const windowBytes = Math.min(wire.capacityBytes, options.limits.replayBytesMax, options.limits.inboxBytesMax)
    const msPerByte = (2 * wire.delayMs[1] + 50) / windowBytes
    let sumMs = 0
    for (const { plan: asked } of this.#ledger.calls) {
      for (const plan of allOf(asked)) {
        sumMs += Math.max(0, plan.handlerMs) + (plan.sizeBytes + plan.answerBytes) * msPerByte
      }
    }
    return sumMs
  }

  // ---- what is done to the world

  #start(who: number): void {
    const { options, seed, address } = this.#schedule
    const name = `${'ABC'[who] ?? '?'}${++this.#incarnations}`
    const dice = Dice.of(seed, name)
    const process = new SimProcess(name, this.#time, 1000 + dice.below(100_000))
    const { delayMs, ...rest } = options
    const player = new Player({
      name,
      process,
      dice,
      ledger: this.#ledger,
      fault: this.fault,
      turnedAway: (about) => {
        this.#judgeBusy(about)
      },
      told: (what, about) => {
        this.#told(what, about)
      },
      connection: {
        ...rest,
        transport: this.#address.transport(process),
        secret: 'of all processes of this session',
        reconnect: { delayMs },
        ...(this.#encryption === undefined ? {} : { encryption: this.#encryption }),
      },
    })
    this.#players[who] = player
    this.#everybody.set(name, player)
    this.#trace(`${this.#stamp()} ${name} starts (${address})`)
    void player.begin()
  }

  #apply(step: Step): void {
    const player = 'who' in step ? this.#players[step.who] : undefined
    this.#trace(`${this.#stamp()} ${JSON.stringify(step)}`)
    switch (step.do) {
      case 'ask': {
        if (player === undefined || player.isClosing) return
        player.process.arrive(() => {
          for (let count = 0; count < step.times; count++) void player.ask(step.call)
        })
        return
      }
      case 'cut': {
        const [near, far] = this.#address.pipes.at(-1) ?? []
        if (near === undefined || far === undefined) return
        this.#counts.cuts++
        near.cut(step.keeps[0], step.told === 'both' || step.told === 'dialer')
        far.cut(step.keeps[1], step.told === 'both' || step.told === 'listener')
        return
      }
      case 'stall': {
        const [near, far] = this.#address.pipes.at(-1) ?? []
        const end = step.from === 'dialer' ? near : far
        this.#stalledUntil = Math.max(this.#stalledUntil, this.#time.now + step.forMs)
        end?.stall(this.#time.now + step.forMs)
        return
      }
      case 'block':
        this.#address.block(this.#time.now + step.forMs)
        return
      case 'stop':
        if (player === undefined) return
        player.process.stop()
        this.#time.at(this.#time.now + step.forMs, () => {
          player.process.wake()
        })
        return
      case 'jump':
        this.#ledger.clocksDiffer = true
        player?.process.jump(step.byMs)
        return
      case 'kill':
        if (player === undefined) return
        this.#address.orphan(player.process)
        player.process.kill()
        this.#restart(step.who, step.restartMs)
        return
      case 'close':
        if (player === undefined || player.isClosing) return
        player.process.arrive(() => {
          void player.close(step.drainMs).then(() => {
            this.#restart(step.who, step.restartMs)
          })
        })
        return
      case 'remove':
        this.#address.remove()
    }
  }

  #restart(who: number, afterMs: number): void {
    const before = this.#players[who]
    this.#time.at(this.#time.now + afterMs, () => {
      if (this.#players[who] === before && !this.#isOver) this.#start(who)
    })
  }

  // ---- what is seen of it

  #wire(dialer: SimProcess, listener: SimProcess): Wire {
    const base = { time: this.#time, dice: this.#wireDice, nature: this.#schedule.wire }
    const hears = (end: SimPipe): void => {
      const from = end.process === dialer ? listener : dialer
      this.#heard.set(`${end.process.name} ${from.name}`, this.#time.now)
    }
    const [a, b] = [this.#everybody.get(dialer.name), this.#everybody.get(listener.name)]
    if (this.#referee === undefined || a === undefined || b === undefined)
      return { ...base, watcher: { ...unwatched, delivered: hears } }
    const { limits } = this.#schedule.options
    const known = (player: Player) => ({
      name: player.name,
      limits,
      now: () => player.now(),
      isOpen: () => !player.isClosing && this.#address.isHeldBy(player.process),
      awakeSince: () => (player.process.isRunning ? player.awakeSince() : Infinity),
    })
    const watched = this.#referee.watch(known(a), known(b))
    return { ...base, watcher: watcherOf(watched, dialer, hears) }
  }

  #told(what: 'paired' | 'resumed' | 'reset' | 'apart' | 'left', player: Player): void {
    this.#trace(`${this.#stamp()} ${player.name} ${what} ${player.peerInstance ?? ''}`)
    if (what === 'resumed') this.#counts.resumes++
    if (what !== 'reset') return
    this.#counts.resets++
    if (!this.#mayReset(player)) {
      this.fault('reset-justified', `${player.name} has given up its session with ${player.peerInstance ?? 'nobody'}`)
    }
  }

  /** Whoever is told for good that two are paired is told so because there are two, or the listener has just heard of its peer. */
  #judgeBusy(player: Player): void {
    const { silenceMs, keepaliveMs, drainMs } = this.#schedule.options
    if (this.#alive().length > 2) return
    // Nobody is kept waiting for longer than that, whatever is said.
    if (player.now() - player.lookedSince >= silenceMs + keepaliveMs + drainMs) return
    const { wire } = this.#schedule
    const sinceMs = this.#time.now - BUSY_VALID_MS - 3 * wire.delayMs[1] - LATE_MS
    // One that closes keeps others waiting for its own time, which may be longer than they wait; and so does a clock that jumps.
    if (this.#ledger.clocksDiffer || this.#alive().some(({ isClosing }) => isClosing)) return
    // What was said before a stop is read after it, and a stall keeps it on its way.
    if (player.now() - player.awakeSince() < BUSY_VALID_MS || this.#stalledUntil > sinceMs) return
    for (const [names, at] of this.#heard) {
      if (at >= sinceMs && !names.split(' ').includes(player.name)) return
    }
    this.fault('busy-true', `${player.name} was told that two are paired, and nobody has heard of anybody else`)
  }

  /** Whether anything has happened that ends a session without a goodbye. */
  #mayReset(player: Player): boolean {
    const { options, processes } = this.#schedule
    const peer = this.#everybody.get(player.peerInstance ?? '')
    if (options.resumeWindowMs === 0 || processes > 2 || player.isClosing) return true
    if (peer === undefined || !peer.isAlive || peer.isClosing) return true
    // The window of either side was over: its own clock says so.
    if (player.now() - player.apartSince >= options.resumeWindowMs - 1) return true
    // The peer has given it up before, or its WELCOME was lost, and the peer has never been told of it.
    const [mine, theirs] = [player.sessionsWith(peer.name), peer.sessionsWith(player.name)]
    return theirs.reset >= mine.reset || theirs.dialer < mine.listener
  }

  /** What must hold at any moment. */
  #look(): void {
    const { limits, resumeWindowMs, handshakeTimeoutMs } = this.#schedule.options
    for (const player of this.#alive()) {
      if (!player.process.isRunning) continue
      const stats = player.connection.stats()
      const apartMs = player.now() - Math.max(player.apartSince, player.awakeSince())
      if (apartMs > resumeWindowMs + handshakeTimeoutMs + LATE_MS && stats.session !== undefined && !player.isClosing)
        this.fault('window-kept', `${player.name} has kept its session for ${Math.round(apartMs)} ms without a link`)
      const { session } = stats
      if (stats.strangers > limits.strangersMax) this.fault('bounds', `${player.name}: ${stats.strangers} strangers`)
      if (session === undefined) continue
      const bounds: readonly (readonly [string, number, number])[] = [
        ['handlersRunning', session.handlersRunning, 16 * limits.handlersMax],
        ['reassemblyBytes', session.reassemblyBytes, limits.reassemblyBytesMax],
        ['inboxBytes', session.inboxBytes, limits.inboxBytesMax + limits.messageBytesMax + 400],
        ['queriesInFlight', session.queriesInFlight, 16 * limits.handlersMax],
      ]
      for (const [name, level, most] of bounds) {
        if (level > most) this.fault('bounds', `${player.name}: ${name} is ${level}, and the limit ${most}`)
      }
      if (this.#time.isQuiet && stats.callsOpen > 0 && player.process.timersPending === 0)
        this.fault('has-deadline', `${player.name} (${stats.state}) waits for ${stats.callsOpen} calls without a timer`)
    }
  }

  /** The incarnations that live; those that have closed are among them. */
  #alive(): Player[] {
    return this.#players.filter((player?: Player) => player?.isAlive === true)
  }

  #states(): string {
    return this.#alive()
      .map(
        (player) =>
          `${player.name} ${player.state} ${player.connection.role ?? ''} with ${player.peerInstance ?? 'nobody'}`,
      )
      .join(', ')
  }

  #stamp(): string {
    return this.#time.now.toFixed(1).padStart(8)
  }
}

/** All that is ready to run has run: microtasks, ticks, and what they bring about. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** How long something lasts that a step has begun. */
function effectMs(step: Step): number {
  switch (step.do) {
    case 'stall':
    case 'block':
    case 'stop':
      return step.forMs
    case 'kill':
      return step.restartMs
    case 'close':
      return step.restartMs + step.drainMs + 2000
    default:
      return 0
  }
}

/** A call and all that follow from it. */
function* allOf(plan: CallPlan | undefined): Generator<CallPlan> {
  if (plan === undefined) return
  yield plan
  yield* allOf(plan.nested)
  yield* allOf(plan.then)
}

const unwatched: WireWatcher = { wrote: ignore, delivered: ignore, full: ignore, over: ignore, destroyed: ignore }

function ignore(): void {}

function watcherOf(watched: WatchedPipe, dialer: SimProcess, hears: (end: SimPipe) => void): WireWatcher {
  const side = (end: SimPipe) => (end.process === dialer ? 'dialer' : 'listener')
  return {
    wrote: (end, bytes) => {
      watched.wrote(side(end), bytes)
    },
    delivered: (end, bytes) => {
      hears(end)
      watched.delivered(side(end), bytes)
    },
    full: (end, isFull) => {
      watched.full(side(end), isFull)
    },
    over: (end) => {
      watched.over(side(end))
    },
    destroyed: (end) => {
      watched.destroyed(side(end))
    },
  }
}

/** What must be nothing when nothing is going on. */
function levels(player: Player): readonly (readonly [string, number])[] {
  const { callsOpen, callsParked, inboxWaiting, session } = player.connection.stats()
  const own = [
    ['callsOpen', callsOpen],
    ['callsParked', callsParked],
    ['inboxWaiting', inboxWaiting],
  ] as const
  if (session === undefined) return own
  const {
    queuedBytes,
    unacknowledgedBytes,
    reassemblyBytes,
    inboxBytes,
    queriesInFlight,
    callsWaiting,
    handlersRunning,
  } = session
  return [
    ...own,
    ...Object.entries({
      queuedBytes,
      unacknowledgedBytes,
      reassemblyBytes,
      inboxBytes,
      queriesInFlight,
      callsWaiting,
      handlersRunning,
      unconsumedBytes: session.unconsumedBytes,
    }),
  ]
}

function levelsText(player: Player): string {
  return levels(player)
    .filter(([, level]) => level !== 0)
    .map(([name, level]) => `${name} ${level}`)
    .join(' ')
}
