/**
 * A second implementation of PROTOCOL.md against real Connections, over real sockets: an honest one pairs, and of each fault in
 * its table both sides see what the protocol says, in either role and every mode. What follows a fault is in two tables here.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Connection, Transport } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'
import { describe, expect, test } from 'vitest'
import {
  afterwards,
  connection,
  failure,
  kept,
  later,
  listening,
  meets,
  MODE_NAMES,
  modeOf,
  next,
  SECRET,
  toldBy,
  type Mode,
  type ModeName,
  type Options,
} from './endpoints.js'
import { Middle } from './middle.js'
import { FAULTS, speak, type Speaker, type SpeakOptions } from './peers/second-peer.mjs'
import { folder } from './processes.js'
import { unusedPort } from './ports.js'

type Side = SpeakOptions['side']
type More = Partial<SpeakOptions>

interface Place {
  readonly transport: Transport
  readonly address: { readonly path: string } | { readonly port: number; readonly host: string }
}

const PLACES: Readonly<Record<string, () => Promise<Place>>> = {
  unix: () => {
    const path = join(folder(), 's')
    return Promise.resolve({ transport: unix(path), address: { path } })
  },
  tcp: async () => {
    const port = await unusedPort()
    return { transport: tcp({ port }), address: { port, host: '127.0.0.1' } }
  },
}

function speakOver(socket: Socket, side: Side, { name, material }: Mode, more: More): Speaker {
  return speak(kept(socket), { side, mode: name, secret: SECRET, ...material, ...more })
}

/** The second peer has dialled. */
async function secondDials(address: Place['address'], mode: Mode, more: More = {}): Promise<Speaker> {
  const socket = kept(connect({ ...address, allowHalfOpen: true }))
  await once(socket, 'connect')
  return speakOver(socket, 'dialer', mode, more)
}

/** The second peer listens; it treats everybody alike who dials, and the first is waited for. */
async function secondListens(address: Place['address'], mode: Mode, more: More = {}): Promise<() => Promise<Speaker>> {
  const speakers: Speaker[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    speakers.push(speakOver(socket, 'listener', mode, more))
  })
  afterwards(() => server.close())
  const dialled = once(server, 'connection')
  server.listen(address)
  await once(server, 'listening')
  return async () => {
    await dialled
    const [first] = speakers
    if (first === undefined) throw new Error('Nobody has dialled')
    return first
  }
}

describe('the second peer pairs', () => {
  const large = Buffer.alloc(200_000, 'pairlink')
  const json = { list: [1, 'two', null, { three: 3.5 }], text: 'ünïcödé 🙂' }

  interface Both {
    readonly real: Connection
    readonly second: Speaker
    readonly noted: unknown[]
  }

  async function paired(secondSide: Side, modeName: ModeName, placeName: string): Promise<Both> {
    const mode = modeOf(modeName)
    const place = await PLACES[placeName]?.()
    if (place === undefined) throw new Error(`No place ${placeName}`)
    const noted: unknown[] = []
    const options: Options = {
      ...mode.options,
      onQuery: (query) => (query === 'large' ? large : query),
      handlers: { double: (value: unknown) => Number(value) * 2 } as unknown as NonNullable<Options['handlers']>,
      onNotify: (message, { method }) => noted.push([method, message]),
    }
    const more: More = { answer: (method, value) => (method === 'length' ? (value as Uint8Array).length : value) }
    if (secondSide === 'dialer') {
      const real = await listening(place.transport, options)
      const second = await secondDials(place.address, mode, more)
      await Promise.all([second.paired, real.paired({ timeoutMs: 5000 })])
      return { real, second, noted }
    }
    const arrived = await secondListens(place.address, mode, more)
    const real = connection(place.transport, options)
    const [second] = await Promise.all([arrived(), real.connect({ timeoutMs: 5000 })])
    await second.paired
    return { real, second, noted }
  }

  const cases = (['dialer', 'listener'] as const).flatMap((side) =>
    MODE_NAMES.flatMap((mode) => Object.keys(PLACES).map((place) => [side, mode, place] as const)),
  )

  test.each(cases)('as the %s, %s, over %s: queries, notifications and 200 KB each way', async (side, mode, place) => {
    const { real, second, noted } = await paired(side, mode, place)
    expect(await second.query('', json)).toEqual(json)
    expect(await second.query('', Uint8Array.of(0, 255, 7))).toEqual(Buffer.from([0, 255, 7]))
    expect(await second.query('', '')).toBe('')
    expect(await second.query('double', 21)).toBe(42)
    expect(await second.query('', 'large')).toEqual(large)
    await expect(second.query('nobody knows this')).rejects.toMatchObject({ reason: 3 })

    expect(await real.query(json)).toEqual(json)
    expect(await real.query(Uint8Array.of(0, 255, 7))).toEqual(new Uint8Array([0, 255, 7]))
    expect(await real.query(undefined)).toBeUndefined()
    expect(await real.call('length', large)).toBe(large.length)

    second.notify('news', json)
    second.notify('', 'last')
    expect(await second.query('', 'behind')).toBe('behind')
    expect(noted).toEqual([
      ['news', json],
      ['', 'last'],
    ])
    await real.notify(json, { method: 'news' })
    await real.query('behind')
    expect(second.received.filter(({ type }) => type === 'notify')).toMatchObject([{ method: 'news', value: json }])
  })

  test.each(cases)('as the %s, %s, over %s: either side says goodbye', async (side, mode, place) => {
    const first = await paired(side, mode, place)
    const apart = next(first.real, 'apart')
    first.second.close('enough')
    expect((await apart).error).toBeUndefined()
    expect(await first.second.ended).toMatchObject({ by: 'close' })
    await first.real.close()

    const { real, second } = await paired(side, mode, place)
    expect(await real.query('at the end')).toBe('at the end')
    await real.close()
    expect(await second.ended).toMatchObject({ by: 'close' })
    expect(real.stats().state).toBe('closed')
  })
})

