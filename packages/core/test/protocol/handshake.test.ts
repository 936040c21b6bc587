import { describe, expect, test } from 'vitest'
import { KIND } from '../../src/protocol/index.js'
import { endOf, feed, frame, helloOf, join, linkOf, messages, opened, PEER, polled, written } from './links.js'

describe('the handshake', () => {
  test('ends in two open links that give each other the same name', () => {
    const { dialer, listener } = opened()
    expect([dialer.state, listener.state]).toEqual(['open', 'open'])
    expect(dialer.id).toBe(listener.id)
    expect(dialer.id).toMatch(/^[0-9a-f]{32}$/)
    expect(dialer.peer?.instance).toBe(PEER.listener)
    expect(listener.peer?.instance).toBe(PEER.dialer)
  })

  test('one byte at a time', () => {
    const dialer = linkOf('dialer')
    const listener = linkOf('listener')
    expect(feed(listener, written(dialer), 0, 1)).toEqual([])
    expect(feed(dialer, written(listener), 0, 1)).toEqual([])
    expect(feed(listener, written(dialer), 0, 1).map(({ type }) => type)).toEqual(['proven'])
  })

  test('the listener says nothing before it has read a whole hello, and no proof before it has read one', () => {
    const dialer = linkOf('dialer')
    const listener = linkOf('listener')
    const hello = written(dialer)
    feed(listener, hello.subarray(0, hello.length - 1))
    expect(written(listener)).toHaveLength(0)
    feed(listener, hello.subarray(hello.length - 1))
    const challenge = written(listener)
    expect(challenge[8]).toBe(KIND.HELLO)
    expect(challenge.length).toBe(8 + ((challenge[6] ?? 0) << 8) + (challenge[7] ?? 0))
  })

  test('no message holds the secret or its key', () => {
    const { hello, challenge, proof, welcome } = messages()
    const all = Buffer.from(join(hello, challenge, proof, welcome))
    expect(all.includes('a secret')).toBe(false)
  })

  test('takes no longer than it may', () => {
    for (const link of [linkOf('dialer'), linkOf('listener')]) {
      expect(link.deadline).toBe(5000)
      link.tick(4999)
      expect(polled(link)).toEqual([])
      link.tick(5000)
      expect(endOf(polled(link))).toEqual({ by: 'handshake-timeout', heard: false })
    }
  })
})

describe('somebody who does not fit', () => {
  test('a wrong secret is refused by the listener, and the dialer reads why', () => {
    const dialer = linkOf('dialer', { secret: 'another' })
    const listener = linkOf('listener')
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    expect(endOf(feed(listener, written(dialer)))).toMatchObject({ by: 'refusing', refusal: { reason: 'secret' } })
    expect(endOf(feed(dialer, written(listener)))).toMatchObject({ by: 'refused', refusal: { reason: 'secret' } })
  })

  test('a listener that welcomes without knowing the secret is found out', () => {
    const { dialer, welcome } = messages()
    const forged = welcome.slice()
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1
    expect(endOf(feed(dialer, forged))).toMatchObject({ by: 'mismatch', refusal: { reason: 'secret' } })
  })

  test("one's own bytes sent back are oneself, on both sides", () => {
    const dialer = linkOf('dialer')
    expect(endOf(feed(dialer, written(dialer)))).toMatchObject({ by: 'mismatch', refusal: { reason: 'self' } })
    const listener = linkOf('listener')
    const own = linkOf('dialer', { hello: { instance: PEER.listener } })
    expect(endOf(feed(listener, written(own)))).toMatchObject({ by: 'refusing', refusal: { reason: 'self' } })
    expect(endOf(feed(own, written(listener)))).toMatchObject({ by: 'refused', refusal: { reason: 'self' } })
  })

  test('two dialers face to face', () => {
    const dialer = linkOf('dialer')
    const other = linkOf('dialer', { hello: { instance: 'e'.repeat(32) } })
    expect(endOf(feed(dialer, written(other)))).toMatchObject({ by: 'violation' })
  })

  test.each([
    ['another version', 4, 2, 'version'],
    ['another mode', 5, 1, 'mode'],
  ])('%s: the listener refuses in clear, and the dialer reads both sides', (_what, at, value, reason) => {
    const listener = linkOf('listener')
    const hello = written(linkOf('dialer'))
    hello[at] = value
    expect(endOf(feed(listener, hello))).toMatchObject({ by: 'refusing', refusal: { reason } })
    const refusal = written(listener)
    expect(refusal[5]).toBe(0x80)
    expect(endOf(feed(linkOf('dialer'), refusal))).toMatchObject({
      by: 'refused',
      refusal: { reason, version: 1, mode: 'proof' },
    })
  })

  test('another version or mode at the listener is a mismatch for the dialer', () => {
    const { challenge } = messages()
    for (const [at, value, reason] of [
      [4, 9, 'version'],
      [5, 2, 'mode'],
    ] as const) {
      const other = challenge.slice()
      other[at] = value
      expect(endOf(feed(linkOf('dialer'), other))).toMatchObject({ by: 'mismatch', refusal: { reason } })
    }
  })

  test('another cipher name is another mode', () => {
    const listener = linkOf('listener', { hello: { cipherName: 'rot13' } })
    expect(endOf(feed(listener, written(linkOf('dialer'))))).toMatchObject({
      by: 'refusing',
      refusal: { reason: 'mode', cipherName: 'rot13' },
    })
  })

  test('bytes that are no preamble get none back, and end at the first wrong one', () => {
    for (const bytes of [Uint8Array.of(0x50, 0x4c, 0x4e, 0x4a), new TextEncoder().encode('GET / HTTP/1.1\r\n')]) {
      const listener = linkOf('listener')
      expect(endOf(feed(listener, bytes))).toEqual({ by: 'foreign' })
      expect(written(listener)).toHaveLength(0)
    }
  })

  test('a dialer cannot refuse', () => {
    const listener = linkOf('listener')
    const hello = written(linkOf('dialer'))
    hello[5] = 0x80
    expect(endOf(feed(listener, hello))).toMatchObject({ by: 'refusing', refusal: { reason: 'protocol' } })
  })
})

