// What a Connection makes of content for its application: an insider sends queries, notifications and answers with any bytes,
// and each must become the value that it is or be called unreadable. The connection must go on after all of them.
import { isDeepStrictEqual } from 'node:util'
import { Connection, isPairlinkError } from '@pairlink/core'
import { ackPayload, frame, join, KIND, notifyFixed, queryFixed, text, welcomeBody } from './bytes.mjs'
import { Finding } from './finding.mjs'
import { Insider } from './insider.mjs'
import { honestHello } from './talks.mjs'

/**
 * @import { Pipe, PipeSink, Transport } from '@pairlink/core'
 * @import { Input } from './inputs.mjs'
 * @import { Target } from './targets.mjs'
 *
 * @typedef {{ isReadable: true, value: unknown } | { isReadable: false }} Expected
 */

const DEPTH_MAX = 1000
const UNREADABLE = 7
/** After so many turns of the loop nothing more is to be expected. */
const TURNS_MAX = 5000
/** From the fresh id in a hello to its end: the id, `about` and the name of the cipher, both of them empty. */
const FRESH_FROM_END = 18
const PIECES_MAX = 12
/** What the first byte of a piece says, beside its content: as what it is sent. */
const AS = ['query', 'answer', 'notify', 'fail']
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @returns {Target} */
export function contentTarget() {
  const piece = (/** @type {number} */ as, /** @type {number} */ content, /** @type {string | Uint8Array} */ of) =>
    join(Uint8Array.of(content | (as << 2)), typeof of === 'string' ? text(of) : of)
  const values = [
    [1, 'text with ü, 𝄞 and \u0000'],
    [1, '\ufeffa mark in front'],
    [1, Uint8Array.of(0xc3, 0x28)],
    [1, Uint8Array.of(0xed, 0xa0, 0x80)],
    [2, Uint8Array.of(0, 1, 255)],
    [2, new Uint8Array(100)],
    [0, ''],
    [3, '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"then":1}'],
    [3, '[1e999,-0,12345678901234567890,0.1,1e-999,9007199254740993]'],
    [3, '["\\ud800","\\u0000",{"":{"toJSON":1,"length":-1}}]'],
    [3, `${'['.repeat(1000)}${']'.repeat(1000)}`],
    [3, `${'['.repeat(1001)}${']'.repeat(1001)}`],
    [3, `${'{"a":'.repeat(1001)}1${'}'.repeat(1001)}`],
    [3, `"${'['.repeat(1200)}"`],
    [3, `["\\\\","${'\\"['.repeat(700)}"]`],
    [3, '\ufeff1'],
    [3, 'nonsense'],
    [3, ''],
  ]
  const inputs = AS.map((_name, as) => ({
    seed: 1,
    pieces: values.map(([content, of]) => piece(as, Number(content), /** @type {string | Uint8Array} */ (of))),
  }))
  const parts = inputs.flatMap(({ pieces }) => [pieces.slice(0, 9), pieces.slice(9)])
  return {
    name: 'content',
    honest: () => parts.map((pieces) => ({ seed: 1, pieces })),
    others: () => inputs.flatMap(({ pieces }) => pieces),
    run,
  }
}

/** What these bytes are to the application. @returns {Expected} */
export function expectedOf(/** @type {number} */ content, /** @type {Uint8Array} */ bytes) {
  try {
    if (content === 0) return { isReadable: true, value: undefined }
    if (content === 2) return { isReadable: true, value: bytes }
    const of = decoder.decode(bytes)
    if (content === 1) return { isReadable: true, value: of }
    const value = JSON.parse(of)
    return depthOf(value) > DEPTH_MAX ? { isReadable: false } : { isReadable: true, value }
  } catch {
    return { isReadable: false }
  }
}

/** Level by level, since a value may be deeper than functions can call themselves. */
function depthOf(/** @type {unknown} */ value) {
  let depth = 0
  for (let level = [value]; ; depth++) {
    const objects = level.filter((item) => typeof item === 'object' && item !== null)
    if (objects.length === 0) return depth
    level = objects.flatMap((item) => Object.values(/** @type {object} */ (item)))
  }
}

async function run(/** @type {Input} */ { pieces }) {
  const insider = new Insider('listener', undefined)
  const wire = wireTo(insider)
  /** @type {unknown[]} */
  const seen = []
  const quiet = () => {}
  const connection = new Connection({
    transport: wire.transport,
    secret: 'a secret',
    reconnect: false,
    logger: { error: quiet, warn: quiet, info: quiet, debug: quiet },
    onQuery: (value) => void seen.push(value),
    handlers: { last: () => 'here' },
    onNotify: (value) => void seen.push(value),
  })
  let bytes = 0
  let end = 'nothing'
  try {
    await Promise.all([connection.connect(), wire.welcomed])
    for (const [index, piece] of pieces.slice(0, PIECES_MAX).entries()) {
      const [head = 0] = piece
      const content = head & 3
      const of = content === 0 ? new Uint8Array(0) : piece.slice(1)
      const as = AS[(head >> 2) & 3] ?? ''
      bytes += piece.length
      const got = await sent(as, index, content, of, { connection, insider, wire, seen })
      const expected = expectedOf(content, of)
      if (index === 0) end = `${as} ${content} ${expected.isReadable ? 'read' : 'unreadable'}`
      judge(as, content, expected, got)
    }
    if (Object.hasOwn(Object.prototype, 'polluted'))
      throw new Finding('content has changed the prototype of all objects')
    wire.say(frame(KIND.QUERY, queryFixed('last'), { id: 0xffff0001 }))
    await until(() => replyTo(insider, 0xffff0001) !== undefined, 'an answer to the last query')
    if (replyTo(insider, 0xffff0001)?.kind !== KIND.ANSWER) throw new Finding('the last query was not answered')
  } finally {
    await connection.close({ drainMs: 0 })
  }
  return { end, bytes }
}