/** What follows a fault of a dialer: what the listener tells, and how the link ends for the dialer. */
type AtListener = readonly [told: string, seen: string]
const turnedAway = (reason: string): AtListener => [`refused ${reason}`, `refused ${reason}`]
const cutOff = (reason: string): AtListener => [`refused ${reason}`, 'lost']
const loses = (code: string): AtListener => [`apart ${code}`, 'lost']

/** What follows a fault of a listener: with what `connect` fails, or what is told once it has paired, or that it goes on. */
type AtDialer = string
const GOES_ON = 'goes on'

/** By the fault, a record's number left out. */
const AFTER: Readonly<Record<string, readonly [AtListener, AtDialer]>> = {
  'wrong-proof': [turnedAway('secret'), 'SECRET_MISMATCH'],
  'skipped-proof': [cutOff('protocol'), 'SECRET_MISMATCH'],
  'prove-twice': [cutOff('protocol'), 'apart PROTOCOL'],
  'data-behind-prove': [cutOff('protocol'), 'a listener does not prove'],
  'old-version': [turnedAway('version'), 'VERSION_MISMATCH'],
  'new-version': [turnedAway('version'), 'VERSION_MISMATCH'],
  downgrade: [turnedAway('mode'), 'ENCRYPTION_MISMATCH'],
  'oversized-first': [cutOff('protocol'), 'PROTOCOL'],
  'oversized-first-65535': [cutOff('protocol'), 'PROTOCOL'],
  'long-first': [cutOff('protocol'), 'PROTOCOL'],
  drip: [cutOff('silent'), GOES_ON],
  reflect: [cutOff('protocol'), 'SELF'],
  'record-flip': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-repeat': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-drop': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-swap': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-truncate': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-cut': [loses('PEER_LOST'), 'apart PEER_LOST'],
  'record-empty': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-zero': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'record-long-early': [cutOff('protocol'), 'PROTOCOL'],
  'plain-after-handshake': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'low-order-key': [turnedAway('secret'), 'SECRET_MISMATCH'],
  'no-first-ack': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'counter-end': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'half-hello': [cutOff('silent'), GOES_ON],
  nothing: [cutOff('silent'), GOES_ON],
  'hello-of-own-side': [turnedAway('protocol'), 'PROTOCOL'],
  // A listener that knows no such session begins a new one; a dialer that claimed none dials again.
  'claims-resume': [['', 'paired'], GOES_ON],
  'answer-to-nothing': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'query-slot-out-of-range': [loses('PROTOCOL'), 'apart PROTOCOL'],
  'bad-utf8-cipher-name': [turnedAway('protocol'), 'PROTOCOL'],
  'ack-too-high': [loses('PROTOCOL'), 'apart PROTOCOL'],
}

/** Where a mode has another way to find the same fault. */
const SEALED_AT_DIALER: Readonly<Record<string, AtDialer>> = { 'skipped-proof': 'PROTOCOL', reflect: 'SECRET_MISMATCH' }

function after(fault: string, mode: ModeName): { readonly atListener: AtListener; readonly atDialer: AtDialer } {
  const [name = ''] = fault.split(':')
  const found = AFTER[name]
  if (found === undefined) throw new Error(`No line in the table for ${name}`)
  const [atListener, atDialer] = found
  return { atListener, atDialer: (mode === 'sealed' ? SEALED_AT_DIALER[name] : undefined) ?? atDialer }
}

