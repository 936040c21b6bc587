/** Clean ends of real processes: nothing that was flushed is lost, and nothing is left, neither of files nor in the process. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { folder, Peer, program, type Report } from './processes.js'
import { unusedPort } from './ports.js'

type Kind = 'unix' | 'tcp'
type Address = { path: string } | { port: number }

const BLOCK_MS = 500

describe.each<Kind>(['unix', 'tcp'])('on %s', (kind) => {
  // ---- the other side reads late

  it('an answer arrives whole, although its reader is blocked and its sender has closed', async () => {
    const place = await meetingPlace(kind)
    for (const bytes of [1, 10_000_000]) {
      const [late, closing] = await pair(place.address)
      const asking = late.run('call', { method: 'last', input: bytes })
      await closing.next('asked')
      late.send({ id: 0, command: 'block', input: { forMs: BLOCK_MS } })
      await late.next('blocking')
      // Gives the answer and calls close() in one go.
      const closed = closing.run('answerAndClose')
      const { until: wokeAt } = await late.next('blocked')
      const { error, result } = await asking
      expect({ error, result }).toEqual({ error: undefined, result: bytes })
      const { at, error: lost } = await late.next('apart')
      expect(lost).toBeUndefined()
      console.log(
        `MEASURED ${kind}: the end is read ${Number(at) - Number(wokeAt)} ms after the wake-up, ${bytes} bytes`,
      )
      expect((await closed).error).toBeUndefined()
      await endAll(late, closing)
    }
    place.expectEmpty()
  })

  it('a CLOSE is a goodbye and no loss, however late it is read', async () => {
    const place = await meetingPlace(kind)
    const [late, closing] = await pair(place.address)
    late.send({ id: 0, command: 'block', input: { forMs: BLOCK_MS } })
    await late.next('blocking')
    const closed = closing.run('close')
    const { until: wokeAt } = await late.next('blocked')
    const apart = await late.next('apart')
    expect(apart['error']).toBeUndefined()
    expect(Number(apart.at)).toBeGreaterThanOrEqual(Number(wokeAt))
    expect((await closed).error).toBeUndefined()
    await endAll(late, closing)
    place.expectEmpty()
  })

  it.each([
    ['SECRET_MISMATCH', 'secret', { secret: 'another-secret-of-many-bytes' }],
    ['PAIR_BUSY', 'busy', {}],
  ])('a REFUSE arrives, although its reader is blocked: %s', async (code, reason, options) => {
    const place = await meetingPlace(kind)
    const [listener, dialer] = await pair(place.address)
    // The last thing that a listener needs to refuse is the proof, which is a dialer's second write.
    const late = new Ender(place.address, options, { blockAfterWrite: 2, forMs: BLOCK_MS }, 'late')
    const connecting = late.run('connect')
    const { at: refusedAt, reason: seen } = await listener.next('refused')
    const { until: wokeAt } = await late.next('blocked')
    const { error, at } = await connecting
    expect(error).toMatchObject({ code })
    expect(seen).toBe(reason)
    expect(Number(refusedAt)).toBeLessThan(Number(wokeAt))
    console.log(`MEASURED ${kind}: ${code} is known ${Number(at) - Number(wokeAt)} ms after the wake-up`)
    await endAll(late, listener, dialer)
    place.expectEmpty()
  })

  // ---- close()

  const idle = async (address: Address): Promise<Ender[]> => {
    const peer = new Ender(address)
    await peer.next('ready')
    return [peer]
  }
  const listening = async (address: Address): Promise<Ender[]> => [await listenerAt(address)]
  const standby = async (address: Address): Promise<Ender[]> => {
    const two = await pair(address)
    const third = new Ender(address, { whenBusy: 'wait' }, {}, 'third')
    await third.result('connect', { until: 'started' })
    return [third, ...two]
  }
  const apart = (victim: 0 | 1, options: object) => async (address: Address) => {
    const two = await pair(address, options)
    two[victim].kill()
    await two[victim].ended
    const survivor = two[1 - victim] as Ender
    await survivor.next('apart')
    return [survivor]
  }
  it.each<[string, string, (address: Address) => Promise<Ender[]>]>([
    ['idle', 'idle', idle],
    ['waiting for the first peer', 'meeting', listening],
    ['standing by', 'standby', standby],
    ['paired as a listener', 'paired', (address) => pair(address)],
    ['paired as a dialer', 'paired', async (address) => (await pair(address)).reverse()],
    ['apart and listening', 'apart', apart(1, {})],
    ['apart and taking the place', 'apart', apart(0, {})],
    ['apart and looking', 'apart', apart(0, { failover: false })],
  ])('close() of one that is %s leaves nothing', async (name, state, bringAbout) => {
    const place = await meetingPlace(kind)
    const [peer, ...others] = (await bringAbout(place.address)) as [Ender, ...Ender[]]
    const closed = await peer.result<Closed>('close')
    expect(closed.state).toBe(state)
    expect(closed.tookMs).toBeLessThan(1000)
    expect(closed.after).toEqual(closed.before)
    console.log(`MEASURED ${kind}: close() of one that is ${name} takes ${closed.tookMs.toFixed(1)} ms`)
    await endAll(peer, ...others)
    // A killed listener leaves its socket file to whoever takes its place. These two do not, or not yet.
    place.expectEmpty({ mayHaveStale: name === 'apart and looking' || name === 'apart and taking the place' })
  })

  it('nothing is left already when close() resolves', async () => {
    const place = await meetingPlace(kind)
    const peer = await listenerAt(place.address)
    const { before, atOnce } = await peer.result<Closed>('close')
    expect(atOnce).toEqual(before)
  })

  it('closes that cross are both goodbyes', async () => {
    const place = await meetingPlace(kind)
    const two = await pair(place.address)
    const closed = await Promise.all(two.map((peer) => peer.result<Closed>('close')))
    for (const { before, after } of closed) expect(after).toEqual(before)
    for (const peer of two) for (const { error } of peer.all('apart')) expect(error).toBeUndefined()
    await endAll(...two)
    place.expectEmpty()
  })

  it('unref() lets processes end, and they take their files with them', async () => {
    const place = await meetingPlace(kind)
    const alone = await listenerAt(place.address)
    await alone.result('unref')
    await alone.endsWell(5000)
    place.expectEmpty()
    const two = await pair(place.address)
    for (const peer of two) await peer.result('unref')
    await Promise.all(two.map((peer) => peer.endsWell(5000)))
    place.expectEmpty()
  })

  it.each(['listener', 'dialer'])(
    'a %s that closes on SIGTERM under load loses nothing that it has answered',
    async (role) => {
      const place = await meetingPlace(kind)
      const log = join(folder(), 'answered')
      const [listener, dialer] = await pair(place.address, {}, log)
      const [victim, caller] = role === 'listener' ? [listener, dialer] : [dialer, listener]
      await caller.result('startLoad')
      await caller.next('loaded')
      victim.child.kill('SIGTERM')
      await victim.endsWell()
      const { ok, others } = await caller.result<{ ok: number[]; others: Record<string, number> }>('stopLoad')
      const answered = linesOf(`${log}.${victim.pid}`)
      const received = new Set(ok.map(String))
      expect(answered.filter((id) => !received.has(id))).toEqual([])
      expect(answered.length).toBeGreaterThanOrEqual(500)
      expect(new Set(answered).size).toBe(answered.length)
      for (const outcome of Object.keys(others)) expect(outcome).toMatch(/^(NOT_CONNECTED|CLOSED|PEER_LOST) not-sent$/)
      console.log(
        `MEASURED ${kind}: SIGTERM of the ${role}: ${answered.length} answered, all arrived; ${JSON.stringify(others)}`,
      )
      await endAll(caller)
      place.expectEmpty()
    },
  )
})

interface Place {
  readonly address: Address
  /** @throws Error when any file is left but the lock */
  expectEmpty(allowing?: { mayHaveStale: boolean }): void
}

