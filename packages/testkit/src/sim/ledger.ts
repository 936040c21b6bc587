/**
 * What each call may have become: a model of its own, made from what the documents promise (PROTOCOL.md and the docstrings of
 * the Connection) and not from how it is done. It is told what applications did and saw, and finds what cannot be.
 */
import { isPairlinkError, type Delivery } from '@pairlink/core'
import { isContentOf, numberOf } from './content.js'
import type { CallPlan } from './schedule.js'

export type Fault = (rule: string, text: string) => void

export const ANSWER_SALT = 101

/** A process incarnation, as far as the ledger needs to know it. */
export interface Party {
  readonly name: string
  /** Its own clock. */
  now(): number
  awakeSince(): number
  readonly isAlive: boolean
  /** It has begun to close. */
  readonly isClosing: boolean
  /** Rises when its application is told that a session begins or is over. */
  readonly epoch: number
  /** When, on its own clock, it was last told that a session is over without a goodbye. */
  readonly resetAt: number
  /** When, on its own clock, the other side has said goodbye for the last time. */
  readonly leftAt: number
  readonly state: string
}

export interface Run {
  readonly by: Party
  endedAt: number | undefined
  /** With which code the signal has fired. */
  abortedWith: string | undefined
}

export interface CallRecord {
  readonly number: number
  readonly plan: CallPlan
  readonly asker: Party
  /** The run of the handler that asks. */
  readonly within: Run | undefined
  readonly stateAtCall: string
  /** On the clock of the asker, as the next. */
  readonly issuedAt: number
  /** Infinity for never. */
  readonly expiresAt: number
  cancelledAt: number | undefined
  outcome: { readonly code: string; readonly delivery: Delivery | undefined } | undefined
  /** In which session it settled. */
  settledEpoch: number
  run: Run | undefined
}

export interface LedgerOptions {
  readonly fault: Fault
  /** Whether every byte of the call has reached the other process; undefined where nobody can tell. */
  readonly hasArrived: (number: number) => boolean | undefined
  /** Whether it has, and not as one whose time is up, which nobody handles. */
  readonly mayHaveRun: (number: number) => boolean | undefined
  /** A query of so many bytes travels in one piece. */
  readonly singleBytesMax: number
}

/** A timer that fires this late means that the process did not run; what it does then takes a moment. */
const LATE_MS = 150

export class Ledger {
  readonly calls: CallRecord[] = []
  /** A clock has jumped: what two clocks say cannot be compared any more. */
  clocksDiffer = false
  readonly #options: LedgerOptions
  /** The last notification and the last single query that each handled of each, by both names and the session. */
  readonly #last = new Map<string, number>()

  constructor(options: LedgerOptions) {
    this.#options = options
  }

  get open(): readonly CallRecord[] {
    return this.calls.filter(({ outcome, asker }) => outcome === undefined && asker.isAlive)
  }

  issue(asker: Party, plan: CallPlan, expiresAt: number, within: Run | undefined): CallRecord {
    const call: CallRecord = {
      number: this.calls.length,
      plan,
      asker,
      within,
      stateAtCall: asker.state,
      issuedAt: asker.now(),
      expiresAt,
      cancelledAt: undefined,
      outcome: undefined,
      settledEpoch: -1,
      run: undefined,
    }
    this.calls.push(call)
    return call
  }

