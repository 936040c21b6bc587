/** Certificates that are not what they must be, ours and the peer's, seen from each side. */
import { X509Certificate } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { Recorder } from './place.js'
import { beforeAll, describe, expect, test } from 'vitest'
import type { TlsOptions } from 'node:tls'
import type { TlsFiles } from '../src/index.js'
import { ACCEPTED, peerFaultError, refusalError, verdictByte, type PeerFault } from '../src/faults.js'
import { credentialsOf, type Credentials } from '../src/files.js'
import { judge } from '../src/judge.js'
import {
  certificate,
  CLIENT_AUTH,
  encryptedKey,
  freshNames,
  hasOpenssl,
  opensslCertificate,
  SERVER_AUTH,
  type Files,
  type Made,
} from './certificates.js'
import {
  at,
  bothEnds,
  dialEnd,
  endOf,
  freshPlace,
  KINDS,
  listening,
  listeningOnce,
  never,
  optionsOf,
  rejectionOf,
  tlsClient,
  tlsServer,
} from './place.js'

let ours: Made
let other: Made
let ca: Made
/** A CA that another one has signed. */
let intermediate: Made
beforeAll(async () => {
  ours = await certificate({ isCa: true })
  other = await certificate()
  ca = await certificate({ isCa: true })
  intermediate = await certificate({ isCa: true, signer: ca })
})

const filesOf = ({ certFile, keyFile }: Files, more: Partial<TlsFiles> = {}): TlsFiles => ({
  certFile,
  keyFile,
  ...more,
})

/** What a peer that is made by hand shows, and what it is refused for. */
interface Case {
  readonly name: string
  readonly reason: PeerFault
  /** With our own CA, or ours pinned. */
  readonly files: () => Promise<TlsFiles>
  readonly shown: () => Promise<Files>
  readonly side?: 'dialer' | 'listener'
}

const pinned = (): Promise<TlsFiles> => Promise.resolve(filesOf(ours))
const chained = async (): Promise<TlsFiles> => filesOf(await certificate({ signer: ca }), { caFile: ca.certFile })
const chainedBelow = async (): Promise<TlsFiles> =>
  filesOf(await certificate({ signer: intermediate }), { caFile: intermediate.certFile })

const CASES: Case[] = [
  { name: 'another one than ours', reason: 'foreign', files: pinned, shown: () => Promise.resolve(other) },
  { name: 'one that ours has signed', reason: 'foreign', files: pinned, shown: () => certificate({ signer: ours }) },
  {
    name: 'another one that has expired',
    reason: 'foreign',
    files: pinned,
    shown: () => certificate({ toDays: -0.5 }),
  },
  {
    name: 'one that signed itself, where there is a CA',
    reason: 'foreign',
    files: chained,
    shown: () => certificate(),
  },
  {
    name: 'one of another CA with the same name',
    reason: 'foreign',
    files: chained,
    shown: async () => certificate({ signer: { ...(await certificate({ isCa: true })), subject: ca.subject } }),
  },
  {
    name: 'one of the root, where the CA is one that the root has signed',
    reason: 'foreign',
    files: chainedBelow,
    shown: () => certificate({ signer: ca }),
  },
  {
    name: 'an expired one of the CA',
    reason: 'expired',
    files: chained,
    shown: () => certificate({ signer: ca, toDays: -0.5 }),
  },
  {
    name: 'one of the CA for later',
    reason: 'not-yet-valid',
    files: chained,
    shown: () => certificate({ signer: ca, fromDays: 1 }),
  },
  {
    name: 'one of the CA for listeners alone',
    reason: 'purpose',
    files: chained,
    shown: () => certificate({ signer: ca, purposes: [SERVER_AUTH] }),
    side: 'dialer',
  },
  {
    name: 'one of the CA for dialers alone',
    reason: 'purpose',
    files: chained,
    shown: () => certificate({ signer: ca, purposes: [CLIENT_AUTH] }),
    side: 'listener',
  },
]

