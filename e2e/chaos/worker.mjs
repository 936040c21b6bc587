// One process of a chaos run: it asks and answers without a pause, and writes down what becomes of each call before anything
// else happens, so that a SIGKILL takes nothing back that was seen. Commands come on standard input and reports go to
// standard output, one line of JSON each.
//
//   handled <id>                        a handler has started
//   answered <id>                       it is about to give its answer
//   settled <id> <code> <delivery> <peer>   a call of ours has settled; `peer` is the process that was paired last
import { openSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as after } from 'node:timers/promises'
import { Connection, isPairlinkError, QueryError } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'

const { name, address, log, outstanding } = JSON.parse(process.argv[2])
const QUERY_TIMEOUT_MS = 1000
const fd = openSync(log, 'a')
/** One write to a file that is only appended to: it is there whole, whatever happens to the process. */
const note = (line) => writeSync(fd, `${line}\n`)
const report = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const chance = (share) => Math.random() < share

const connection = new Connection({
  transport: 'path' in address ? unix(address.path) : tcp(address),
  secret: 'super-secret',
  about: name,
  keepaliveMs: 500,
  silenceMs: 1500,
  handshakeTimeoutMs: 500,
  queryTimeoutMs: QUERY_TIMEOUT_MS,
  logger: { error: (fields, message) => report({ event: 'log', message, error: String(fields.error ?? fields.code) }) },
  handlers: {
    whoami: () => name,
    work: async ({ id, workMs, fails }) => {
      note(`handled ${id}`)
      if (workMs > 0) await after(workMs)
      note(`answered ${id}`)
      if (fails) throw new QueryError('ASKED_FOR', id)
      return id
    },
  },
})
let peer = '-'
connection.on('paired', ({ role }) => {
  peer = connection.peer?.about
  report({ event: 'paired', role, peer })
})
connection.on('apart', ({ error }) => report({ event: 'apart', code: error?.code }))
connection.on('closed', ({ error }) => report({ event: 'closed', code: error?.code }))
connection.on('refused', ({ reason }) => report({ event: 'refused', reason }))

let asked = 0
let isFinishing = false
/** Half of the lanes wait while there is no peer, the others are told. */
async function lane(index) {
  const whenApart = index % 2 === 0 ? 'wait' : 'reject'
  while (!isFinishing) {
    const id = `${name}-${asked++}`
    const fails = chance(0.05)
    const padding = chance(0.01) ? 'x'.repeat(Math.floor(Math.random() * 300_000)) : ''
    const input = { id, workMs: Math.random() * 20, fails, padding }
    const options = { whenApart, ...(chance(0.03) && { signal: AbortSignal.timeout(Math.floor(Math.random() * 20)) }) }
    let code
    let delivery = 'delivered'
    try {
      code = (await connection.call('work', input, options)) === id ? 'ok' : 'WRONG_ANSWER'
    } catch (error) {
      if (!isPairlinkError(error)) throw error
      code = error.code
      if (code !== 'REMOTE') delivery = error.delivery
      else if (error.remoteCode !== 'ASKED_FOR' || !error.message.includes(id)) code = 'WRONG_ANSWER'
    }
    note(`settled ${id} ${code} ${delivery} ${peer}`)
    if (code === 'NOT_CONNECTED') await connection.paired({ timeoutMs: 500 }).catch(onlyTimeout)
  }
}

/** Asks until the other side answers, and tells who it is. */
async function probe(number) {
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
  finish: async () => {
    isFinishing = true
    await Promise.all(lanes)
    report({ event: 'finished', asked })
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
  const { command, number } = JSON.parse(line)
  if (command === 'close') isOrphan = false
  void commands[command](number)
})
input.once('close', () => {
  if (isOrphan) process.exit(3) // the supervisor is gone
})

const connecting = connection.connect()
const lanes = Array.from({ length: outstanding }, (_, index) => lane(index))
await connecting