async function meetingPlace(kind: Kind): Promise<Place> {
  const directory = folder()
  return {
    address: kind === 'unix' ? { path: join(directory, 's') } : { port: await unusedPort() },
    expectEmpty: ({ mayHaveStale } = { mayHaveStale: false }) => {
      const allowed = ['s.lock', ...(mayHaveStale ? ['s'] : [])]
      expect(readdirSync(directory).filter((name) => !allowed.includes(name))).toEqual([])
    },
  }
}

async function endAll(...peers: Ender[]): Promise<void> {
  await Promise.all(peers.map((peer) => peer.run('close')))
  await Promise.all(peers.map((peer) => peer.endsWell()))
  for (const peer of peers) expect(peer.stderr).toBe('')
}

function linesOf(file: string): string[] {
  return readFileSync(file, 'utf8').split('\n').slice(0, -1)
}

/** What close() has left: `before` is what there was when the connection was made. */
interface Closed {
  readonly state: string
  readonly tookMs: number
  readonly before: string[]
  /** At the moment when close() resolves. */
  readonly atOnce: string[]
  /** One turn of the loop later. */
  readonly after: string[]
}

type Done = Report & { readonly error?: { readonly code?: string } }

class Ender extends Peer {
  #id = 0

  constructor(address: Address, options: object = {}, blocking: object = {}, label = 'peer', log?: string) {
    super(program('ender.mjs', ENDER), [JSON.stringify({ address, options, blocking, log })], label)
  }

