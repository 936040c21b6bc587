/** What one call asks for: the options of a call and the defaults, made complete and checked. It acts on nothing. */
import type { Running } from './handlers.js'
import { abortSignal, checkNames, milliseconds, oneOf, record, type Settings } from './options.js'
import type { CallOptions } from './surface.js'

export interface CallPlan {
  readonly method: string
  readonly timeoutMs: number
  readonly expiresAt: number
  /** Any of them cancels the call. */
  readonly signals: readonly AbortSignal[]
  readonly whenApart: 'reject' | 'wait'
  readonly borrow: boolean
  /** Whether it may wait for room in the send queue, or fails with `QUEUE_FULL`. */
  readonly mayWait: boolean
}

const NO_SIGNALS: readonly AbortSignal[] = []
const CALL_OPTION_NAMES = ['timeoutMs', 'signal', 'whenApart', 'borrow']
const NOTIFY_OPTION_NAMES = [...CALL_OPTION_NAMES, 'method']

/**
 * @param within the handler that calls, whose remaining time is the default and the limit, and whose end cancels the call
 * @throws TypeError for wrong or unknown options
 */
export function planCall(
  kind: 'call' | 'notify',
  method: string,
  options: CallOptions | undefined,
  within: Running | undefined,
  settings: Settings,
  now: number,
): CallPlan {
  if (typeof method !== 'string') throw new TypeError('The method must be a string')
  const mayWait = kind === 'call' || within === undefined
  if (options === undefined && within === undefined) {
    const { queryTimeoutMs: timeoutMs, whenApart } = settings
    return { method, timeoutMs, expiresAt: now + timeoutMs, signals: NO_SIGNALS, whenApart, borrow: false, mayWait }
  }
  const given = options === undefined ? {} : record(options, 'The options of a call')
  checkNames(given, kind === 'call' ? CALL_OPTION_NAMES : NOTIFY_OPTION_NAMES, 'option of a call')
  const leftMs = within?.remainingMs ?? Infinity
  const defaultMs = within === undefined ? settings.queryTimeoutMs : leftMs
  const timeoutMs = Math.min(leftMs, milliseconds(given, 'timeoutMs', defaultMs, { zero: true }))
  const own = abortSignal(given)
  const outer = kind === 'call' ? within?.signal : undefined
  // Not `AbortSignal.any`: in Node.js 20 a signal that lives long remembers for ever what was made of it.
  const signals = [own, outer].filter((signal) => signal !== undefined)
  const whenApart =
    given['whenApart'] === undefined ? settings.whenApart : oneOf(given, 'whenApart', ['reject', 'wait'])
  const { borrow = false } = given
  if (typeof borrow !== 'boolean') throw new TypeError('borrow must be true or false')
  return { method, timeoutMs, expiresAt: now + timeoutMs, signals, whenApart, borrow, mayWait }
}
