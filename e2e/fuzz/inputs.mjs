// What a target is fed: a seed, which says how the pieces are delivered and what the side under test does meanwhile, and the
// pieces themselves. Inputs are kept as text: the seed in the first line, then a piece in hexadecimal in each.
import { below, pick, randomBytes, seeded } from './random.mjs'
import {
  ackPayload,
  failFixed,
  frame,
  fromHex,
  join,
  KIND,
  KINDS,
  notifyFixed,
  number,
  queryFixed,
  toHex,
} from './bytes.mjs'

/**
 * @import { Random } from './random.mjs'
 *
 * @typedef {object} Input
 * @property {number} seed
 * @property {readonly Uint8Array[]} pieces
 *
 * @typedef {object} Change one mutation; any whole numbers from 0 make one
 * @property {number} how
 * @property {number} piece
 * @property {number} at
 * @property {number} value
 */

/** Larger ones find nothing that these do not, and take longer. */
const INPUT_BYTES_MAX = 16_384

export function encodeInput(/** @type {Input} */ { seed, pieces }) {
  return `${[String(seed), ...pieces.map(toHex)].join('\n')}\n`
}

/** @returns {Input} */
export function decodeInput(/** @type {string} */ textOf) {
  const [seed = '', ...pieces] = textOf.replace(/\n$/, '').split('\n')
  if (!/^\d+$/.test(seed) || !pieces.every((piece) => /^([0-9a-f]{2})*$/.test(piece)))
    throw new Error('An input is a line with a seed, then lines with whole bytes in hexadecimal digits')
  return { seed: Number(seed), pieces: pieces.map(fromHex) }
}

