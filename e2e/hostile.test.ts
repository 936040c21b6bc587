/** What strangers, third processes and sudden deaths do to a pair of real processes. */
import { existsSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { listenerAt, pairAt, PairPeer } from './pair.js'
import { folder, until } from './processes.js'

const MAGIC = Buffer.from('PLNK')
const DELIVERIES = ['not-sent', 'unknown', 'delivered']

/** Writes bytes to the path and collects what comes back until the end. */
function stranger(path: string, bytes: Uint8Array): { socket: Socket; answer: Promise<Buffer> } {
  const socket = connect(path)
  const chunks: Buffer[] = []
  const answer = new Promise<Buffer>((resolve) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => undefined)
    socket.once('close', () => {
      resolve(Buffer.concat(chunks))
    })
  })
  socket.write(bytes)
  return { socket, answer }
}

/** A preamble and whatever follows. */
function preamble(version: number, mode: number, length: number, ...rest: number[]): Buffer {
  return Buffer.concat([MAGIC, Buffer.from([version, mode, length >>> 8, length & 0xff, ...rest])])
}

const garbage = Buffer.alloc(100_000, 0xa5)
const attacks: [name: string, bytes: Buffer, reason: string, answered: boolean][] = [
  ['garbage', garbage, 'not-pairlink', false],
  ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'), 'not-pairlink', false],
  ['a preamble that says 65,535 bytes follow', preamble(1, 0, 0xffff), 'protocol', false],
  [
    'a frame that says it has 4 GB',
    preamble(1, 0, 1024, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff),
    'protocol',
    true,
  ],
  ['another version', preamble(9, 0, 100), 'version', true],
  ['another mode', preamble(1, 1, 100), 'mode', true],
]

it.each(attacks)('turns away %s, while the pair works', async (_name, bytes, reason, answered) => {
  const path = join(folder(), 's')
  const [listener, dialer] = await pairAt(path)
  await dialer.result('startAsking')
  const { answer } = stranger(path, bytes)
  const back = await listener.within(answer, 'the end of the stranger', 3000)
  if (answered) {
    expect(back.subarray(0, 4)).toEqual(MAGIC)
    expect((back[5] ?? 0) & 0x80).toBe(0x80)
  } else {
    expect(back).toHaveLength(0)
  }
  const refused = await listener.next('refused')
  expect(refused['reason']).toBe(reason)
  const { asked } = await dialer.result<{ asked: number }>('stopAsking')
  expect(asked).toBeGreaterThan(0)
  await bothUndisturbed(listener, dialer)
})

it('holds a few of 200 strangers that say nothing, and the pair does not notice', { timeout: 30_000 }, async () => {
  const path = join(folder(), 's')
  const [listener, dialer] = await pairAt(path)
  await dialer.result('startAsking')
  const before = await listener.result<{ rss: number }>('stats')
  const sockets = Array.from({ length: 200 }, () => {
    const socket = connect(path)
    socket.on('error', () => undefined)
    return socket
  })
  let ended = 0
  for (const socket of sockets) socket.once('close', () => ended++).resume()
  await until(
    () => ended >= 184,
    'all but 16 strangers were sent away',
    () => `${ended} were.\n${listener.seen()}`,
  )
  const after = await listener.result<{ rss: number; strangers: number }>('stats')
  expect(after.strangers).toBe(16)
  const grownMb = (after.rss - before.rss) / 1e6
  expect(grownMb).toBeLessThan(50)
  const { asked, longestMs } = await dialer.result<{ asked: number; longestMs: number }>('stopAsking')
  console.log(
    `MEASURED 200 strangers: ${grownMb.toFixed(1)} MB more; ${asked} queries meanwhile, the longest ${longestMs.toFixed(1)} ms`,
  )
  expect(asked).toBeGreaterThan(0)
  for (const socket of sockets) socket.destroy()
  await bothUndisturbed(listener, dialer)
})

it('ends a stranger that says nothing when the time of the handshake is over', async () => {
  const path = join(folder(), 's')
  const listener = await listenerAt(path, { handshakeTimeoutMs: 300 })
  const { answer } = stranger(path, MAGIC)
  expect(await listener.within(answer, 'the end of the stranger', 3000)).toHaveLength(0)
  expect((await listener.next('refused'))['reason']).toBe('silent')
})

it('takes a handshake one byte at a time', async () => {
  const [path, slowPath] = [join(folder(), 's'), join(folder(), 't')]
  const listener = await listenerAt(path)
  const proxy = createServer((near) => {
    const far = connect(path)
    byByte(near, far)
    byByte(far, near)
  }).listen(slowPath)
  try {
    await until(
      () => existsSync(slowPath),
      'the proxy listens',
      () => '',
    )
    const dialer = new PairPeer(slowPath, {}, 'dialer')
    await dialer.result('connect')
    expect(await dialer.result('call', { method: 'echo', input: 'byte by byte' })).toBe('byte by byte')
    expect(await listener.result('call', { method: 'pid' })).toBe(dialer.pid)
    expect(listener.all('refused')).toEqual([])
    await dialer.result('close')
    await dialer.endsWell()
  } finally {
    proxy.close()
  }
})

