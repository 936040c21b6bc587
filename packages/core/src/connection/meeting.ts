/**
 * How two identical programs meet: dial; if nobody is there, listen; if somebody just took the place, dial again. It owns
 * the listener, the strangers at it and the link that is being dialled, and knows nothing of calls: a link that is ready
 * goes to the host, which makes a pair of it.
 */
import type { EndedEvent, Link, LinkEnd, ProtocolEvent, Side } from '../protocol/index.js'
import type { Listener, Pipe, Transport } from '../transport.js'
import { FIRST_LOOK_MS_MAX } from './backoff.js'
import { LATE_MS, type Clock, type Timer } from './clock.js'
import { exhausted, isUnanswered, outcomeOf, type Outcome } from './endings.js'
import { isPairlinkError, PairlinkError } from './errors.js'
import { Pump, type PumpHost } from './pump.js'
import type { Random } from './random.js'

/** Pauses while others are starting at the same moment: most of the cost of a simultaneous start. */
const PAUSE_FIRST_MS = 2
const PAUSE_MAX_MS = 50
/** An address that accepts and hangs up without a word is tried this often, in 0.75 s: longer than our own takes to close. */
const MUTE_ENDS_MAX = 5
const MUTE_PAUSE_MS = 50
/** What passes has passed by then. */
const PASSING_MS_MAX = 1000
/** How often a standby asks whether its turn has come. */
const STANDBY_MS = 500
/** How often somebody asks who was told that the present peer may be gone. */
const BUSY_MS = 100
/** How long it may take before people are told what is being waited for. */
const PATIENCE_MS = 3000
/** So many handshakes in a row without an answer are worth a warning. */
const SILENT_HANDSHAKES = 2
/** How long a holder that is to be replaced gets for a last sign of life. */
const LAST_LOOK_MS = 1000
/** How often an address that can be lost is looked after; oftener where `keepaliveMs` is shorter. */
const WATCH_MS_MAX = 1000
/** How long a transport is waited for that was told to stop dialling or listening. */
const UNDO_MS = 1000

/** Longer than anybody dials; the timer is cancelled. */
const HOLD_MS = 2 ** 31 - 1

const ignore = (): void => undefined

export interface MeetingHost extends PumpHost {
  makeLink(side: Side): Link
  /** This process holds the address and waits there. */
  listening(address: string): void
  /** Whoever accepted the pipes of this holder has gone: the address is still its own, and refuses. */
  holderGone(holder: string): void
  /** A stranger was turned away. */
  refused(end: LinkEnd, failure: PairlinkError | undefined): void
  /** The address that was held belongs to somebody else by now, or to nobody: the caller meets again. */
  displaced(): void
}

interface MeetingSettings {
  readonly strangersMax: number
  readonly drainMs: number
  readonly keepaliveMs: number
  /** The longest time for which a REFUSE can keep a first `connect` waiting. */
  readonly busyMsMax: number
}

export interface MeetingPlan {
  /** Whether a failure that another try will not mend ends the meeting: so for the first one, not after a loss. */
  readonly isFirst: boolean
  /** Whether this process may take the listener's place. */
  readonly mayListen: boolean
  /** Whether to ask again and again where two are paired already. */
  readonly isStandby: boolean
  /** How many rounds may find nobody; Infinity for ever. */
  readonly roundsMax: number
  /** The pause after each round that found nobody, in milliseconds. */
  readonly pauses: Iterator<number, never>
  /** A round found nobody, for a reason worth telling. */
  readonly missed: (error: PairlinkError, retryInMs: number) => void
  /** Two are paired there already, and our turn will come. */
  readonly standsBy: () => void
  /** Nothing is wrong yet, but it takes long: this process is alone, or what it waits for is in the error. */
  readonly waiting: (error: PairlinkError | undefined) => void
}

/** A holder of the address that fell silent as our peer, and what it has left unanswered since. */
interface Silent {
  readonly holder: string
  handshakes: number
}

export class Meeting implements PumpHost {
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #random: Random
  readonly #host: MeetingHost
  readonly #settings: MeetingSettings

