/**
 * The vectors of `vectors/`: what another implementation must reproduce, as plain JSON with bytes in hexadecimal. Everything
 * is made by the protocol itself from fixed values, so a change of the wire shows as a difference.
 */
import { hash } from '../../src/connection/runtime.node.js'
import { utf8 } from '../../src/connection/text.js'
import { CONTENT, FAIL_REASON, KIND, proofKey, type ProtocolEvent } from '../../src/protocol/index.js'
import { dialerProof, listenerProof, transcriptHash } from '../../src/protocol/proof.js'
import { feed, frame, FRESH_WELCOME, helloOf, join, linkOf, messages, opened, written } from './links.js'

const SECRET = 'a secret'

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function text(value: string): Uint8Array {
  return utf8.encode(value)
}

export interface BadFrame {
  readonly what: string
  readonly section: string
  readonly bytes: string
}

/** Frames of an open link: good ones with what they say, bad ones with the section of PROTOCOL.md that they break. */
export function frameVectors(): { good: object[]; bad: BadFrame[] } {
  const query = join(Uint8Array.of(0, 0, 0x13, 0x88, 3), text('add'), text('[1,2]'))
  const good = [
    {
      what: 'QUERY, named, JSON, 5,000 ms left',
      bytes: frame(KIND.QUERY, query, { content: CONTENT.JSON, id: 0x10000 }),
      fields: {
        kind: 'QUERY',
        slot: 0,
        generation: 1,
        remainingMs: 5000,
        method: 'add',
        content: 'json',
        payload: hex(text('[1,2]')),
      },
    },
    {
      what: 'QUERY, nameless, text, no limit of time',
      bytes: frame(KIND.QUERY, join(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0), text('hello')), {
        content: CONTENT.TEXT,
        id: 0x20001,
      }),
      fields: {
        kind: 'QUERY',
        slot: 1,
        generation: 2,
        remainingMs: null,
        method: '',
        content: 'text',
        payload: hex(text('hello')),
      },
    },
    {
      what: 'CANCEL',
      bytes: frame(KIND.CANCEL, new Uint8Array(0), { id: 0x20001 }),
      fields: { kind: 'CANCEL', slot: 1, generation: 2 },
    },
    {
      what: 'NOTIFY, named, bytes',
      bytes: frame(KIND.NOTIFY, join(Uint8Array.of(4), text('tick'), Uint8Array.of(1, 2, 3)), {
        content: CONTENT.BYTES,
      }),
      fields: { kind: 'NOTIFY', method: 'tick', content: 'bytes', payload: '010203' },
    },
    {
      what: 'PING',
      bytes: frame(KIND.PING, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 7)),
      fields: { kind: 'PING', token: '0000000000000007' },
    },
    {
      what: 'ACK, nothing new',
      bytes: frame(KIND.ACK, new Uint8Array(16)),
      fields: { kind: 'ACK', takenOver: 0, consumedBytes: 0 },
    },
    {
      what: 'CLOSE, done',
      bytes: frame(KIND.CLOSE, join(Uint8Array.of(0, 0), text('bye'))),
      fields: { kind: 'CLOSE', code: 0, reason: 'bye' },
    },
  ].map(({ what, bytes, fields }) => ({ what, bytes: hex(bytes), fields }))

  const first = (total: number, contentBytes: number): Uint8Array => {
    const payload = new Uint8Array(8 + 5 + contentBytes)
    new DataView(payload.buffer).setBigUint64(0, BigInt(total))
    return payload
  }
  const bad: [what: string, section: string, ...frames: Uint8Array[]][] = [
    ['a frame longer than fragmentBytes', '3.1', frame(KIND.QUERY, new Uint8Array(0), { id: 1, length: 65_525 })],
    ['a frame of 4 GB', '3.1', frame(KIND.QUERY, new Uint8Array(0), { id: 1, length: 0xffffffff })],
    [
      'a reserved byte that is not 0',
      '3.1',
      Uint8Array.of(KIND.PING, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0),
    ],
    ['an id on a PING', '3.1', frame(KIND.PING, new Uint8Array(8), { id: 1 })],
    ['an unknown kind', '3.2', frame(99)],
    ['a PING of 7 bytes', '3.2', frame(KIND.PING, new Uint8Array(7))],
    ['FIRST alone', '3.3', frame(KIND.QUERY, new Uint8Array(20), { flags: 2, id: 1 })],
    ['a first fragment that is the last', '3.3', frame(KIND.QUERY, new Uint8Array(20), { flags: 3, id: 1 })],
    ['a CANCEL in parts', '3.3', frame(KIND.CANCEL, new Uint8Array(0), { flags: 1, id: 1 })],
    ['an unknown content', '3.4', frame(KIND.QUERY, new Uint8Array(5), { content: 4, id: 1 })],
    ['bytes where the content is none', '3.4', frame(KIND.QUERY, new Uint8Array(6), { id: 1 })],
    ['a HELLO on an open link', '4', frame(KIND.HELLO, new Uint8Array(300))],
    ['a QUERY after CLOSE', '4', frame(KIND.CLOSE, new Uint8Array(2)), frame(KIND.QUERY, new Uint8Array(5), { id: 1 })],
    ['a QUERY shorter than its fields', '6.1', frame(KIND.QUERY, new Uint8Array(4), { id: 1 })],
    ['a QUERY shorter than its method', '6.1', frame(KIND.QUERY, Uint8Array.of(0, 0, 0, 9, 3, 65), { id: 1 })],
    ['a method that is not UTF-8', '6.1', frame(KIND.QUERY, Uint8Array.of(0, 0, 0, 9, 1, 0xff), { id: 1 })],
    ['an answer to nothing', '6.2', frame(KIND.ANSWER, new Uint8Array(0), { id: 1 })],
    ['a slot out of range', '6.2', frame(KIND.QUERY, new Uint8Array(5), { id: 0x4000 })],
    [
      'a slot that is taken',
      '6.2',
      frame(KIND.QUERY, Uint8Array.of(0, 0, 9, 9, 0), { id: 1 }),
      frame(KIND.QUERY, Uint8Array.of(0, 0, 9, 9, 0), { id: 0x10001 }),
    ],
    ['a fragment of nothing', '6.3', frame(KIND.QUERY, new Uint8Array(5), { flags: 1, content: 2, id: 1 })],
    ['a total over messageBytesMax', '6.3', frame(KIND.QUERY, first(2 ** 40, 10), { flags: 7, content: 2, id: 1 })],
    [
      'a first fragment with all of the message',
      '6.3',
      frame(KIND.QUERY, first(10, 10), { flags: 7, content: 2, id: 1 }),
    ],
    [
      'more bytes than the total',
      '6.3',
      frame(KIND.QUERY, first(20, 10), { flags: 7, content: 2, id: 1 }),
      frame(KIND.QUERY, new Uint8Array(11), { flags: 1, content: 2, id: 1 }),
    ],
    [
      'an end before the total',
      '6.3',
      frame(KIND.QUERY, first(20, 10), { flags: 7, content: 2, id: 1 }),
      frame(KIND.QUERY, new Uint8Array(9), { flags: 1, content: 2, id: 1 }),
    ],
    [
      'a fragment of another content',
      '6.3',
      frame(KIND.QUERY, first(20, 10), { flags: 7, content: 2, id: 1 }),
      frame(KIND.QUERY, new Uint8Array(10), { flags: 1, content: 1, id: 1 }),
    ],
    ['an id on a NOTIFY in one piece', '6.4', frame(KIND.NOTIFY, new Uint8Array(1), { id: 1 })],
    ['a CANCEL with a payload', '6.5', frame(KIND.CANCEL, new Uint8Array(1), { id: 1 })],
    [
      'an ACK of what was not sent',
      '7.2',
      frame(KIND.ACK, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)),
    ],
    [
      'more consumed than was sent',
      '7.2',
      frame(KIND.ACK, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
    ],
    ['a CLOSE of one byte', '8.1', frame(KIND.CLOSE, new Uint8Array(1))],
  ]
  return { good, bad: bad.map(([what, section, ...frames]) => ({ what, section, bytes: hex(join(...frames)) })) }
}

