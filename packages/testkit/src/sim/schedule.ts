/**
 * What happens in one simulated session, as plain data: it can be printed, kept, made shorter, and run again. It is drawn
 * from a seed here, and run elsewhere.
 */
import type { Limits } from '@pairlink/core'
import { Dice } from './dice.js'
import type { WireNature } from './wire.js'

export type Protection = 'open' | 'sealed' | 'custom'

/** One call of an application, and what its handler does. */
export interface CallPlan {
  readonly kind: 'query' | 'notify'
  readonly content: 'bytes' | 'text' | 'json'
  readonly sizeBytes: number
  readonly answerBytes: number
  /** How long the handler takes; 0: it returns at once; -1: until it is told to stop. */
  readonly handlerMs: number
  /** -1: without a limit. */
  readonly timeoutMs: number
  /** After so long the caller gives up; -1: never. */
  readonly cancelAfterMs: number
  readonly whenApart: 'reject' | 'wait'
  readonly borrows: boolean
  readonly fails: boolean
  /** Whether the handler stops when it is told to. */
  readonly heeds: boolean
  /** What the application does in the same turn in which it learns what became of the call; a retry, for one. */
  readonly then?: CallPlan
  /** The handler asks back, and answers when it has been answered. */
  readonly nested?: CallPlan
}

export type Step = { readonly atMs: number } & (
  | { readonly do: 'ask'; readonly who: number; readonly call: CallPlan; readonly times: number }
  /** The newest pipe breaks: `told` says which ends learn of it, `keeps` which parts of what is under way still arrive. */
  | {
      readonly do: 'cut'
      readonly told: 'both' | 'dialer' | 'listener' | 'none'
      readonly keeps: readonly [number, number]
    }
  | { readonly do: 'stall'; readonly from: 'dialer' | 'listener'; readonly forMs: number }
  | { readonly do: 'block'; readonly forMs: number }
  | { readonly do: 'stop'; readonly who: number; readonly forMs: number }
  | { readonly do: 'jump'; readonly who: number; readonly byMs: number }
  | { readonly do: 'kill'; readonly who: number; readonly restartMs: number }
  | { readonly do: 'close'; readonly who: number; readonly drainMs: number; readonly restartMs: number }
  | { readonly do: 'remove' }
)

/** The options that all processes of a session share, since they run the same code. */
export interface SharedOptions {
  readonly keepaliveMs: number
  readonly silenceMs: number
  readonly handshakeTimeoutMs: number
  readonly resumeWindowMs: number
  readonly holdMs: number
  readonly drainMs: number
  readonly delayMs: number
  readonly failover: boolean
  readonly whenBusy: 'reject' | 'wait'
  readonly limits: Limits
}

export interface Schedule {
  readonly seed: number
  /** Safety: nothing wrong ever happens. Liveness: when everything heals, everything that should happens, too. */
  readonly kind: 'safety' | 'liveness'
  readonly processes: number
  readonly address: 'file' | 'port'
  readonly protection: Protection
  readonly wire: WireNature
  readonly options: SharedOptions
  readonly steps: readonly Step[]
}

const FRAGMENT_BYTES = 4096