  #listener: Listener | undefined
  /** The address that was held last is given up. */
  #givenUp: Promise<void> | undefined
  /** Links at our listener that are not proven, the oldest first. */
  readonly #strangers = new Set<Pump>()
  /** Links that were turned away and are not gone, such as those whose REFUSE is on its way. */
  readonly #turnedAway = new Set<Pump>()
  /** Every pump that is not gone, whatever it does. */
  readonly #pumps = new Set<Pump>()
  #dialling: { readonly pump: Pump; readonly settle: (outcome: Outcome) => void } | undefined
  /** The outcome of a handshake that began as a last look. */
  #lastLook: Promise<Outcome> | undefined
  #silent: Silent | undefined
  /** Why nobody was met the last time. */
  #lastError: PairlinkError | undefined
  #pauses = new Set<Timer>()
  #patience: Timer | undefined
  #watch: Timer | undefined
  #isHeld = true
  /** Settles when the last `meet` has. */
  #met: Promise<void> = Promise.resolve()
  /** Settles when the last `stop` has. */
  #stopped: Promise<void> = Promise.resolve()

  constructor(transport: Transport, clock: Clock, random: Random, host: MeetingHost, settings: MeetingSettings) {
    this.#transport = transport
    this.#clock = clock
    this.#random = random
    this.#host = host
    this.#settings = settings
  }

  get isListening(): boolean {
    return this.#listener !== undefined
  }