const INTERESTING = [0, 1, 2, 11, 12, 31, 32, 63, 64, 127, 128, 255, 256, 1012, 1024, 4083, 4084, 4085, 4096, 65_535]
const LARGE = [65_536, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
/** Where the fields of a frame's header begin, and how long they are. */
const FIELDS = [
  [0, 1],
  [1, 1],
  [2, 1],
  [3, 1],
  [4, 4],
  [8, 4],
  [12, 8],
]

/** A frame that is likely to mean something at some moment. */
export function likelyFrame(/** @type {Random} */ random) {
  const kind = random() < 0.97 ? pick(random, KINDS.slice(4)) : below(random, 256)
  const flags = random() < 0.5 ? 0 : pick(random, [1, 5, 7, below(random, 8)])
  const content = pick(random, [0, 1, 2, 2, 3])
  const id = (below(random, 6) | (below(random, 3) << 16)) >>> 0
  const bytes =
    content === 0 && random() < 0.9
      ? new Uint8Array(0)
      : randomBytes(random, below(random, pick(random, [40, 40, 40, 200, 3500])))
  const total =
    (flags & 2) === 0 ? new Uint8Array(0) : number(8, random() < 0.9 ? bytes.length + below(random, 40) : 2 ** 33)
  switch (kind) {
    case KIND.QUERY: {
      const fixed = queryFixed(pick(random, ['', 'm', 'method']), pick(random, [0xffffffff, 0, 1, 50]))
      return frame(kind, join(total, ...((flags & 3) === 1 ? [] : [fixed]), bytes), { flags, content, id })
    }
    case KIND.NOTIFY: {
      const fixed = notifyFixed(pick(random, ['', 'n']))
      const nonZero = flags === 0 ? 0 : id
      return frame(kind, join(total, ...((flags & 3) === 1 ? [] : [fixed]), bytes), { flags, content, id: nonZero })
    }
    case KIND.FAIL: {
      const fixed = failFixed(below(random, 10), pick(random, ['', 'E']), pick(random, ['', 'why']))
      return frame(kind, join(total, ...((flags & 3) === 1 ? [] : [fixed]), bytes), { flags, content, id })
    }
    case KIND.ANSWER:
      return frame(kind, join(total, bytes), { flags, content, id })
    case KIND.CANCEL:
      return frame(kind, undefined, { id })
    case KIND.ACK:
      return frame(kind, ackPayload(below(random, 9), pick(random, [0, 0, 0, 65, 3100])))
    case KIND.PING:
    case KIND.PONG:
      return frame(kind, new Uint8Array(8))
    case KIND.CLOSE:
      return frame(kind, join(number(2, below(random, 3)), randomBytes(random, below(random, 3))))
    default:
      return frame(kind, bytes, { flags, content, id })
  }
}

/** @returns {Change} */
export const randomChange = (/** @type {Random} */ random) => ({
  how: below(random, 1000),
  piece: below(random, 1000),
  at: below(random, 2 ** 20),
  value: below(random, 2 ** 31),
})

/** @type {((piece: Uint8Array, change: Change) => readonly Uint8Array[])[]} */
const WITHIN = [
  function flip(piece, { at, value }) {
    const copy = piece.slice()
    if (copy.length > 0) copy[at % copy.length] ^= 1 << value % 8
    return [copy]
  },
  function set(piece, { at, value }) {
    const copy = piece.slice()
    if (copy.length > 0) copy[at % copy.length] = value
    return [copy]
  },
  function field(piece, { at, value }) {
    const [from, size] = FIELDS[at % FIELDS.length]
    const values = size === 1 ? INTERESTING.slice(0, 17) : [...INTERESTING, ...LARGE]
    return [overwritten(piece, from, number(size, values[value % values.length]))]
  },
  function lengths(piece, { at, value }) {
    const size = [1, 2, 4, 8][value % 4]
    const values = [...INTERESTING, ...LARGE]
    return [overwritten(piece, at % (piece.length + 1), number(size, values[(value >>> 2) % values.length]))]
  },
  function near(piece, { at, value }) {
    const copy = piece.slice()
    if (copy.length > 0) copy[at % copy.length] += (value % 5) - 2
    return [copy]
  },
  function insert(piece, { at, value }) {
    const from = at % (piece.length + 1)
    return [join(piece.subarray(0, from), randomBytes(seeded(value), 1 + (value % 20)), piece.subarray(from))]
  },
  function remove(piece, { at, value }) {
    const from = at % (piece.length + 1)
    return [join(piece.subarray(0, from), piece.subarray(from + 1 + (value % 20)))]
  },
  function repeat(piece, { at, value }) {
    const from = at % (piece.length + 1)
    return [join(piece.subarray(0, from + (value % 40)), piece.subarray(from))]
  },
  (piece, { at }) => [piece.subarray(0, at % (piece.length + 1))],
  (piece, { at }) => [piece.subarray(0, at % (piece.length + 1)), piece.subarray(at % (piece.length + 1))],
  (piece) => [piece, piece],
  () => [],
  (piece, { value }) => [piece, likelyFrame(seeded(value))],
  (piece, { value }) => [likelyFrame(seeded(value)), piece],
  (_piece, { value }) => [randomBytes(seeded(value), value % 300)],
]

/**
 * The pieces with the changes made one after another. `others` are pieces of other conversations, which may be put in.
 * @returns {Uint8Array[]}
 */
export function changed(
  /** @type {readonly Uint8Array[]} */ pieces,
  /** @type {readonly Change[]} */ changes,
  /** @type {readonly Uint8Array[]} */ others,
) {
  let now = [...pieces]
  for (const change of changes) {
    const index = change.piece % (now.length + 1)
    const piece = now[index]
    const how = change.how % (WITHIN.length + 4)
    const other = others[change.at % Math.max(1, others.length)] ?? new Uint8Array(0)
    if (piece === undefined) now.push(change.value % 2 === 0 ? likelyFrame(seeded(change.value)) : other)
    else if (how < WITHIN.length) now.splice(index, 1, ...(WITHIN[how]?.(piece, change) ?? []))
    else if (how === WITHIN.length) now.splice(index, 1, other)
    else if (how === WITHIN.length + 1) now.splice(index, 0, other)
    else if (how === WITHIN.length + 2) {
      // Two conversations crossed in the middle of a piece.
      now.splice(
        index,
        1,
        join(piece.subarray(0, change.at % (piece.length + 1)), other.subarray(change.value % (other.length + 1))),
      )
    } else {
      const swapped = now[change.value % now.length] ?? piece
      now[change.value % now.length] = piece
      now[index] = swapped
    }
  }
  let lengthBytes = 0
  now = now.filter((piece) => (lengthBytes += piece.length) <= INPUT_BYTES_MAX)
  return now.map((piece) => piece.slice())
}

function overwritten(/** @type {Uint8Array} */ piece, /** @type {number} */ from, /** @type {Uint8Array} */ bytes) {
  const copy = piece.slice()
  copy.set(bytes.subarray(0, Math.max(0, copy.length - from)), Math.min(from, copy.length))
  return copy
}
