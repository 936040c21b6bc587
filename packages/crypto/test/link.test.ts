import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  CONTENT,
  KIND,
  type Encryption,
  type Link,
  type LinkEnd,
  type ProtocolEvent,
  type Side,
} from '../../core/src/protocol/index.js'
import {
  feed,
  frame,
  FRESH_WELCOME,
  join,
  linkOf,
  PEER,
  polled,
  sessionOf,
  written,
} from '../../core/test/protocol/links.js'
import { aes256gcm, custom } from '../src/index.js'
import { naive } from './naive.js'

const KEY = new Uint8Array(32).fill(1)
const OTHER_KEY = new Uint8Array(32).fill(2)
const MODES: readonly [mode: string, encryption: Encryption, other: Encryption][] = [
  ['sealed', aes256gcm(KEY), aes256gcm(OTHER_KEY)],
  ['custom', custom(naive(1)), custom(naive(2))],
]
const PREAMBLE_BYTES = 8

function link(side: Side, encryption: Encryption, more: Parameters<typeof linkOf>[1] = {}): Link {
  const cipherName = encryption.mode === 'custom' ? encryption.cipherName : ''
  return linkOf(side, {
    encryption,
    ephemeral: new Uint8Array(randomBytes(32)),
    ...more,
    hello: { nonce: new Uint8Array(randomBytes(32)), cipherName, ...more.hello },
  })
}

function endOf(events: ProtocolEvent[]): LinkEnd {
  const last = events.at(-1)
  if (last?.type !== 'ended') throw new Error(`expected the end, saw ${types(events).join(', ') || 'nothing'}`)
  return last.end
}

const types = (events: ProtocolEvent[]): string[] => events.map(({ type }) => type)

/** Two links that are open, with all that went over the pipe, message by message. */
function opened(encryption: Encryption, chunkBytes = Infinity) {
  const dialer = link('dialer', encryption)
  const listener = link('listener', encryption)
  const hello = written(dialer)
  expect(feed(listener, hello, 0, chunkBytes)).toEqual([])
  const answer = written(listener)
  expect(feed(dialer, answer, 0, chunkBytes)).toEqual([])
  const proof = written(dialer)
  expect(types(feed(listener, proof, 0, chunkBytes))).toEqual(['proven'])
  const answering = sessionOf('listener')
  listener.welcome(answering, FRESH_WELCOME, 0)
  const asking = sessionOf('dialer')
  // The listener has more to say in the same write than its WELCOME.
  answering.notify(new Uint8Array(0), CONTENT.TEXT, text('at once'), 'copy', Infinity, false, 0)
  const welcome = written(listener)
  const events: ProtocolEvent[] = []
  for (let at = 0; at < welcome.length; at += Math.min(chunkBytes, welcome.length)) {
    dialer.receive(welcome.subarray(at, at + chunkBytes), false, 0)
    for (let event = dialer.poll(); event !== undefined; event = dialer.poll()) {
      if (event.type === 'welcomed') dialer.attach(asking, FRESH_WELCOME)
      events.push({ ...event })
    }
  }
  expect(types(events)).toEqual(['welcomed', 'notify'])
  feed(listener, written(dialer), 0, chunkBytes)
  feed(dialer, written(listener), 0, chunkBytes)
  return { dialer, listener, asking, answering, hello, answer, proof, welcome }
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value)

function ask(asking: ReturnType<typeof sessionOf>, bytes: Uint8Array): void {
  asking.query(new Uint8Array(0), CONTENT.BYTES, bytes, 'copy', Infinity, true, 0)
}

/** One record for each query, as bytes of the wire. */
function records(dialer: Link, asking: ReturnType<typeof sessionOf>, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, at) => {
    ask(asking, Uint8Array.of(at))
    return written(dialer)
  })
}

