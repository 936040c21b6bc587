/**
 * The attacks on a handshake and on what follows it, against real endpoints: reflection, replay, downgrade, timing, key files,
 * nonces, what logs show, and recorded first messages. The numbers are those of the list of attacks; what floods, squatters and
 * broken frames do is tested elsewhere. Proof mode protects nothing behind the handshake, so there what travels on an open
 * link is attacked in the modes that encrypt.
 */
import crypto from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Connection, type Encryption, type Logger, type PairlinkError, type SealedEncryption } from '@pairlink/core'
import { aes256gcm, custom, generateKey, loadKey, saveKey } from '@pairlink/crypto'
import { unix } from '@pairlink/transport-net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  afterwards,
  chacha,
  connection,
  failure,
  hasty,
  kept,
  later,
  listening,
  meets,
  MODE_NAMES,
  modeOf,
  next,
  partingOf,
  SECRET,
  toldBy,
  type ModeName,
  type Options,
} from './endpoints.js'
import { Middle, type Change, type From, type Unit } from './middle.js'
import { folder, Peer, program } from './processes.js'

const ENCRYPTED: readonly ModeName[] = ['sealed', 'custom']
const pathOf = (): string => join(folder(), 's')
const asItIs: Change = ({ bytes }) => [bytes]

interface Pair {
  readonly listener: Connection
  readonly dialer: Connection
  readonly middle: Middle
  readonly path: string
  readonly options: Options
}

/** A pair with somebody in the middle, who has heard everything so far: two first messages, PROVE, WELCOME and both first ACKs. */
async function watched(modeName: ModeName, more: Options = {}, options = modeOf(modeName).options): Promise<Pair> {
  const path = pathOf()
  const both = { ...options, ...more }
  const listener = await listening(path, both)
  const middle = await Middle.to(path, modeName)
  const dialer = connection(middle.path, both)
  await meets(listener, dialer)
  await Promise.all([middle.until('dialer', 3), middle.until('listener', 3)])
  return { listener, dialer, middle, path, options: both }
}

/** Dials, and gives what comes back; `ended` resolves with all of it. */
async function stranger(path: string): Promise<{ socket: Socket; heard: Buffer[]; ended: Promise<Buffer> }> {
  const socket = kept(connect(path))
  const heard: Buffer[] = []
  socket.on('data', (chunk: Buffer) => heard.push(chunk))
  const ended = once(socket, 'close').then(() => Buffer.concat(heard))
  await once(socket, 'connect')
  return { socket, heard, ended }
}

/** A server that does with each who dials what the test says. */
async function serving(path: string, serve: (socket: Socket) => void): Promise<() => Promise<void>> {
  const server = createServer((socket) => {
    serve(kept(socket))
  }).listen(path)
  afterwards(() => server.close())
  await once(server, 'listening')
  return async () => {
    server.close()
    await once(server, 'close')
  }
}

async function pairsWith(listener: Connection, path: string, options: Options): Promise<void> {
  const right = connection(path, options)
  await meets(listener, right)
  expect(await right.query('a right one')).toBe('a right one')
}

/** Answers with what it was asked, and keeps it. */
function echo(): { readonly handled: unknown[]; readonly onQuery: (query: unknown) => unknown } {
  const handled: unknown[] = []
  const onQuery = (query: unknown): unknown => {
    handled.push(query)
    return query
  }
  return { handled, onQuery }
}

/** Each gets what the other says; who hangs up does not do so for the other. */
function joined(one: Socket, other: Socket): void {
  one.pipe(other, { end: false }).pipe(one, { end: false })
}

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes)
  const place = at < 0 ? bytes.length + at : at
  changed[place] = (changed[place] ?? 0) ^ 1
  return changed
}

