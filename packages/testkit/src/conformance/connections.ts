/** Cases of the whole `Connection` over a transport: what its users will see of it. The pipe cases say why, where these fail. */
import {
  Connection,
  isPairlinkError,
  type ConnectionEvents,
  type ConnectionOptions,
  type Pipe,
  type Transport,
} from '@pairlink/core'
import { turn } from '../timers.js'
import { isSame, streamBytes } from './bytes.js'
import type { Case } from './case.js'
import { handlesOf } from './handles.js'
import { NEEDS, type Place } from './manifest.js'
import { must, dialerOf, pause, type Stage } from './stage.js'

const CALLS = 200
const CUTS = 10
const LARGE_BYTES = 4 * 1024 * 1024
const SECRET = 'the secret of the cases, which is long enough'

export const CONNECTION_CASES: readonly Case[] = [
  {
    id: 'connection-pairs',
    title: 'Two Connections that start at the same moment pair, one of them as the listener.',
    async run(stage) {
      const cast = await pair(stage, { isAtOnce: true })
      const roles = [cast.one.connection.role, cast.two.connection.role].sort()
      must(roles.join() === 'dialer,listener', `the roles are ${roles.join(' and ')}`)
      must((await cast.one.connection.query('ping')) === 'ping', 'a query was answered wrongly')
      must((await cast.two.connection.query('ping')) === 'ping', 'a query was answered wrongly')
      cast.expectNoErrors()
    },
  },
  {
    id: 'connection-calls',
    title: 'Either side calls the other, many at once: every answer is its own, and notifications keep their order.',
    async run(stage) {
      const cast = await pair(stage)
      await Promise.all(
        [cast.one, cast.two].map(async ({ connection }) => {
          const inputs: unknown[] = [undefined, 'text', { nested: [1, null, 'x'] }, new Uint8Array(0)]
          while (inputs.length < CALLS) inputs.push(inputs.length)
          const outputs = await stage.within(Promise.all(inputs.map((input) => connection.query(input))), 'all answers')
          for (const [at, input] of inputs.entries()) {
            must(JSON.stringify(outputs[at]) === JSON.stringify(input), `answer ${at} is not its own`)
          }
          for (let at = 0; at < CALLS; at++) await connection.notify(at)
        }),
      )
      for (const side of [cast.one, cast.two]) await expectNotified(stage, side, CALLS)
      cast.expectNoErrors()
    },
  },
  {
    id: 'connection-large-calls',
    title: 'Large messages arrive unchanged in both directions, and small ones are answered meanwhile.',
    async run(stage) {
      const { one, two, expectNoErrors } = await pair(stage)
      const sent = [streamBytes(0, LARGE_BYTES), streamBytes(77, LARGE_BYTES)]
      const large = Promise.all([one.connection.query(sent[0]), two.connection.query(sent[1])])
      large.catch(() => undefined)
      for (let at = 0; at < 20; at++) {
        must((await stage.within(one.connection.query(at), 'a small answer')) === at, 'an answer is not its own')
      }
      const received = await stage.within(large, 'the large answers')
      for (const [at, bytes] of received.entries()) {
        const isRight = bytes instanceof Uint8Array && isSame(bytes, sent[at] ?? bytes)
        must(isRight, `${LARGE_BYTES} bytes did not come back as they were sent`)
      }
      expectNoErrors()
    },
  },
  {
    id: 'connection-says-goodbye',
    title: 'close finishes what was begun, and tells the other side.',
    async run(stage) {
      const { one, two, expectNoErrors } = await pair(stage)
      const slow = two.connection.query('slow')
      slow.catch(() => undefined)
      await stage.until(() => one.queries.includes('slow'), 'the query to arrive')
      const closing = one.connection.close()
      one.answerSlow()
      must((await stage.within(slow, 'the answer to a query that was begun before close()')) === 'slow', 'wrong answer')
      await stage.within(closing, 'close() to resolve')
      await stage.until(() => two.connection.state !== 'paired', 'the other side to hear of the goodbye')
      await stage.within(two.connection.close(), 'close() to resolve')
      expectNoErrors()
    },
  },
  {
    id: 'connection-leaves-no-handle',
    title: 'When both have closed, no handle is left of their meeting, their pipes and those that were cut.',
    needs: [NEEDS.handles],
    async run(stage) {
      const place = await stage.place()
      const before = handlesOf(place)
      const { one, two } = await pair(stage, { place })
      if (stage.manifest.manyPipes) {
        one.cut()
        await stage.until(() => one.resumptions + two.resumptions === 2, 'both sides to resume')
      }
      await stage.within(Promise.all([one.connection.close(), two.connection.close()]), 'close() to resolve')
      for (let looks = 0; looks < 40 && handlesOf(place) > before; looks++) await pause(5)
      const left = handlesOf(place) - before
      must(left <= 0, `${left} more handles are open behind close() than before connect()`)
    },
  },
  {
    id: 'connection-gives-up',
    title: 'A connect that nobody answers in its time leaves the address as it was.',
    async run(stage) {
      const place = await stage.place()
      const [alone, dialer] = [side(stage, place.listener()), side(stage, dialerOf(place))]
      for (const { connection } of [alone, dialer]) {
        const error: unknown = await stage.within(
          connection.connect({ timeoutMs: 50 }).catch((reason: unknown) => reason),
          'connect() to give up',
        )
        must(isPairlinkError(error, 'TIMEOUT'), `connect() with nobody there ended with ${String(error)}`)
        await stage.within(connection.close(), 'close() to resolve')
      }
      await pair(stage, { place })
    },
  },
  {
    id: 'connection-resumes',
    title: 'A session outlives its pipe: calls in flight are answered over the next one, and nothing is handled twice.',
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const cast = await pair(stage)
      await resumes(stage, cast)
      cast.expectNoErrors()
    },
  },
  {
    id: 'connection-resumes-again-and-again',
    title: 'However often a pipe breaks, wherever it is: every notification is handled once and in order.',
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const { one, two, expectNoErrors } = await pair(stage)
      const sending = [one, two].map(async ({ connection }) => {
        for (let at = 0; at < CALLS; at++) {
          await connection.notify(at, { whenApart: 'wait' })
          if (at % 10 === 0) await turn()
        }
      })
      for (let cut = 0; cut < CUTS; cut++) {
        await stage.until(() => one.isPaired && two.isPaired, `both to be paired, after ${cut} cuts`)
        for (let turns = 0; turns < cut; turns++) await turn()
        ;(cut % 2 === 0 ? one : two).cut()
        await stage.until(() => !one.isPaired || !two.isPaired, 'the cut to be noticed')
      }
      await stage.within(Promise.all(sending), 'all notifications to be sent')
      for (const to of [one, two]) await expectNotified(stage, to, CALLS)
      expectNoErrors()
    },
  },
  {
    id: 'connection-restarts',
    title: 'When one that dialled has gone, its successor pairs with the one that listens.',
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const { one, two, expectNoErrors } = await pair(stage, { place })
      const [dialer, listener] = one.connection.role === 'dialer' ? [one, two] : [two, one]
      await stage.within(dialer.connection.close(), 'close() to resolve')
      const next = side(stage, one === dialer ? place.listener() : dialerOf(place))
      await stage.within(next.connection.connect(), 'the successor to pair')
      await stage.until(() => listener.isPaired, 'the listener to pair again')
      must((await next.connection.query('hello')) === 'hello', 'a query was answered wrongly')
      expectNoErrors()
    },
  },
  {
    id: 'connection-fails-over',
    title: 'When the listener has gone, the other one takes its place, and the next to come pairs with it.',
    needs: [NEEDS.bothListen, NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const { one, two, expectNoErrors } = await pair(stage, { place })
      const [listener, survivor] = one.connection.role === 'listener' ? [one, two] : [two, one]
      await stage.within(listener.connection.close(), 'close() to resolve')
      await stage.until(() => survivor.isListening, 'the survivor to take the place')
      const next = side(stage, dialerOf(place))
      await stage.within(next.connection.connect(), 'the next one to pair')
      await stage.until(() => survivor.isPaired, 'the survivor to pair')
      must((await next.connection.query('hello')) === 'hello', 'a query was answered wrongly')
      must((await survivor.connection.query('hello')) === 'hello', 'a query was answered wrongly')
      expectNoErrors()
    },
  },
  {
    id: 'connection-is-for-two',
    title: 'A third one is told that two are paired, and they do not notice.',
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const { one, two, expectNoErrors } = await pair(stage, { place })
      const third = side(stage, dialerOf(place))
      await expectRejection(stage, third, 'PAIR_BUSY')
      must((await one.connection.query('still')) === 'still', 'a query was answered wrongly')
      must(one.losses + two.losses === 0, 'the pair was lost')
      expectNoErrors()
    },
  },
  {
    id: 'connection-refuses-a-stranger',
    title: 'One with another secret is refused with words that reach it, and the right one pairs afterwards.',
    needs: [NEEDS.manyPipes],
    async run(stage) {
      const place = await stage.place()
      const waits = side(stage, place.listener())
      await stage.within(waits.connection.connect({ until: 'started' }), 'the listener to start')
      const stranger = side(stage, dialerOf(place), { secret: 'another secret, and just as long as it must be' })
      await expectRejection(stage, stranger, 'SECRET_MISMATCH')
      const right = side(stage, dialerOf(place))
      await stage.within(right.connection.connect(), 'the right one to pair')
      must((await right.connection.query('hello')) === 'hello', 'a query was answered wrongly')
    },
  },
  {
    id: 'connection-sealed',
    title: 'Encrypted by pairlink, two pair and call each other as in clear.',
    needs: [NEEDS.encryption],
    async run(stage) {
      const { one, two, expectNoErrors } = await pair(stage, { isEncrypted: true })
      const bytes = streamBytes(0, 1_000_000)
      for (const { connection } of [one, two]) {
        must((await stage.within(connection.query('hello'), 'an answer')) === 'hello', 'a query was answered wrongly')
        const back = await stage.within(connection.query(bytes), 'the answer to a million bytes')
        must(back instanceof Uint8Array && isSame(back, bytes), 'a million bytes did not come back as they were sent')
      }
      expectNoErrors()
    },
  },
  {
    id: 'connection-sealed-resumes',
    title: 'Encrypted by pairlink, a session outlives its pipe as in clear.',
    needs: [NEEDS.encryption, NEEDS.manyPipes],
    async run(stage) {
      const cast = await pair(stage, { isEncrypted: true })
      await resumes(stage, cast)
      cast.expectNoErrors()
    },
  },
]

