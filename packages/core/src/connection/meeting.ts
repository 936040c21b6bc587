/**
 * How two identical programs meet: dial; if nobody is there, listen; if somebody just took the place, dial again. It owns
 * the listener, the strangers at it and the link that is being dialled, and knows nothing of calls: a link that is ready
 * goes to the host, which makes a pair of it.
 */
import type { EndedEvent, Link, LinkEnd, ProtocolEvent, Refusal, Side } from '../protocol/index.js'
import type { Listener, Pipe, Transport } from '../transport.js'
import type { Clock, Timer } from './clock.js'
import { isPairlinkError, PairlinkError, type ErrorCode } from './errors.js'
import { Pump, type PumpHost } from './pump.js'
import type { Random } from './random.js'

/** Pauses while others are starting at the same moment: most of the cost of a simultaneous start. */
const PAUSE_FIRST_MS = 2
const PAUSE_MAX_MS = 50
/** An address that accepts and hangs up without a word is tried this often, then it is somebody else's. */
const MUTE_ENDS_MAX = 5
/** How long a transport is waited for that was told to stop dialling or listening. */
const UNDO_MS = 1000

const ignore = (): void => undefined

export interface MeetingHost extends PumpHost {
  makeLink(side: Side): Link
  /** This process holds the address and waits there. */
  listening(address: string): void
  /** A stranger was turned away. */
  refused(end: LinkEnd): void
}

export interface MeetingPlan {
  /** Whether a failure that another try will not mend ends the meeting: so for the first one, not after a loss. */
  readonly isFirst: boolean
  /** How many rounds may find nobody; Infinity for ever. */
  readonly roundsMax: number
  readonly delayMs: number
  /** A round found nobody, for a reason worth telling. */
  readonly missed: (error: PairlinkError) => void
}

/** What became of one dial: a pair, or why not. */
type Outcome =
  | { readonly kind: 'paired' }
  /** Nobody's fault, or passing: again after a short pause. */
  | { readonly kind: 'again' }
  | { readonly kind: 'failed'; readonly error: PairlinkError; readonly isFinal: boolean }

export class Meeting implements PumpHost {
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #random: Random
  readonly #host: MeetingHost
  readonly #strangersMax: number
  readonly #drainMs: number

  #listener: Listener | undefined
  /** The address that was held last is given up. */
  #givenUp: Promise<void> | undefined
  /** Links at our listener that are not proven, the oldest first. */
  readonly #strangers = new Set<Pump>()
  /** Links that were turned away and are not gone, such as those whose REFUSE is on its way. */
  readonly #refused = new Set<Pump>()
  /** Every pump that is not gone, whatever it does. */
  readonly #pumps = new Set<Pump>()
  #dialling: { readonly pump: Pump; readonly settle: (outcome: Outcome) => void } | undefined
  #pauses = new Set<Timer>()
  #isHeld = true
  /** Settles when the last `meet` has. */
  #met: Promise<void> = Promise.resolve()

  constructor(
    transport: Transport,
    clock: Clock,
    random: Random,
    host: MeetingHost,
    limits: { strangersMax: number; drainMs: number },
  ) {
    this.#transport = transport
    this.#clock = clock
    this.#random = random
    this.#host = host
    this.#strangersMax = limits.strangersMax
    this.#drainMs = limits.drainMs
  }

  get isListening(): boolean {
    return this.#listener !== undefined
  }

  get strangers(): number {
    return this.#strangers.size
  }

  /**
   * Meets. Resolves when a link was handed to the host, or this process holds the address and waits (`'listening'`).
   * @throws PairlinkError when no further try is worth it, or `plan.roundsMax` rounds found nobody; the reason of `signal`
   */
  meet(plan: MeetingPlan, signal: AbortSignal): Promise<'paired' | 'listening'> {
    const met = this.#meet(plan, signal)
    this.#met = met.then(ignore, ignore)
    return met
  }