  run(command: string, input: object = {}): Promise<Done> {
    const id = ++this.#id
    this.send({ id, command, input })
    return this.next((report) => report.event === 'done' && report['id'] === id, 15_000)
  }

  /** Like `run`, to the result. @throws Error when the command failed */
  async result<T = unknown>(command: string, input: object = {}): Promise<T> {
    const report = await this.run(command, input)
    if (report.error !== undefined) throw new Error(`${command}: ${JSON.stringify(report.error)}\n${this.seen()}`)
    return report['result'] as T
  }
}

async function listenerAt(address: Address, options: object = {}, log?: string): Promise<Ender> {
  const listener = new Ender(address, options, {}, 'listener', log)
  await listener.result('connect', { until: 'started' })
  return listener
}

async function pair(address: Address, options: object = {}, log?: string): Promise<[Ender, Ender]> {
  const listener = await listenerAt(address, options, log)
  const dialer = new Ender(address, options, {}, 'dialer', log)
  await dialer.result('connect')
  await listener.next('paired')
  return [listener, dialer]
}

/** Ends in every way it is told to. It never calls `process.exit`. */
const ENDER = `
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Connection } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'

const { address, options, blocking, log } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\\n')
const told = (error) => error && { code: error.code, message: error.message, delivery: error.delivery }

function block({ forMs }) {
  report({ event: 'blocking' })
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, forMs)
  report({ event: 'blocked', until: Date.now() })
}

const transport = 'path' in address ? unix(address.path) : tcp(address)
let writes = 0
const { dial } = transport
transport.dial = async (...args) => {
  const pipe = await dial.apply(transport, args)
  if (typeof pipe === 'string') return pipe
  const write = pipe.write.bind(pipe)
  pipe.write = (chunks) => {
    const isRoom = write(chunks)
    if (++writes === blocking.blockAfterWrite) block(blocking)
    return isRoom
  }
  return pipe
}

let begin
const begun = new Promise((resolve) => (begin = resolve))
const lines = createInterface({ input: process.stdin })
lines.on('line', async (line) => {
  await begun
  const { id, command, input } = JSON.parse(line)
  try {
    report({ event: 'done', id, result: await commands[command](input) })
  } catch (error) {
    report({ event: 'done', id, error: told(error) })
  }
})
const resources = () => process.getActiveResourcesInfo().sort()
// The standard streams are made when they are first asked for.
for (const stream of [process.stdout, process.stderr]) stream.writableLength
await new Promise((resolve) => setTimeout(resolve))
await new Promise((resolve) => setImmediate(resolve))
const before = resources()
let giveLast
const connection = new Connection({
  transport,
  secret: 'a-super-secret-of-many-bytes',
  handlers: {
    last: (bytes) => {
      report({ event: 'asked' })
      return new Promise((resolve) => (giveLast = () => resolve(new Uint8Array(bytes))))
    },
    work: async (id) => {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
      appendFileSync(log + '.' + process.pid, id + '\\n')
      return id
    },
  },
  ...options,
})
for (const name of ['listening', 'paired', 'apart', 'refused', 'closed']) {
  connection.on(name, (event) => report({ ...event, event: name, error: told(event.error) }))
}
process.once('SIGTERM', async () => {
  lines.close()
  process.stdin.destroy()
  await connection.close()
})

const ok = []
const others = {}
let isLoading = true
let asked = 0
const loads = []
async function load() {
  while (isLoading) {
    const id = asked++
    try {
      if ((await connection.call('work', id)) !== id) throw new Error('a wrong answer')
      if (ok.push(id) === 500) report({ event: 'loaded' })
    } catch (error) {
      const outcome = error.code + ' ' + error.delivery
      others[outcome] = (others[outcome] ?? 0) + 1
      if (connection.state !== 'paired') return
    }
  }
}
const commands = {
  block,
  connect: (input) => connection.connect(input),
  call: async ({ method, input }) => (await connection.call(method, input)).length,
  answerAndClose: () => {
    giveLast()
    return connection.close()
  },
  close: async () => {
    const { state } = connection
    const startedAt = performance.now()
    await connection.close()
    const tookMs = performance.now() - startedAt
    const atOnce = resources()
    // What is closing is closed at the end of this turn of the loop.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    return { state, tookMs, before, atOnce, after: resources() }
  },
  unref: () => connection.unref(),
  startLoad: () => {
    for (let lane = 0; lane < 16; lane++) loads.push(load())
  },
  stopLoad: async () => {
    isLoading = false
    await Promise.all(loads)
    return { ok, others }
  },
}
begin()
report({ event: 'ready' })
`
