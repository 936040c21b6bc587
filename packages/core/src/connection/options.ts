/**
 * What a user passes to `new Connection`: names, defaults, checks. Nothing here acts; it turns one object into a complete
 * one, or a TypeError that says what to change.
 */
import { ABOUT_BYTES_MAX, completeLimits, METHOD_BYTES_MAX, SILENCE_KEEPALIVES_MIN } from '../protocol/index.js'
import type { Encryption, Limits, Utf8 } from '../protocol/index.js'
import type { Transport } from '../transport.js'
import type { Context } from './surface.js'
import { consoleLogger, type Logger } from './logger.js'
import { jsonFault } from './payload.js'

/** The methods of `T`: the names of its functions. */
export type Method<T> = Extract<
  { [Name in keyof T]: T[Name] extends (...input: never[]) => unknown ? Name : never }[keyof T],
  string
>
/** What a method takes: its one argument, or `undefined` when it has none. */
export type Input<T, Name extends keyof T> = T[Name] extends (...inputs: infer I) => unknown
  ? I extends []
    ? undefined
    : I[0]
  : never
/** What a method gives, without the promise. */
export type Output<T, Name extends keyof T> = T[Name] extends (...input: never[]) => infer O ? Awaited<O> : never

/** The contract where none was given: any name, unknown in and out. */
export type AnyApi = Record<string, (input: unknown) => unknown>

/** One handler for each method of the contract. */
export type Handlers<T> = {
  readonly [Name in Method<T>]: (
    input: Input<T, Name>,
    context: Context,
  ) => Output<T, Name> | PromiseLike<Output<T, Name>>
}

export type OnQuery = (query: unknown, context: Context) => unknown
export type OnNotify = (message: unknown, context: { readonly method: string }) => unknown

export interface ReconnectOptions {
  /** How often to look for the peer before giving up; 0, the default, for ever. */
  readonly maxRetries?: number
  /** Milliseconds between two looks, 1,000 by default; the first follows at once. */
  readonly delayMs?: number
  /** What each pause is multiplied by to give the next, 1 by default; none gets longer than a minute by it. */
  readonly growth?: number
  /** Whether pauses are drawn from half to one and a half of their length, as they are by default. */
  readonly jitter?: boolean
}

export interface ConnectionOptions<Mine = AnyApi> {
  /** Where the two meet: `local('name')`, `unix('/path')`. */
  readonly transport: Transport
  /** What both must hold to be paired. Any string works; 32 random bytes withstand guessing too. */
  readonly secret: string | Uint8Array
  /** `aes256gcm(key)` or `custom(…)` of `@pairlink/crypto`; both sides must use the same. Without it nothing is encrypted. */
  readonly encryption?: Encryption | undefined
  /** Answers nameless queries; `undefined` is an empty answer. Without it they fail with `NO_HANDLER`. */
  readonly onQuery?: OnQuery
  /** Answers named calls. A name that is not here fails with `NO_METHOD`. */
  readonly handlers?: Handlers<Mine>
  /** Takes one-way messages, one at a time and in order; the next waits until it has returned. Without it they are dropped. */
  readonly onNotify?: OnNotify
  /** How long a call waits for its answer, in milliseconds; `Infinity` for ever. 5,000 by default. */
  readonly queryTimeoutMs?: number
  /** After so long without a byte from the peer it is asked for a sign of life. 2,500 by default. */
  readonly keepaliveMs?: number
  /** After so long without a byte the link is lost. 20,000 by default, at least three times `keepaliveMs`. */
  readonly silenceMs?: number
  /** How long the handshake of a link may take. 5,000 by default. */
  readonly handshakeTimeoutMs?: number
  /** How long `close()` waits for what was begun, and a handler may outlive its call. 5,000 by default. */
  readonly drainMs?: number
  /** What happens after a loss; `false` ends the connection instead. */
  readonly reconnect?: ReconnectOptions | false
  /**
   * How long a session outlives its link: calls wait so long for the peer to come back, and then go on as if nothing had
   * happened. 60,000 by default; 0 ends it with the link.
   */
  readonly resumeWindowMs?: number
  /** How long a listener keeps the place for a peer that it has lost, before another may have it. 1,000 by default. */
  readonly holdMs?: number
  /** Whether this process may take the listener's place after a loss, as it may by default; else roles stay. */
  readonly failover?: boolean
  /** What `connect` does where two are paired already: fail with `PAIR_BUSY`, or wait until there is room. */
  readonly whenBusy?: 'reject' | 'wait'
  /** What a call does while there is no peer: fail at once, or wait within its timeout. */
  readonly whenApart?: 'reject' | 'wait'
  /** Up to 200 bytes of JSON that the peer sees as `peer.about`. */
  readonly about?: unknown
  /** When false, a handler that throws tells the caller neither name nor message. */
  readonly exposeErrors?: boolean
  readonly limits?: Partial<Limits>
  /** Errors go to the console by default. */
  readonly logger?: Logger
  /** Adds each call to the `debug` log, its payload summarised. */
  readonly logQueries?: boolean
  /** Adds each keepalive to the `debug` log. */
  readonly logKeepalives?: boolean
}