describe('1. Reflection', () => {
  test.each(MODE_NAMES)('%s: who meets its own bytes pairs with nobody', async (modeName) => {
    const path = pathOf()
    await serving(path, (socket) => socket.pipe(socket))
    const alone = connection(path, modeOf(modeName).options)
    const told = toldBy(alone)
    const error = await failure(alone.connect({ timeoutMs: 5000 }))
    expect(error.code).toBe(modeName === 'sealed' ? 'SECRET_MISMATCH' : 'SELF')
    expect(told).toEqual([])
  })

  test.each(MODE_NAMES)('%s: a hello that one has written comes back to the own listener as SELF', async (modeName) => {
    const path = pathOf()
    const { options } = modeOf(modeName)
    const hello: Buffer[] = []
    const closed = serving(path, (socket) => {
      socket.once('data', (chunk: Buffer) => {
        hello.push(chunk)
        void closed.then((close) => {
          void close()
          socket.destroy()
        })
      })
    })
    await closed
    const alone = await listening(path, { ...options, onQuery: (query) => query })
    const told = toldBy(alone)
    const { socket, ended } = await stranger(path)
    socket.write(hello[0] ?? '')
    const answer = await ended
    expect(told).toEqual(['refused self'])
    expect(answer[5]).toBe(0x80 | ['proof', 'sealed', 'custom'].indexOf(modeName))
    await pairsWith(alone, path, options)
  })

  test.each(ENCRYPTED)('%s: a record that comes back ends the link, and is not handled', async (modeName) => {
    for (const side of ['dialer', 'listener'] as const) {
      const { handled, onQuery } = echo()
      const { listener, dialer, middle } = await watched(modeName, { onQuery })
      const [asked, asker] = side === 'dialer' ? [listener, dialer] : [dialer, listener]
      expect(await asker.query('pay')).toBe('pay')
      const apart = next(asker, 'apart')
      middle.write(side, middle.heard(side).at(3) ?? Buffer.alloc(0))
      expect((await apart).error?.code).toBe('PROTOCOL')
      expect(await asker.query('again', { whenApart: 'wait' })).toBe('again')
      expect(handled).toEqual(['pay', 'again'])
      await Promise.all([asked.close(), asker.close()])
    }
  })

  const differing: [ModeName, string, () => [Options, Options]][] = MODE_NAMES.flatMap((name) => {
    const secrets = (): [Options, Options] => {
      const { options } = modeOf(name)
      return [
        { ...options, secret: 'one' },
        { ...options, secret: 'other' },
      ]
    }
    const keys = (): [Options, Options] => [modeOf(name).options, modeOf(name).options]
    const bySecret: [ModeName, string, () => [Options, Options]] = [name, 'secrets', secrets]
    return name === 'proof' ? [bySecret] : [bySecret, [name, 'keys', keys]]
  })

  test.each(differing)('%s: two pairs with other %s are cross-wired: nobody pairs', async (modeName, _, optionsOf) => {
    const both = optionsOf()
    const paths = [pathOf(), pathOf()] as const
    const listeners = await Promise.all([listening(paths[0], both[0]), listening(paths[1], both[1])])
    const told = listeners.map(toldBy)
    const middles = await Promise.all([Middle.to(paths[1], modeName), Middle.to(paths[0], modeName)])
    const failures = middles.map((middle, at) =>
      failure(connection(middle.path, both[at] ?? {}).connect({ timeoutMs: 5000 })),
    )
    expect((await Promise.all(failures)).map(({ code }) => code)).toEqual(['SECRET_MISMATCH', 'SECRET_MISMATCH'])
    expect(told).toEqual([['refused secret'], ['refused secret']])
    expect(listeners.map((listener) => listener.stats().state)).toEqual(['meeting', 'meeting'])
  })

  test.each(MODE_NAMES)('%s: links of one key are crossed behind their first messages', async (modeName) => {
    const { onQuery } = echo()
    const both = { ...modeOf(modeName).options, onQuery }
    const paths = [pathOf(), pathOf()] as const
    const listeners = await Promise.all([listening(paths[0], both), listening(paths[1], both)])
    const told = listeners.map(toldBy)
    const middles = await Promise.all([Middle.to(paths[0], modeName), Middle.to(paths[1], modeName)])
    crossed(...middles)
    const dialers = [connection(middles[0].path, both), connection(middles[1].path, both)] as const
    const ends = dialers.map((dialer) =>
      dialer.connect({ timeoutMs: 5000 }).then(
        () => 'paired',
        (error: PairlinkError) => error.code,
      ),
    )
    // A sealed listener hangs up without a word that its key could carry, and the next link goes straight.
    const isSealed = modeName === 'sealed'
    expect(await Promise.all(ends)).toEqual(isSealed ? ['paired', 'paired'] : ['SECRET_MISMATCH', 'SECRET_MISMATCH'])
    for (const [at, listener] of listeners.entries()) {
      expect(told[at]?.shift()).toBe(`refused ${isSealed ? 'protocol' : 'secret'}`)
      if (!isSealed) await pairsWith(listener, middles[at]?.path ?? '', both)
      expect(told[at]).toEqual(['paired'])
    }
  })

  /** On the first link of both: first messages go straight, then what each side says goes to the other pair. */
  function crossed(one: Middle, other: Middle): void {
    const proofs = new Map<Middle, Buffer>()
    const crossing =
      (own: Middle, far: Middle): Change =>
      ({ bytes, from, at, link }) => {
        if (link > 0 || at === 0) return [bytes]
        if (from === 'listener') {
          far.write('dialer', bytes)
          return []
        }
        proofs.set(own, bytes)
        if (proofs.size === 2)
          for (const [middle, proof] of proofs) (middle === one ? other : one).write('listener', proof)
        return []
      }
    one.change = crossing(one, other)
    other.change = crossing(other, one)
  }

  test.each(ENCRYPTED)('%s: a record of another pair with the same key ends the link', async (modeName) => {
    const { options } = modeOf(modeName)
    const [one, other] = [echo(), echo()]
    const first = await watched(modeName, { onQuery: one.onQuery }, options)
    const second = await watched(modeName, { onQuery: other.onQuery }, options)
    expect(await first.dialer.query('pay')).toBe('pay')
    const parting = partingOf(second.listener, second.dialer)
    second.middle.write('listener', first.middle.heard('dialer').at(3) ?? Buffer.alloc(0))
    expect(await parting).toBe('PROTOCOL')
    expect(await second.dialer.query('again', { whenApart: 'wait' })).toBe('again')
    expect([one.handled, other.handled]).toEqual([['pay'], ['again']])
  })

  test.each(MODE_NAMES)('%s: two dialers that are joined do not pair', async (modeName) => {
    const { options } = modeOf(modeName)
    const paths = [pathOf(), pathOf()] as const
    const waiting: Socket[] = []
    const join = (socket: Socket): void => {
      waiting.push(socket.pause())
      const [one, other] = waiting
      if (one !== undefined && other !== undefined) joined(one, other)
    }
    await Promise.all([serving(paths[0], join), serving(paths[1], join)])
    const dialers = paths.map((path) => connection(path, options))
    const told = dialers.map(toldBy)
    const failures = await Promise.all(dialers.map((dialer) => failure(dialer.connect({ timeoutMs: 5000 }))))
    const code = modeName === 'sealed' ? 'SECRET_MISMATCH' : 'PROTOCOL'
    expect(failures.map((error) => error.code)).toEqual([code, code])
    expect(told).toEqual([[], []])
  })

  test.each(MODE_NAMES)('%s: two listeners that are joined say nothing to each other', async (modeName) => {
    const { options } = modeOf(modeName)
    const paths = [pathOf(), pathOf()] as const
    const both = { ...options, handshakeTimeoutMs: 200 }
    const listeners = await Promise.all(paths.map((path) => listening(path, both)))
    const refused = listeners.map((listener) => next(listener, 'refused'))
    const sockets = paths.map((path) => kept(connect(path)))
    const heard: Buffer[] = []
    for (const socket of sockets) socket.on('data', (chunk: Buffer) => heard.push(chunk))
    joined(...(sockets as [Socket, Socket]))
    expect((await Promise.all(refused)).map(({ reason }) => reason)).toEqual(['silent', 'silent'])
    expect(heard).toEqual([])
  })
})

