// Honest conversations, which the fuzzer changes: what two links say to each other, and what a peer that knows the secret
// says to one. Everything in them is fixed, so that what one side said can be said again to a new link.
import { Victim, FRESH, INSTANCE } from './victim.mjs'
import {
  ackPayload,
  failFixed,
  frame,
  helloBody,
  inParts,
  KIND,
  notifyFixed,
  number,
  queryFixed,
  text,
  welcomeBody,
} from './bytes.mjs'
import { Insider } from './insider.mjs'

/**
 * @import { Encryption } from '@pairlink/core'
 * @import { Side } from './bytes.mjs'
 */

/** So many frames of the victim's a resuming insider has taken over on the link before. */
const TAKEN_BEFORE = 2

/** What the listener and the dialer of an honest conversation wrote, turn by turn. `nonceByte` tells conversations apart. */
export function recorded(/** @type {Encryption | undefined} */ encryption, nonceByte = 1) {
  const [dialer, listener] = /** @type {const} */ (['dialer', 'listener']).map(
    (side) => new Victim({ side, encryption, seed: 1, isPlain: true, nonceByte }),
  )
  /** @type {Record<Side, Uint8Array[]>} */
  const said = { dialer: [], listener: [] }
  if (dialer === undefined || listener === undefined) return said
  dialer.begin()
  listener.begin()
  for (let turn = 0; turn < 20; turn++) {
    for (const [side, from, to] of /** @type {const} */ ([
      ['dialer', dialer, listener],
      ['listener', listener, dialer],
    ])) {
      const piece = from.write()
      if (piece.length === 0) continue
      said[side].push(piece)
      to.feed(piece)
    }
    // Acknowledgements in the middle, a PING in the end.
    for (const victim of [dialer, listener]) victim.passMs(turn < 10 ? 10 : turn === 14 ? 2600 : 25)
    if (turn === 16) dialer.close()
  }
  return said
}

/** The hello of an honest insider. */
export function honestHello(
  /** @type {Side} */ side,
  /** @type {Encryption | undefined} */ encryption,
  isResuming = false,
) {
  const cipherName = encryption?.mode === 'custom' ? encryption.cipherName : ''
  const victim = INSTANCE[side === 'dialer' ? 'listener' : 'dialer']
  const none = '0'.repeat(32)
  const claim = {
    attempt: isResuming ? 2 : 1,
    session: isResuming ? FRESH[0] : none,
    received: isResuming ? TAKEN_BEFORE : 0,
    peer: isResuming ? victim : none,
    fresh: FRESH[isResuming ? 1 : 0],
  }
  const both = { side, instance: INSTANCE[side], nonceByte: 9, cipherName }
  return helloBody(side === 'dialer' ? { ...both, claim } : both)
}

/** An honest insider's hello, the body of its WELCOME where it listens, and then one frame in each piece. */
export function honestPieces(
  /** @type {Side} */ side,
  /** @type {Encryption | undefined} */ encryption,
  isResuming = false,
) {
  const taken = isResuming ? TAKEN_BEFORE : 0
  const welcome = welcomeBody(isResuming ? 'resumed' : 'new', FRESH[0] ?? '', taken)
  return [
    honestHello(side, encryption, isResuming),
    ...(side === 'listener' ? [welcome] : []),
    frame(KIND.ACK, ackPayload(taken, 0)),
    ...honestFrames(taken),
  ]
}

/** What an insider says on a link that is to be lost: enough for there to be something to resume. */
export function earlierPieces(/** @type {Side} */ side, /** @type {Encryption | undefined} */ encryption) {
  const begin = honestPieces(side, encryption).slice(0, side === 'listener' ? 3 : 2)
  return [...begin, frame(KIND.NOTIFY, notifyFixed('n')), frame(KIND.PING, number(8, 1))]
}

/** @type {number[] | undefined} */
let asked

/** Each kind of frame at a moment at which it may come. */
function honestFrames(/** @type {number} */ taken) {
  asked ??= askedIds()
  const [first = 0, abandoned = 0, large = 0, brief = 0] = asked
  const id = (/** @type {number} */ slot) => (slot | (1 << 16)) >>> 0
  return [
    // Longer than what is always copied.
    frame(KIND.QUERY, new Uint8Array([...queryFixed(''), ...text('whole '.repeat(20))]), { id: id(0), content: 1 }),
    ...inParts(KIND.QUERY, id(1), 2, queryFixed('m', 5000), new Uint8Array(30).fill(1), 11),
    frame(KIND.NOTIFY, new Uint8Array([...notifyFixed('n'), ...text('{"b":2}')]), { content: 3 }),
    ...inParts(KIND.NOTIFY, 7, 1, notifyFixed(''), text('a text in parts'), 6),
    frame(KIND.PING, number(8, 1)),
    frame(KIND.ANSWER, text('that'), { id: first, content: 1 }),
    ...inParts(KIND.ANSWER, large, 2, new Uint8Array(0), new Uint8Array(25).fill(2), 10),
    frame(KIND.FAIL, failFixed(4), { id: abandoned }),
    frame(KIND.FAIL, failFixed(1, 'E', 'no'), { id: brief }),
    frame(KIND.QUERY, queryFixed('x', 60), { id: id(2) }),
    frame(KIND.CANCEL, undefined, { id: id(2) }),
    inParts(KIND.QUERY, id(3), 2, queryFixed(''), new Uint8Array(30), 20)[0] ?? new Uint8Array(0),
    frame(KIND.CANCEL, undefined, { id: id(3) }),
    frame(KIND.PONG, number(8, 1)),
    frame(KIND.ACK, ackPayload(taken + 1, 0)),
    frame(KIND.CLOSE, new Uint8Array([0, 0, ...text('done')])),
  ]
}

/** The ids of the queries that a victim asks first. */
function askedIds() {
  const victim = new Victim({ side: 'listener', encryption: undefined, seed: 1, isPlain: true })
  const insider = new Insider('dialer', undefined)
  victim.begin()
  victim.feed(insider.first(honestHello('dialer', undefined)))
  insider.hear(victim.write())
  victim.feed(insider.prove())
  insider.hear(victim.write())
  return insider.heard.filter(({ kind }) => kind === KIND.QUERY).map(({ id }) => id)
}