export function drawSchedule(seed: number): Schedule {
  const dice = Dice.of(seed, 'schedule')
  const options = drawOptions(dice)
  const kind = dice.chance(0.5) ? 'safety' : 'liveness'
  const processes = dice.chance(0.15) ? 3 : 2
  const lastMs = dice.between(200, 3000)
  // Whole classes of faults are left out of most sessions: what one of them breaks must not hide behind another.
  const weights = { ask: 12, cut: 0, stall: 0, block: 0, stop: 0, jump: 0, kill: 0, close: 0, remove: 0 }
  const faults = [
    'cut',
    'cut',
    'cut',
    'cut',
    'stall',
    'block',
    'stop',
    'jump',
    'kill',
    'kill',
    'close',
    'remove',
  ] as const
  for (let left = dice.between(1, 3); left > 0; left--) weights[dice.pick(faults)] += dice.between(1, 4)
  const count = dice.between(4, 40)
  // Faults that strike one by one are survived one by one: in half of the sessions everything happens around a few moments.
  const moments = Array.from({ length: dice.between(1, 3) }, () => dice.below(lastMs))
  const isCrowded = dice.chance(0.5)
  const moment = (): number =>
    isCrowded && dice.chance(0.8) ? Math.max(0, dice.pick(moments) + dice.between(-100, 200)) : dice.below(lastMs)
  const steps = Array.from({ length: count }, () => drawStep(dice, weights, processes, options, moment()))
  // What takes several things in their order, and would not come about by itself in a thousand sessions.
  const scene = dice.weighted({ none: 6, flood: 2, successor: 2 })
  if (scene === 'flood') steps.push(...drawFlood(dice, dice.below(processes), moment()))
  if (scene === 'successor') steps.push(...drawSuccessor(dice, processes, moment()))
  steps.sort((a, b) => a.atMs - b.atMs)
  const slow = dice.chance(0.2)
  return {
    seed,
    kind,
    processes,
    address: dice.chance(0.5) ? 'file' : 'port',
    protection: dice.weighted({ open: 13, sealed: 2, custom: 1 }),
    wire: {
      delayMs: slow ? [1, 40] : [0, dice.between(0, 4)],
      splits: dice.pick([0, 0.1, 0.6]),
      joins: dice.pick([0, 0.5]),
      capacityBytes: dice.pick([2000, 16_000, 200_000]),
      losesTail: dice.pick([0, 0.5, 1]),
    },
    options,
    steps,
  }
}

function drawOptions(dice: Dice): SharedOptions {
  const keepaliveMs = dice.pick([100, 250, 1000])
  const messageBytesMax = dice.pick([20_000, 60_000])
  return {
    keepaliveMs,
    silenceMs: keepaliveMs * dice.pick([3, 4, 8]),
    handshakeTimeoutMs: dice.pick([200, 1000]),
    resumeWindowMs: dice.chance(0.1) ? 0 : dice.pick([500, 2000, 60_000]),
    holdMs: dice.pick([0, 100, 1000]),
    drainMs: dice.pick([100, 500, 2000]),
    delayMs: dice.pick([20, 200]),
    failover: dice.chance(0.85),
    whenBusy: dice.chance(0.5) ? 'wait' : 'reject',
    limits: {
      messageBytesMax,
      fragmentBytes: FRAGMENT_BYTES,
      sendBytesMax: dice.pick([5000, 50_000, 500_000]),
      replayBytesMax: dice.pick([4096, 20_000, 500_000]),
      inboxBytesMax: dice.pick([600, 8000, 100_000]),
      reassemblyBytesMax: messageBytesMax * dice.pick([1, 2]),
      handlersMax: dice.pick([1, 2, 8, 64]),
      strangersMax: dice.pick([2, 16]),
    },
  }
}

function drawStep(
  dice: Dice,
  weights: Readonly<Record<Step['do'], number>>,
  processes: number,
  options: SharedOptions,
  atMs: number,
): Step {
  const who = dice.below(processes)
  const action = dice.weighted(weights)
  switch (action) {
    case 'ask':
      return {
        atMs,
        do: action,
        who,
        call: drawCall(dice, options, 0),
        times: dice.chance(0.15) ? dice.between(2, 30) : 1,
      }
    case 'cut':
      return {
        atMs,
        do: action,
        told: dice.weighted({ both: 6, dialer: 2, listener: 2, none: 1 }),
        keeps: [dice.fraction(), dice.pick([0, 0.5, 1, dice.fraction()])],
      }
    case 'stall':
      return { atMs, do: action, from: dice.pick(['dialer', 'listener']), forMs: dice.between(5, 1500) }
    case 'block':
      return { atMs, do: action, forMs: dice.between(5, 1500) }
    case 'stop':
      return { atMs, do: action, who, forMs: dice.pick([dice.between(5, 150), dice.between(100, 4000)]) }
    case 'jump':
      return { atMs, do: action, who, byMs: dice.pick([dice.between(50, 500), dice.between(500, 100_000)]) }
    case 'kill':
      return { atMs, do: action, who, restartMs: dice.pick([0, dice.between(0, 1500)]) }
    case 'close':
      return { atMs, do: action, who, drainMs: dice.pick([0, 100, 2000]), restartMs: dice.between(0, 1500) }
    case 'remove':
      return { atMs, do: action }
  }
}