describe('2. Replay', () => {
  const reasonOf = (modeName: ModeName): string => (modeName === 'sealed' ? 'protocol' : 'secret')

  test.each(MODE_NAMES)(
    '%s: all that a dialer has said is worth nothing later, here and elsewhere',
    async (modeName) => {
      const { handled, onQuery } = echo()
      const { listener, dialer, middle, path, options } = await watched(modeName, { onQuery })
      expect(await dialer.query('pay')).toBe('pay')
      const conversation = middle.heard('dialer')
      await dialer.close()
      const elsewhere = pathOf()
      const other = await listening(elsewhere, options)
      for (const [at, place] of [
        [listener, path],
        [other, elsewhere],
      ] as const) {
        const told = toldBy(at)
        // At once, and each message when its time has come.
        const atOnce = await stranger(place)
        atOnce.socket.write(Buffer.concat(conversation))
        await atOnce.ended
        const oneByOne = await stranger(place)
        oneByOne.socket.write(conversation[0] ?? '')
        await once(oneByOne.socket, 'data')
        oneByOne.socket.write(Buffer.concat(conversation.slice(1)))
        await oneByOne.ended
        expect(told).toEqual([`refused ${reasonOf(modeName)}`, `refused ${reasonOf(modeName)}`])
        expect(handled).toEqual(['pay'])
      }
      await pairsWith(listener, path, options)
      await pairsWith(other, elsewhere, options)
    },
  )

  test.each(MODE_NAMES)('%s: all that a listener has said convinces no dialer', async (modeName) => {
    const { dialer, listener, middle, options } = await watched(modeName, { onQuery: () => 'a secret answer' })
    expect(await dialer.query('hello')).toBe('a secret answer')
    const conversation = Buffer.concat(middle.heard('listener'))
    await Promise.all([dialer.close(), listener.close()])
    const path = pathOf()
    await serving(path, (socket) => socket.once('data', () => socket.write(conversation)))
    const misled = connection(path, options)
    const told = toldBy(misled)
    expect((await failure(misled.connect({ timeoutMs: 5000 }))).code).toBe('SECRET_MISMATCH')
    expect(told).toEqual([])
  })

  /** What becomes of the next record; more than one takes the one behind it, too. */
  const tampering: Readonly<
    Record<string, (middle: Middle, from: From) => (record: Buffer, count: number) => Buffer[]>
  > = {
    'flipped in its first byte': () => (record, count) => [count === 0 ? flipped(record, 2) : record],
    'flipped in the middle': () => (record, count) => [count === 0 ? flipped(record, record.length >> 1) : record],
    'flipped in its last byte': () => (record, count) => [count === 0 ? flipped(record, -1) : record],
    'a byte shorter': () => (record, count) => {
      if (count > 0) return [record]
      const cut = Buffer.from(record.subarray(0, -1))
      cut.writeUInt16BE(cut.length - 2)
      return [cut]
    },
    'a byte longer': () => (record, count) => {
      if (count > 0) return [record]
      const grown = Buffer.concat([record, Buffer.of(0)])
      grown.writeUInt16BE(grown.length - 2)
      return [grown]
    },
    repeated: () => (record, count) => (count === 0 ? [record, record] : [record]),
    'left out': () => (record, count) => (count === 0 ? [] : [record]),
    'sent behind the next': () => {
      let held: Buffer = Buffer.alloc(0)
      return (record, count) => {
        if (count === 0) held = record
        return count === 0 ? [] : count === 1 ? [record, held] : [record]
      }
    },
    'replaced by an old one': (middle, from) => (record, count) => [
      count === 0 ? (middle.heard(from)[2] as Buffer) : record,
    ],
    'replaced by zeros': () => (record, count) => {
      if (count > 0) return [record]
      return [Buffer.concat([record.subarray(0, 2), Buffer.alloc(record.length - 2)])]
    },
    'sent behind an empty one': () => (record, count) => (count === 0 ? [Buffer.alloc(2), record] : [record]),
  }
  const tampered = ENCRYPTED.flatMap((mode) =>
    (['dialer', 'listener'] as const).flatMap((from) =>
      Object.keys(tampering).map((what): [ModeName, From, string] => [mode, from, what]),
    ),
  )

  test.each(tampered)('%s, a record of the %s: %s', async (modeName, from, what) => {
    const { handled, onQuery } = echo()
    // Signs of life follow what was left out, so that it shows.
    const { listener, dialer, middle } = await watched(modeName, { onQuery, keepaliveMs: 100 })
    const reader = from === 'dialer' ? listener : dialer
    const parting = partingOf(reader, reader === listener ? dialer : listener)
    const tamper = tampering[what]?.(middle, from)
    if (tamper === undefined) throw new Error(`No such tampering: ${what}`)
    let count = 0
    middle.change = (unit) => (unit.from === from && unit.link === 0 ? tamper(unit.bytes, count++) : [unit.bytes])
    const asked = dialer.query('pay', { timeoutMs: 60_000 }).catch((error: unknown) => error as PairlinkError)
    expect(await parting).toBe('PROTOCOL')
    const outcome = await asked
    // Of an answer that came whole, only what followed it was wrong.
    const isAnswered = from === 'listener' && what === 'repeated'
    if (isAnswered) expect(outcome).toBe('pay')
    else expect(outcome).toMatchObject({ code: 'PEER_LOST', delivery: expect.stringMatching(/^(unknown|delivered)$/) })
    const isHandled = from === 'listener' || what === 'repeated'
    expect(handled).toEqual(isHandled ? ['pay'] : [])
    if (!isHandled) expect(outcome).toMatchObject({ delivery: 'unknown' })

    middle.change = asItIs
    expect(await dialer.query('again', { whenApart: 'wait' })).toBe('again')
    expect(handled).toEqual(isHandled ? ['pay', 'again'] : ['again'])
  })

  test.each(tampered)('%s, a record of the %s: %s; a session that is kept goes on', async (modeName, from, what) => {
    const { handled, onQuery } = echo()
    const more = { onQuery, keepaliveMs: 100, resumeWindowMs: 60_000 }
    const { listener, dialer, middle } = await watched(modeName, more)
    const resets: unknown[] = []
    for (const one of [listener, dialer]) one.on('reset', (event) => resets.push(event))
    expect(await dialer.query('before')).toBe('before')
    const [reader, writer] = from === 'dialer' ? [listener, dialer] : [dialer, listener]
    const parting = partingOf(reader, writer)
    const tamper = tampering[what]?.(middle, from)
    if (tamper === undefined) throw new Error(`No such tampering: ${what}`)
    let count = 0
    middle.change = (unit) => (unit.from === from && unit.link === 0 ? tamper(unit.bytes, count++) : [unit.bytes])
    const asked = dialer.query('pay', { timeoutMs: 60_000 })
    expect(await parting).toBe('PROTOCOL')
    expect(await asked).toBe('pay')
    expect(await dialer.query('again', { whenApart: 'wait' })).toBe('again')
    expect(handled).toEqual(['before', 'pay', 'again'])
    expect(resets).toEqual([])
  })

  describe('a custom cipher that uses one nonce for all', () => {
    const cipher = hasty(generateKey())
    const encryption = custom(cipher)

    /** The cipher itself takes it for good: only what the link puts inside tells. */
    function expectOpens(record: Buffer): void {
      expect(Buffer.from(cipher.decrypt(record.subarray(2)) ?? []).includes('pay')).toBe(true)
    }

    test('a record again on the same link is dropped with it', async () => {
      const { handled, onQuery } = echo()
      const { listener, dialer, middle } = await watched('custom', { onQuery }, { encryption })
      expect(await dialer.query('pay')).toBe('pay')
      const record = middle.heard('dialer').at(3) as Buffer
      expectOpens(record)
      const parting = partingOf(listener, dialer)
      middle.write('listener', record)
      expect(await parting).toBe('PROTOCOL')
      expect(await dialer.query('again', { whenApart: 'wait' })).toBe('again')
      expect(handled).toEqual(['pay', 'again'])
    })

    test('a record of an earlier link, in its very place, is dropped with the link', async () => {
      const { handled, onQuery } = echo()
      const { listener, dialer, middle } = await watched('custom', { onQuery }, { encryption })
      middle.change = ({ bytes, from, at }) => (from === 'dialer' && at === 3 ? [] : [bytes])
      const first = dialer.query('pay', { timeoutMs: 60_000 }).catch((error: unknown) => error)
      await middle.until('dialer', 4)
      const record = middle.heard('dialer', 0).at(3) as Buffer
      expectOpens(record)
      const again = next(listener, 'paired')
      middle.cut()
      expect(await first).toMatchObject({ code: 'PEER_LOST' })
      await again
      // So that the next record of the dialer would have the number that this one has.
      while (middle.heard('dialer', 1).length < 3) await middle.until('dialer', middle.heard('dialer').length + 1)
      const parting = partingOf(listener, dialer)
      middle.write('listener', record)
      expect(await parting).toBe('PROTOCOL')
      middle.change = asItIs
      expect(await dialer.query('again', { whenApart: 'wait' })).toBe('again')
      expect(handled).toEqual(['again'])
    })

    test('a record of the other direction, in its very place, is dropped with the link', async () => {
      const { handled, onQuery } = echo()
      const { listener, dialer, middle } = await watched('custom', { onQuery }, { encryption })
      // The listener has no record 0 in WELCOME, so its numbers are one behind those of the dialer's units.
      const parting = partingOf(listener, dialer)
      middle.change = ({ bytes, from, at }) => (from === 'listener' && at >= 3 ? [] : [bytes])
      const asked = listener.query('pay', { timeoutMs: 60_000 }).catch((error: unknown) => error)
      const more = listener.query('pay more', { timeoutMs: 60_000 }).catch((error: unknown) => error)
      await middle.until('listener', 4)
      for (const record of middle.heard('listener').slice(3)) {
        expectOpens(record)
        middle.write('listener', record)
      }
      expect(await parting).toBe('PROTOCOL')
      expect(await asked).toMatchObject({ code: 'PEER_LOST' })
      expect(await more).toMatchObject({ code: 'PEER_LOST' })
      middle.change = asItIs
      expect(await dialer.query('again', { whenApart: 'wait' })).toBe('again')
      expect(handled).toEqual(['again'])
    })
  })
})