/** Sends content as `as` and waits until it is known what became of it. */
async function sent(
  /** @type {string} */ as,
  /** @type {number} */ index,
  /** @type {number} */ content,
  /** @type {Uint8Array} */ of,
  /** @type {{ connection: Connection, insider: Insider, wire: ReturnType<typeof wireTo>, seen: unknown[] }} */ parts,
) {
  const { connection, insider, wire, seen } = parts
  const before = seen.length
  if (as === 'query' || as === 'notify') {
    const id = (index << 16) | 5
    // Queries start in the order sent, so the notification has been handled when the one behind it is answered.
    const isQuery = as === 'query'
    if (isQuery) wire.say(frame(KIND.QUERY, join(queryFixed(''), of), { id, content }))
    else
      wire.say(
        join(frame(KIND.NOTIFY, join(notifyFixed(''), of), { content }), frame(KIND.QUERY, queryFixed('last'), { id })),
      )
    await until(() => replyTo(insider, id) !== undefined, 'an answer')
    const reply = replyTo(insider, id)
    if (!isQuery) for (let turn = 0; turn < 3; turn++) await tick()
    return {
      isRead: seen.length > before,
      value: seen.at(-1),
      isRefused: reply?.payload[0] === UNREADABLE && reply.kind === KIND.FAIL,
    }
  }
  const asked = insider.heard.length
  const answer = connection.query('a question').then(
    (value) => ({ isRead: true, value, isRefused: false }),
    (/** @type {unknown} */ error) => {
      if (!isPairlinkError(error)) throw new Finding(`a call failed with ${String(error)}`)
      return { isRead: false, value: undefined, isRefused: true }
    },
  )
  await until(() => insider.heard.slice(asked).some(({ kind }) => kind === KIND.QUERY), 'a query')
  const id = insider.heard.slice(asked).find(({ kind }) => kind === KIND.QUERY)?.id ?? 0
  if (as === 'answer') wire.say(frame(KIND.ANSWER, of, { id, content }))
  else wire.say(frame(KIND.FAIL, join(Uint8Array.of(1, 0, 0, 0), of), { id, content }))
  return answer
}

function judge(
  /** @type {string} */ as,
  /** @type {number} */ content,
  /** @type {Expected} */ expected,
  /** @type {{ isRead: boolean, value: unknown, isRefused: boolean }} */ got,
) {
  if (as === 'fail') {
    if (got.isRead) throw new Finding('a FAIL was read as an answer')
    return
  }
  const what = `${as} with content ${content}`
  if (got.isRead !== expected.isReadable)
    throw new Finding(`${what}: ${got.isRead ? 'read' : 'not read'}, against section 3.4`)
  if (as !== 'notify' && got.isRefused === expected.isReadable)
    throw new Finding(`${what}: told to be ${got.isRefused ? 'un' : ''}readable`)
  if (expected.isReadable && !isDeepStrictEqual(plain(got.value), plain(expected.value)))
    throw new Finding(`${what}: another value than was sent`)
}

/** Of no interest is whether bytes are a Buffer. */
const plain = (/** @type {unknown} */ value) => (value instanceof Uint8Array ? Uint8Array.from(value) : value)

const replyTo = (/** @type {Insider} */ insider, /** @type {number} */ id) =>
  insider.heard.find((heard) => heard.id === id >>> 0 && (heard.kind === KIND.ANSWER || heard.kind === KIND.FAIL))

const tick = () => new Promise((resolve) => setImmediate(resolve))

async function until(/** @type {() => boolean} */ isThere, /** @type {string} */ what) {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    if (isThere()) return
    await tick()
  }
  throw new Finding(`waited in vain for ${what}`)
}

/** A transport whose one pipe leads to the insider. */
function wireTo(/** @type {Insider} */ insider) {
  /** @type {PipeSink | undefined} */
  let sink
  let isProven = false
  /** @type {() => void} */
  let setWelcomed = () => {}
  /** @type {Promise<void>} */
  const welcomed = new Promise((resolve) => (setWelcomed = resolve))
  const say = (/** @type {Uint8Array} */ bytes) => void queueMicrotask(() => sink?.bytes(bytes, false))
  /** @type {Pipe} */
  const pipe = {
    start(to) {
      sink = to
    },
    write(chunks) {
      insider.hear(join(...chunks))
      if (!insider.isAgreed && insider.heard.length > 0) say(insider.first(honestHello('listener', undefined)))
      const hello = insider.heard[0]?.payload
      if (!isProven && hello !== undefined && insider.heard.some(({ kind }) => kind === KIND.PROVE)) {
        isProven = true
        const fresh = hello.subarray(hello.length - FRESH_FROM_END, hello.length - 2)
        say(insider.welcome(welcomeBody('new', Buffer.from(fresh).toString('hex'))))
        say(frame(KIND.ACK, ackPayload(0, 0)))
        setWelcomed()
      }
      return true
    },
    end: () => queueMicrotask(() => sink?.ended()),
    destroy: () => queueMicrotask(() => sink?.closed()),
    ref() {},
    unref() {},
  }
  /** @type {Transport} */
  const transport = {
    address: 'fuzz',
    reach: 'user',
    encrypted: false,
    dial: () => Promise.resolve(pipe),
    listen: () => Promise.resolve('cannot'),
  }
  return { transport, say, welcomed }
}