it('tells a wrong secret within a second, and pairs with a right one afterwards', async () => {
  const path = join(folder(), 's')
  const listener = await listenerAt(path)
  const wrong = new PairPeer(path, { secret: 'another-secret' }, 'wrong')
  await wrong.next('ready')
  const startedAt = performance.now()
  const { error } = await wrong.run('connect')
  const tookMs = performance.now() - startedAt
  expect(error?.code).toBe('SECRET_MISMATCH')
  expect(tookMs).toBeLessThan(1000)
  expect((await listener.next('refused'))['reason']).toBe('secret')
  await wrong.endsWell() // it is idle again, and nothing of it keeps its process

  const right = new PairPeer(path, {}, 'right')
  await right.result('connect')
  expect(await listener.result('call', { method: 'pid' })).toBe(right.pid)
  for (const peer of [listener, wrong, right]) {
    expect(peer.lines.join('\n') + peer.stderr).not.toMatch(/super-secret|another-secret/)
  }
})

it('tells a third process that there is a pair', async () => {
  const path = join(folder(), 's')
  const [listener, dialer] = await pairAt(path)
  const third = new PairPeer(path, {}, 'third')
  const { error } = await third.run('connect')
  expect(error?.code).toBe('PAIR_BUSY')
  expect((await listener.next('refused'))['reason']).toBe('busy')
  await third.endsWell()
  await bothUndisturbed(listener, dialer)
})

it.each(['listener', 'dialer'] as const)('settles what is in flight when the %s is killed', async (victimName) => {
  const path = join(folder(), 's')
  // Where the dialer was killed, only time tells that it will not be back.
  const [listener, dialer] = await pairAt(path, { resumeWindowMs: 200 })
  const [victim, survivor] = victimName === 'listener' ? [listener, dialer] : [dialer, listener]
  const calls = ['never', 'never', 'never'].map((method) =>
    survivor.run('call', { method, options: { timeoutMs: 60_000 } }),
  )
  const incoming = victim.run('call', { method: 'never', options: { timeoutMs: 60_000 } }).catch(() => undefined)
  await survivor.result('call', { method: 'pid' }) // queries start in the order sent, so the others are in flight
  await victim.result('call', { method: 'pid' })
  void incoming
  const killedAt = Date.now()
  victim.kill()
  const apart = await survivor.next('apart')
  expect(Number(apart['at']) - killedAt).toBeLessThan(1000)
  expect(apart['error']).toMatchObject({ code: 'PEER_LOST' })
  for (const call of calls) {
    const { error, at } = await call
    expect(error?.code).toBe('PEER_LOST')
    expect(DELIVERIES).toContain(error?.delivery)
    expect(error?.delivery).not.toBe('not-sent')
    expect(Number(at) - killedAt).toBeLessThan(1000)
  }
  expect((await survivor.next('told to stop'))['reason']).toBe('PEER_LOST')
  const { error } = await survivor.run('call', { method: 'pid' })
  expect(error).toMatchObject({ code: 'NOT_CONNECTED', delivery: 'not-sent' })

  if (victimName === 'dialer') {
    const successor = new PairPeer(path, {}, 'successor')
    await successor.result('connect')
    expect(await survivor.result('call', { method: 'pid' })).toBe(successor.pid)
    expect((await survivor.next('paired'))['peer']).toBe('new')
  }
  await survivor.result('close')
  await survivor.endsWell()
})

it('takes over the socket file that a killed process has left', async () => {
  const path = join(folder(), "it's")
  const killed = await listenerAt(path)
  killed.kill()
  await killed.ended
  expect(existsSync(path)).toBe(true)
  await pairAt(path)
})

async function bothUndisturbed(listener: PairPeer, dialer: PairPeer): Promise<void> {
  for (const peer of [listener, dialer]) {
    expect(peer.all('apart')).toEqual([])
    expect(peer.all('asking failed')).toEqual([])
    expect(peer.all('log')).toEqual([])
    expect(await peer.result<{ state: string }>('stats')).toMatchObject({ state: 'paired' })
  }
  expect(await listener.result('call', { method: 'pid' })).toBe(dialer.pid)
  await Promise.all([listener.result('close'), dialer.result('close')])
  await Promise.all([listener.endsWell(), dialer.endsWell()])
}

/** Forwards one byte for each turn of the loop, so that each is a read of its own. */
function byByte(from: Socket, to: Socket): void {
  const waiting: number[] = []
  let ended = false
  let busy = false
  const step = (): void => {
    const byte = waiting.shift()
    busy = byte !== undefined
    if (byte !== undefined) to.write(Uint8Array.of(byte), () => setImmediate(step))
    else if (ended) to.end()
  }
  const more = (): void => {
    if (!busy) step()
  }
  from.on('error', () => to.destroy())
  from.on('data', (chunk: Buffer) => {
    waiting.push(...chunk)
    more()
  })
  from.once('end', () => {
    ended = true
    more()
  })
}
