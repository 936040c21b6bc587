/** What a Connection makes of encryption: where it may go, what it warns of, what it never tells. */
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Reach, Transport } from '../../core/src/index.js'
import { Connection } from '../../core/src/index.js'
import { failure, World, type Options } from '../../core/test/connection/world.js'
import { aes256gcm, custom } from '../src/index.js'
import { naive } from './naive.js'

const KEY = new Uint8Array(32).fill(0x5a)
const sealed = aes256gcm(KEY)
const own = custom(naive(1))
const echo = { onQuery: (query: unknown) => query }
const LONG = 'this-secret-has-32-bytes-or-more'

function at(world: World, reach: Reach, encrypted = false): { transport: Transport } {
  return { transport: { ...world.address.transport(), reach, encrypted } }
}

const warnings = (world: World): string[] =>
  world.logs.filter(({ level }) => level === 'warn').map(({ message }) => message)

describe('an address beyond this host', () => {
  test('is NOT_LOCAL without encryption, and nothing is dialled or bound', async () => {
    const world = new World()
    let touched = 0
    world.address.onDial = () => {
      touched++
      return undefined
    }
    const a = world.make({ ...echo, ...at(world, 'network'), encryption: undefined })
    expect((await failure(a.connect())).code).toBe('NOT_LOCAL')
    expect([touched, world.address.listenCount, a.state]).toEqual([0, 0, 'idle'])
    await world.end()
  })

  test.each<[string, Options, boolean]>([
    ['aes256gcm', { encryption: sealed }, false],
    ['a cipher of the own', { encryption: own }, false],
    ['TLS below', { encryption: undefined }, true],
    ['both', { encryption: sealed }, true],
  ])('is met at with %s', async (_, options, encrypted) => {
    const world = new World()
    const make = () => ({ ...echo, ...options, ...at(world, 'network', encrypted), secret: LONG })
    const [a] = await world.pair(make(), make())
    expect(await a.query('hello')).toBe('hello')
    await world.end()
  })
})

describe('a short secret', () => {
  test.each<[string, Reach, boolean, Options, number]>([
    ['that others of this host can reach', 'host', false, {}, 1],
    ['on the network with a cipher of the own, whose proof travels in clear', 'network', false, { encryption: own }, 1],
    ['with a key of 32 bytes beside it', 'host', false, { encryption: sealed }, 0],
    ['behind TLS', 'network', true, {}, 0],
    ['where only this user can go', 'user', false, {}, 0],
    ['of 16 bytes', 'host', false, { secret: '0123456789abcdef' }, 0],
  ])('%s: %s', async (_, reach, encrypted, options, count) => {
    const world = new World()
    const a = world.make({
      ...echo,
      secret: 'short',
      encryption: undefined,
      ...at(world, reach, encrypted),
      ...options,
    })
    await a.connect({ until: 'started' })
    expect(warnings(world)).toHaveLength(count)
    for (const message of warnings(world)) {
      expect(message).toContain('short enough to be guessed')
      expect(message).toContain('16 random bytes')
      expect(message).not.toContain("'short'")
    }
    await world.end()
  })

  test('is warned of once, however often one connects', async () => {
    const world = new World()
    const a = world.make({ ...echo, secret: 'short', encryption: undefined, ...at(world, 'host') })
    for (let round = 0; round < 3; round++) {
      const stop = new AbortController()
      const connecting = a.connect({ signal: stop.signal })
      await world.clock.settle()
      stop.abort()
      await failure(connecting)
      await world.clock.settle()
    }
    expect(warnings(world)).toHaveLength(1)
    await world.end()
  })
})

describe('keys and secrets', () => {
  test('are in no log, error, inspection, snapshot or JSON', async () => {
    const world = new World()
    const marks = [
      'ZZ',
      Buffer.from(KEY).toString('hex'),
      Buffer.from(KEY).toString('base64'),
      '90, 90, 90',
      'very-secret',
    ]
    const options = { ...echo, secret: 'very-secret', encryption: sealed, logQueries: true, logKeepalives: true }
    const [a, b] = await world.pair(options)
    await a.query('ZZ')
    const wrong = world.make({ ...options, encryption: aes256gcm(new Uint8Array(32).fill(1)) })
    const refused = await failure(wrong.connect())
    const told = [
      inspect(a, { depth: 20, showHidden: true }),
      inspect(sealed, { depth: 20, showHidden: true }),
      JSON.stringify([a, a.stats(), sealed, options.encryption]),
      inspect(a.stats(), { depth: 20 }),
      inspect(refused, { depth: 20, showHidden: true }),
      inspect(world.logs, { depth: 20, maxArrayLength: Infinity }),
    ].join('\n')
    for (const mark of marks) expect(told).not.toContain(mark)
    expect(refused.code).toBe('SECRET_MISMATCH')
    expect(b.state).toBe('paired')
    await world.end()
  })

  test('what is no encryption is a TypeError that shows nothing of it', () => {
    const world = new World()
    const transport = world.address.transport()
    for (const encryption of [
      KEY,
      'very-secret',
      {},
      { mode: 'sealed' },
      { mode: 'custom', encrypt: () => KEY },
      null,
    ]) {
      const make = (): unknown => new Connection({ transport, secret: 's', encryption: encryption as never })
      expect(make).toThrow(TypeError)
      expect(make).not.toThrow(/90|very-secret/)
    }
  })
})