/** One side asks much, in small queries with large answers, and asks something else in place of what it has cancelled. */
function drawFlood(dice: Dice, who: number, atMs: number): Step[] {
  const query = (cancelAfterMs: number): CallPlan => ({
    kind: 'query',
    content: 'bytes',
    sizeBytes: dice.between(8, 60),
    answerBytes: dice.pick([dice.between(1000, 4000), dice.between(4000, 12_000)]),
    handlerMs: dice.chance(0.7) ? 0 : dice.between(1, 30),
    timeoutMs: -1,
    cancelAfterMs,
    whenApart: 'wait',
    borrows: false,
    fails: false,
    heeds: true,
  })
  return Array.from({ length: dice.between(5, 20) }, () => ({
    atMs: atMs + dice.between(0, 150),
    do: 'ask',
    who,
    call: dice.chance(0.5) ? query(-1) : { ...query(dice.between(0, 60)), then: query(-1) },
    times: dice.between(1, 6),
  }))
}

/** A peer is gone and nobody was told; another process is there at once, while the one that is left does not run. */
function drawSuccessor(dice: Dice, processes: number, atMs: number): Step[] {
  const who = dice.below(processes)
  const left = (who + 1) % processes
  return [
    { atMs, do: 'cut', told: 'none', keeps: [dice.fraction(), dice.fraction()] },
    { atMs: atMs + dice.between(0, 50), do: 'kill', who, restartMs: dice.between(0, 300) },
    ...Array.from({ length: dice.between(1, 3) }, () => ({
      atMs: atMs + dice.between(0, 800),
      do: 'stop' as const,
      who: left,
      forMs: dice.between(20, 500),
    })),
  ]
}

function drawCall(dice: Dice, options: SharedOptions, depth: number): CallPlan {
  const { messageBytesMax } = options.limits
  const size = (): number =>
    dice.chance(0.7)
      ? dice.between(8, 60)
      : dice.chance(0.7)
        ? dice.between(60, 9000)
        : dice.between(9000, messageBytesMax)
  const kind = dice.chance(0.4) ? 'notify' : 'query'
  // Nothing but the caller ends it, who may be far away by then.
  const isEndless = kind === 'query' && depth === 0 && dice.chance(0.08)
  const call: CallPlan = {
    kind,
    content: dice.weighted({ bytes: 6, text: 1, json: 2 }),
    sizeBytes: size(),
    answerBytes: size(),
    handlerMs: isEndless ? -1 : dice.chance(0.5) ? 0 : dice.chance(0.8) ? dice.between(1, 60) : dice.between(60, 1500),
    timeoutMs: dice.chance(3 / 8) ? -1 : dice.pick([dice.between(20, 300), 3000]),
    cancelAfterMs: isEndless || dice.chance(0.15) ? dice.between(0, 400) : -1,
    whenApart: dice.chance(0.5) ? 'wait' : 'reject',
    // A handler that waits until its own notification was read may wait for the one that it answers.
    borrows: dice.chance(0.2) && (kind === 'query' || depth === 0),
    fails: dice.chance(0.08),
    heeds: isEndless || dice.chance(0.8),
  }
  return {
    ...call,
    ...(depth < 3 && dice.chance(0.2) ? { nested: drawCall(dice, options, depth + 1) } : {}),
    ...(depth === 0 && dice.chance(0.2) ? { then: drawCall(dice, options, depth + 1) } : {}),
  }
}
