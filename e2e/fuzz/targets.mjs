// What is fuzzed. A target makes inputs and runs them; running one throws a Finding, or any other error, for what must not
// happen, and otherwise tells how it ended. The same input always does the same.
import { changed, randomChange } from './inputs.mjs'
import { frame, join, KIND, KINDS } from './bytes.mjs'
import { contentTarget } from './content.mjs'
import { Finding } from './finding.mjs'
import { Insider } from './insider.mjs'
import { below, drawn, pick, randomBytes } from './random.mjs'
import { earlierPieces, honestPieces, recorded } from './talks.mjs'
import { endKind, Victim } from './victim.mjs'

/**
 * @import { Encryption } from '@pairlink/core'
 * @import { Link } from '@pairlink/core/protocol'
 * @import { Side } from './bytes.mjs'
 * @import { Input } from './inputs.mjs'
 * @import { Random } from './random.mjs'
 *
 * @typedef {{ end: string, bytes: number }} Outcome `end` is what is counted by, and has no numbers in it
 *
 * @typedef {object} Target
 * @property {string} name
 * @property {() => readonly Input[]} honest inputs in which nothing is wrong
 * @property {() => readonly Uint8Array[]} others pieces that may be put into any input
 * @property {(input: Input) => Outcome | Promise<Outcome>} run
 *
 * @typedef {object} Options
 * @property {(link: Link) => Link} [wrap] puts something around each link: a fault that is to be found
 */

/** After so many calls something is written. */
const WRITES_MAX = 10
const SIDES = /** @type {const} */ (['dialer', 'listener'])
const other = (/** @type {Side} */ side) => (side === 'dialer' ? 'listener' : 'dialer')

/**
 * All targets for these ways to encrypt; `undefined` is none.
 * @returns {Target[]}
 */
export function targetsOf(
  /** @type {readonly (Encryption | undefined)[]} */ encryptions,
  /** @type {Options} */ options = {},
) {
  return [
    ...encryptions.flatMap((encryption) =>
      SIDES.flatMap((side) => [wireTarget(side, encryption, options), insiderTarget(side, encryption, options)]),
    ),
    ...SIDES.map((side) => framesTarget(side, options)),
    contentTarget(),
  ]
}

/** A new input: an honest one, or one of those that are kept, with some changes; now and then nothing but noise. */
export function inputFor(
  /** @type {Target} */ target,
  /** @type {Random} */ random,
  /** @type {readonly Input[]} */ kept,
) {
  const seed = below(random, 2 ** 32)
  const kind = random()
  if (kind < 0.03)
    return { seed, pieces: Array.from({ length: below(random, 5) }, () => randomBytes(random, below(random, 400))) }
  const honest = pick(random, target.honest())
  const from = kind < 0.5 || kept.length === 0 ? honest : pick(random, kept)
  // Also the same, delivered otherwise.
  const count = pick(random, [0, 1, 1, 1, 2, 3, 5, 8])
  const changes = Array.from({ length: count }, () => randomChange(random))
  const others = random() < 0.5 ? target.others() : pick(random, [...target.honest(), ...kept]).pieces
  return { seed: random() < 0.2 ? from.seed : seed, pieces: changed(from.pieces, changes, others) }
}

/**
 * What stands on the wire of a whole conversation, changed: the handshake and, where it is encrypted, the records. There
 * nothing may be delivered that was not sent, and nothing from the first change on.
 * @returns {Target}
 */