/** The options, complete; the secret is not among them. */
export interface Settings {
  readonly transport: Transport
  readonly encryption: Encryption | undefined
  readonly onQuery: OnQuery | undefined
  readonly handlers: ReadonlyMap<string, (input: never, context: Context) => unknown>
  readonly onNotify: OnNotify | undefined
  readonly queryTimeoutMs: number
  readonly keepaliveMs: number
  readonly silenceMs: number
  readonly handshakeTimeoutMs: number
  readonly drainMs: number
  readonly reconnect: Required<ReconnectOptions> | false
  readonly resumeWindowMs: number
  readonly holdMs: number
  readonly failover: boolean
  readonly whenBusy: 'reject' | 'wait'
  readonly whenApart: 'reject' | 'wait'
  readonly about: Uint8Array
  readonly exposeErrors: boolean
  readonly limits: Limits
  readonly logger: Logger
  readonly logQueries: boolean
  readonly logKeepalives: boolean
}

const OPTION_NAMES: readonly (keyof ConnectionOptions)[] = [
  'transport',
  'secret',
  'encryption',
  'onQuery',
  'handlers',
  'onNotify',
  'queryTimeoutMs',
  'keepaliveMs',
  'silenceMs',
  'handshakeTimeoutMs',
  'drainMs',
  'reconnect',
  'resumeWindowMs',
  'holdMs',
  'failover',
  'whenBusy',
  'whenApart',
  'about',
  'exposeErrors',
  'limits',
  'logger',
  'logQueries',
  'logKeepalives',
]
const LIMIT_NAMES = Object.keys(completeLimits({})) as (keyof Limits)[]

/** @throws TypeError that names the option, what it was, and what it must be. */
export function completeOptions(options: unknown, utf8: Utf8): { settings: Settings; secret: Uint8Array } {
  const given = record(options, 'The options of a Connection')
  checkNames(given, OPTION_NAMES, 'option')
  const keepaliveMs = milliseconds(given, 'keepaliveMs', 2500, { finite: true })
  const silenceMs = milliseconds(given, 'silenceMs', Math.max(20_000, SILENCE_KEEPALIVES_MIN * keepaliveMs), {
    finite: true,
  })
  if (silenceMs < SILENCE_KEEPALIVES_MIN * keepaliveMs) {
    throw new TypeError(`silenceMs (${silenceMs}) must be at least three times keepaliveMs (${keepaliveMs})`)
  }
  const limits = given['limits'] === undefined ? {} : record(given['limits'], 'limits')
  checkNames(limits, LIMIT_NAMES, 'limit')
  const settings: Settings = {
    transport: transport(given['transport']),
    encryption: encryption(given['encryption']),
    onQuery: callable(given, 'onQuery') as OnQuery | undefined,
    handlers: handlers(given['handlers'], utf8),
    onNotify: callable(given, 'onNotify') as OnNotify | undefined,
    queryTimeoutMs: milliseconds(given, 'queryTimeoutMs', 5000),
    keepaliveMs,
    silenceMs,
    handshakeTimeoutMs: milliseconds(given, 'handshakeTimeoutMs', 5000, { finite: true }),
    drainMs: milliseconds(given, 'drainMs', 5000, { finite: true, zero: true }),
    reconnect: reconnect(given['reconnect']),
    resumeWindowMs: milliseconds(given, 'resumeWindowMs', 60_000, { finite: true, zero: true }),
    holdMs: milliseconds(given, 'holdMs', 1000, { finite: true, zero: true }),
    failover: flag(given, 'failover', true),
    whenBusy: oneOf(given, 'whenBusy', ['reject', 'wait']),
    whenApart: oneOf(given, 'whenApart', ['reject', 'wait']),
    about: about(given['about'], utf8),
    exposeErrors: flag(given, 'exposeErrors', true),
    limits: completeLimits(limits),
    logger: logger(given['logger']),
    logQueries: flag(given, 'logQueries', false),
    logKeepalives: flag(given, 'logKeepalives', false),
  }
  return { settings, secret: secret(given['secret'], utf8) }
}