  /** Whether a handshake with that instance is under way, as far as it says who it is. */
  isMeeting(instance: string): boolean {
    for (const { link } of this.#pumps) if (link.session === undefined && link.peer?.instance === instance) return true
    return false
  }

  get strangers(): number {
    return this.#strangers.size
  }

  /**
   * Meets. Resolves when a link was handed to the host, or this process holds the address and waits (`'listening'`).
   * @throws PairlinkError when no further try is worth it, or `plan.roundsMax` rounds found nobody; the reason of `signal`
   */
  meet(plan: MeetingPlan, signal: AbortSignal): Promise<'paired' | 'listening'> {
    this.#lastError = undefined
    this.#bePatient(plan, signal)
    const met = this.#meet(plan, signal)
    this.#met = met.then(ignore, ignore)
    return met
  }

  /** Tells what is waited for, when nothing else is told for a while. */
  #bePatient(plan: MeetingPlan, signal: AbortSignal): void {
    this.#patience?.cancel()
    this.#patience = this.#clock.after(PATIENCE_MS, () => {
      if (signal.aborted) return
      plan.waiting(this.#listener === undefined ? (this.#obstacle() ?? this.#lastError) : undefined)
    })
    this.#patience.unref()
  }

  async #meet(plan: MeetingPlan, signal: AbortSignal): Promise<'paired' | 'listening'> {
    await this.#stopped
    signal.throwIfAborted()
    let pauseMs = PAUSE_FIRST_MS
    let mutePauseMs = MUTE_PAUSE_MS
    let muteEnds = 0
    let silentHandshakes = 0
    let busyUntil: number | undefined
    /** Since when there was nothing but what passes. */
    let passingSince: number | undefined
    if (this.#listener === undefined && !plan.isFirst)
      await this.#pause(FIRST_LOOK_MS_MAX * this.#random.fraction(), signal)
    for (let rounds = 0; ; ) {
      if (this.#listener !== undefined && this.holdsAddress()) return 'listening'
      const outcome = await this.#round(plan, signal)
      signal.throwIfAborted()
      if (outcome === 'listening') {
        this.#bePatient(plan, signal)
        return 'listening'
      }
      let missed: PairlinkError
      if (outcome.kind !== 'again') passingSince = undefined
      switch (outcome.kind) {
        case 'paired':
          return 'paired'
        case 'again': {
          const now = this.#clock.now()
          passingSince ??= now
          const isPassing = now - passingSince < PASSING_MS_MAX
          if (!isPassing) this.#lastError = this.#obstacle() ?? outcome.error ?? this.#unusable()
          if (isPassing || plan.isFirst || this.#lastError === undefined) {
            await this.#pause(pauseMs * (1 + 2 * this.#random.fraction()), signal)
            pauseMs = Math.min(PAUSE_MAX_MS, pauseMs * 2)
            continue
          }
          missed = this.#lastError
          break
        }
        case 'mute':
          if (++muteEnds < MUTE_ENDS_MAX) {
            await this.#pause(mutePauseMs, signal)
            mutePauseMs *= 2
            continue
          }
          if (plan.isFirst) throw outcome.error
          missed = outcome.error
          break
        case 'busy': {
          const now = this.#clock.now()
          // Whoever says so may be anybody, and is not waited for longer than a peer that fell silent.
          busyUntil ??= now + this.#settings.busyMsMax
          this.#lastError = outcome.error
          if (plan.isStandby) {
            this.#bePatient(plan, signal)
            plan.standsBy()
            // Whoever is to be told for good was at least told once that the present peer is alive.
          } else if (plan.isFirst && (outcome.retryInMs === 0 || now >= busyUntil)) throw outcome.error
          if (plan.isStandby || plan.isFirst) {
            await this.#pause((plan.isStandby ? STANDBY_MS : BUSY_MS) * (0.75 + this.#random.fraction() / 2), signal)
            continue
          }
          missed = outcome.error
          break
        }
        case 'failed':
          if (outcome.error.code === 'ADDRESS_INVALID' || (plan.isFirst && outcome.isFinal)) throw outcome.error
          silentHandshakes = outcome.error.code === 'PEER_SILENT' ? silentHandshakes + 1 : 0
          if (silentHandshakes === SILENT_HANDSHAKES) plan.waiting(outcome.error)
          missed = outcome.error
          break
      }
      this.#lastError = missed
      passingSince = undefined
      if (++rounds >= plan.roundsMax) throw exhausted(missed, rounds, this.#transport.address)
      const delayMs = plan.pauses.next().value
      plan.missed(missed, delayMs)
      await this.#pause(delayMs, signal)
      pauseMs = PAUSE_FIRST_MS
      mutePauseMs = MUTE_PAUSE_MS
      muteEnds = 0
      busyUntil = undefined
    }
  }

  /**
   * Gives the address up and ends every link that is not the pair's. The signal of `meet` must have fired. The address is
   * free when it resolves; a transport that does not undo its work within a second is not waited for.
   */
  stop(): Promise<void> {
    const stopped = this.#stop()
    this.#stopped = stopped.then(ignore, ignore)
    return stopped
  }

  async #stop(): Promise<void> {
    const met = this.#met
    this.#patience?.cancel()
    this.#silent = undefined
    this.#releaseAddress()
    this.#dialling?.pump.destroy()
    let timer: Timer | undefined
    const tooLate = new Promise<void>((resolve) => (timer = this.#clock.after(UNDO_MS, resolve)))
    if (!this.#isHeld) timer?.unref()
    try {
      await Promise.race([Promise.all([this.#givenUp, met]), tooLate])
    } finally {
      timer?.cancel()
    }
  }

  /** Whether what is said here is said in the name of the address: else it was lost, and is being given up. */
  holdsAddress(): boolean {
    if (this.#listener === undefined) return false
    if (this.#listener.holds?.() !== false) return true
    this.#releaseAddress()
    this.#givenUp?.catch((error: unknown) => {
      this.#host.bug(error)
    })
    return false
  }

  /** There is a pair: nobody is to be told what is waited for. */
  paired(): void {
    this.#patience?.cancel()
  }

  /** The pair over this link was lost by silence: its listener may be stopped, and then its place can be taken. */
  lostBySilence(pump: Pump): void {
    const { holder } = pump
    this.#silent = holder === undefined ? undefined : { holder, handshakes: 0 }
  }

  hold(held: boolean): void {
    this.#isHeld = held
    if (held) this.#listener?.ref()
    else this.#listener?.unref()
    for (const pump of this.#pumps) pump.hold(held)
    for (const timer of this.#pauses) {
      if (held) timer.ref()
      else timer.unref()
    }
  }

  // ---- PumpHost

  event(pump: Pump, event: Exclude<ProtocolEvent, EndedEvent>): void {
    if (event.type === 'proven') this.#strangers.delete(pump)
    this.#host.event(pump, event)
    if (event.type === 'welcomed' && this.#dialling?.pump === pump && pump.link.session !== undefined) {
      this.#silent = undefined
      this.#dialling.settle({ kind: 'paired' })
    }
  }

  ended(pump: Pump, event: EndedEvent): void {
    const { end } = event
    if (end.by === 'refusing') this.#turnedAway.add(pump)
    const isStranger = this.#strangers.delete(pump) || this.#turnedAway.has(pump)
    if (this.#dialling?.pump === pump) {
      const isSilentHolder = pump.holder !== undefined && pump.holder === this.#silent?.holder
      if (isSilentHolder) this.#countSilence(end.by === 'handshake-timeout' && !end.heard)
      this.#dialling.settle(outcomeOf(end, this.#transport.address, pump.failure))
    } else if (isStranger) {
      this.#host.refused(end, pump.failure)
    }
    this.#host.ended(pump, event)
  }

  gone(pump: Pump): void {
    this.#pumps.delete(pump)
    this.#turnedAway.delete(pump)
    this.#host.gone(pump)
  }

  bug(error: unknown): void {
    this.#host.bug(error)
  }

  async #round(plan: MeetingPlan, signal: AbortSignal): Promise<Outcome | 'listening'> {
    try {
      const dialled = await this.#holding(this.#transport.dial(signal), signal)
      if (dialled === 'again') return { kind: 'again' }
      if (dialled === 'full') {
        if (this.#silent === undefined || !plan.mayListen) return { kind: 'again' }
        this.#countSilence(true)
        await this.#pause(PAUSE_MAX_MS, signal)
      } else if (dialled !== 'absent') {
        const outcome = this.#handshake(dialled)
        // Between the transport's word and ours the meeting may have ended.
        if (signal.aborted) this.#dialling?.pump.destroy()
        const known = await outcome
        if (known.kind !== 'failed' || !plan.mayListen || (this.#silent?.handshakes ?? 0) < SILENT_HANDSHAKES)
          return known
      }
      const dead = dialled === 'absent' ? this.#transport.refusedBy?.() : undefined
      if (dead !== undefined) this.#host.holderGone(dead)
      signal.throwIfAborted()
      return plan.mayListen ? await this.#listen(signal) : this.#alone()
    } catch (cause) {
      if (signal.aborted) throw signal.reason
      if (isPairlinkError(cause)) return { kind: 'failed', error: cause, isFinal: true }
      const text = `The transport failed at ${this.#transport.address}: ${cause instanceof Error ? cause.message : String(cause)}`
      return { kind: 'failed', error: new PairlinkError('ADDRESS_INVALID', text, { cause }), isFinal: true }
    }
  }

  /** Keeps the process alive for a transport that does not know whether it should. */
  async #holding<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    const timer = this.#clock.after(HOLD_MS, ignore)
    if (!this.#isHeld) timer.unref()
    this.#pauses.add(timer)
    const release = (): void => {
      timer.cancel()
      this.#pauses.delete(timer)
    }
    signal.addEventListener('abort', release, { once: true })
    try {
      return await work
    } finally {
      signal.removeEventListener('abort', release)
      release()
    }
  }

  async #listen(signal: AbortSignal): Promise<Outcome | 'listening'> {
    const accept = (pipe: Pipe): void => {
      this.#accept(pipe)
    }
    const silent = this.#silent
    const listener = await (silent === undefined || silent.handshakes < SILENT_HANDSHAKES
      ? this.#transport.listen(accept, signal)
      : this.#transport.listen(accept, signal, {
          holder: silent.holder,
          isSilent: (pipe) => this.#isSilent(pipe, signal),
        }))
    const lastLook = this.#lastLook
    this.#lastLook = undefined
    if (listener === 'taken') return lastLook ?? { kind: 'again' }
    if (listener === 'cannot') return this.#alone()
    if ('start' in listener) {
      if (signal.aborted) listener.destroy()
      signal.throwIfAborted()
      return this.#handshake(listener)
    }
    if (signal.aborted) {
      await listener.close()
      throw signal.reason
    }
    this.#silent = undefined
    this.#listener = listener
    if (!this.#isHeld) listener.unref()
    this.#watchAddress()
    this.#host.listening(this.#transport.address)
    return 'listening'
  }

  #alone(): Outcome {
    const obstacle = this.#transport.obstacle?.()
    if (isPairlinkError(obstacle)) return { kind: 'failed', error: obstacle, isFinal: false }
    const text = `Nobody listens at ${this.#transport.address}, and this process cannot take the place`
    return { kind: 'failed', error: new PairlinkError('PEER_LOST', text), isFinal: false }
  }

  #unusable(): PairlinkError {
    const text = `${this.#transport.address} can neither be dialled nor taken at this moment`
    return new PairlinkError('PEER_LOST', text)
  }

  #obstacle(): PairlinkError | undefined {
    const obstacle = this.#listener === undefined ? this.#transport.obstacle?.() : undefined
    if (typeof obstacle !== 'string') return obstacle
    return new PairlinkError('ADDRESS_IN_USE', `${this.#transport.address}: ${obstacle}`)
  }

  #handshake(pipe: Pipe): Promise<Outcome> {
    return new Promise((resolve) => {
      const settle = (outcome: Outcome): void => {
        this.#dialling = undefined
        resolve(outcome)
      }
      const pump = this.#start(pipe, 'dialer')
      if (pump.isGone) settle({ kind: 'again' })
      else this.#dialling = { pump, settle }
    })
  }

  /** A sign of life clears the holder of all suspicion. */
  #countSilence(isSilent: boolean): void {
    if (!isSilent) this.#silent = undefined
    else if (this.#silent !== undefined) this.#silent.handshakes++
  }

  /** A handshake like any other, which gets a second to bring a byte. What is late ourselves proves nothing. */
  async #isSilent(pipe: Pipe, signal: AbortSignal): Promise<boolean> {
    const startedAt = this.#clock.now()
    const outcome = this.#handshake(pipe)
    const pump = this.#dialling?.pump
    this.#lastLook = outcome
    await this.#pause(LAST_LOOK_MS, signal)
    await new Promise<void>((resolve) => {
      this.#clock.afterPoll(resolve)
    })
    const isOnTime = this.#clock.now() - startedAt <= LAST_LOOK_MS + LATE_MS
    if (pump === undefined || pump.link.heard || !isOnTime) return false
    // Handshakes of less than a second have ended by now, and only if their time was up is the holder silent.
    const isWaiting = this.#dialling?.pump === pump
    if (!isWaiting && !isUnanswered(await outcome)) return false
    this.#lastLook = undefined
    pump.destroy()
    return true
  }

  #accept(pipe: Pipe): void {
    if (this.#listener === undefined) {
      pipe.destroy()
      return
    }
    const pump = this.#start(pipe, 'listener')
    if (pump.isGone) return
    this.#strangers.add(pump)
    if (this.#strangers.size <= this.#settings.strangersMax) return
    // The room is full: the one that had the longest time to prove itself goes.
    const [oldest = pump] = this.#strangers
    this.#strangers.delete(oldest)
    this.#turnedAway.add(oldest)
    oldest.destroy()
  }

  #start(pipe: Pipe, side: Side): Pump {
    const pump = new Pump(this.#host.makeLink(side), pipe, this.#clock, this, this.#settings.drainMs)
    if (!pump.isGone) this.#pumps.add(pump)
    if (!this.#isHeld) pump.hold(false)
    return pump
  }

  /** Looks after an address that can be lost, for as long as it is held. */
  #watchAddress(): void {
    if (this.#listener?.holds === undefined) return
    this.#watch = this.#clock.after(Math.min(WATCH_MS_MAX, this.#settings.keepaliveMs), () => {
      if (this.holdsAddress()) this.#watchAddress()
      else this.#host.displaced()
    })
    // The listener keeps the process alive, or not, by itself.
    this.#watch.unref()
  }

  #releaseAddress(): void {
    this.#watch?.cancel()
    const unwanted = [...this.#strangers, ...this.#turnedAway]
    this.#strangers.clear()
    for (const pump of unwanted) pump.destroy()
    if (this.#listener !== undefined) this.#givenUp = this.#listener.close()
    this.#listener = undefined
  }

  #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error)
        return
      }
      const abort = (): void => {
        timer.cancel()
        this.#pauses.delete(timer)
        reject(signal.reason as Error)
      }
      const timer = this.#clock.after(delayMs, () => {
        this.#pauses.delete(timer)
        signal.removeEventListener('abort', abort)
        resolve()
      })
      if (!this.#isHeld) timer.unref()
      this.#pauses.add(timer)
      signal.addEventListener('abort', abort, { once: true })
    })
  }
}