// ---- who plays

/** One Connection, what it was asked, and what became of it. */
interface Side {
  readonly connection: Connection
  readonly queries: unknown[]
  readonly notified: unknown[]
  readonly errors: string[]
  readonly isPaired: boolean
  /** How often a pair was lost, and how often a session went on. */
  readonly losses: number
  readonly resumptions: number
  isListening: boolean
  /** Ends the pipes below it, as a network does. */
  readonly cut: () => void
  /** Answers the queries that wait for it. */
  answerSlow(): void
}

interface Cast {
  readonly one: Side
  readonly two: Side
  /** @throws Broken when one of them has logged an error */
  readonly expectNoErrors: () => void
}

function side(stage: Stage, transport: Transport, options: Partial<ConnectionOptions> = {}): Side {
  const { reach, encrypted, encryption } = stage.manifest
  const { severed, cut } = severable(transport)
  const [queries, notified, errors]: [unknown[], unknown[], string[]] = [[], [], []]
  const waiting: (() => void)[] = []
  let losses = 0
  let resumptions = 0
  const connection = new Connection({
    transport: severed,
    secret: SECRET,
    reconnect: { delayMs: 10 },
    holdMs: 200,
    queryTimeoutMs: 30_000,
    drainMs: 1000,
    // What leaves the host must be encrypted in any case.
    encryption: reach === 'network' && !encrypted ? encryption : undefined,
    logger: {
      error: (fields, message) => {
        const { error } = fields as { readonly error?: unknown }
        errors.push(error instanceof Error ? `${message} (${error.message})` : message)
      },
    },
    onQuery: (query) => {
      queries.push(query)
      if (query !== 'slow') return query
      return new Promise((resolve) =>
        waiting.push(() => {
          resolve(query)
        }),
      )
    },
    onNotify: (message) => void notified.push(message),
    ...options,
  })
  stage.defer(() => connection.close({ drainMs: 0 }))
  const made: Side = {
    connection,
    queries,
    notified,
    errors,
    get isPaired() {
      return connection.state === 'paired'
    },
    get losses() {
      return losses
    },
    get resumptions() {
      return resumptions
    },
    isListening: false,
    cut,
    answerSlow() {
      for (const answer of waiting.splice(0)) answer()
    },
  }
  const on = <Name extends keyof ConnectionEvents>(name: Name, told: (event: ConnectionEvents[Name]) => void): void => {
    connection.on(name, told)
  }
  on('apart', () => losses++)
  on('paired', ({ resumed }) => {
    if (resumed) resumptions++
    made.isListening = false
  })
  on('listening', () => (made.isListening = true))
  return made
}