/** @throws TypeError for names that are not in `known`, with the nearest one that is. */
export function checkNames(given: Record<string, unknown>, known: readonly string[], kind: string): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue
    const [nearest] = [...known].sort((a, b) => distance(a, name) - distance(b, name))
    const hint =
      nearest !== undefined && distance(nearest, name) <= 1 + name.length / 2 ? `; did you mean '${nearest}'?` : ''
    throw new TypeError(`Unknown ${kind} '${name}'${hint}`)
  }
}

/** @throws TypeError for what is not a number of milliseconds */
export function milliseconds(
  given: Record<string, unknown>,
  name: string,
  fallback: number,
  allow: { finite?: boolean; zero?: boolean } = {},
): number {
  const value = given[name] ?? fallback
  const least = allow.zero === true ? 0 : 1
  if (typeof value !== 'number' || !(value >= least) || (allow.finite === true && value > 2 ** 31 - 1)) {
    throw new TypeError(
      `${name} must be milliseconds from ${least} up${allow.finite === true ? '' : ', or Infinity'}, not ${show(value)}`,
    )
  }
  return value
}

/** @throws TypeError for what is not one of `values`; the first is the default */
export function oneOf<Value extends string>(
  given: Record<string, unknown>,
  name: string,
  values: readonly [Value, ...Value[]],
): Value {
  const value = given[name] ?? values[0]
  const found = values.find((candidate) => candidate === value)
  if (found === undefined)
    throw new TypeError(`${name} must be ${values.map((v) => `'${v}'`).join(' or ')}, not ${show(value)}`)
  return found
}

/** @throws TypeError for what is not an object with names */
export function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new TypeError(`${what} must be an object, not ${show(value)}`)
  return value as Record<string, unknown>
}

/** @throws TypeError for what is neither missing nor an AbortSignal */
export function abortSignal(given: Record<string, unknown>): AbortSignal | undefined {
  const value = given['signal']
  if (value === undefined) return undefined
  if (typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value)
    return value as AbortSignal
  throw new TypeError(`signal must be an AbortSignal, not ${show(value)}`)
}

/** A value as it may stand in an error: its kind, and itself only when it is short and surely no secret. */
function show(value: unknown): string {
  if (typeof value === 'string') return `the string '${value.slice(0, 40)}'`
  if (typeof value === 'number' || typeof value === 'boolean' || value === null || value === undefined)
    return String(value)
  return `a value of type ${typeof value}`
}

function transport(value: unknown): Transport {
  const candidate = value as Partial<Transport> | null | undefined
  if (typeof candidate?.dial === 'function' && typeof candidate.listen === 'function') return candidate as Transport
  throw new TypeError("transport is required, such as local('name') of @pairlink/transport-net")
}