describe('3. Downgrade', () => {
  const key = generateKey()
  const configured: Readonly<Record<string, Options>> = {
    'no encryption': {},
    sealed: { encryption: aes256gcm(key) },
    'a cipher': { encryption: custom(chacha(key, 'one')) },
    'another cipher': { encryption: custom(chacha(key, 'another')) },
  }
  const names = Object.keys(configured)
  const mismatched = names.flatMap((one) =>
    names.filter((other) => other !== one).map((other) => [one, other] as const),
  )

  test.each(mismatched)('%s dials %s: both are told, and nothing is negotiated', async (ofDialer, ofListener) => {
    const path = pathOf()
    const options = { ...configured[ofListener], onQuery: (query: unknown) => query }
    const listener = await listening(path, options)
    const told = toldBy(listener)
    const dialer = connection(path, configured[ofDialer])
    const toldDialer = toldBy(dialer)
    expect((await failure(dialer.connect({ timeoutMs: 5000 }))).code).toBe('ENCRYPTION_MISMATCH')
    expect([told, toldDialer]).toEqual([['refused mode'], []])
    expect(listener.stats().state).toBe('meeting')
    await pairsWith(listener, path, options)
  })

  /** Rewrites the first messages of one side, or both. */
  async function rewritten(
    modeName: ModeName,
    from: readonly From[],
    rewrite: (bytes: Buffer) => void,
  ): Promise<{ code: string; told: string[]; middle: Middle }> {
    const { options } = modeOf(modeName)
    const path = pathOf()
    const listener = await listening(path, options)
    const told = toldBy(listener)
    const middle = await Middle.to(path, modeName)
    middle.change = ({ bytes, from: side, at }) => {
      const changed = Buffer.from(bytes)
      if (at === 0 && from.includes(side)) rewrite(changed)
      return [changed]
    }
    const dialer = connection(middle.path, options)
    const toldDialer = toldBy(dialer)
    const { code } = await failure(dialer.connect({ timeoutMs: 5000 }))
    expect(toldDialer).toEqual([])
    expect(told).not.toContain('paired')
    middle.change = asItIs
    await meets(listener, dialer)
    return { code, told, middle }
  }

  const sides: readonly (readonly From[])[] = [['dialer'], ['listener'], ['dialer', 'listener']]
  const versions = MODE_NAMES.flatMap((mode) =>
    sides.flatMap((from) => [0, 2].map((version): [ModeName, readonly From[], number] => [mode, from, version])),
  )
  test.each(versions)('%s, said by the %s: version %i', async (modeName, from, version) => {
    const { code } = await rewritten(modeName, from, (bytes) => {
      bytes[4] = version
    })
    expect(code).toBe('VERSION_MISMATCH')
  })

  const modes = ENCRYPTED.flatMap((mode) => sides.map((from): [ModeName, readonly From[]] => [mode, from]))
  test.each(modes)('%s, the %s said to speak without encryption: nobody does so', async (modeName, from) => {
    const { code, middle } = await rewritten(modeName, from, (bytes) => {
      bytes[5] = (bytes[5] ?? 0) & 0x80
    })
    expect(code).toBe('ENCRYPTION_MISMATCH')
    const said = middle.units.filter(({ from: side, at }) => side === 'dialer' && at === 0)
    expect(new Set(said.map(({ bytes }) => bytes[5]))).toEqual(new Set([modeName === 'sealed' ? 1 : 2]))
  })

  test.each(MODE_NAMES)('%s: a REFUSE that is forged makes nobody try with less', async (modeName) => {
    const path = pathOf()
    const first: Buffer[] = []
    const mode = ['proof', 'sealed', 'custom'].indexOf(modeName)
    await serving(path, (socket) => {
      socket.once('data', (chunk: Buffer) => {
        first.push(chunk)
        const refuse = Buffer.from([4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 2, 1, 0, 0, 0, 0, 0, 0, 0])
        socket.end(Buffer.concat([Buffer.from('PLNK'), Buffer.from([1, 0x80, 0, refuse.length]), refuse]))
      })
    })
    const dialer = connection(path, modeOf(modeName).options)
    expect((await failure(dialer.connect({ timeoutMs: 5000 }))).code).toBe('ENCRYPTION_MISMATCH')
    expect(first.map((bytes) => bytes[5])).toEqual([mode])
    expect(dialer.stats().state).toBe('idle')
  })

  /** Of a first message in clear: preamble, header, side, two ids and the nonce come before. */
  const HELLO_FIELDS: Readonly<Record<string, number>> = {
    nonce: 60,
    features: 88,
    keepaliveMs: 92,
    replayBytesMax: 108,
  }
  const fields = (['proof', 'custom'] as const).flatMap((mode) =>
    (['dialer', 'listener'] as const).flatMap((from) =>
      Object.entries(HELLO_FIELDS).map(([field, at]): [ModeName, From, string, number] => [mode, from, field, at]),
    ),
  )
  test.each(fields)(
    '%s: in the hello of the %s, %s is changed on the way: the proof tells',
    async (modeName, from, _, at) => {
      const { code, told } = await rewritten(modeName, [from], (bytes) => {
        bytes[at] = (bytes[at] ?? 0) ^ 1
      })
      expect(code).toBe('SECRET_MISMATCH')
      expect(told).toEqual(['refused secret', 'paired'])
    },
  )

  test.each(MODE_NAMES)('%s: without a proof there is no pair', async (modeName) => {
    const { options } = modeOf(modeName)
    const { handled, onQuery } = echo()
    const path = pathOf()
    const listener = await listening(path, { ...options, onQuery, handshakeTimeoutMs: 200 })
    const told = toldBy(listener)
    const middle = await Middle.to(path, modeName)
    middle.change = ({ bytes, from, at, link }) => (link === 0 && from === 'dialer' && at === 1 ? [] : [bytes])
    const refused = next(listener, 'refused')
    const dialer = connection(middle.path, options)
    const connecting = dialer.connect({ timeoutMs: 10_000 })
    expect((await refused).reason).toBe('silent')
    expect(told).toEqual(['refused silent'])
    await connecting
    expect(await dialer.query('with a proof')).toBe('with a proof')
    expect(handled).toEqual(['with a proof'])
  })
})

