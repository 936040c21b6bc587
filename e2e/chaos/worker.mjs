// One process of a chaos run: it asks, answers and notifies without a pause, and writes down what becomes of each call before
// anything else happens, so that a SIGKILL takes nothing back that was seen. Commands come on standard input and reports go to
// standard output, one line of JSON each. A sum is a checksum of the content and its id, made by whoever writes the line.
//
//   handled <id> <sum>                      a handler has started; the sum of what it was asked
//   answered <id> <sum>                     it is about to give its answer
//   settled <id> <asked> <got> <manner> <code> <delivery> <peer>
//                                           a call of ours has settled; `peer` is the process that was paired last
//   told <id> <sum>                         a notification of ours was accepted
//   untold <id> <code> <delivery> <peer>    or it was not
//   heard <id> <sum>                        one of the peer's is handled
//   reset <peer> <when>                     the session with that process is over; milliseconds since 1970
import { randomBytes } from 'node:crypto'
import { openSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as after } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { Connection, isPairlinkError, QueryError } from '@pairlink/core'
import { aes256gcm } from '@pairlink/crypto'
import { Severable } from './severable.mjs'

const { name, kind, address, proxied, certificate, key, log, outstanding, options } = JSON.parse(process.argv[2])
const QUICK_MS = 1000
/** Longer than all of what is done to the two can keep them apart. */
const PATIENT_MS = 15_000
/** How calls are made, lane by lane. A patient one has no reason to fail but the end of the other process. */
const MANNERS = [
  { manner: 'patient', whenApart: 'wait', timeoutMs: PATIENT_MS },
  { manner: 'quick', whenApart: 'wait', timeoutMs: QUICK_MS },
  { manner: 'quick', whenApart: 'reject', timeoutMs: QUICK_MS },
]
const LARGE_MAX = 300_000
const POOL = randomBytes(LARGE_MAX).toString('base64')

const fd = openSync(log, 'a')
/** One write to a file that is only appended to: it is there whole, whatever happens to the process. */
const note = (...words) => writeSync(fd, `${words.join(' ')}\n`)
const report = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const chance = (share) => Math.random() < share
const sumOf = ({ id, content }) => crc32(`${id} ${content}`)

/** Mostly small, and now and then one that takes many frames. */
function contentOf() {
  const length = Math.floor(Math.random() * (chance(0.01) ? LARGE_MAX : 40))
  const start = Math.floor(Math.random() * (POOL.length - length))
  return POOL.slice(start, start + length)
}

/** Loaded where it is needed: processes are killed and started often. */
const PLACES = {
  unix: async () => {
    const { unix } = await import('@pairlink/transport-net')
    return ({ path }) => unix(path)
  },
  tcp: async () => (await import('@pairlink/transport-net')).tcp,
  tls: async () => {
    const { tls } = await import('@pairlink/transport-tls')
    return (where) => tls(where, certificate)
  },
  ws: async () => (await import('@pairlink/transport-ws')).ws,
}
const placeAt = await PLACES[kind]()
const own = placeAt(address)
const transport = proxied === undefined ? own : new Severable(own, placeAt(proxied))
const connection = new Connection({
  transport,
  secret: 'a secret that is long enough',
  encryption: key === undefined ? undefined : aes256gcm(Buffer.from(key, 'hex')),
  about: name,
  handshakeTimeoutMs: 500,
  ...options,
  logger: { error: (fields, message) => report({ event: 'log', message, error: String(fields.error ?? fields.code) }) },
  handlers: {
    whoami: () => name,
    work: async ({ id, workMs, fails, content }) => {
      note('handled', id, sumOf({ id, content }))
      if (workMs > 0) await after(workMs)
      const answer = { id, content: contentOf() }
      note('answered', id, sumOf(answer))
      if (fails) throw new QueryError('ASKED_FOR', id)
      return answer
    },
  },
  onNotify: (message) => note('heard', message.id, sumOf(message)),
})
let peer = '-'
connection.on('paired', ({ role, resumed }) => {
  const { about } = connection.peer
  report({ event: 'paired', role, peer: about, resumed })
  // What was lost with the process before is settled in the same turn, and is written down first.
  setImmediate(() => (peer = about))
})
connection.on('reset', () => note('reset', peer, Date.now()))
connection.on('apart', ({ error }) => report({ event: 'apart', code: error?.code }))
connection.on('closed', ({ error }) => report({ event: 'closed', code: error?.code }))
connection.on('refused', ({ reason }) => report({ event: 'refused', reason }))

let asked = 0
let told = 0
let isFinishing = false

async function lane(index) {
  const { manner, ...plain } = MANNERS[index % MANNERS.length]
  while (!isFinishing) {
    const id = `${name}-${asked++}`
    const input = { id, workMs: Math.random() * 20, fails: chance(0.05), content: contentOf() }
    const isBrief = manner === 'quick' && chance(0.05)
    const how = isBrief ? { ...plain, signal: AbortSignal.timeout(Math.floor(Math.random() * 20)) } : plain
    let code
    let delivery = 'delivered'
    let got = '-'
    try {
      const answer = await connection.call('work', input, how)
      code = answer.id === id ? 'ok' : 'WRONG_ANSWER'
      got = sumOf(answer)
    } catch (error) {
      if (!isPairlinkError(error)) throw error
      code = error.code
      if (code !== 'REMOTE') delivery = error.delivery
      else if (error.remoteCode !== 'ASKED_FOR' || !error.message.includes(id)) code = 'WRONG_ANSWER'
    }
    note('settled', id, sumOf(input), got, manner, code, delivery, peer)
    if (code === 'NOT_CONNECTED') await connection.paired({ timeoutMs: 500 }).catch(onlyTimeout)
  }
}

/** One notification after another, each accepted before the next; what was not accepted is told again under its number. */
async function telling() {
  while (!isFinishing) {
    const message = { id: `${name}-${told}`, content: contentOf() }
    try {
      await connection.notify(message, { whenApart: 'wait', timeoutMs: PATIENT_MS })
      told++
      note('told', message.id, sumOf(message))
    } catch (error) {
      if (!isPairlinkError(error)) throw error
      note('untold', message.id, error.code, error.delivery, peer)
    }
    await after(Math.random() * 2)
  }
}

/** Asks until the other side answers, and tells who it is. */
async function probe({ number }) {
  for (;;) {
    try {
      const answer = await connection.call('whoami', undefined, { whenApart: 'wait', timeoutMs: 250 })
      report({ event: 'probed', number, peer: answer })
      return
    } catch (error) {
      if (!isPairlinkError(error)) throw error
      await after(5)
    }
  }
}

function onlyTimeout(error) {
  if (!isPairlinkError(error, 'TIMEOUT')) throw error
}

const commands = {
  probe,
  cut: ({ way }) => transport.cut(way),
  finish: async () => {
    isFinishing = true
    await Promise.all(lanes)
    report({ event: 'finished', asked, told })
  },
  close: async () => {
    await connection.close()
    input.close()
    process.stdin.destroy()
  },
}
let isOrphan = true
const input = createInterface({ input: process.stdin })
input.on('line', (line) => {
  const { command, ...given } = JSON.parse(line)
  if (command === 'close') isOrphan = false
  void commands[command](given)
})
input.once('close', () => {
  if (isOrphan) process.exit(3) // the supervisor is gone
})

const connecting = connection.connect()
const lanes = [...Array.from({ length: outstanding }, (_, index) => lane(index)), telling()]
await connecting