/** One whole handshake with all its inputs and intermediate values, and variations of it that must fail. */
export function handshakeVectors(): object {
  const { hello, challenge, proof, welcome, firstAck } = messages()

  const key = proofKey(text(SECRET), hash, utf8)
  const transcript = transcriptHash(hash, [
    hello.subarray(0, 8),
    hello.subarray(8),
    challenge.subarray(0, 8),
    challenge.subarray(8),
  ])
  const plain = (side: 'dialer' | 'listener'): object => {
    const { nonce, about, ...rest } = helloOf(side)
    return { ...rest, nonce: hex(nonce), about: hex(about) }
  }
  const refusal = (bytes: Uint8Array): { outcome: string; answer: string } => {
    const link = linkOf('listener', { secret: SECRET })
    const [end] = feed(link, bytes).filter((event) => event.type === 'ended')
    return { outcome: outcomeOf(end), answer: hex(written(link)) }
  }
  const changed = (bytes: Uint8Array, at: number, value: number): Uint8Array =>
    bytes.map((byte, i) => (i === at ? value : byte))
  const bad = [
    { what: 'an HTTP request', dialer: text('GET / HTTP/1.1\r\n\r\n') },
    { what: 'a magic with one wrong bit', dialer: changed(hello, 3, 0x4a) },
    { what: 'version 2', dialer: changed(hello, 4, 2) },
    { what: 'sealed mode', dialer: changed(hello, 5, 1) },
    { what: 'a first message of 0 bytes', dialer: changed(changed(hello, 6, 0), 7, 0) },
    { what: 'a first message of 1,025 bytes', dialer: changed(changed(hello, 6, 4), 7, 1) },
    { what: 'a hello longer than announced', dialer: changed(hello, 7, (hello[7] ?? 0) - 1) },
    { what: "the listener's own side", dialer: changed(hello, 20, 1) },
    { what: 'an instance of zeros', dialer: hello.map((byte, at) => (at > 20 && at <= 36 ? 0 : byte)) },
    { what: 'the instance of the listener', dialer: hello.map((byte, at) => (at > 20 && at <= 36 ? 0x11 : byte)) },
    {
      what: 'a PROVE instead of a hello',
      dialer: join(Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0, 0, 44), frame(KIND.PROVE, new Uint8Array(32))),
    },
  ].map(({ what, dialer: bytes }) => ({ what, dialer: hex(bytes), ...refusal(bytes) }))

  return {
    secret: hex(text(SECRET)),
    dialer: plain('dialer'),
    listener: plain('listener'),
    welcome: FRESH_WELCOME.welcome,
    messages: {
      dialerHello: hex(hello),
      listenerHello: hex(challenge),
      prove: hex(proof),
      welcome: hex(welcome),
      firstAck: hex(firstAck),
    },
    values: {
      key: hex(key),
      transcript: hex(transcript),
      dialerProof: hex(dialerProof(key, transcript, hash, utf8)),
      listenerProof: hex(listenerProof(key, transcript, welcome.subarray(12, 37), hash, utf8)),
      linkId: hex(transcript.subarray(0, 16)),
    },
    bad,
  }
}