  async #meet(plan: MeetingPlan, signal: AbortSignal): Promise<'paired' | 'listening'> {
    let pauseMs = PAUSE_FIRST_MS
    let muteEnds = 0
    for (let rounds = 0; ; ) {
      if (this.#listener !== undefined) return 'listening'
      const outcome = await this.#round(signal)
      signal.throwIfAborted()
      if (outcome === 'listening') return 'listening'
      switch (outcome.kind) {
        case 'paired':
          return 'paired'
        case 'again':
          await this.#pause(pauseMs * (1 + 2 * this.#random.fraction()), signal)
          pauseMs = Math.min(PAUSE_MAX_MS, pauseMs * 2)
          break
        case 'failed': {
          const { error } = outcome
          const isMute = error.code === 'NOT_PAIRLINK' && !outcome.isFinal
          if (isMute && ++muteEnds < MUTE_ENDS_MAX) {
            await this.#pause(PAUSE_MAX_MS, signal)
            break
          }
          if (error.code === 'ADDRESS_INVALID' || (plan.isFirst && (outcome.isFinal || isMute))) throw error
          plan.missed(error)
          if (++rounds >= plan.roundsMax) throw exhausted(error, rounds, this.#transport.address)
          await this.#pause(plan.delayMs, signal)
          pauseMs = PAUSE_FIRST_MS
          break
        }
      }
    }
  }

  /**
   * Gives the address up and ends every link that is not the pair's. The signal of `meet` must have fired. Nothing of the
   * meeting is left when it resolves; a transport that does not undo its work within a second is not waited for.
   */
  async stop(): Promise<void> {
    const turnedAway = [...this.#strangers, ...this.#refused]
    this.#strangers.clear()
    for (const pump of turnedAway) pump.destroy()
    this.#dialling?.pump.destroy()
    if (this.#listener !== undefined) this.#givenUp = this.#listener.close()
    this.#listener = undefined
    await this.#givenUp
    let timer: Timer | undefined
    const tooLate = new Promise<void>((resolve) => (timer = this.#clock.after(UNDO_MS, resolve)))
    if (!this.#isHeld) timer?.unref()
    await Promise.race([this.#met, tooLate])
    timer?.cancel()
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
      this.#dialling.settle({ kind: 'paired' })
    }
  }

  ended(pump: Pump, event: EndedEvent): void {
    const { end } = event
    if (end.by === 'refusing') this.#refused.add(pump)
    const isStranger = this.#strangers.delete(pump) || this.#refused.has(pump)
    if (this.#dialling?.pump === pump) this.#dialling.settle(outcomeOf(end, this.#transport.address))
    else if (isStranger) this.#host.refused(end)
    this.#host.ended(pump, event)
  }

  gone(pump: Pump): void {
    this.#pumps.delete(pump)
    this.#refused.delete(pump)
    this.#host.gone(pump)
  }

  bug(error: unknown): void {
    this.#host.bug(error)
  }

  async #round(signal: AbortSignal): Promise<Outcome | 'listening'> {
    try {
      const dialled = await this.#transport.dial(signal)
      if (dialled === 'again') return { kind: 'again' }
      if (dialled !== 'absent') {
        const outcome = this.#handshake(dialled)
        // Between the transport's word and ours the meeting may have ended.
        if (signal.aborted) this.#dialling?.pump.destroy()
        return await outcome
      }
      const listener = await this.#transport.listen((pipe) => {
        this.#accept(pipe)
      }, signal)
      if (listener === 'taken') return { kind: 'again' }
      if (signal.aborted) {
        await listener.close()
        throw signal.reason
      }
      this.#listener = listener
      if (!this.#isHeld) listener.unref()
      this.#host.listening(this.#transport.address)
      return 'listening'
    } catch (cause) {
      if (signal.aborted) throw signal.reason
      if (isPairlinkError(cause)) return { kind: 'failed', error: cause, isFinal: true }
      const text = `The transport failed at ${this.#transport.address}: ${cause instanceof Error ? cause.message : String(cause)}`
      return { kind: 'failed', error: new PairlinkError('ADDRESS_INVALID', text, { cause }), isFinal: true }
    }
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

  #accept(pipe: Pipe): void {
    const pump = this.#start(pipe, 'listener')
    if (pump.isGone) return
    this.#strangers.add(pump)
    if (this.#strangers.size <= this.#strangersMax) return
    // The room is full: the one that had the longest time to prove itself goes.
    const [oldest = pump] = this.#strangers
    this.#strangers.delete(oldest)
    this.#refused.add(oldest)
    oldest.destroy()
  }

  #start(pipe: Pipe, side: Side): Pump {
    const pump = new Pump(this.#host.makeLink(side), pipe, this.#clock, this, this.#drainMs)
    if (!pump.isGone) this.#pumps.add(pump)
    if (!this.#isHeld) pump.hold(false)
    return pump
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

/** How a dial that did not become a pair looks to the user, and whether another try can change it. */
function outcomeOf(end: LinkEnd, address: string): Outcome {
  const failed = (code: ErrorCode, text: string, isFinal: boolean, cause?: unknown): Outcome => ({
    kind: 'failed',
    error: new PairlinkError(code, `${text} (at ${address})`, cause === undefined ? {} : { cause }),
    isFinal,
  })
  switch (end.by) {
    case 'refused':
      return failed(...refusalError(end.refusal, 'The other side refused, without proving who it is'), true)
    case 'mismatch':
    case 'refusing':
      return failed(...refusalError(end.refusal, 'The other side does not fit'), true)
    case 'stranger':
      return failed('NOT_PAIRLINK', 'What answers here is not pairlink', true)
    case 'violation':
      return failed('PROTOCOL', `The handshake broke the protocol: ${end.error.message}`, true, end.error)
    case 'handshake-timeout':
      return failed('PEER_SILENT', 'Somebody accepted and then said nothing', false)
    case 'silence':
      return failed('PEER_SILENT', 'The other side fell silent', false)
    case 'pipe':
      if (end.heard) return { kind: 'again' }
      return failed(
        'NOT_PAIRLINK',
        'Something accepts here and hangs up without a word; see the log of the other side',
        false,
      )
    case 'close':
    case 'drop':
      return { kind: 'again' }
    default:
      return end satisfies never
  }
}

function refusalError(refusal: Refusal, who: string): [ErrorCode, string] {
  switch (refusal.reason) {
    case 'version':
      return ['VERSION_MISMATCH', `${who}: it speaks version ${refusal.version}`]
    case 'mode': {
      const cipher = refusal.cipherName === '' ? '' : ` with the cipher '${refusal.cipherName}'`
      return ['ENCRYPTION_MISMATCH', `${who}: it uses mode ${refusal.mode}${cipher}`]
    }
    case 'secret':
      return ['SECRET_MISMATCH', `${who}: the secrets differ. Give both processes the same secret`]
    case 'self':
      return ['SELF', 'The connection met itself']
    case 'busy':
      return ['PAIR_BUSY', 'Two processes are paired here already. Use another address for another pair']
    case 'protocol':
      return ['PROTOCOL', `${who}: ${refusal.text}`]
    default:
      return refusal.reason satisfies never
  }
}

function exhausted(cause: PairlinkError, rounds: number, address: string): PairlinkError {
  const text = `No peer came back in ${rounds} ${rounds === 1 ? 'attempt' : 'attempts'} at ${address}; the last: ${cause.message}`
  return new PairlinkError('RETRIES_EXHAUSTED', text, { cause })
}
