/**
 * Puts together what all processes of a chaos run have written down, and says what cannot be: something lost, doubled, changed
 * or out of order, a failure without a reason, a `delivery` that is not true. The lines are explained in `worker.mjs`.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

const DEVIATIONS_MAX = 20
const DELIVERIES = ['not-sent', 'unknown', 'delivered']

/**
 * Everything by the number of its call or notification, as small numbers in arrays: an hour of calls must fit in memory.
 * @typedef {object} Written by one process, or of its calls and notifications by the others
 * @property {number[]} handled the checksum of what was asked, as it arrived
 * @property {number[]} answered the checksum of what was answered
 * @property {number[]} settled an index into the kinds of outcome
 * @property {number[]} asked the checksum of what was asked, as it was sent
 * @property {number[]} got the checksum of what was answered, as it arrived
 * @property {number[]} told the checksum of a notification, as it was sent
 * @property {number[]} heard the same, as it arrived
 */

/** @param {import('./processes.mjs').Run} run whose processes have ended */
export async function judge(run) {
  const deviations = []
  let deviant = 0
  const deviate = (text) => {
    if (++deviant <= DEVIATIONS_MAX) deviations.push(text)
  }
  const { workers } = run
  /** @type {Map<string, Written>} */
  const written = new Map()
  for (const name of workers.keys()) {
    written.set(name, { handled: [], answered: [], settled: [], asked: [], got: [], told: [], heard: [] })
  }
  const kinds = []
  const indexOf = (kind) => {
    const index = kinds.indexOf(kind)
    return index >= 0 ? index : kinds.push(kind) - 1
  }
  let handled = 0
  let heard = 0
  for (const { name, log } of workers.values()) {
    /** The last notification of each sender that this process has heard. */
    const last = new Map()
    for await (const line of linesOf(log)) {
      const [what, id, ...words] = line.split(' ')
      if (what === 'reset') {
        const [when] = words
        if (!(workers.get(id)?.killedAt <= Number(when))) deviate(`${name} was told a reset, and ${id} was not killed`)
        continue
      }
      const [author, number] = id.split('-')
      const of = written.get(author)
      const seq = Number(number)
      const once = (sum) => {
        if (of[what][seq] !== undefined) deviate(`${id} was ${what} twice, the last time by ${name}`)
        of[what][seq] = Number(sum)
      }
      if (what === 'handled' || what === 'answered' || what === 'heard') {
        once(words[0])
        if (author[0] === name[0]) deviate(`${id} was ${what} by ${name} itself`)
        if (what === 'handled') handled++
        if (what !== 'heard') continue
        heard++
        const before = last.get(author)
        // With a process that was killed some are lost, so its successor may begin behind them.
        const first = name.slice(1) === '1' ? seq === 0 : seq >= of.heard.length - 1
        const isNext = before === undefined ? first : seq === before + 1
        if (!isNext) deviate(`${name} heard ${id} after ${before ?? 'none'}`)
        last.set(author, seq)
      } else if (author !== name) {
        deviate(`${name} wrote '${line}'`)
      } else if (what === 'told') {
        once(words[0])
      } else if (what === 'untold') {
        const [code, delivery, peer] = words
        const isTrue = code === 'PEER_LOST' && delivery === 'not-sent' && workers.get(peer)?.isKilled === true
        if (!isTrue) deviate(`notification ${id} was refused with ${words.join(' ')}`)
      } else if (what === 'settled') {
        const [asked, got, ...kind] = words
        once(indexOf(kind.join(' ')))
        of.asked[seq] = Number(asked)
        if (got !== '-') of.got[seq] = Number(got)
      } else {
        deviate(`${name} wrote '${line}'`)
      }
    }
  }
  const outcomes = new Map()
  let open = 0
  for (const [caller, of] of written) {
    const worker = workers.get(caller)
    const isSame = (seq, sent, arrived) => {
      const areBoth = of[sent][seq] !== undefined && of[arrived][seq] !== undefined
      if (areBoth && of[sent][seq] !== of[arrived][seq])
        deviate(`${caller}-${seq}: what was ${sent} is not what was ${arrived}`)
    }
    if (!worker.isKilled && of.heard.length !== worker.told) {
      deviate(
        `${caller} told ${worker.told} notifications, of which number ${of.heard.length - 1} was the last one heard`,
      )
    }
    for (let seq = 0; seq < of.heard.length; seq++) isSame(seq, 'told', 'heard')
    const asked = Math.max(worker.asked ?? 0, of.handled.length, of.settled.length)
    for (let seq = 0; seq < asked; seq++) {
      const kind = kinds[of.settled[seq]]
      if (kind === undefined) {
        open++
        if (!worker.isKilled) deviate(`${caller}-${seq} was never settled, and ${caller} was not killed`)
        continue
      }
      isSame(seq, 'asked', 'handled')
      const [manner, code, delivery, peer] = kind.split(' ')
      const outcome = code === 'ok' ? 'ok' : `${code} ${delivery}`
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      const deviates = (why) => deviate(`${caller}-${seq} settled with ${kind}, and ${why}`)
      const isHandled = of.handled[seq] !== undefined
      const isPeerKilled = workers.get(peer)?.isKilled === true
      const isAnswered = code === 'ok' || code === 'REMOTE'
      if (code === 'ok') isSame(seq, 'answered', 'got')
      if (code === 'WRONG_ANSWER') deviates('that is not its answer')
      if (!DELIVERIES.includes(delivery)) deviates('that is no delivery')
      if (isAnswered && (!isHandled || of.answered[seq] === undefined)) deviates('was not handled or not answered')
      if (delivery === 'not-sent' && isHandled) deviates('was handled')
      if (code === 'PEER_LOST' && !isPeerKilled) deviates(`${peer} was not killed`)
      if (manner === 'patient' && !isAnswered && code !== 'PEER_LOST') deviates('had no reason to fail')
      // What arrives when its time is up is taken over and answered without a handler.
      if (delivery === 'delivered' && !isHandled && code !== 'TIMEOUT' && !isPeerKilled) {
        deviates(`no handler of ${peer} has started, which was not killed`)
      }
    }
  }
  if (deviant > DEVIATIONS_MAX) deviations.push(`and ${deviant - DEVIATIONS_MAX} more`)
  return { deviations, outcomes, handled, heard, open }
}

async function* linesOf(file) {
  const stream = createReadStream(file)
  // A process that was killed at once has not even made its file.
  let missing = false
  stream.on('error', (error) => {
    if (error.code !== 'ENOENT') throw error
    missing = true
  })
  await new Promise((resolve) => {
    stream.once('open', resolve)
    stream.once('error', resolve)
  })
  if (!missing) yield* createInterface({ input: stream })
}