/** Those that a side can commit in a mode; those of one record at the first, which says ACK, and the second, a query. */
function faultsOf(side: Side, mode: ModeName): string[] {
  const possible = Object.entries(FAULTS).filter(
    ([, { sides = [side], modes = [mode], not }]) =>
      sides.includes(side) && modes.includes(mode) && not !== `${mode} ${side}`,
  )
  return possible.flatMap(([name, { at }]) => (at === true ? [`${name}:1`, `${name}:2`] : [name]))
}

const cases = (side: Side): [ModeName, string][] =>
  MODE_NAMES.flatMap((mode) => faultsOf(side, mode).map((fault): [ModeName, string] => [mode, fault]))

/** Of what the faulty one has sent, what was whole and in its turn. */
const handledOf = (fault: string): string[] => (fault === 'record-repeat:2' ? ['pay'] : [])

/** So slow that no first message is whole in time. */
const FAULTY: More = { dripMs: 20, handshakeTimeoutMs: 3000, keepaliveMs: 60_000 }
const HANDSHAKE_TIMEOUT_MS = 200

function recording(mode: Mode): { readonly options: Options; readonly handled: unknown[] } {
  const handled: unknown[] = []
  const onQuery = (query: unknown): unknown => {
    handled.push(query)
    return query
  }
  const onNotify = (message: unknown): unknown => handled.push(message)
  return { options: { ...mode.options, handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS, onQuery, onNotify }, handled }
}

/** Once it is paired it says as much as an honest one would. */
function saysMore(second: Speaker): void {
  void second.paired.then(
    () => {
      second.query('', 'pay').catch(() => undefined)
      second.notify('', 'a note')
    },
    () => undefined,
  )
}

const seenBy = async (second: Speaker): Promise<string> => {
  const { by, reason } = await second.ended
  return reason === undefined ? by : `${by} ${reason}`
}

test('the tables here have a line for every fault, and no other', () => {
  expect(Object.keys(AFTER).sort()).toEqual(Object.keys(FAULTS).sort())
})

describe('a faulty dialer at a listener that waits', () => {
  test.each(cases('dialer').filter(([, fault]) => fault !== 'claims-resume'))('%s: %s', async (modeName, fault) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    const { options, handled } = recording(mode)
    const listener = await listening(path, options)
    const told = toldBy(listener)
    const second = await secondDials({ path }, mode, { ...FAULTY, fault })
    saysMore(second)
    const [wanted, seen] = after(fault, modeName).atListener
    expect(await seenBy(second)).toBe(seen)
    const hasPaired = wanted.startsWith('apart')
    expect(told).toEqual(hasPaired ? ['paired', wanted] : [wanted])
    expect(listener.stats().state).toBe(hasPaired ? 'apart' : 'meeting')
    expect(handled).toEqual(handledOf(fault))

    const right = connection(path, mode.options)
    await meets(listener, right)
    expect(await right.query('hello')).toBe('hello')
    expect(handled).toEqual([...handledOf(fault), 'hello'])
  })

  test.each(MODE_NAMES)('%s: one that claims a session that nobody knows gets a new one', async (modeName) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    const { options, handled } = recording(mode)
    const listener = await listening(path, options)
    const second = await secondDials({ path }, mode, { ...FAULTY, fault: 'claims-resume' })
    await second.paired
    expect(await second.query('', 'pay')).toBe('pay')
    expect(handled).toEqual(['pay'])
    expect(listener.stats().state).toBe('paired')
  })

  test.each(MODE_NAMES)('%s: one that sends a byte at a time, fast enough, pairs', async (modeName) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    await listening(path, { ...mode.options, onQuery: (query) => query })
    const second = await secondDials({ path }, mode, { fault: 'drip', dripMs: 0 })
    await second.paired
    expect(await second.query('', 'slowly')).toBe('slowly')
  })
})