async function pair(
  stage: Stage,
  { place, isEncrypted = false, isAtOnce = false }: { place?: Place; isEncrypted?: boolean; isAtOnce?: boolean } = {},
): Promise<Cast> {
  const where = place ?? (await stage.place())
  const options = isEncrypted ? { encryption: stage.manifest.encryption } : {}
  const [one, two] = [side(stage, where.listener(), options), side(stage, dialerOf(where), options)]
  const first = one.connection.connect()
  first.catch(() => undefined)
  if (!isAtOnce) await stage.within(one.connection.connect({ until: 'started' }), 'the first Connection to start')
  await stage.within(Promise.all([first, two.connection.connect()]), 'two Connections to pair')
  return {
    one,
    two,
    expectNoErrors() {
      const [first] = [...one.errors, ...two.errors]
      must(first === undefined, `an error was logged: ${first ?? ''}`)
    },
  }
}

/** The same transport, whose pipes can be ended from below. */
function severable(transport: Transport): { readonly severed: Transport; readonly cut: () => void } {
  const pipes = new Set<Pipe>()
  const noted = <T>(result: T | Pipe): T | Pipe => {
    if (typeof result === 'object' && result !== null && 'start' in result) pipes.add(result)
    return result
  }
  const severed: Transport = {
    address: transport.address,
    reach: transport.reach,
    encrypted: transport.encrypted,
    dial: async (signal) => noted(await transport.dial(signal)),
    listen: async (accept, signal, silent) =>
      noted(
        await transport.listen(
          (pipe) => {
            noted(pipe)
            accept(pipe)
          },
          signal,
          silent,
        ),
      ),
    refusedBy: () => transport.refusedBy?.(),
    obstacle: () => transport.obstacle?.(),
  }
  return {
    severed,
    cut() {
      for (const pipe of pipes) pipe.destroy()
      pipes.clear()
    },
  }
}