describe('4. Timing', () => {
  interface Comparison {
    readonly a: Buffer
    readonly b: Buffer
  }
  const original = crypto.timingSafeEqual
  afterEach(() => {
    crypto.timingSafeEqual = original
    syncBuiltinESMExports()
  })

  /** What the product has compared with `timingSafeEqual`, from now to the end of the test. */
  function comparisons(): Comparison[] {
    const made: Comparison[] = []
    crypto.timingSafeEqual = (a, b) => {
      made.push({ a: Buffer.from(a as Uint8Array), b: Buffer.from(b as Uint8Array) })
      return original(a, b)
    }
    syncBuiltinESMExports()
    return made
  }

  const HEADER_BYTES = 12
  const withPayload = (frame: Buffer, payload: Buffer): Buffer => {
    const header = Buffer.from(frame.subarray(0, HEADER_BYTES))
    header.writeUInt32BE(payload.length, 8)
    return Buffer.concat([header, payload])
  }
  /** By what is wrong: the payload made of the right one, where the proof lies from `at` to `end`. */
  const wrongs: Readonly<Record<string, (payload: Buffer, at: number, end: number) => Buffer>> = {
    'the first byte': (payload, at) => flipped(payload, at),
    'the last byte': (payload, _, end) => flipped(payload, end - 1),
    'every byte': (payload, at, end) => {
      const wrong = Buffer.from(payload)
      for (let place = at; place < end; place++) wrong[place] = ~(wrong[place] ?? 0)
      return wrong
    },
    'a byte too few': (payload, at, end) => payload.subarray(0, at < end ? end - 1 : at),
    'a byte too many': (payload) => Buffer.concat([payload, Buffer.of(0)]),
    nothing: () => Buffer.alloc(0),
  }
  const isSameLength = (what: string): boolean => what.startsWith('the ') || what === 'every byte'

  const inClear = ['proof', 'custom'] as const
  test.each(inClear)('%s: a wrong PROVE is told in the same bytes, wherever it is wrong', async (modeName) => {
    const { options } = modeOf(modeName)
    const path = pathOf()
    const listener = await listening(path, options)
    const told = toldBy(listener)
    const made = comparisons()
    const refusals = new Set<string>()
    for (const [what, wrong] of Object.entries(wrongs)) {
      made.length = 0
      const middle = await Middle.to(path, modeName)
      let sent: Buffer = Buffer.alloc(0)
      middle.change = ({ bytes, from, at }) => {
        if (from !== 'dialer' || at !== 1) return [bytes]
        sent = wrong(bytes.subarray(HEADER_BYTES), 0, 32)
        return [withPayload(bytes, sent)]
      }
      const error = await failure(connection(middle.path, options).connect({ timeoutMs: 5000 }))
      expect(error.code, what).toBe('SECRET_MISMATCH')
      expect(told.splice(0), what).toEqual(['refused secret'])
      refusals.add(middle.heard('listener')[1]?.toString('hex') ?? 'none')
      if (isSameLength(what)) {
        expect(made, what).toHaveLength(1)
        expect(made[0]?.a, what).toEqual(sent.subarray(0, 32))
        expect(made[0]?.b, what).toHaveLength(32)
      }
    }
    expect(refusals.size).toBe(1)
    expect(refusals).not.toContain('none')
  })

  test.each(inClear)('%s: a wrong WELCOME ends alike, wherever it is wrong', async (modeName) => {
    const { options } = modeOf(modeName)
    const messages = new Set<string>()
    const made = comparisons()
    for (const [what, wrong] of Object.entries(wrongs)) {
      const path = pathOf()
      await listening(path, options)
      made.length = 0
      const middle = await Middle.to(path, modeName)
      let sent: Buffer = Buffer.alloc(0)
      middle.change = ({ bytes, from, at }) => {
        if (from !== 'listener' || at !== 1) return [bytes]
        sent = wrong(bytes.subarray(HEADER_BYTES), 25, 57)
        return [withPayload(bytes, sent)]
      }
      const dialer = connection(middle.path, options)
      const toldDialer = toldBy(dialer)
      const error = await failure(dialer.connect({ timeoutMs: 5000 }))
      messages.add(error.message.replace(middle.path, ''))
      expect(toldDialer, what).toEqual([])
      expect(error.code, what).toBe('SECRET_MISMATCH')
      if (isSameLength(what)) expect(made.map(({ a }) => a).some((a) => a.equals(sent))).toBe(true)
    }
    expect(messages.size).toBe(1)
  })

  test('the secrets themselves are never compared', async () => {
    const path = pathOf()
    const made = comparisons()
    const listener = await listening(path)
    const wrong = connection(path, { secret: `${SECRET}!` })
    expect((await failure(wrong.connect({ timeoutMs: 5000 }))).code).toBe('SECRET_MISMATCH')
    await meets(listener, connection(path))
    expect(made.length).toBeGreaterThanOrEqual(3) // a wrong PROVE, a right one, a WELCOME
    for (const { a, b } of made) {
      expect(a.includes(SECRET) || b.includes(SECRET)).toBe(false)
      expect(a.length).toBe(b.length)
    }
  })
})