function encryption(value: unknown): Encryption | undefined {
  if (value === undefined) return undefined
  const candidate = value as Partial<Record<string, unknown>> | null
  const { mode, begin, encrypt, decrypt } = candidate ?? {}
  const isSealed = mode === 'sealed' && typeof begin === 'function'
  const isCustom = mode === 'custom' && typeof encrypt === 'function' && typeof decrypt === 'function'
  if (isSealed || isCustom) return value as Encryption
  throw new TypeError('encryption must be aes256gcm(key) or custom({ … }) of @pairlink/crypto, or be left out')
}

function secret(value: unknown, utf8: Utf8): Uint8Array {
  // The message must not show what was passed: it may be most of a secret.
  const wrong = 'secret is required: a string or Uint8Array that is not empty, the same in both processes'
  if (typeof value === 'string' && value.length > 0) return utf8.encode(value)
  if (value instanceof Uint8Array && value.length > 0) return Uint8Array.prototype.slice.call(value)
  throw new TypeError(wrong)
}

function callable(given: Record<string, unknown>, name: string): ((...input: never[]) => unknown) | undefined {
  const value = given[name]
  if (value === undefined || typeof value === 'function') return value as ((...input: never[]) => unknown) | undefined
  throw new TypeError(`${name} must be a function, not ${show(value)}`)
}

function handlers(value: unknown, utf8: Utf8): Settings['handlers'] {
  const table = new Map<string, (input: never, context: Context) => unknown>()
  if (value === undefined) return table
  const given = record(value, 'handlers')
  for (const name of Object.keys(given)) {
    if (name === '') throw new TypeError('handlers: a name must not be empty; nameless queries go to onQuery')
    if (utf8.encode(name).length > METHOD_BYTES_MAX)
      throw new TypeError(`handlers: the limit of a name is ${METHOD_BYTES_MAX} bytes`)
    const handler = callable(given, name)
    if (handler === undefined) throw new TypeError(`handlers.${name} must be a function, not undefined`)
    // Bound, so that methods of an object find it as `this`.
    table.set(name, handler.bind(value) as (input: never, context: Context) => unknown)
  }
  return table
}

function reconnect(value: unknown): Settings['reconnect'] {
  if (value === false) return false
  const given = value === undefined ? {} : record(value, 'reconnect')
  checkNames(given, ['maxRetries', 'delayMs', 'growth', 'jitter'], 'option of reconnect')
  const maxRetries = given['maxRetries'] ?? 0
  if (typeof maxRetries !== 'number' || !Number.isInteger(maxRetries) || maxRetries < 0) {
    throw new TypeError(`reconnect.maxRetries must be a whole number from 0 up, not ${show(maxRetries)}`)
  }
  const growth = given['growth'] ?? 1
  if (typeof growth !== 'number' || !(growth >= 1 && growth <= 10)) {
    throw new TypeError(`reconnect.growth must be a number from 1 to 10, not ${show(growth)}`)
  }
  const delayMs = milliseconds(given, 'delayMs', 1000, { finite: true })
  return { maxRetries, delayMs, growth, jitter: flag(given, 'jitter', true) }
}

function about(value: unknown, utf8: Utf8): Uint8Array {
  if (value === undefined) return new Uint8Array(0)
  const fault = jsonFault(value, 'about')
  if (fault !== undefined) throw new TypeError(fault)
  const bytes = utf8.encode(JSON.stringify(value))
  if (bytes.length > ABOUT_BYTES_MAX)
    throw new TypeError(`about takes ${bytes.length} bytes of JSON; the limit is ${ABOUT_BYTES_MAX}`)
  return bytes
}

function logger(value: unknown): Logger {
  if (value === undefined) return consoleLogger
  const given = record(value, 'logger')
  if (typeof given['error'] !== 'function') throw new TypeError('logger must have a function error(fields, message)')
  return given as unknown as Logger
}

function flag(given: Record<string, unknown>, name: string, fallback: boolean): boolean {
  const value = given[name] ?? fallback
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be true or false, not ${show(value)}`)
  return value
}

/** Levenshtein's distance, ignoring case. */
function distance(a: string, b: string): number {
  const from = a.toLowerCase()
  const to = b.toLowerCase()
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, change))
    }
    row = next
  }
  return row[to.length] ?? 0
}