// ---- what several of them do

async function resumes(stage: Stage, { one, two }: Cast): Promise<void> {
  const slow = [one, two].map(({ connection }) => connection.query('slow'))
  for (const call of slow) call.catch(() => undefined)
  await stage.until(() => one.queries.length + two.queries.length === 2, 'both queries to arrive')
  one.cut()
  await stage.until(() => one.losses + two.losses === 2, 'both sides to notice the cut')
  await stage.until(() => one.resumptions + two.resumptions === 2, 'both sides to resume')
  for (const each of [one, two]) each.answerSlow()
  const answers = await stage.within(Promise.all(slow), 'the answers to what was asked before the cut')
  must(answers.join() === 'slow,slow', 'a query was answered wrongly')
  must(one.queries.length + two.queries.length === 2, 'a query was handled twice')
}

async function expectNotified(stage: Stage, { notified }: Side, count: number): Promise<void> {
  await stage.until(() => notified.length >= count, `${count} notifications to arrive`)
  const wrong = notified.findIndex((message, at) => message !== at)
  must(wrong < 0, `notification ${wrong} of ${count} is ${String(notified[wrong])}`)
}

async function expectRejection(
  stage: Stage,
  { connection }: Side,
  code: 'PAIR_BUSY' | 'SECRET_MISMATCH',
): Promise<void> {
  const error: unknown = await stage.within(
    connection.connect().catch((reason: unknown) => reason),
    `connect() to reject with ${code}`,
  )
  const seen = error instanceof Error ? error.message : 'it resolved'
  must(isPairlinkError(error, code), `connect() should reject with ${code}: ${seen}`)
}