function wireTarget(
  /** @type {Side} */ side,
  /** @type {Encryption | undefined} */ encryption,
  /** @type {Options} */ { wrap },
) {
  const victimOf = (/** @type {number} */ seed, chunkBytes = 0) =>
    new Victim({ side, encryption, seed, isPlain: true, ...(wrap && { wrap }), ...(chunkBytes > 0 && { chunkBytes }) })
  const said = once(() => recorded(encryption)[other(side)])
  const elsewhere = once(() => {
    const same = recorded(encryption)
    const another = recorded(encryption, 3)
    return [...another[other(side)], ...another[side], ...same[side]]
  })
  const honestly = once(() => {
    const victim = new Victim({ side, encryption, seed: 1, isPlain: true, chunkBytes: 1 })
    conversed(victim, said())
    if (victim.end?.by !== 'close') throw new Error(`an honest conversation ended by ${victim.end?.by}`)
    return { all: join(...said()), delivered: victim.delivered, deliveredBy: victim.deliveredBy }
  })
  return {
    name: `wire-${encryption?.mode ?? 'proof'}-${side}`,
    honest: () => [{ seed: 1, pieces: said() }],
    others: elsewhere,
    run({ seed, pieces }) {
      const victim = victimOf(seed)
      conversed(victim, pieces)
      if (encryption !== undefined) {
        const { all, delivered, deliveredBy } = honestly()
        const sameBytes = alike(all, join(...pieces))
        const may = delivered.slice(0, sameBytes === 0 ? 0 : deliveredBy[sameBytes - 1])
        const at = victim.delivered.findIndex((event, index) => event !== may[index])
        if (at >= 0) throw new Finding(`delivered what was not sent: ${victim.delivered[at]}`)
      }
      return { end: endKind(victim.end), bytes: victim.bytes }
    },
  }
}

/** Feeds the pieces one by one, with the answers written in between, and ends. */
function conversed(/** @type {Victim} */ victim, /** @type {readonly Uint8Array[]} */ pieces) {
  victim.begin()
  victim.write()
  for (const piece of pieces) {
    victim.feed(piece)
    victim.write()
  }
  const { end } = victim
  victim.cut()
  return end
}

/**
 * A peer that knows everything and says what it likes: its hello, its WELCOME and its frames are changed, and what is around
 * them is right. With an odd seed it comes for the second time, to the session that it had.
 * @returns {Target}
 */
function insiderTarget(
  /** @type {Side} */ side,
  /** @type {Encryption | undefined} */ encryption,
  /** @type {Options} */ { wrap },
) {
  const insiderSide = other(side)
  return {
    name: `insider-${encryption?.mode ?? 'proof'}-${side}`,
    honest: once(() => [
      { seed: 2, pieces: honestPieces(insiderSide, encryption) },
      { seed: 3, pieces: honestPieces(insiderSide, encryption, true) },
    ]),
    others: once(() => [...honestPieces(insiderSide, encryption), ...honestPieces(insiderSide, encryption, true)]),
    run({ seed, pieces }) {
      const victim = new Victim({ side, encryption, seed, ...(wrap && { wrap }) })
      if (seed % 2 === 1) {
        played(victim, new Insider(insiderSide, encryption, 0x31), earlierPieces(insiderSide, encryption), 2)
        victim.cut()
      }
      const insider = new Insider(insiderSide, encryption)
      played(victim, insider, pieces, seed)
      const isResumed = victim.resumed > 0
      victim.close()
      for (const ms of [0, 25, 600, 3000]) {
        victim.passMs(ms)
        written(victim, insider)
      }
      const { end } = victim
      victim.cut()
      return { end: `${isResumed ? 'resumed, ' : ''}${endKind(end)}`, bytes: victim.bytes }
    },
  }
}