  /** A handler was called. @returns what it is to do; undefined for what was never sent */
  started(by: Party, kind: CallPlan['kind'], content: unknown): { call: CallRecord; run: Run } | undefined {
    const number = numberOf(content)
    const call = number === undefined ? undefined : this.calls[number]
    if (call === undefined || number === undefined) {
      this.#fault('payload-intact', `${by.name} was given a ${kind} that nobody has sent`)
      return undefined
    }
    const { plan, asker } = call
    const what = describe(call)
    if (plan.kind !== kind || asker === by) this.#fault('payload-intact', `${what} came to ${by.name} as a ${kind}`)
    if (!isContentOf(content, number, plan.content, plan.sizeBytes, 0)) {
      this.#fault('payload-intact', `${what} arrived at ${by.name} with other content`)
    }
    if (call.run !== undefined) this.#fault('handled-once', `${what} was handled again, by ${by.name}`)
    if (call.outcome?.delivery === 'not-sent') {
      this.#fault('delivery-true', `${what} was handled after it had failed as not-sent`)
    }
    this.#inOrder(call, by)
    const run: Run = { by, endedAt: undefined, abortedWith: undefined }
    call.run = run
    return { call, run }
  }

  aborted(call: CallRecord, run: Run, reason: unknown): void {
    const code = isPairlinkError(reason) ? reason.code : String(reason)
    run.abortedWith = code
    const what = describe(call)
    switch (code) {
      case 'CANCELLED':
        if (call.cancelledAt === undefined && call.within?.abortedWith === undefined && !hasFailed(call)) {
          this.#fault('abort-justified', `${what}: its handler was told that it was cancelled`)
        }
        return
      case 'TIMEOUT':
        if (call.expiresAt === Infinity)
          this.#fault('abort-justified', `${what}: its handler was told that its time is up`)
        return
      case 'PEER_LOST':
        if (run.by.resetAt !== run.by.now() && !run.by.isClosing && !call.asker.isClosing && call.asker.isAlive) {
          this.#fault(
            'abort-justified',
            `${what}: its handler was told that the peer is lost, and no session has ended`,
          )
        }
        return
      default:
        this.#fault('abort-justified', `${what}: its handler was aborted with ${code}`)
    }
  }

  answered(call: CallRecord, answer: unknown): void {
    const { plan, run, number } = call
    const what = describe(call)
    this.#settled(call, 'ok', undefined)
    if (plan.kind === 'notify') return
    if (run === undefined) this.#fault('answer-true', `${what} was answered, and never handled`)
    else if (run.endedAt === undefined) this.#fault('answer-true', `${what} was answered before its handler had ended`)
    if (plan.fails) this.#fault('answer-true', `${what} was answered, and its handler has thrown`)
    if (!isContentOf(answer, number, plan.content, plan.answerBytes, ANSWER_SALT)) {
      this.#fault('answer-true', `${what} was given another answer than its handler gave`)
    }
  }

  failed(call: CallRecord, error: unknown): void {
    const what = describe(call)
    if (!isPairlinkError(error)) {
      this.#settled(call, 'unknown error', undefined)
      this.#fault('error-known', `${what} failed with ${String(error)}`)
      return
    }
    const { code, delivery } = error
    this.#settled(call, code, delivery)
    this.#judge(call, code, `${what} failed with ${code} (${delivery ?? 'no delivery'})`)
    if (delivery === undefined) {
      this.#fault('delivery-true', `${what} failed with ${code} and does not say what became of it`)
    } else if (delivery === 'not-sent') {
      if (call.run !== undefined) this.#fault('delivery-true', `${what} failed as not-sent, and was handled`)
    } else if (delivery === 'delivered' && this.#options.hasArrived(call.number) === false) {
      this.#fault('delivery-true', `${what} failed as delivered, and has not arrived`)
    }
  }

  /** At the end: what can only be known then. @param isQuiet everything has healed and settled */
  finish(isQuiet: boolean): void {
    for (const call of this.calls) {
      const what = describe(call)
      if (call.outcome?.delivery === 'not-sent' && this.#options.mayHaveRun(call.number) === true) {
        this.#fault('delivery-true', `${what} failed as not-sent, and has arrived to be handled`)
      }
      if (!isQuiet) continue
      const { run } = call
      if (run !== undefined && run.endedAt === undefined && run.abortedWith === undefined && hasFailed(call)) {
        if (run.by.isAlive && call.plan.kind === 'query')
          this.#fault('cancel-reaches', `${what}: its caller is gone, and its handler was not told`)
      }
    }
    if (isQuiet) this.#findGaps()
  }

  #settled(call: CallRecord, code: string, delivery: Delivery | undefined): void {
    const { asker, expiresAt } = call
    if (call.outcome !== undefined) this.#fault('settled-once', `${describe(call)} settled again`)
    call.outcome = { code, delivery }
    call.settledEpoch = asker.epoch
    const now = asker.now()
    // What was lent is given back when the pipe has let go of it.
    if (call.plan.borrows) return
    const dueAt = Math.max(expiresAt, asker.awakeSince()) + LATE_MS
    if (now > dueAt)
      this.#fault('timeout-kept', `${describe(call)} settled ${Math.round(now - dueAt + LATE_MS)} ms late`)
  }

  #judge(call: CallRecord, code: string, what: string): void {
    const { asker, expiresAt, plan, within } = call
    switch (code) {
      case 'TIMEOUT':
        if (expiresAt === Infinity) this.#fault('failure-justified', `${what}, and had no limit`)
        if (asker.now() < expiresAt - 2 && !this.clocksDiffer) {
          this.#fault('failure-justified', `${what} ${Math.round(expiresAt - asker.now())} ms too early`)
        }
        return
      case 'CANCELLED':
        if (call.cancelledAt === undefined && within?.abortedWith === undefined)
          this.#fault('failure-justified', `${what}, and nobody has cancelled it`)
        return
      case 'PEER_LOST':
        if (asker.resetAt !== asker.now()) this.#fault('failure-justified', `${what}, and no session has ended`)
        return
      case 'CLOSED':
        if (!asker.isClosing && asker.leftAt < call.issuedAt)
          this.#fault('failure-justified', `${what}, and nobody has closed`)
        return
      case 'NOT_CONNECTED':
        if (call.stateAtCall === 'paired' && within === undefined)
          this.#fault('failure-justified', `${what}, and there was a peer`)
        return
      case 'QUEUE_FULL':
        return
      case 'REMOTE':
        if (call.run === undefined) this.#fault('failure-justified', `${what}, and was never handled`)
        else if (!plan.fails && call.run.abortedWith === undefined)
          this.#fault('failure-justified', `${what}, and its handler has not thrown`)
        return
      default:
        this.#fault('failure-justified', what)
    }
  }

  #inOrder(call: CallRecord, by: Party): void {
    const { plan, asker } = call
    const isSingle =
      plan.kind === 'notify' || (plan.sizeBytes <= this.#options.singleBytesMax && call.within === undefined)
    if (!isSingle) return
    const key = `${asker.name} ${by.name} ${by.epoch} ${plan.kind}`
    const last = this.#last.get(key)
    if (last !== undefined && last > call.number) {
      this.#fault(`${plan.kind}-order`, `${describe(call)} was handled after #${last}`)
    }
    this.#last.set(key, Math.max(last ?? -1, call.number))
  }

  /** A notification that was taken is handled, unless the session that took it is over. */
  #findGaps(): void {
    for (const call of this.calls) {
      const { plan, asker, outcome, run, settledEpoch } = call
      if (plan.kind !== 'notify' || outcome?.code !== 'ok' || run !== undefined || !asker.isAlive) continue
      if (settledEpoch !== asker.epoch || asker.isClosing) continue
      this.#fault('nothing-lost', `${describe(call)} was taken, and never handled`)
    }
  }

  #fault(rule: string, text: string): void {
    this.#options.fault(rule, text)
  }
}

function hasFailed({ outcome }: CallRecord): boolean {
  return outcome !== undefined && outcome.code !== 'ok'
}

function describe({ number, plan, asker }: CallRecord): string {
  return `#${number}, a ${plan.kind} of ${plan.sizeBytes} bytes by ${asker.name},`
}
