/** Who counts as alive, with real processes and the real clock: blocked ones do, and stopped, killed and cut off ones do not. */
import { existsSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { listenerAt, pairAt, PairPeer } from './pair.js'
import { folder, Peer, program, together, until, type Report } from './processes.js'
import { unusedPort } from './ports.js'

const KEEPALIVE_MS = 500
const SILENCE_MS = 1500
const HANDSHAKE_MS = 500
const REDIAL_MS = 200
/** A pause before the first look after a loss, and a look a last time at whoever is to be replaced. */
const [FIRST_REDIAL_MS_MAX, LAST_LOOK_MS] = [100, 1000]
const SHORT = {
  keepaliveMs: KEEPALIVE_MS,
  silenceMs: SILENCE_MS,
  handshakeTimeoutMs: HANDSHAKE_MS,
  reconnect: { delayMs: REDIAL_MS, jitter: false },
}
/** What a busy machine of two processors may add: scheduling, a process started, a lock taken. */
const SLACK_MS = 500

type Address = { path: string } | { port: number }

describe('a process that does not get to its event loop', () => {
  const BUSY_MS = 15_000
  const long = together()

  for (const role of ['listener', 'dialer']) {
    long(`15 s of synchronous work of the ${role} leave a link of default settings up`, async () => {
      const path = join(folder(), 's')
      const [listener, dialer] = await blockersAt({ path })
      const [worker, other] = role === 'listener' ? [listener, dialer] : [dialer, listener]
      worker.send({ id: 0, command: 'block', input: { forMs: BUSY_MS, how: 'busy' } })
      const { blockedMs } = await worker.next('blocked', BUSY_MS + 10_000)
      for (const [asker, asked] of [[worker, other] as const, [other, worker] as const]) {
        expect(await asker.result('call', { method: 'pid' })).toBe(asked.pid)
      }
      for (const peer of [worker, other]) {
        expect(peer.all('apart')).toEqual([])
        expect(peer.stderr).toBe('')
      }
      console.log(`MEASURED ${role} busy for ${Math.round(Number(blockedMs))} ms: the link is up`)
    })
  }

  long('an answer that had arrived is not a TIMEOUT, however late it is read', async () => {
    const path = join(folder(), 's')
    const [listener, dialer] = await blockersAt({ path }, { queryTimeoutMs: 5000 })
    const asking = dialer.run('call', { method: 'later', input: 1000 }, 15_000)
    await listener.next('asked')
    dialer.send({ id: 0, command: 'block', input: { forMs: 6000 } })
    const { answeredAt } = await listener.next('answered', 5000)
    const { until: wokeAt } = await dialer.next('blocked', 10_000)
    const { error, result, at } = await asking
    expect({ error, result }).toEqual({ error: undefined, result: 1000 })
    console.log(
      `MEASURED an answer that lay there for ${Number(wokeAt) - Number(answeredAt)} ms is given ${Number(at) - Number(wokeAt)} ms after the wake-up`,
    )
  })

  // What the other side needs to go on leaves with the write after which a process blocks, so its reply comes meanwhile: to
  // the dialer the welcome, to the listener the proof.
  for (const [role, write] of [
    ['dialer', 2],
    ['listener', 1],
  ] as const) {
    long(
      `connect({ timeoutMs: 1000 }) of a ${role} that was blocked for 3 s gives the pair that had come`,
      async () => {
        const path = join(folder(), 's')
        const blocking = { blockAfterWrite: write, forMs: 3000 }
        const isFirst = role === 'listener'
        const listener = new Blocker({ path }, {}, isFirst ? blocking : {}, 'listener')
        const dialer = new Blocker({ path }, {}, isFirst ? {} : blocking, 'dialer')
        // The second that it may take begins when both are there.
        await Promise.all([listener.next('ready', 10_000), dialer.next('ready', 10_000)])
        const first = listener.run('connect', isFirst ? { timeoutMs: 1000 } : {}, 15_000)
        await listener.next('listening')
        const second = dialer.run('connect', isFirst ? {} : { timeoutMs: 1000 }, 15_000)
        const blocked = isFirst ? listener : dialer
        const { until: wokeAt } = await blocked.next('blocked', 10_000)
        const connected = await (isFirst ? first : second)
        expect(connected.error).toBeUndefined()
        await (isFirst ? second : first)
        expect(await dialer.result('call', { method: 'pid' })).toBe(listener.pid)
        console.log(
          `MEASURED connect of a blocked ${role}: ${Number(connected.at) - Number(wokeAt)} ms after the wake-up`,
        )
      },
    )
  }
})

it.each(['listener', 'dialer'])('a killed %s is apart within a second', async (role) => {
  const [listener, dialer] = await pairAt(join(folder(), 's'))
  const [victim, survivor] = role === 'listener' ? [listener, dialer] : [dialer, listener]
  const since = performance.now()
  victim.kill()
  const { error } = await survivor.next('apart')
  const tookMs = performance.now() - since
  console.log(`MEASURED a killed ${role} is apart after ${tookMs.toFixed(1)} ms`)
  expect(error).toMatchObject({ code: 'PEER_LOST' })
  expect(tookMs).toBeLessThan(1000)
})

describe('one that is not heard of', () => {
  const silent = together()
  for (const role of ['listener', 'dialer']) {
    silent(`a stopped ${role} is apart when it was silent for so long, and a pair again when it goes on`, async () => {
      const [listener, dialer] = await pairAt(join(folder(), 's'), SHORT)
      const [stopped, survivor] = role === 'listener' ? [listener, dialer] : [dialer, listener]
      const since = performance.now()
      stopped.child.kill('SIGSTOP')
      const { error } = await survivor.next('apart')
      const tookMs = performance.now() - since
      stopped.child.kill('SIGCONT')
      console.log(`MEASURED a stopped ${role} is apart after ${Math.round(tookMs)} ms`)
      expect(error).toMatchObject({ code: 'PEER_SILENT' })
      expect(tookMs).toBeLessThan(SILENCE_MS + KEEPALIVE_MS)
      await Promise.all([survivor.next('paired'), stopped.next('paired')])
      expect(await survivor.result('call', { method: 'pid' })).toBe(stopped.pid)
    })
  }

  for (const kind of ['unix', 'tcp']) {
    silent(`a black hole on ${kind} is noticed by both sides, and forgotten when it is gone`, async () => {
      const place = folder()
      const far: Address = kind === 'unix' ? { path: join(place, 's') } : { port: await unusedPort() }
      const near: Address = kind === 'unix' ? { path: join(place, 't') } : { port: await unusedPort() }
      const hole = await BlackHole.between(near, far)
      try {
        const listener = new Blocker(far, SHORT, {}, 'listener')
        await listener.result('connect', { until: 'started' })
        const dialer = new Blocker(near, { ...SHORT, failover: false }, {}, 'dialer')
        await dialer.result('connect')
        await listener.next('paired')
        await dialer.next('paired')
        const since = performance.now()
        hole.swallow(true)
        const noticed = async (peer: Blocker): Promise<number> => {
          expect((await peer.next('apart'))['error']).toMatchObject({ code: 'PEER_SILENT' })
          return performance.now() - since
        }
        const times = await Promise.all([noticed(listener), noticed(dialer)])
        console.log(`MEASURED a black hole on ${kind} is noticed after ${times.map(Math.round).join(' and ')} ms`)
        for (const tookMs of times) expect(tookMs).toBeLessThan(SILENCE_MS + KEEPALIVE_MS)
        hole.swallow(false)
        await Promise.all([listener.next('paired'), dialer.next('paired')])
        expect(await dialer.result('call', { method: 'pid' })).toBe(listener.pid)
      } finally {
        hole.close()
      }
    })
  }
})

/** Stops the listener of a pair, and measures until the other one has its place. */
async function replaced(path: string, handshakeTimeoutMs: number): Promise<[PairPeer, PairPeer]> {
  const [old, survivor] = await pairAt(path, { ...SHORT, handshakeTimeoutMs })
  old.all('listening')
  const limitMs =
    SILENCE_MS + KEEPALIVE_MS + FIRST_REDIAL_MS_MAX + 2 * handshakeTimeoutMs + REDIAL_MS + LAST_LOOK_MS + SLACK_MS
  const stoppedAt = performance.now()
  old.child.kill('SIGSTOP')
  await survivor.next('listening', limitMs)
  const tookMs = performance.now() - stoppedAt
  console.log(`MEASURED a stopped listener is replaced after ${Math.round(tookMs)} ms (at most ${limitMs})`)
  expect(tookMs).toBeGreaterThan(2 * handshakeTimeoutMs + LAST_LOOK_MS)
  return [old, survivor]
}

/** How often an address is looked after while nobody is paired there. */
const WATCH_MS = 1000

/** Removes the socket file of a listener, and measures until it has met anew there. */
async function removed(path: string, listener: PairPeer, event: 'listening' | 'apart'): Promise<number> {
  listener.all(event)
  const since = performance.now()
  rmSync(path)
  await listener.next(event, WATCH_MS + 2 * SLACK_MS)
  return performance.now() - since
}

describe('the place of a listener that is stopped, or whose socket file was removed', () => {
  const long = together()
  long('a stopped listener is replaced, also where handshakes are shorter than the last look', async () => {
    await replaced(join(folder(), 's'), HANDSHAKE_MS)
  })

  long('a stopped listener is replaced, and when it goes on it disturbs nobody', async () => {
    const path = join(folder(), 's')
    const [old, survivor] = await replaced(path, LAST_LOOK_MS + 200)

    const third = new PairPeer(path, SHORT, 'third')
    const cameAt = performance.now()
    await third.result('connect')
    const thirdMs = performance.now() - cameAt
    expect(await survivor.result('call', { method: 'pid' })).toBe(third.pid)
    for (const peer of [survivor, third]) peer.all('apart')
    await third.result('startAsking')

    const continuedAt = performance.now()
    old.child.kill('SIGCONT')
    const isToldBusy = (report: Report): boolean =>
      report.event === 'apart' && (report['error'] as { code?: string } | undefined)?.code === 'PAIR_BUSY'
    await old.next('apart')
    const noticedMs = performance.now() - continuedAt
    await old.next(isToldBusy)
    const busyMs = performance.now() - continuedAt
    expect(busyMs).toBeLessThan(1000 + FIRST_REDIAL_MS_MAX + SLACK_MS)
    for (let retry = 0; retry < 3; retry++) await old.next(isToldBusy)
    expect(old.all('listening')).toEqual([])

    const { asked, longestMs } = await third.result<{ asked: number; longestMs: number }>('stopAsking')
    expect(asked).toBeGreaterThan(0)
    for (const peer of [survivor, third]) {
      expect(peer.all('apart')).toEqual([])
      expect(peer.all('asking failed')).toEqual([])
      expect(await peer.result('stats')).toMatchObject({ state: 'paired' })
    }
    expect(existsSync(path)).toBe(true)
    console.log(
      `MEASURED a third one pairs ${Math.round(thirdMs)} ms after its start; the old one notices ${Math.round(noticedMs)} ms after SIGCONT and is told PAIR_BUSY after ${Math.round(busyMs)}; ${asked} queries meanwhile, the longest ${longestMs.toFixed(1)} ms`,
    )
    // Its turn comes when the place is free.
    await survivor.result('close')
    await Promise.all([old.next('paired'), third.next('paired')])
  })

  long('a listener whose socket file was removed notices, and listens anew', async () => {
    const path = join(folder(), 's')
    const listener = await listenerAt(path)
    const tookMs = await removed(path, listener, 'listening')
    console.log(`MEASURED a removed socket file of a listener is there again after ${Math.round(tookMs)} ms`)
    expect(tookMs).toBeLessThan(WATCH_MS + SLACK_MS)
    await bothMeetAt(path, listener)
  })

  long('one whose peer was lost notices it as soon', async () => {
    const path = join(folder(), 's')
    const slow = { keepaliveMs: 6000 }
    const [listener, dialer] = await pairAt(path, slow)
    const startedAt = performance.now()
    // Into the time when the address is looked after as that of a pair.
    await until(
      () => performance.now() - startedAt > WATCH_MS + SLACK_MS,
      'it looks after its address as one of a pair',
      () => listener.seen(),
    )
    dialer.kill()
    await listener.next('apart')
    // It looks once when it begins to wait for the next peer.
    expect(await listener.result('stats')).toMatchObject({ state: 'apart' })
    const tookMs = await removed(path, listener, 'listening')
    console.log(`MEASURED the same after a loss: after ${Math.round(tookMs)} ms`)
    expect(tookMs).toBeLessThan(WATCH_MS + SLACK_MS)
  })
})

/** Removes the socket file of a pair so long after the pair was begun, and measures until its listener has noticed. */
async function removedOfPair(afterMs: number): Promise<number> {
  const path = join(folder(), 's')
  const [listener, dialer] = await pairAt(path, { ...SHORT, keepaliveMs: SHORT_WATCH_MS })
  const startedAt = performance.now()
  await until(
    () => performance.now() - startedAt >= afterMs,
    'its time has come',
    () => listener.seen(),
  )
  const tookMs = await removed(path, listener, 'apart')
  await Promise.all([listener.next('paired'), dialer.next('paired')])
  expect(await dialer.result('call', { method: 'pid' })).toBe(listener.pid)
  expect(existsSync(path)).toBe(true)
  console.log(`MEASURED a removed socket file of a pair is noticed after ${Math.round(tookMs)} ms`)
  return tookMs
}
/** As `keepaliveMs`; shorter than what an address without a pair has. */
const SHORT_WATCH_MS = 300

it('a pair whose socket file was removed notices within keepaliveMs, and meets anew', async () => {
  expect(await removedOfPair(WATCH_MS + SLACK_MS)).toBeLessThan(SHORT_WATCH_MS + 200)
})

it('so does one that has only just become a pair', async () => {
  expect(await removedOfPair(0)).toBeLessThan(SHORT_WATCH_MS + 200)
})

async function bothMeetAt(path: string, listener: PairPeer): Promise<void> {
  const dialer = new PairPeer(path, {}, 'dialer')
  await dialer.result('connect')
  expect(await dialer.result('call', { method: 'pid' })).toBe(listener.pid)
}

/** Forwards between two addresses, until it swallows everything and says nothing. */
class BlackHole {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #swallows = false

  private constructor(far: Address) {
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      const other = connect({ ...far, allowHalfOpen: true })
      this.#forward(near, other)
      this.#forward(other, near)
    })
  }

  static async between(near: Address, far: Address): Promise<BlackHole> {
    const hole = new BlackHole(far)
    await new Promise<void>((resolve, reject) => {
      hole.#server.once('error', reject)
      hole.#server.listen(near, resolve)
    })
    return hole
  }

  /** Links that were there meanwhile are lost for ever, as they are where a cable was pulled. */
  swallow(swallows: boolean): void {
    this.#swallows = swallows
    if (!swallows) for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #forward(from: Socket, to: Socket): void {
    this.#sockets.add(from)
    from.on('error', () => undefined)
    from.on('data', (chunk: Buffer) => {
      if (!this.#swallows) to.write(chunk)
    })
    from.once('end', () => {
      if (!this.#swallows) to.end()
    })
    from.once('close', () => {
      this.#sockets.delete(from)
      if (!this.#swallows) to.destroy()
    })
  }
}

/** Starts one that listens and one that dials. */
async function blockersAt(address: Address, options: Record<string, unknown> = {}): Promise<[Blocker, Blocker]> {
  const listener = new Blocker(address, options, {}, 'listener')
  await listener.result('connect', { until: 'started' })
  const dialer = new Blocker(address, options, {}, 'dialer')
  await dialer.result('connect')
  await listener.next('paired')
  return [listener, dialer]
}

type Done = Report & { readonly error?: { readonly code?: string } }

/** A peer that can be made to block. */
class Blocker extends Peer {
  #id = 0

  constructor(address: Address, options: object, blocking: object, label: string) {
    super(program('blocker.mjs', BLOCKER), [JSON.stringify({ address, options, blocking })], label)
  }

  run(command: string, input: object = {}, withinMs = 5000): Promise<Done> {
    const id = ++this.#id
    this.send({ id, command, input })
    return this.next((report) => report.event === 'done' && report['id'] === id, withinMs)
  }

  /** Like `run`, to the result. @throws Error when the command failed */
  async result(command: string, input: object = {}): Promise<unknown> {
    const report = await this.run(command, input, 10_000)
    if (report.error !== undefined) throw new Error(`${command}: ${JSON.stringify(report.error)}\n${this.seen()}`)
    return report['result']
  }
}

/** Blocks on command, or once after a write of its first link, whose bytes have left the process by then. */
const BLOCKER = `
import { createInterface } from 'node:readline'
import { Connection } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'

const { address, options, blocking } = JSON.parse(process.argv[2])
const report = (line) => process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + '\\n')
const told = (error) => error && { code: error.code, message: error.message, delivery: error.delivery }

function block({ forMs, how }) {
  const startedAt = performance.now()
  if (how === 'busy') while (performance.now() - startedAt < forMs);
  else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, forMs)
  report({ event: 'blocked', blockedMs: performance.now() - startedAt, until: Date.now() })
}

const transport = 'path' in address ? unix(address.path) : tcp(address)
let writes = 0
const blocksAfterWrite = (pipe) => {
  const write = pipe.write.bind(pipe)
  pipe.write = (chunks) => {
    const isRoom = write(chunks)
    if (++writes === blocking.blockAfterWrite) block(blocking)
    return isRoom
  }
  return pipe
}
const { dial, listen } = transport
transport.dial = async (...args) => {
  const dialled = await dial.apply(transport, args)
  return typeof dialled === 'string' ? dialled : blocksAfterWrite(dialled)
}
transport.listen = (accept, ...rest) => listen.call(transport, (pipe) => accept(blocksAfterWrite(pipe)), ...rest)

const connection = new Connection({
  transport,
  secret: 'super-secret',
  handlers: {
    pid: () => process.pid,
    later: async (ms) => {
      report({ event: 'asked' })
      await new Promise((resolve) => setTimeout(resolve, ms))
      report({ event: 'answered', answeredAt: Date.now() })
      return ms
    },
  },
  ...options,
})
for (const name of ['listening', 'paired', 'apart', 'closed']) {
  connection.on(name, (event) => report({ ...event, event: name, error: told(event.error) }))
}
const commands = {
  block,
  connect: (input) => connection.connect(input),
  call: ({ method, input }) => connection.call(method, input),
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, command, input } = JSON.parse(line)
  try {
    report({ event: 'done', id, result: await commands[command](input) })
  } catch (error) {
    report({ event: 'done', id, error: told(error) })
  }
})
report({ event: 'ready' })
`