describe('a faulty listener that is dialled', () => {
  test.each(cases('listener'))('%s: %s', async (modeName, fault) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    const { options, handled } = recording(mode)
    const arrived = await secondListens({ path }, mode, { ...FAULTY, fault })
    const dialer = connection(path, options)
    const told = toldBy(dialer)
    const lost = next(dialer, 'apart')
    let failed: string | undefined
    const connecting = dialer.connect().catch((error: { code: string }) => {
      failed = error.code
    })
    const second = await arrived()
    saysMore(second)
    const { atDialer } = after(fault, modeName)
    if (atDialer.startsWith('apart')) {
      await connecting
      await lost
      expect(told.slice(0, 2)).toEqual(['paired', atDialer])
      await dialer.close({ drainMs: 0 })
    } else if (atDialer === GOES_ON) {
      await second.ended
      expect(failed).toBeUndefined()
      expect(dialer.stats().state).toBe('meeting')
      expect(told).toEqual([])
    } else {
      await connecting
      expect(failed).toBe(atDialer)
      expect(dialer.stats().state).toBe('idle')
      expect(told).toEqual([])
    }
    expect(await seenBy(second)).toBe('lost')
    expect(handled).toEqual(handledOf(fault))
  })

  test('who goes on waits for a right one, and pairs with it', async () => {
    const mode = modeOf('sealed')
    const path = join(folder(), 's')
    const mute = createServer((socket) => kept(socket)).listen(path)
    afterwards(() => mute.close())
    await once(mute, 'listening')
    const dialled = once(mute, 'connection')
    const dialer = connection(path, { ...mode.options, handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS })
    const connecting = dialer.connect({ timeoutMs: 10_000 })
    await dialled
    mute.close()
    await once(mute, 'close')
    const right = connection(path, { ...mode.options, onQuery: () => 'right' })
    await Promise.all([connecting, right.connect({ timeoutMs: 10_000 })])
    expect(await dialer.query('who is there?')).toBe('right')
  })
})

describe('strangers at a listener that has a pair', () => {
  const isProven = ([told]: AtListener): boolean => told === '' || told.startsWith('apart')

  test.each(MODE_NAMES)('%s: none of the faults is noticed by the pair', { timeout: 30_000 }, async (modeName) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    const { options, handled } = recording(mode)
    const slowly = later<string>()
    const listener = await listening(path, {
      ...options,
      onQuery: (query) => (query === 'slow' ? slowly.promise : query),
    })
    const dialer = connection(path, options)
    await meets(listener, dialer)
    const told = [toldBy(listener), toldBy(dialer)] as const
    const inFlight = dialer.query('slow', { timeoutMs: 60_000 })
    for (const fault of faultsOf('dialer', modeName)) {
      const { atListener } = after(fault, modeName)
      const [wanted, seen] = isProven(atListener) ? turnedAway('busy') : atListener
      const second = await secondDials({ path }, mode, { ...FAULTY, fault })
      saysMore(second)
      expect(await seenBy(second), fault).toBe(seen)
      expect(told[0].splice(0), fault).toEqual([wanted])
      expect(await dialer.query(fault)).toBe(fault)
    }
    slowly.resolve('at last')
    expect(await inFlight).toBe('at last')
    expect(await listener.query('back')).toBe('back')
    expect(handled).toEqual(['back']) // of the dialer; nothing of the strangers
    expect(told[1]).toEqual([])
    expect([listener.stats().state, dialer.stats().state]).toEqual(['paired', 'paired'])
    expect(listener.stats().strangers).toBe(0)
  })

  const inClear: ModeName[] = ['proof', 'custom']
  test.each(inClear)('%s: one that says to be the peer is none before it has proven it', async (modeName) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    const { options, handled } = recording(mode)
    const listener = await listening(path, options)
    const middle = await Middle.to(path, modeName)
    const dialer = connection(middle.path, options)
    await meets(listener, dialer)
    const told = [toldBy(listener), toldBy(dialer)] as const
    // Of the first message: 8 bytes of preamble, 12 of a header, and the side; then who it is.
    const instance = middle.heard('dialer')[0]?.toString('hex', 21, 37) ?? ''
    expect(instance).toMatch(/^[0-9a-f]{32}$/)
    for (const [fault, reason] of [
      ['wrong-proof', 'secret'],
      ['skipped-proof', 'protocol'],
      ['nothing', 'silent'],
    ] as const) {
      const second = await secondDials({ path }, mode, { ...FAULTY, fault, instance })
      await second.ended
      expect(told[0].splice(0)).toEqual([`refused ${reason}`])
      expect(await dialer.query(fault)).toBe(fault)
    }
    expect(told[1]).toEqual([])
    expect(handled).toEqual(['wrong-proof', 'skipped-proof', 'nothing'])
  })

  test.each(MODE_NAMES)('%s: with another secret there is no difference between a pair and none', async (modeName) => {
    const mode = modeOf(modeName)
    const path = join(folder(), 's')
    const listener = await listening(path, mode.options)
    const wrong = { ...mode.options, secret: 'another' }
    const before = await failure(connection(path, wrong).connect({ timeoutMs: 5000 }))
    await meets(listener, connection(path, mode.options))
    const afterwards = await failure(connection(path, wrong).connect({ timeoutMs: 5000 }))
    expect([before.code, before.message]).toEqual([afterwards.code, afterwards.message])
    expect(before.code).toBe('SECRET_MISMATCH')
    expect(listener.stats().state).toBe('paired')
  })
})
