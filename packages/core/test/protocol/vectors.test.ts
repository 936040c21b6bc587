import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { ProtocolEvent } from '../../src/protocol/index.js'
import { feed, linkOf, opened, written } from './links.js'
import { frameVectors, handshakeVectors, outcomeOf, sessionVectors } from './make-vectors.js'

const UPDATE = process.env['UPDATE_VECTORS'] === '1'

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

describe.each([
  ['frames.json', frameVectors],
  ['handshake.json', handshakeVectors],
  ['session.json', sessionVectors],
])('vectors/%s', (name, make) => {
  const path = fileURLToPath(new URL(`../../../../vectors/${name}`, import.meta.url))
  test('is what the protocol makes of the fixed values', () => {
    const made = `${JSON.stringify(make(), null, 2)}\n`
    if (UPDATE) writeFileSync(path, made)
    expect(readFileSync(path, 'utf8')).toBe(made)
  })
})

describe('the vectors, read by a link', () => {
  const { good, bad } = frameVectors() as {
    good: { what: string; bytes: string }[]
    bad: { what: string; section: string; bytes: string }[]
  }

  test.each(good.map(({ what, bytes }) => [what, bytes]))('good: %s', (_what, hex) => {
    const { listener } = opened()
    expect(feed(listener, bytesOf(hex)).map(({ type }) => type)).not.toContain('ended')
    expect(listener.state).not.toBe('ended')
  })

  test.each(bad.map(({ what, section, bytes }) => [what, section, bytes]))(
    'bad: %s breaks section %s',
    (_what, section, hex) => {
      const { listener } = opened()
      const end = feed(listener, bytesOf(hex)).at(-1)
      if (end?.type !== 'ended' || end.end.by !== 'violation')
        throw new Error(`expected a violation, saw ${outcomeOf(end)}`)
      expect(end.end.error).toMatchObject({ section })
    },
  )

  const { messages, bad: badHandshakes } = handshakeVectors() as {
    messages: Record<string, string>
    bad: { what: string; dialer: string; outcome: string; answer: string }[]
  }

  test('the handshake of the vectors opens a link that has their values', () => {
    const listener = linkOf('listener')
    const events: ProtocolEvent[] = feed(listener, bytesOf(messages['dialerHello'] ?? ''))
    expect(Buffer.from(written(listener)).toString('hex')).toBe(messages['listenerHello'])
    events.push(...feed(listener, bytesOf(messages['prove'] ?? '')))
    expect(events.map(({ type }) => type)).toEqual(['proven'])
  })

  test.each(badHandshakes.map(({ what, dialer, outcome, answer }) => [what, outcome, dialer, answer]))(
    'bad handshake: %s ends as %s',
    (_what, outcome, dialer, answer) => {
      const listener = linkOf('listener')
      const end = feed(listener, bytesOf(dialer)).at(-1)
      expect(outcomeOf(end)).toBe(outcome)
      expect(outcome).not.toBe('nothing')
      expect(Buffer.from(written(listener)).toString('hex')).toBe(answer)
      // Whoever was answered was refused in clear, and reads why.
      if (answer !== '')
        expect(outcomeOf(feed(linkOf('dialer', { hello: { instance: 'e'.repeat(32) } }), bytesOf(answer)).at(-1))).toBe(
          outcome.replace('refusing', 'refused'),
        )
    },
  )
})