describe.each(MODES)('%s', (mode, encryption, otherKey) => {
  test('two links open, give each other the same name, and what they say arrives, in any pieces', () => {
    for (const chunkBytes of [1, 7, Infinity]) {
      const { dialer, listener, asking } = opened(encryption, chunkBytes)
      expect([dialer.state, listener.state]).toEqual(['open', 'open'])
      expect(dialer.id).toBe(listener.id)
      expect(dialer.id).toMatch(/^[0-9a-f]{32}$/)
      const large = new Uint8Array(randomBytes(70_000))
      ask(asking, large)
      ask(asking, Uint8Array.of(5))
      const events = feed(listener, written(dialer), 0, chunkBytes)
      // The small one overtakes.
      expect(events.map((event) => event.type === 'query' && event.bytes.length)).toEqual([1, large.length])
      expect(events[1]).toMatchObject({ bytes: large })
    }
  })

  test('nothing that was said stands on the wire', () => {
    const { dialer, asking } = opened(encryption)
    ask(asking, text('words that can be found again'))
    expect(Buffer.from(written(dialer)).includes('found')).toBe(false)
  })

  test('many small frames share a record, and a large payload takes several', () => {
    const { dialer, asking } = opened(encryption)
    for (let count = 0; count < 100; count++) ask(asking, new Uint8Array(10))
    expect(lengthsOf(written(dialer))).toHaveLength(1)
    ask(asking, new Uint8Array(200_000))
    const lengths = lengthsOf(written(dialer))
    expect(lengths.length).toBeGreaterThan(2)
    expect(lengths.length).toBeLessThan(6)
  })

  test('the name of each link, and every byte of its records, is another', () => {
    const [first, second] = [opened(encryption), opened(encryption)]
    expect(first.dialer.id).not.toBe(second.dialer.id)
    expect(records(first.dialer, first.asking, 1)).not.toEqual(records(second.dialer, second.asking, 1))
  })

  test('one byte at a time, the listener says nothing before the first message is whole', () => {
    const listener = link('listener', encryption)
    const hello = written(link('dialer', encryption))
    for (const byte of hello.subarray(0, -1)) {
      expect(feed(listener, Uint8Array.of(byte))).toEqual([])
      expect(written(listener)).toHaveLength(0)
    }
  })

  test('other keys are refused before there is a pair, and both sides know', () => {
    const dialer = link('dialer', otherKey)
    const listener = link('listener', encryption)
    const seen = feed(listener, written(dialer))
    if (mode === 'custom') {
      feed(dialer, written(listener))
      seen.push(...feed(listener, written(dialer)))
    }
    expect(types(seen)).toEqual(['ended'])
    expect(endOf(seen)).toMatchObject({ by: 'refusing', refusal: { reason: 'secret' } })
    expect(endOf(feed(dialer, written(listener)))).toMatchObject({ by: 'refused', refusal: { reason: 'secret' } })
  })

  test('other secrets are refused with the same key, too', () => {
    const dialer = link('dialer', encryption, { secret: 'another' })
    const listener = link('listener', encryption)
    feed(listener, written(dialer))
    const events = feed(dialer, written(listener))
    if (mode === 'custom') {
      feed(listener, written(dialer))
      events.push(...feed(dialer, written(listener)))
    }
    expect(endOf(events)).toMatchObject({ by: 'refused', refusal: { reason: 'secret' } })
  })

  test("one's own bytes sent back, and one's own hello, are oneself or nobody", () => {
    const dialer = link('dialer', encryption)
    expect(endOf(feed(dialer, written(dialer)))).toMatchObject({ by: 'mismatch' })
    const own = link('dialer', encryption, { hello: { instance: PEER.listener } })
    const listener = link('listener', encryption)
    expect(endOf(feed(listener, written(own)))).toMatchObject({ by: 'refusing', refusal: { reason: 'self' } })
    expect(endOf(feed(own, written(listener)))).toMatchObject({ by: 'refused', refusal: { reason: 'self' } })
  })

  test('a recorded conversation of the dialer, played again, stays a stranger', () => {
    const { hello, proof, welcome } = opened(encryption)
    const listener = link('listener', encryption)
    expect(feed(listener, hello)).toEqual([])
    written(listener)
    const end = endOf(feed(listener, join(proof, welcome)))
    expect(end).toMatchObject(
      mode === 'sealed'
        ? { by: 'violation', error: { section: '11.1' } }
        : { by: 'refusing', refusal: { reason: 'secret' } },
    )
  })

  test('a recorded conversation of the listener, played again, is not believed', () => {
    const { answer, welcome } = opened(encryption)
    const dialer = link('dialer', encryption)
    const end = endOf(feed(dialer, join(answer, welcome)))
    expect(end).toMatchObject({ by: 'mismatch', refusal: { reason: 'secret' } })
  })

  test('two conversations of the same pair, cross-wired, are not believed', () => {
    const dialer = link('dialer', encryption)
    const listener = link('listener', encryption)
    const other = opened(encryption)
    feed(listener, written(dialer))
    feed(dialer, other.answer)
    written(listener)
    expect(types(feed(listener, written(dialer)))).not.toContain('proven')
  })

  const tampered: [what: string, wire: (all: Uint8Array[]) => Uint8Array[], delivered: number][] = [
    ['flipped', ([a, b, c]) => [a, flipped(b), c] as Uint8Array[], 1],
    ['repeated', ([a, b, c]) => [a, a, b, c] as Uint8Array[], 1],
    ['left out', ([a, , c]) => [a, c] as Uint8Array[], 1],
    ['out of order', ([a, b, c]) => [b, a, c] as Uint8Array[], 0],
    ['cut short', ([a, b, c]) => [a, shortened(b), c] as Uint8Array[], 1],
    ['without content', ([a, b]) => [a, Uint8Array.of(0, 0), b] as Uint8Array[], 1],
  ]
  test.each(tampered)(
    'a record %s ends the link; what came before it stays, and nothing after it',
    (_, wire, delivered) => {
      const { dialer, listener, asking } = opened(encryption)
      const events = feed(listener, join(...wire(records(dialer, asking, 3))))
      expect(types(events)).toEqual([...Array<string>(delivered).fill('query'), 'ended'])
      expect(endOf(events)).toMatchObject({ by: 'violation', error: { section: '11.1' } })
      expect(listener.state).toBe('ended')
    },
  )

  test('records of the other direction, and of another link, end the link', () => {
    const { dialer, asking } = opened(encryption)
    expect(endOf(feed(dialer, records(dialer, asking, 1)[0] ?? text('')))).toMatchObject({ by: 'violation' })
    const [one, other] = [opened(encryption), opened(encryption)]
    const foreign = records(other.dialer, other.asking, 1)
    expect(endOf(feed(one.listener, join(...foreign)))).toMatchObject({ by: 'violation' })
  })

  test('frames in clear after the handshake end the link', () => {
    const { listener } = opened(encryption)
    // What stands first is read as the length of a record, so it takes some of them to be seen through.
    const pings = Array.from({ length: 500 }, () => frame(KIND.PING, new Uint8Array(8)))
    expect(types(feed(listener, join(...pings)))).toEqual(['ended'])
  })

  test('before it is proven nobody may announce a record of more than 1,024 bytes', () => {
    const dialer = link('dialer', encryption)
    const listener = link('listener', encryption)
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    const long = mode === 'sealed' ? Uint8Array.of(4, 1) : frame(KIND.PROVE, new Uint8Array(1013))
    expect(endOf(feed(listener, long))).toMatchObject({ by: 'violation' })
    if (mode === 'sealed') expect(endOf(feed(dialer, long))).toMatchObject({ by: 'violation' })
  })

  test('what stands behind PROVE in the same chunk ends the link', () => {
    const dialer = link('dialer', encryption)
    const listener = link('listener', encryption)
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    expect(endOf(feed(listener, join(written(dialer), Uint8Array.of(0, 30))))).toMatchObject({ by: 'violation' })
  })

  test('a busy listener says so to one that has proven, and not in clear where it is sealed', () => {
    const dialer = link('dialer', encryption)
    const listener = link('listener', encryption)
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    feed(listener, written(dialer))
    listener.refuse('busy', 'there is a pair', 7)
    const refusal = written(listener)
    expect(Buffer.from(refusal).includes('there is a pair')).toBe(mode === 'custom')
    expect(endOf(feed(dialer, refusal))).toMatchObject({ by: 'refused', refusal: { reason: 'busy', retryInMs: 7 } })
  })

  test('a session goes on over a second link with other keys', () => {
    const first = opened(encryption)
    ask(first.asking, text('lost on the way'))
    const lost = written(first.dialer)
    for (const end of [first.dialer, first.listener]) end.pipeEnded(0)
    for (const end of [first.dialer, first.listener]) polled(end)
    const dialer = link('dialer', encryption)
    const listener = link('listener', encryption)
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    feed(listener, written(dialer))
    const resumed = (received: number) =>
      ({
        verdict: 'resume',
        received,
        welcome: { status: 'resumed', session: first.asking.id, received: first.answering.received },
      }) as const
    listener.welcome(first.answering, resumed(first.asking.received), 0)
    dialer.receive(written(listener), false, 0)
    expect(dialer.poll()?.type).toBe('welcomed')
    dialer.attach(first.asking, resumed(first.answering.received))
    polled(dialer)
    const again = written(dialer)
    expect(again).not.toEqual(lost)
    const events = feed(listener, again)
    expect(events).toMatchObject([{ type: 'query', bytes: text('lost on the way') }])
  })
})