/** One link, on which the insider says the pieces: its hello, where it listens the body of its WELCOME, and frames. */
function played(
  /** @type {Victim} */ victim,
  /** @type {Insider} */ insider,
  /** @type {readonly Uint8Array[]} */ pieces,
  /** @type {number} */ seed,
) {
  const [hello = new Uint8Array(0), ...rest] = pieces
  const listens = insider.side === 'listener'
  victim.begin()
  // Its first message, where it dials, also when it does not write at once.
  for (let turn = 0; turn < WRITES_MAX && (turn === 0 || (listens && !insider.hasHeard)); turn++)
    written(victim, insider)
  if (listens && !insider.hasHeard) return
  // Longer than a preamble can say: no such message can be written.
  if (hello.length > 60_000) return
  victim.feed(insider.first(hello))
  written(victim, insider)
  if (!insider.isAgreed || victim.end !== undefined) return
  // Now and then frames come where the proof should.
  const isProper = drawn(seed, 77) < 0.95
  if (!listens && isProper) victim.feed(insider.prove())
  if (listens && isProper) victim.feed(insider.welcome(rest.shift() ?? new Uint8Array(0)))
  written(victim, insider)
  const recordBytes = drawn(seed, 78) < 0.6 ? undefined : 1 + Math.floor(drawn(seed, 79) * 60)
  for (const piece of rest) {
    if (victim.end !== undefined) return
    victim.feed(insider.seal(piece, recordBytes))
    written(victim, insider)
    victim.pass()
  }
}

/** The insider reads what the victim has to write now. */
function written(/** @type {Victim} */ victim, /** @type {Insider} */ insider) {
  insider.hear(victim.write())
}

/**
 * Frames on an open link, in chunks drawn, whole, and byte by byte: the same must come of it.
 * @returns {Target}
 */
function framesTarget(/** @type {Side} */ side, /** @type {Options} */ { wrap }) {
  const insiderSide = other(side)
  const before = insiderSide === 'listener' ? 2 : 1
  return {
    name: `frames-${side}`,
    honest: once(() => [{ seed: 2, pieces: honestPieces(insiderSide, undefined).slice(before) }]),
    others: once(() => [
      ...honestPieces(insiderSide, undefined),
      ...KINDS.map((kind) => frame(kind)),
      frame(KIND.QUERY, undefined, { id: 1, length: 0xffffffff }),
    ]),
    run({ seed, pieces }) {
      const [first, ...more] = [undefined, Infinity, 1].map((chunkBytes) => {
        const cut = chunkBytes === undefined ? {} : { chunkBytes }
        const victim = new Victim({
          side,
          encryption: undefined,
          seed: (seed & ~1) >>> 0,
          ...cut,
          ...(wrap && { wrap }),
        })
        const begin = honestPieces(insiderSide, undefined).slice(0, before)
        played(victim, new Insider(insiderSide, undefined), [...begin, ...pieces], 2)
        const { end } = victim
        victim.cut()
        return { delivered: byType(victim.delivered), end: endKind(end), bytes: victim.bytes }
      })
      if (first === undefined) throw new Error('nothing was run')
      for (const { delivered, end } of more) {
        if (end !== first.end) throw new Finding(`ended as '${end}' in other chunks than as '${first.end}'`)
        if (delivered !== first.delivered) throw new Finding('other events in other chunks')
      }
      return { end: first.end, bytes: first.bytes }
    },
  }
}

/**
 * Events of each type in their order. Between types it may differ: what is read in one go is told behind what is queued. And how
 * much of our own was taken before the end depends on how often there was something to read.
 */
function byType(/** @type {readonly string[]} */ delivered) {
  const ofPeer = delivered.filter((event) => !event.startsWith('{"type":"taken"'))
  return [...ofPeer.map((event) => `${event.split('"', 4)[3]} ${event}`)]
    .map((event, index) => ({ event, index, type: event.split(' ', 1)[0] ?? '' }))
    .sort((a, b) => (a.type < b.type ? -1 : a.type > b.type ? 1 : a.index - b.index))
    .map(({ event }) => event)
    .join('\n')
}

/** How many bytes in front are the same. */
function alike(/** @type {Uint8Array} */ a, /** @type {Uint8Array} */ b) {
  let at = 0
  while (at < a.length && a[at] === b[at]) at++
  return at
}

/** @template T @returns {() => T} */
function once(/** @type {() => T} */ make) {
  /** @type {{ value: T } | undefined} */
  let made
  return () => (made ??= { value: make() }).value
}