describe.each(KINDS)('at %s', (kind) => {
  const from = (side: string): Case[] => CASES.filter((one) => one.side === undefined || one.side === side)

  test.each(from('dialer'))('a dialer that shows $name is refused, and told why', async ({ reason, files, shown }) => {
    const place = await freshPlace(kind)
    const { accepted } = await listeningOnce(at(place, await files()))
    const client = tlsClient(place, optionsOf(await shown()))
    client.socket.write('never to be read')
    const far = await accepted
    far.pipe.write([Buffer.from('never to be sent')])
    await client.end
    expect([...client.read()]).toEqual([verdictByte(reason)])
    expect(await endOf(far)).toBe(`CERTIFICATE ${reason}`)
    expect(far.recorder.calls).toEqual(['closed'])
  })

  test('a dialer that shows none is refused, and told why', async () => {
    const place = await freshPlace(kind)
    const { accepted } = await listeningOnce(at(place, filesOf(ours)))
    const client = tlsClient(place, { ALPNProtocols: ['pairlink/1'] })
    await client.end
    expect([...client.read()]).toEqual([verdictByte('missing-peer')])
    expect(await endOf(await accepted)).toBe('CERTIFICATE missing-peer')
  })

  test.each(from('listener'))('a listener that shows $name gets nothing of ours', async ({ reason, files, shown }) => {
    const place = await freshPlace(kind)
    const read: Buffer[] = []
    let secured: () => void = () => undefined
    const gone = new Promise<void>((resolve) => (secured = resolve))
    await tlsServer(place, optionsOf(await shown()), (socket) => {
      socket.on('data', (chunk: Buffer) => read.push(chunk))
      socket.on('error', () => undefined)
      socket.once('close', secured)
      socket.write(Uint8Array.of(ACCEPTED))
    })
    const near = await dialEnd(at(place, await files()))
    near.pipe.write([Buffer.from('never to be sent')])
    expect(await endOf(near)).toBe(`CERTIFICATE ${reason}`)
    // The server may see no more than a handshake that ended; then there is no socket to close.
    await Promise.race([gone, new Promise((resolve) => setImmediate(() => setImmediate(resolve)))])
    expect(Buffer.concat(read).length).toBe(0)
  })

  test.each<PeerFault>(['missing-peer', 'foreign', 'expired', 'not-yet-valid', 'purpose', 'weak'])(
    'the verdict %s of a listener is what the pipe is closed with',
    async (reason) => {
      const place = await freshPlace(kind)
      await tlsServer(place, optionsOf(ours), (socket) => {
        socket.on('error', () => undefined)
        socket.end(Uint8Array.of(verdictByte(reason)))
      })
      const near = await dialEnd(at(place, filesOf(ours)))
      near.pipe.write([Buffer.from('waiting')])
      expect(await endOf(near)).toBe(`CERTIFICATE ${reason}`)
      expect(near.recorder.error?.message).toContain('the other side refused our certificate')
      expect(near.recorder.calls).toEqual(['closed'])
    },
  )

  test('two with different files refuse each other', async () => {
    const place = await freshPlace(kind)
    const [near, far] = await bothEnds(at(place, filesOf(ours)), at(place, filesOf(other)))
    expect(await endOf(near)).toBe('CERTIFICATE foreign')
    await far.recorder.told('closed')
    expect(far.recorder.calls).toEqual(['closed'])
  })

  test('two of one CA take each other, whatever their names', async () => {
    const place = await freshPlace(kind)
    const [near, far] = await bothEnds(at(place, await chained()), at(place, await chained()))
    near.pipe.write([Buffer.from('there')])
    far.pipe.write([Buffer.from('back')])
    await Promise.all([near.recorder.told('bytes'), far.recorder.told('bytes')])
    expect([near.recorder.text, far.recorder.text]).toEqual(['back', 'there'])
  })

  test.each<[string, () => Promise<Files>]>([
    ['alone', () => certificate({ signer: intermediate })],
    [
      'with its CA behind it',
      async () => {
        const made = await certificate({ signer: intermediate })
        return { ...made, certFile: written(textOf(made.certFile) + textOf(intermediate.certFile)) }
      },
    ],
  ])('two of one CA that is no root take each other, each certificate %s', async (_name, make) => {
    const place = await freshPlace(kind)
    const side = async () => at(place, filesOf(await make(), { caFile: intermediate.certFile }))
    const [near, far] = await bothEnds(await side(), await side())
    near.pipe.write([Buffer.from('there')])
    far.pipe.write([Buffer.from('back')])
    await Promise.all([near.recorder.told('bytes'), far.recorder.told('bytes')])
    expect([near.recorder.text, far.recorder.text]).toEqual(['back', 'there'])
  })

  test('a dialer that was refused and does not hang up is destroyed after a second', async () => {
    const place = await freshPlace(kind)
    const { accepted } = await listeningOnce(at(place, filesOf(ours)))
    const client = tlsClient(place, { ...optionsOf(other), allowHalfOpen: true } as TlsOptions)
    const far = await accepted
    await once(client.socket, 'end')
    expect(far.recorder.calls).toEqual([])
    expect(await endOf(far)).toBe('CERTIFICATE foreign')
  })

  describe('our own files', () => {
    /** Each makes files with one fault, and says which. */
    const FAULTS: [string, string, () => Promise<TlsFiles> | TlsFiles][] = [
      ['a certificate that is missing', 'missing', () => filesOf({ ...ours, certFile: freshNames().certFile })],
      ['a key that is missing', 'missing', () => filesOf({ ...ours, keyFile: freshNames().keyFile })],
      ['a CA that is missing', 'missing', () => filesOf(ours, { caFile: freshNames().certFile })],
      ['a directory', 'unreadable', () => filesOf({ ...ours, certFile: written((path) => void mkdirSync(path)) })],
      ['a certificate that is none', 'malformed', () => filesOf({ ...ours, certFile: written('hello') })],
      [
        'a certificate that is cut',
        'malformed',
        () => filesOf({ ...ours, certFile: written(textOf(ours.certFile).slice(0, 200)) }),
      ],
      [
        'a certificate that is no PEM',
        'malformed',
        () => filesOf({ ...ours, certFile: written(new X509Certificate(readFileSync(ours.certFile)).raw) }),
      ],
      ['a key that is none', 'malformed', () => filesOf({ ...ours, keyFile: written('') })],
      ['a CA that is none', 'malformed', () => filesOf(ours, { caFile: ours.keyFile })],
      ['a key of another certificate', 'mismatched', () => filesOf({ ...ours, keyFile: other.keyFile })],
      ['an expired certificate', 'expired', async () => filesOf(await certificate({ toDays: -0.5 }))],
      ['a certificate for later', 'not-yet-valid', async () => filesOf(await certificate({ fromDays: 1 }))],
      ['a key that others may read', 'key-shared', () => filesOf({ ...ours, keyFile: shared(ours.keyFile, 0o604) })],
      ['a key that the group may read', 'key-shared', () => filesOf({ ...ours, keyFile: shared(ours.keyFile, 0o640) })],
      ['a CA that others may write to', 'ca-shared', () => filesOf(ours, { caFile: shared(ca.certFile, 0o646) })],
      ['a CA that the group may write to', 'ca-shared', () => filesOf(ours, { caFile: shared(ca.certFile, 0o664) })],
      [
        'a chain of more than 60,000 bytes',
        'unsupported',
        () => filesOf({ ...ours, certFile: written(textOf(ours.certFile).repeat(250)) }),
      ],
      ...(hasOpenssl
        ? ([
            ['an encrypted key', 'encrypted-key', () => filesOf(encryptedKey(ours, 'pkcs8'))],
            ['an encrypted key of the older kind', 'encrypted-key', () => filesOf(encryptedKey(ours, 'traditional'))],
            ['a key of 1024 bits', 'weak', () => filesOf(opensslCertificate('RSA 1024'))],
            ['a key of secp256k1', 'unsupported', () => filesOf(opensslCertificate('secp256k1'))],
            ['a key of P-224', 'unsupported', () => filesOf(opensslCertificate('P-224'))],
          ] as [string, string, () => TlsFiles][])
        : []),
    ]

    test.each(FAULTS)('%s: neither dials nor listens', async (_name, reason, make) => {
      const transport = at(await freshPlace(kind), await make())
      expect(await rejectionOf(transport.dial(never))).toBe(`CERTIFICATE ${reason}`)
      expect(await rejectionOf(transport.listen(() => undefined, never))).toBe(`CERTIFICATE ${reason}`)
    })

    test('a long chain is taken', async () => {
      const certFile = written(textOf(ours.certFile).repeat(180))
      const [near, far] = await bothEnds(at(await freshPlace(kind), filesOf({ ...ours, certFile })))
      near.pipe.write([Buffer.from('long')])
      await far.recorder.told('bytes')
      expect(far.recorder.text).toBe('long')
    })

    test('files that go while listening close what comes in with the fault; then they are taken as they are', async () => {
      const pair = copyOf(ours)
      const place = await freshPlace(kind)
      const ends: Recorder[] = []
      await listening(at(place, filesOf(pair)), (pipe) => {
        const recorder = new Recorder()
        pipe.start(recorder)
        ends.push(recorder)
      })
      rmSync(pair.certFile)
      const near = await dialEnd(at(place, filesOf(ours)))
      expect(await endOf(near)).toBe('NOT_PAIRLINK')
      await ends[0]?.told('closed')
      expect(ends[0]?.error).toMatchObject({ code: 'CERTIFICATE', reason: 'missing' })

      copyFileSync(ours.certFile, pair.certFile)
      const again = await dialEnd(at(place, filesOf(ours)))
      again.pipe.write([Buffer.from('x')])
      await again.recorder.told('drained')
    })

    test('files that are replaced are used from the next dial on', async () => {
      const pair = copyOf(ours)
      const place = await freshPlace(kind)
      const transport = at(place, filesOf(pair))
      const accepted: Recorder[] = []
      await listening(transport, (pipe) => {
        const recorder = new Recorder()
        accepted.push(recorder)
        pipe.start(recorder)
      })
      const first = await dialEnd(transport)
      first.pipe.write([Buffer.from('1')])
      await first.recorder.told('drained')

      const next = copyOf(other)
      renameSync(next.certFile, pair.certFile)
      renameSync(next.keyFile, pair.keyFile)
      const second = await dialEnd(transport)
      second.pipe.write([Buffer.from('2')])
      await second.recorder.told('drained')
      expect(await endOf(await dialEnd(at(place, filesOf(ours))))).toBe('CERTIFICATE foreign')
      await accepted[1]?.told('bytes')
      expect([accepted[0]?.text, accepted[1]?.text]).toEqual(['1', '2'])
    })
  })
})