export function outcomeOf(event: ProtocolEvent | undefined): string {
  if (event?.type !== 'ended') return 'nothing'
  const { end } = event
  if (end.by === 'refusing' || end.by === 'refused' || end.by === 'mismatch') return `${end.by} ${end.refusal.reason}`
  return end.by
}

/** A short conversation on an open link: what each side writes, turn by turn. */
export function sessionVectors(): object {
  const { dialer, listener, asking, answering } = opened()
  const turns: object[] = []
  const turn = (what: string, from: 'dialer' | 'listener', now: number): ProtocolEvent[] => {
    const [link, other] = from === 'dialer' ? [dialer, listener] : [listener, dialer]
    const bytes = written(link, now)
    turns.push({ what, from, bytes: hex(bytes) })
    return feed(other, bytes, now)
  }
  const large = new Uint8Array(70_000).map((_, at) => at % 251)
  asking.query(text('add'), CONTENT.JSON, text('[1,2]'), 'own', 5000, true, 0)
  asking.notify(text('tick'), CONTENT.BYTES, Uint8Array.of(1, 2, 3), 'own', Infinity, true, 0)
  const events = turn('a query and a notification', 'dialer', 0)
  for (const event of events) {
    if (event.type === 'query') answering.answer(event.id, CONTENT.JSON, text('3'), 'own', 1)
    if (event.type === 'query') answering.handlerEnded()
    if (event.type === 'notify') answering.consumed(event.costBytes, 1)
  }
  turn('the answer', 'listener', 1)
  turn('the acknowledgement, 20 ms after the first frame, with what was consumed', 'listener', 21)
  answering.query(new Uint8Array(0), CONTENT.BYTES, large, 'own', Infinity, true, 30)
  const [query] = turn('a query of 70,000 bytes, byte n being n mod 251, in two fragments', 'listener', 30).filter(
    (event) => event.type === 'query',
  )
  if (query?.type !== 'query') throw new Error('no query')
  asking.fail(query.id, FAIL_REASON.HANDLER, 'E_NO', 'not today', CONTENT.TEXT, text('data'), 31)
  asking.handlerEnded()
  turn('its failure', 'dialer', 31)
  dialer.close(0, 'bye', false)
  turn('the goodbye', 'dialer', 60)
  listener.close(0, '', true)
  turn('and its answer', 'listener', 60)
  return { turns }
}