describe('modes that differ', () => {
  const all: [name: string, encryption: Encryption | undefined][] = [
    ['proof', undefined],
    ['sealed', aes256gcm(KEY)],
    ["custom 'naive'", custom(naive(1))],
    ["custom 'other'", custom(naive(1, 'other'))],
  ]
  const made = (side: Side, encryption: Encryption | undefined): Link =>
    encryption === undefined ? linkOf(side) : link(side, encryption)
  for (const [one, own] of all) {
    for (const [other, theirs] of all) {
      if (one === other) continue
      test(`a dialer in ${one} at a listener in ${other} is refused, with both named`, () => {
        const dialer = made('dialer', own)
        const listener = made('listener', theirs)
        const refusing = endOf(feed(listener, written(dialer)))
        expect(refusing).toMatchObject({ by: 'refusing', refusal: { reason: 'mode' } })
        const refused = endOf(feed(dialer, written(listener)))
        const mode = theirs?.mode ?? 'proof'
        const cipherName = theirs?.mode === 'custom' ? theirs.cipherName : ''
        expect(refused).toMatchObject({ by: 'refused', refusal: { reason: 'mode', mode, cipherName } })
      })
    }
  }
})

test.each([undefined, ...MODES.map(([, encryption]) => encryption)])(
  'a REFUSE busy in clear, before anything was proven, is an error and keeps nobody waiting',
  (encryption) => {
    const dialer = encryption === undefined ? linkOf('dialer') : link('dialer', encryption)
    written(dialer)
    const refuse = frame(KIND.REFUSE, Uint8Array.of(5, 1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0))
    const preamble = Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0x80, 0, refuse.length)
    expect(endOf(feed(dialer, join(preamble, refuse)))).toMatchObject({ by: 'violation', error: { section: '5.5' } })
  },
)