const textOf = (path: string): string => readFileSync(path, 'latin1')

function written(content: string | Buffer | ((path: string) => void)): string {
  const path = freshNames().keyFile
  if (typeof content === 'function') content(path)
  else writeFileSync(path, content, { mode: 0o600 })
  return path
}

function shared(original: string, mode: number): string {
  const path = written(textOf(original))
  chmodSync(path, mode)
  return path
}

function copyOf({ certFile, keyFile }: Files): Files {
  const copy = freshNames()
  copyFileSync(certFile, copy.certFile)
  copyFileSync(keyFile, copy.keyFile)
  return copy
}

describe('the judgement', () => {
  const credentials = (): Credentials => credentialsOf({ ...ours, caFile: undefined, minVersion: 'TLSv1.3' })()
  const own = (): X509Certificate => new X509Certificate(readFileSync(ours.certFile))
  const onDay = (days: number) => Date.now() + days * 86_400_000

  test('looks at the dates of the very same certificate, too', () => {
    const shown = { certificate: own(), chainError: undefined }
    expect(judge(shown, credentials())).toBeUndefined()
    expect(judge(shown, credentials(), onDay(-2))).toEqual({ fault: 'not-yet-valid' })
    expect(judge(shown, credentials(), onDay(11))).toEqual({ fault: 'expired' })
    expect(judge(shown, credentials(), NaN)).toEqual({ fault: 'not-yet-valid' })
  })

  test('does not ask for the chain without a CA, nor for a chain without a certificate', () => {
    expect(judge({ certificate: own(), chainError: 'SELF_SIGNED' }, credentials())).toBeUndefined()
    expect(judge({ certificate: undefined, chainError: undefined }, credentials())).toEqual({ fault: 'missing-peer' })
  })
})

describe('the verdict', () => {
  test('has a byte for each reason, and none of them lets in', () => {
    const reasons: PeerFault[] = ['missing-peer', 'foreign', 'expired', 'not-yet-valid', 'purpose', 'weak']
    const bytes = reasons.map(verdictByte)
    expect(new Set([...bytes, ACCEPTED]).size).toBe(reasons.length + 1)
    expect(bytes.map((byte) => refusalError('tls://x:1', byte).reason)).toEqual(reasons)
    expect(reasons.map((reason) => peerFaultError('tls://x:1', reason).reason)).toEqual(reasons)
  })
  test.each([0, 99, 255])('%d is one of a newer version', (byte) => {
    expect(refusalError('tls://x:1', byte)).toMatchObject({ code: 'CERTIFICATE', reason: 'unknown' })
  })
})