describe('a proof is worth nothing', () => {
  test('on another link', () => {
    const { proof } = messages()
    const listener = linkOf('listener', { hello: { nonce: new Uint8Array(32).fill(3) } })
    feed(listener, written(linkOf('dialer')))
    expect(endOf(feed(listener, proof))).toMatchObject({ by: 'refusing', refusal: { reason: 'secret' } })
  })

  test("of the other side: a dialer's proof reflected as the listener's", () => {
    const dialer = linkOf('dialer')
    const listener = linkOf('listener')
    feed(listener, written(dialer))
    feed(dialer, written(listener))
    const proof = written(dialer).subarray(12)
    const body = new Uint8Array(25)
    body.fill(0xff, 1, 17)
    expect(endOf(feed(dialer, frame(KIND.WELCOME, join(body, proof))))).toMatchObject({
      by: 'mismatch',
      refusal: { reason: 'secret' },
    })
  })

  test('skipped: a frame before it, or before WELCOME, ends the link', () => {
    const listener = linkOf('listener')
    feed(listener, written(linkOf('dialer')))
    expect(endOf(feed(listener, frame(KIND.QUERY, new Uint8Array(5), { id: 1 })))).toMatchObject({ by: 'violation' })
    const { dialer } = messages()
    expect(endOf(feed(dialer, frame(KIND.QUERY, new Uint8Array(5), { id: 1 })))).toMatchObject({ by: 'violation' })
  })

  test('when any byte of any message was flipped, nobody is ever paired, and nothing but known ends comes of it', () => {
    const { hello, challenge, proof, welcome } = messages()
    const flip = (bytes: Uint8Array, at: number): Uint8Array => bytes.map((byte, i) => (i === at ? byte ^ 0x41 : byte))
    for (let at = 0; at < hello.length; at++) {
      const [dialer, listener] = [linkOf('dialer'), linkOf('listener')]
      const sent = written(dialer)
      const events = feed(listener, flip(sent, at))
      if (listener.state === 'challenging') {
        feed(dialer, written(listener))
        events.push(...feed(listener, written(dialer)))
      }
      expect(
        events.map(({ type }) => type),
        `hello, byte ${at}`,
      ).not.toContain('proven')
    }
    for (let at = 0; at < challenge.length; at++) {
      const [dialer, listener] = [linkOf('dialer'), linkOf('listener')]
      feed(listener, written(dialer))
      feed(dialer, flip(written(listener), at))
      const events = feed(listener, written(dialer))
      expect(
        events.map(({ type }) => type),
        `challenge, byte ${at}`,
      ).not.toContain('proven')
    }
    for (let at = 0; at < proof.length; at++) {
      const { listener } = (() => {
        const fresh = { dialer: linkOf('dialer'), listener: linkOf('listener') }
        feed(fresh.listener, written(fresh.dialer))
        return fresh
      })()
      expect(
        feed(listener, flip(proof, at)).map(({ type }) => type),
        `proof, byte ${at}`,
      ).not.toContain('proven')
    }
    for (let at = 0; at < welcome.length; at++) {
      const { dialer } = messages()
      expect(
        feed(dialer, flip(welcome, at)).map(({ type }) => type),
        `welcome, byte ${at}`,
      ).not.toContain('welcomed')
    }
  })
})

describe('a stranger is given little', () => {
  test('a first message over 1,024 bytes is refused by its announcement', () => {
    const listener = linkOf('listener')
    expect(endOf(feed(listener, Uint8Array.of(0x50, 0x4c, 0x4e, 0x4b, 1, 0, 0x04, 0x01)))).toMatchObject({
      by: 'violation',
    })
  })

  test('a later handshake message over 1,024 bytes is refused by its header', () => {
    const listener = linkOf('listener')
    feed(listener, written(linkOf('dialer')))
    const header = frame(KIND.PROVE, new Uint8Array(0), { length: 1013 })
    expect(endOf(feed(listener, header))).toMatchObject({ by: 'violation' })
  })

  test('a hello of another length than announced', () => {
    const listener = linkOf('listener')
    const hello = written(linkOf('dialer'))
    hello[7] = (hello[7] ?? 0) + 1
    expect(endOf(feed(listener, hello))).toMatchObject({ by: 'refusing', refusal: { reason: 'protocol' } })
  })

  test.each([
    ['no instance', { instance: '0'.repeat(32) }],
    [
      'no id for a fresh session',
      { claim: { attempt: 1, session: '0'.repeat(32), received: 0, peer: '0'.repeat(32), fresh: '0'.repeat(32) } },
    ],
    ['tiny fragments', { limits: { ...helloOf('dialer').limits, fragmentBytes: 100 } }],
    ['no handlers', { limits: { ...helloOf('dialer').limits, handlersMax: 0 } }],
    ['no keepalive', { keepaliveMs: 0 }],
  ])('a hello with %s', (_what, hello) => {
    const listener = linkOf('listener')
    expect(endOf(feed(listener, written(linkOf('dialer', { hello }))))).toMatchObject({
      by: 'refusing',
      refusal: { reason: 'protocol' },
    })
  })
})