describe('the end of a counter, and ciphers that fail', () => {
  test.each([
    ['a promise', (): unknown => Promise.reject(new Error('late')), 'not a promise'],
    ['a text', (): unknown => 'text', 'must return a Uint8Array'],
  ])('a cipher whose decrypt gives %s ends the own link, says so, and nothing goes unhandled', (_, decrypt, says) => {
    const listener = link('listener', custom({ ...naive(1), decrypt: decrypt as () => Uint8Array }))
    const dialer = link('dialer', custom(naive(1)))
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    const end = endOf(feed(listener, written(dialer)))
    expect(end.by).toBe('cipher')
    expect(end.by === 'cipher' && end.error.message).toContain(says)
  })

  test('what the cipher says of a record that does not verify is the cause of the end', () => {
    const { dialer, listener, asking } = opened(custom(naive(1)))
    const [record] = records(dialer, asking, 1)
    const end = endOf(feed(listener, flipped(record)))
    expect(end.by === 'violation' && end.error.cause).toMatchObject({
      message: expect.stringContaining('authenticate'),
    })
  })

  /** Two links whose dialer's cipher fails from its record number `count` on. */
  function failing(fail: (plain: Uint8Array) => Uint8Array, from: number): ReturnType<typeof opened> {
    const cipher = naive(1)
    let count = 0
    return opened(custom({ ...cipher, encrypt: (plain) => (count++ < from ? cipher.encrypt(plain) : fail(plain)) }))
  }

  test.each([
    [
      'throws',
      () => {
        throw new Error('no')
      },
      'threw',
    ],
    ['gives nothing', () => undefined as unknown as Uint8Array, 'must return'],
    ['gives no bytes', () => new Uint8Array(0), '0 bytes'],
    ['adds more than 256 bytes', (plain: Uint8Array) => new Uint8Array(plain.length + 257), 'the limit is'],
  ])('a cipher that %s ends the own link, and says so', (_, fail, says) => {
    // PROVE, first ACK of the dialer, its WELCOME and so on come before.
    const { dialer, asking } = failing(fail, 4)
    for (let count = 0; dialer.state === 'open' && count < 10; count++) records(dialer, asking, 1)
    expect(dialer.hasEvents).toBe(true)
    const end = endOf(polled(dialer))
    expect(end.by).toBe('cipher')
    expect(end.by === 'cipher' && end.error.message).toContain(says)
    expect(dialer.hasEvents).toBe(false)
  })

  test('a sealer at the end of its counter ends the link; the session keeps what was not sent', () => {
    const sealed = aes256gcm(KEY)
    let left = 2
    const short: Encryption = {
      mode: 'sealed',
      begin(...input) {
        const handshake = sealed.begin(...input)
        return {
          write: (payload) => handshake.write(payload),
          read: (message) => handshake.read(message),
          finish: () => {
            const { hash, sealer, opener } = handshake.finish()
            const { overheadBytes } = sealer
            return {
              hash,
              opener,
              sealer: { overheadBytes, seal: (chunks) => (left-- > 0 ? sealer.seal(chunks) : undefined) },
            }
          },
        }
      },
    }
    const dialer = link('dialer', short)
    const listener = link('listener', sealed)
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    feed(listener, written(dialer))
    listener.welcome(sessionOf('listener'), FRESH_WELCOME, 0)
    const asking = sessionOf('dialer')
    dialer.receive(written(listener), false, 0)
    dialer.poll()
    dialer.attach(asking, FRESH_WELCOME)
    polled(dialer)
    written(dialer)
    ask(asking, text('the last straw'))
    expect(written(dialer)).toHaveLength(0)
    expect(endOf(polled(dialer))).toMatchObject({ by: 'cipher' })
    expect(asking.stats().unacknowledgedBytes).toBeGreaterThan(0)
  })

  test('a sealed link without 32 random bytes is a misuse', () => {
    expect(() => link('dialer', aes256gcm(KEY), { ephemeral: undefined })).toThrow('ephemeral')
  })
})

/** The lengths of the records in bytes of the wire. */
function lengthsOf(bytes: Uint8Array): number[] {
  const lengths: number[] = []
  for (let at = 0; at < bytes.length; at += 2 + (lengths.at(-1) ?? 0)) {
    lengths.push(new DataView(bytes.buffer, bytes.byteOffset).getUint16(at))
  }
  return lengths
}

function flipped(record: Uint8Array | undefined): Uint8Array {
  const other = record?.slice() ?? new Uint8Array(0)
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
  return other
}

/** The same record without its last byte, and a length that fits. */
function shortened(record: Uint8Array | undefined): Uint8Array {
  const other = record?.slice(0, -1) ?? new Uint8Array(0)
  new DataView(other.buffer).setUint16(0, other.length - 2)
  return other
}

test('the preamble of a sealed hello says how long it is', () => {
  const hello = written(link('dialer', aes256gcm(KEY)))
  expect(new DataView(hello.buffer).getUint16(6)).toBe(hello.length - PREAMBLE_BYTES)
})