describe('9. Key files', () => {
  /** Meets with the key of a file, or says why not. */
  const MEMBER = `
    import { Connection } from '@pairlink/core'
    import { aes256gcm, loadKey } from '@pairlink/crypto'
    import { unix } from '@pairlink/transport-net'
    const [path, file] = process.argv.slice(2)
    const connection = new Connection({
      transport: unix(path),
      secret: 'a secret',
      encryption: aes256gcm(loadKey(file)),
      onQuery: () => 'encrypted',
    })
    await connection.connect({ timeoutMs: 10_000 })
    console.log(JSON.stringify({ event: 'answer', value: await connection.query('hello') }))
    await connection.close()
  `
  /** Loads each file, and says what came of it. */
  const LOADER = `
    import { loadKey } from '@pairlink/crypto'
    for (const file of process.argv.slice(2)) {
      try {
        console.log(JSON.stringify({ event: 'loaded', bytes: loadKey(file).length }))
      } catch (error) {
        const { code, reason, message } = error
        console.log(JSON.stringify({ event: 'refused', code, reason, message }))
      }
    }
  `
  const SAVER = `
    import { saveKey } from '@pairlink/crypto'
    process.umask(0)
    const [file, byte] = process.argv.slice(2)
    const go = new Promise((resolve) => process.stdin.once('data', resolve))
    console.log(JSON.stringify({ event: 'ready' }))
    await go
    try {
      saveKey(file, new Uint8Array(32).fill(Number(byte)))
      console.log(JSON.stringify({ event: 'saved', byte: Number(byte) }))
    } catch ({ code, reason }) {
      console.log(JSON.stringify({ event: 'not saved', code, reason }))
    }
    process.exit()
  `

  test('a program whose key others can read ends before it meets anybody, and meets once they cannot', async () => {
    const member = program('member.mjs', MEMBER)
    const where = folder()
    const file = join(where, 'key')
    saveKey(file, generateKey())
    const path = join(where, 's')
    for (const mode of [0o644, 0o640, 0o602]) {
      chmodSync(file, mode)
      const refusing = new Peer(member, [path, file])
      expect((await refusing.ended).code).toBe(1)
      expect(refusing.stderr).toContain('KEY_INVALID')
      expect(refusing.stderr).toContain("reason: 'shared'")
      expect(readdirSync(where)).toEqual(['key'])
      for (const form of formsOf(readFileSync(file))) expect(bare(refusing.stderr)).not.toContain(form)
    }
    chmodSync(file, 0o600)
    const two = [new Peer(member, [path, file]), new Peer(member, [path, file])]
    for (const peer of two) expect((await peer.next('answer', 15_000))['value']).toBe('encrypted')
    for (const peer of two) await peer.endsWell()
  })

  test('what is not a file of 32 bytes of one’s own is refused, each with its reason', async (ctx) => {
    if (process.getuid?.() === undefined) {
      console.log('SKIPPED key files: this system has neither modes nor owners')
      ctx.skip()
    }
    const where = folder()
    const at = (name: string): string => join(where, name)
    const key = generateKey()
    for (const name of ['right', 'group']) saveKey(at(name), key)
    chmodSync(at('group'), 0o660)
    symlinkSync(at('right'), at('link'))
    symlinkSync(at('nowhere'), at('dangling'))
    mkdirSync(at('directory'))
    for (const [name, bytes] of [
      ['empty', 0],
      ['short', 31],
      ['long', 33],
    ] as const) {
      writeFileSync(at(name), new Uint8Array(bytes).fill(7), { mode: 0o600 })
    }
    writeFileSync(at('hex'), `${Buffer.from(key).toString('hex')}\n`, { mode: 0o600 })
    const socket = createServer().listen(at('socket'))
    afterwards(() => socket.close())
    await once(socket, 'listening')
    const expected: [string, string][] = [
      ['group', 'shared'],
      ['link', 'link'],
      ['dangling', 'link'],
      ['directory', 'directory'],
      ['empty', 'length'],
      ['short', 'length'],
      ['long', 'length'],
      ['hex', 'length'],
      ['missing', 'missing'],
      ['socket', 'not-a-file'],
    ]
    if (process.getuid?.() === 0) {
      saveKey(at('foreign'), key)
      chownSync(at('foreign'), 12_345, 12_345)
      expected.push(['foreign', 'owner'])
    } else {
      console.log('SKIPPED a key of another user: only root can make one')
    }
    const loader = new Peer(program('loader.mjs', LOADER), ['right', ...expected.map(([name]) => name)].map(at))
    await loader.ended
    expect(loader.all('loaded')).toEqual([{ event: 'loaded', bytes: 32 }])
    const refused = loader.all('refused')
    expect(refused.map(({ code, reason }) => [code, reason])).toEqual(
      expected.map(([, reason]) => ['KEY_INVALID', reason]),
    )
    const shown = bare(JSON.stringify(refused) + loader.stderr)
    for (const form of formsOf(Buffer.from(key))) expect(shown).not.toContain(form)
  })

  test('a key is written for its owner alone, whatever the umask, and what is there is left alone', async () => {
    const where = folder()
    const file = join(where, 'key')
    const saver = program('saver.mjs', SAVER)
    const savers = [1, 2, 3, 4].map((byte) => new Peer(saver, [file, String(byte)]))
    await Promise.all(savers.map((peer) => peer.next('ready')))
    for (const peer of savers) peer.send({ event: 'go' })
    await Promise.all(savers.map((peer) => peer.ended))
    const saved = savers.flatMap((peer) => peer.all('saved'))
    expect(saved).toHaveLength(1)
    const others = savers.flatMap((peer) => peer.all('not saved'))
    expect(others).toEqual([1, 2, 3].map(() => ({ event: 'not saved', code: 'KEY_INVALID', reason: 'exists' })))
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readFileSync(file)).toEqual(Buffer.alloc(32, Number(saved[0]?.['byte'])))
    expect(readdirSync(where)).toEqual(['key']) // and nothing half written

    const link = join(where, 'link')
    symlinkSync(join(where, 'elsewhere'), link)
    expect(() => saveKey(link, generateKey())).toThrow(
      expect.objectContaining({ code: 'KEY_INVALID', reason: 'exists' }),
    )
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    saveKey(link, generateKey(), { overwrite: true }) // replaced, and not followed
    expect(lstatSync(link).isFile()).toBe(true)
    expect(readdirSync(where).sort()).toEqual(['key', 'link'])
    expect(loadKey(link)).toHaveLength(32)
  })
})

describe('10. Nonces', () => {
  const LINKS = 12

  /** Everything that was encrypted under a key, by its first bytes: the same key and nonce would give the same for one plaintext. */
  function beginnings(middle: Middle, modeName: ModeName): string[] {
    return (['dialer', 'listener'] as const).flatMap((from) => {
      const isRecord = ({ at }: Unit): boolean => (modeName === 'sealed' ? at >= 1 : at >= 2)
      return middle.units
        .filter((unit) => unit.from === from && isRecord(unit))
        .map(({ bytes }) => bytes.toString('hex', 2, 18))
    })
  }

  test.each(ENCRYPTED)('%s: no two records of a pair begin alike, on any link, in any direction', async (modeName) => {
    const { onQuery } = echo()
    const { listener, dialer, middle } = await watched(modeName, { onQuery, resumeWindowMs: 60_000 })
    for (let link = 0; link < LINKS; link++) {
      for (let query = 0; query < 3; query++) {
        expect(await dialer.query('the same')).toBe('the same')
        expect(await listener.query('the same')).toBe('the same')
      }
      if (link === LINKS - 1) break
      const again = Promise.all([next(listener, 'paired'), next(dialer, 'paired')])
      middle.cut()
      await again
    }
    expect(middle.links).toBeGreaterThanOrEqual(LINKS)
    const all = beginnings(middle, modeName)
    expect(all.length).toBeGreaterThan(LINKS * 12)
    expect(new Set(all).size).toBe(all.length)
    // Of first messages, too, the key that they bring is new each time.
    const first = middle.units.filter(({ at }) => at === 0).map(({ bytes }) => bytes.toString('hex', 8))
    expect(new Set(first).size).toBe(first.length)
  })

  /** As after 2⁶⁴ − 1 records: the first link has so many left for us to write, or to read. */
  function ending(real: SealedEncryption, what: 'sealer' | 'opener', left: number): SealedEncryption {
    let isFirst = true
    return {
      mode: 'sealed',
      begin(...input) {
        const handshake = real.begin(...input)
        return {
          write: (payload) => handshake.write(payload),
          read: (message) => handshake.read(message),
          finish() {
            const keys = handshake.finish()
            if (!isFirst) return keys
            isFirst = false
            let rest = left
            const { sealer, opener } = keys
            const { overheadBytes } = sealer
            if (what === 'opener')
              return { ...keys, opener: { open: (record) => (rest-- > 0 ? opener.open(record) : undefined) } }
            return {
              ...keys,
              sealer: { overheadBytes, seal: (chunks) => (rest-- > 0 ? sealer.seal(chunks) : undefined) },
            }
          },
        }
      },
    }
  }

  test.each(['sealer', 'opener'] as const)(
    'the last nonce of the %s ends the link, and the next has new keys',
    async (what) => {
      const real = aes256gcm(generateKey())
      const path = pathOf()
      const { handled, onQuery } = echo()
      const listener = await listening(path, { encryption: real, onQuery })
      const middle = await Middle.to(path, 'sealed')
      // PROVE and the first ACK, or WELCOME and the first ACK, and one more.
      const dialer = connection(middle.path, { encryption: ending(real, what, 3), onQuery })
      await meets(listener, dialer)
      await middle.until('dialer', 3)
      const apart = next(dialer, 'apart')
      const lost = next(listener, 'apart')
      const again = next(dialer, 'paired')
      const outcomes: unknown[] = []
      // In one direction alone: either end is in the middle of this.
      while (outcomes.length < 10 && dialer.stats().state === 'paired') {
        outcomes.push(await dialer.query('pay', { timeoutMs: 60_000 }).catch((error: unknown) => error))
      }
      expect((await apart).error?.code).toBe('PROTOCOL')
      expect((await lost).error?.code).toBe('PEER_LOST')
      const failed = outcomes.at(-1)
      expect(failed).toMatchObject({ code: 'PEER_LOST' })
      // Each that was answered was handled, and of the last the delivery says what is true.
      const answered = outcomes.filter((outcome) => outcome === 'pay').length
      if (what === 'sealer') expect(handled).toHaveLength(answered)
      else expect(handled.length - answered).toBeLessThanOrEqual(1)
      await again
      expect(await dialer.query('with new keys', { whenApart: 'wait' })).toBe('with new keys')
      const all = beginnings(middle, 'sealed')
      expect(new Set(all).size).toBe(all.length)
    },
  )
})

