/** What the compiler must infer and refuse. Checked by tsc; nothing here is meant to run. */
import { expectTypeOf } from 'vitest'
import {
  Connection,
  isPairlinkError,
  PairlinkError,
  type ConnectionOptions,
  type Context,
  type Delivery,
  type ErrorCode,
  type Handlers,
  type Input,
  type Method,
  type Output,
  type Transport,
} from '../src/index.js'

interface Api {
  add(input: { a: number; b: number }): number
  render(html: string): Uint8Array
  later(input: number): Promise<string>
  now(): number
  maybe(input?: string): boolean
  nothing(input: string): void
  /** Not a method. */
  version: string
}
interface Other {
  ping(): 'pong'
}

declare const transport: Transport
const secret = 'secret'

// ---- what is taken out of a contract

expectTypeOf<Method<Api>>().toEqualTypeOf<'add' | 'render' | 'later' | 'now' | 'maybe' | 'nothing'>()
expectTypeOf<Input<Api, 'add'>>().toEqualTypeOf<{ a: number; b: number }>()
expectTypeOf<Input<Api, 'now'>>().toEqualTypeOf<undefined>()
expectTypeOf<Input<Api, 'maybe'>>().toEqualTypeOf<string | undefined>()
expectTypeOf<Output<Api, 'later'>>().toEqualTypeOf<string>()
expectTypeOf<Output<Api, 'nothing'>>().toEqualTypeOf<void>()

// ---- handlers

const handlers: Handlers<Api> = {
  add: ({ a, b }, context) => {
    expectTypeOf(a).toBeNumber()
    expectTypeOf(context).toEqualTypeOf<Context>()
    expectTypeOf(context.signal).toEqualTypeOf<AbortSignal>()
    return a + b
  },
  render: async (html) => {
    expectTypeOf(html).toBeString()
    return Promise.resolve(new Uint8Array(html.length))
  },
  later: (input) => String(input),
  now: () => 5,
  maybe: (input) => {
    expectTypeOf(input).toEqualTypeOf<string | undefined>()
    return true
  },
  nothing: () => undefined,
}
const same = new Connection<Api>({ transport, secret, handlers })

// @ts-expect-error a handler of the contract is missing
new Connection<Other>({ transport, secret, handlers: {} })
// @ts-expect-error a handler that is not in the contract
new Connection<Other>({ transport, secret, handlers: { ping: () => 'pong' as const, pong: () => 1 } })
// @ts-expect-error a handler that gives something else
new Connection<Other>({ transport, secret, handlers: { ping: () => 'ping' } })
// @ts-expect-error a handler that takes something else
new Connection<Pick<Api, 'later'>>({ transport, secret, handlers: { later: (input: string) => input } })

// ---- calls

expectTypeOf(same.call('add', { a: 1, b: 2 })).toEqualTypeOf<Promise<number>>()
expectTypeOf(same.call('later', 1)).toEqualTypeOf<Promise<string>>()
expectTypeOf(same.call('now')).toEqualTypeOf<Promise<number>>()
expectTypeOf(same.call('now', undefined, { timeoutMs: 5 })).toEqualTypeOf<Promise<number>>()
expectTypeOf(same.call('maybe')).toEqualTypeOf<Promise<boolean>>()
expectTypeOf(same.call('maybe', 'x', { borrow: true })).toEqualTypeOf<Promise<boolean>>()
// @ts-expect-error no such method
void same.call('subtract', 1)
// @ts-expect-error not a method
void same.call('version')
// @ts-expect-error the input is missing
void same.call('add')
// @ts-expect-error half of the input is missing
void same.call('add', { a: 1 })
// @ts-expect-error a method that takes nothing
void same.call('now', 5)
// @ts-expect-error no such option
void same.call('now', undefined, { timeout: 5 })

// ---- two contracts

const different = new Connection<Api, Other>({ transport, secret, handlers })
expectTypeOf(different.call('ping')).toEqualTypeOf<Promise<'pong'>>()
// @ts-expect-error that is what this side answers, not what it may ask
void different.call('add', { a: 1, b: 2 })

// ---- no contract

const free = new Connection({ transport, secret, handlers: { anything: (input) => [input] } })
expectTypeOf(free.call('whatever', { a: 1 })).toEqualTypeOf<Promise<unknown>>()
expectTypeOf(free.call('whatever')).toEqualTypeOf<Promise<unknown>>()
expectTypeOf(free.query(1)).toEqualTypeOf<Promise<unknown>>()
expectTypeOf(free.query<string>(1)).toEqualTypeOf<Promise<string>>()
expectTypeOf(free.notify(1, { method: 'x' })).toEqualTypeOf<Promise<void>>()

// ---- options, events, errors

// @ts-expect-error the secret is required
expectTypeOf({ transport }).toExtend<ConnectionOptions>()
// @ts-expect-error an option with a wrong name
new Connection({ transport, secret, queryTimeout: 5 })
free.on('paired', (event) => {
  expectTypeOf(event.role).toEqualTypeOf<'listener' | 'dialer'>()
  expectTypeOf(event.peer).toEqualTypeOf<'same' | 'new'>()
})
expectTypeOf(free.on('closed', () => undefined)).toEqualTypeOf<() => void>()
// @ts-expect-error no such event
free.on('error', () => undefined)
expectTypeOf(free.closed).toEqualTypeOf<Promise<PairlinkError | undefined>>()
expectTypeOf(free).toExtend<AsyncDisposable>()

const caught: unknown = undefined
if (isPairlinkError(caught, 'REMOTE')) {
  expectTypeOf(caught.code).toEqualTypeOf<ErrorCode>()
  expectTypeOf(caught.delivery).toEqualTypeOf<Delivery | undefined>()
  expectTypeOf(caught.remoteCode).toEqualTypeOf<string | undefined>()
}
