/** The vectors of the modes that encrypt: one link each, made by the protocol itself from fixed values. */
import { hkdfSync } from 'node:crypto'
import { hash } from '../../core/src/connection/runtime.node.js'
import { utf8 } from '../../core/src/connection/text.js'
import { CONTENT, proofKey, type Encryption, type Link, type Sealer, type Side } from '../../core/src/protocol/index.js'
import { feed, FRESH_WELCOME, linkOf, polled, sessionOf, written } from '../../core/test/protocol/links.js'
import { aes256gcm, custom } from '../src/index.js'
import { naive } from './naive.js'

const SECRET = 'a secret'
const KEY = Uint8Array.from({ length: 32 }, (_, at) => at)
const EPHEMERAL: Record<Side, Uint8Array> = {
  dialer: new Uint8Array(32).fill(0x11),
  listener: new Uint8Array(32).fill(0x22),
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

interface Turn {
  readonly from: Side
  readonly what: string
  readonly bytes: string
  /** What the records of it hold, where it has records. */
  readonly stream?: string
}

/** Notes the plaintext of all records, in the order in which they are made. */
function watched(encryption: Encryption, streams: string[]): Encryption {
  const note = (chunks: readonly Uint8Array[]): void => {
    streams.push(chunks.map(hex).join(''))
  }
  if (encryption.mode === 'custom') return encryption
  return {
    mode: 'sealed',
    begin(...input) {
      const handshake = encryption.begin(...input)
      return {
        write: (payload) => handshake.write(payload),
        read: (message) => handshake.read(message),
        finish() {
          const keys = handshake.finish()
          const sealer: Sealer = {
            overheadBytes: keys.sealer.overheadBytes,
            seal(chunks) {
              note(chunks)
              return keys.sealer.seal(chunks)
            },
          }
          return { ...keys, sealer }
        },
      }
    },
  }
}

/** One link from the first byte to a query and its answer. */
function conversation(encryption: Encryption): { turns: Turn[]; id: string } {
  const streams: string[] = []
  const cipherName = encryption.mode === 'custom' ? encryption.cipherName : ''
  const made = (side: Side): Link =>
    linkOf(side, {
      secret: SECRET,
      hello: { cipherName },
      encryption: watched(encryption, streams),
      ephemeral: EPHEMERAL[side],
    })
  const dialer = made('dialer')
  const listener = made('listener')
  const turns: Turn[] = []
  const say = (from: Side, what: string): Uint8Array => {
    const bytes = written(from === 'dialer' ? dialer : listener)
    const stream = streams.splice(0).join('')
    turns.push({ from, what, bytes: hex(bytes), ...(stream === '' ? {} : { stream }) })
    return bytes
  }
  feed(listener, say('dialer', 'preamble and first message'))
  feed(dialer, say('listener', 'preamble and first message'))
  feed(listener, say('dialer', 'PROVE'))
  const answering = sessionOf('listener')
  listener.welcome(answering, FRESH_WELCOME, 0)
  dialer.receive(say('listener', 'WELCOME, then ACK'), false, 0)
  dialer.poll()
  const asking = sessionOf('dialer')
  dialer.attach(asking, FRESH_WELCOME)
  polled(dialer)
  feed(listener, say('dialer', 'ACK'))
  asking.query(new Uint8Array(0), CONTENT.TEXT, utf8.encode('hello'), 'copy', Infinity, true, 0)
  const [event] = feed(listener, say('dialer', "the nameless QUERY 'hello', as text, without a limit of time"))
  if (event?.type !== 'query') throw new Error('expected the query')
  answering.handlerEnded()
  answering.answer(event.id, CONTENT.TEXT, utf8.encode('world'), 'copy', 0)
  feed(dialer, say('listener', "ANSWER 'world'"))
  return { turns, id: dialer.id ?? '' }
}

export function sealedVectors(): object {
  const key = proofKey(utf8.encode(SECRET), hash, utf8)
  const input = Buffer.concat([KEY, key])
  const { turns, id } = conversation(aes256gcm(KEY))
  return {
    about: 'One link in sealed mode (PROTOCOL.md, section 11.2). The hellos are those of handshake.json.',
    secret: SECRET,
    encryptionKey: hex(KEY),
    ephemeral: { dialer: hex(EPHEMERAL.dialer), listener: hex(EPHEMERAL.listener) },
    values: {
      key: hex(key),
      psk: hex(new Uint8Array(hkdfSync('sha256', input, 'pairlink 1', 'sealed psk', 32))),
      prologue: hex(Buffer.concat([Buffer.from('pairlink 1 sealed'), Buffer.from('504c4e4b0101', 'hex')])),
      linkId: id,
    },
    turns,
  }
}

export function customVectors(): object {
  const { turns, id } = conversation(custom(naive(7)))
  return {
    about:
      'One link in custom mode (PROTOCOL.md, section 11.3), whose cipher is ChaCha20-Poly1305 with 32 bytes of 07 as its key, a nonce of zeros and the tag behind the ciphertext: fit for vectors and for nothing else.',
    secret: SECRET,
    cipherName: 'naive',
    values: { linkId: id },
    turns,
  }
}