/** Without the space that inspection puts between numbers. */
const bare = (text: string): string => text.replaceAll(/\s+/g, '')

/** How bytes may look in a text, without its space: a piece of them is enough. */
function formsOf(bytes: Uint8Array): string[] {
  const piece = Buffer.from(bytes.subarray(0, 9))
  const numbers = [...piece]
  return [
    bare(piece.toString()),
    piece.toString('hex'),
    piece.toString('base64'),
    piece.toString('base64url'),
    numbers.join(','),
    numbers.map((byte, at) => `"${at}":${byte}`).join(','),
  ]
}

describe('12. Secrets and payloads are in no log, error, statistics or inspection', () => {
  const secret = 'rosebud-is-the-secret'
  const wrongSecret = 'tulipan-is-another'
  const key = generateKey()
  const query = 'quokka-asks-this'
  const answer = 'wombat-answers-that'
  const note = 'numbat-is-told-so'
  const needles = [secret, wrongSecret, query, answer, note].map((text) => Buffer.from(text)).concat(Buffer.from(key))

  const showing = { depth: 10, showHidden: true, maxArrayLength: null, maxStringLength: null } as const
  /** An object in every way in which it may be shown. */
  const shown = (value: unknown): string => inspect(value, showing) + String(value) + JSON.stringify(value)

  function expectNothingIn(text: string): void {
    const found = needles.flatMap((needle) => formsOf(needle).filter((form) => bare(text).includes(form)))
    expect(found).toEqual([])
  }

  test('what these tests look for would be found', () => {
    const holder = { secret, inner: { key, list: [Buffer.from(query)] } }
    expect(() => {
      expectNothingIn(shown(holder))
    }).toThrow()
    for (const needle of needles) {
      expect(formsOf(needle).some((form) => bare(inspect({ needle: new Uint8Array(needle) })).includes(form))).toBe(
        true,
      )
      expect(
        formsOf(needle).some((form) => bare(JSON.stringify({ needle: new Uint8Array(needle) })).includes(form)),
      ).toBe(true)
      expect(
        formsOf(needle).some((form) => bare(JSON.stringify({ needle: needle.toString('hex') })).includes(form)),
      ).toBe(true)
    }
  })

  const encryptions: readonly [ModeName, Encryption | undefined][] = [
    ['proof', undefined],
    ['sealed', aes256gcm(key)],
    ['custom', custom(chacha(key))],
  ]
  const cases = encryptions.flatMap(([mode, encryption]) =>
    [false, true].map((logQueries) => ({ mode, encryption, logQueries })),
  )

  test.each(cases)('$mode, logQueries: $logQueries', async ({ mode, encryption, logQueries }) => {
    const logged: string[] = []
    const seen: string[] = []
    const log = (fields: object, message: string): unknown => logged.push(message + shown(fields))
    const logger: Logger = { error: log, warn: log, info: log, debug: log }
    const path = pathOf()
    const released = later<string>()
    const started = later<void>()
    const noted = later<void>()
    const options: Options = {
      secret,
      logger,
      logQueries,
      logKeepalives: true,
      onQuery: () => {
        started.resolve()
        return released.promise
      },
      onNotify: () => {
        noted.resolve()
        throw new Error('a handler of notifications failed')
      },
      handlers: {
        fails: () => {
          throw new Error('a handler failed')
        },
        never: () => new Promise(() => undefined),
      },
      ...(encryption === undefined ? {} : { encryption }),
    }
    const listener = await listening(path, options)
    const middle = await Middle.to(path, mode)
    const dialer = connection(middle.path, { ...options, limits: { messageBytesMax: 65_536 } })
    for (const one of [listener, dialer]) {
      for (const name of ['state', 'listening', 'waiting', 'paired', 'apart', 'refused', 'closed'] as const) {
        one.on(name, (event) => seen.push(shown(event)))
      }
    }
    const look = (): void => {
      for (const one of [listener, dialer]) seen.push(shown(one), shown(one.stats()))
      if (encryption !== undefined) seen.push(shown(encryption))
    }
    await meets(listener, dialer)
    const errors: unknown[] = []
    const failing = async (promise: Promise<unknown>): Promise<void> => {
      errors.push(await failure(promise))
    }
    // While it is in flight.
    const asked = dialer.query(query)
    await started.promise
    look()
    released.resolve(answer)
    expect(await asked).toBe(answer)
    await dialer.notify(note)
    await noted.promise
    await failing(dialer.call('fails', query))
    await failing(dialer.call('unknown', query))
    await failing(listener.query(new Uint8Array(Buffer.from(query.repeat(10_000)))))
    await failing(dialer.query({ query, big: 1n } as never))
    await failing(dialer.query(query, { timeoutMs: -1 }))
    await failing(dialer.query(query, { signal: AbortSignal.abort() }))

    const wrong = connection(path, { ...options, secret: wrongSecret })
    const refused = next(listener, 'refused')
    await failing(wrong.connect({ timeoutMs: 5000 }))
    await refused
    await failing(connection(path, options).connect({ timeoutMs: 5000 })) // PAIR_BUSY
    if (encryption !== undefined) await failing(connection(path, { secret, logger }).connect({ timeoutMs: 5000 }))
    seen.push(shown(wrong))
    for (const given of [
      { secret: [secret] },
      { secret, secrets: secret },
      { secret, encryption: { mode: 'sealed', key } },
      { secret, encryption: key },
    ]) {
      const make = (): unknown => new Connection({ transport: unix(path), ...given } as never)
      errors.push(await failure(new Promise(() => make())))
    }

    // Something foreign ends the link.
    const lost = Promise.all([next(listener, 'apart'), next(dialer, 'apart')])
    const inFlight = failing(dialer.call('never', query, { timeoutMs: 60_000 }))
    middle.write('listener', Buffer.concat([Buffer.of(0, 50), Buffer.alloc(50)]))
    await lost
    await inFlight
    look()
    await Promise.all([dialer.close(), listener.close()])
    await failing(dialer.query(query)) // CLOSED
    look()

    expect(errors.length).toBeGreaterThan(10)
    expectNothingIn(errors.map(shown).join('\n'))
    expectNothingIn(seen.join('\n'))
    expectNothingIn(logged.join('\n'))
    expect(logged.some((line) => line.startsWith('query'))).toBe(logQueries)
    expect(logged.some((line) => line.includes('turned away'))).toBe(true)
  })

  /** In proof mode the middle can say of a text that it was JSON. */
  const CONTENT = { text: 1, json: 3 }
  const KIND = { query: 16, answer: 17, notify: 20 }
  test.each(Object.entries(KIND))('what cannot be read, a %s, is not shown either', async (_, kind) => {
    const logged: string[] = []
    const log = (fields: object, message: string): unknown => logged.push(message + shown(fields))
    const logger: Logger = { error: log, warn: log, info: log, debug: log }
    const options: Options = { logger, logQueries: true, onQuery: () => answer, onNotify: () => undefined }
    const { listener, dialer, middle } = await watched('proof', options)
    middle.change = ({ bytes, at }) => {
      const changed = Buffer.from(bytes)
      if (at > 0 && bytes[0] === kind && bytes[2] === CONTENT.text) changed[2] = CONTENT.json
      return [changed]
    }
    await dialer.notify(note)
    const outcome: unknown = await dialer.query(query).catch((error: unknown) => error)
    if (kind === KIND.notify) expect(outcome).toBe(answer)
    else expectNothingIn(shown(outcome))
    expectNothingIn(logged.join('\n'))
    expect([listener.stats().state, dialer.stats().state]).toEqual(['paired', 'paired'])
  })
})

describe('14. A recorded first message sent again', () => {
  const refusedProof: Readonly<Record<ModeName, string>> = { proof: 'secret', sealed: 'protocol', custom: 'secret' }

  /** Sends it, and reads what a listener answers to anybody: its preamble and its first message. */
  async function resent(path: string, first: Buffer): Promise<Awaited<ReturnType<typeof stranger>>> {
    const again = await stranger(path)
    again.socket.write(first)
    const isWhole = (): boolean => {
      const heard = Buffer.concat(again.heard)
      return heard.length >= 8 && heard.length >= 8 + heard.readUInt16BE(6)
    }
    while (!isWhole()) await once(again.socket, 'data')
    return again
  }
  const heardBytes = ({ heard }: { heard: Buffer[] }): number => Buffer.concat(heard).length

  test.each(MODE_NAMES)('%s: to a listener that has this very pair', async (modeName) => {
    const slowly = later<string>()
    const onQuery = (query: unknown): unknown => (query === 'slow' ? slowly.promise : query)
    const more = { onQuery, handshakeTimeoutMs: 300, resumeWindowMs: 60_000 }
    const { listener, dialer, middle, path } = await watched(modeName, more)
    const [first, proof] = middle.heard('dialer') as [Buffer, Buffer]
    const inFlight = dialer.query('slow', { timeoutMs: 60_000 })
    expect(await dialer.query('before')).toBe('before')
    expect(await listener.query('before')).toBe('before')
    const told = [toldBy(listener), toldBy(dialer)] as const

    const silent = await resent(path, first)
    expect(listener.stats().strangers).toBe(1)
    expect(told[0]).toEqual([]) // not even that there is a pair
    expect(await dialer.query('meanwhile')).toBe('meanwhile')
    const bytes = heardBytes(silent)
    await silent.ended
    expect(heardBytes(silent)).toBe(bytes)
    expect(told[0].splice(0)).toEqual(['refused silent'])

    const proving = await resent(path, first)
    proving.socket.write(proof)
    await proving.ended
    expect(told[0].splice(0)).toEqual([`refused ${refusedProof[modeName]}`])

    slowly.resolve('at last')
    expect(await inFlight).toBe('at last')
    expect(told[1]).toEqual([])
    expect([listener.stats().state, dialer.stats().state]).toEqual(['paired', 'paired'])
    expect(middle.links).toBe(1) // it is still the first link
  })

  test.each(MODE_NAMES)('%s: to one that waits', async (modeName) => {
    const { dialer, listener, middle, options } = await watched(modeName, { onQuery: (query) => query })
    const [first, proof] = middle.heard('dialer') as [Buffer, Buffer]
    await Promise.all([dialer.close(), listener.close()])
    const path = pathOf()
    const waiting = await listening(path, options)
    const told = toldBy(waiting)
    const stays = await resent(path, first)
    expect([waiting.stats().state, waiting.stats().strangers, told]).toEqual(['meeting', 1, []])
    await pairsWith(waiting, path, options)
    stays.socket.write(proof)
    await stays.ended
    expect(told).toEqual(['paired', `refused ${refusedProof[modeName]}`])
    expect(waiting.stats().state).toBe('paired')
  })

  test.each(MODE_NAMES)(
    '%s: to one that keeps the place, and the session, of a peer that it has lost',
    async (modeName) => {
      const { handled, onQuery } = echo()
      const more = { onQuery, holdMs: 60_000, resumeWindowMs: 60_000 }
      const { dialer, listener, middle, path } = await watched(modeName, more)
      const [first, proof] = middle.heard('dialer') as [Buffer, Buffer]
      expect(await dialer.query('before')).toBe('before')
      const held: Buffer[] = []
      middle.change = ({ bytes }) => {
        held.push(bytes)
        return []
      }
      const told = toldBy(listener)
      const parting = partingOf(listener, dialer)
      const back = next(listener, 'paired')
      // Neither the query nor the hello of the next link gets through.
      const inFlight = dialer.query('pay', { timeoutMs: 60_000 })
      const asked = middle.heard('dialer').length + 1
      await middle.until('dialer', asked)
      held.length = 0
      middle.cut()
      await Promise.all([parting, middle.until('dialer', asked + 1)])
      const again = await resent(path, first)
      again.socket.write(proof)
      await again.ended
      expect(told).toEqual(['apart PEER_LOST', `refused ${refusedProof[modeName]}`])
      expect(listener.stats().state).toBe('apart')

      middle.change = asItIs
      for (const bytes of held) middle.write('listener', bytes)
      expect(await back).toEqual({ role: 'listener', resumed: true, peer: 'same' })
      expect(await inFlight).toBe('pay')
      expect(handled).toEqual(['before', 'pay'])
    },
  )
})
