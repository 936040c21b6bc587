import { expect, test } from 'vitest'
import { Connection } from '../../src/index.js'
import { encryptionInUse } from './encryption.js'
import { MemoryAddress } from './memory.js'

test('two connections of the same program pair, ask each other and end', async () => {
  const address = new MemoryAddress()
  const make = () =>
    new Connection({
      transport: address.transport(),
      secret: 's',
      ...encryptionInUse(),
      onQuery: (q) => (q === 'hello' ? 'world' : q),
      logger: {
        error: (...a) => {
          console.error(...a)
        },
      },
    })
  const a = make()
  const b = make()
  await Promise.all([a.connect(), b.connect()])
  expect(await a.query('hello')).toBe('world')
  expect(await b.query('hello')).toBe('world')
  const big = new Uint8Array(3_000_000).map((_, i) => i * 7)
  expect(Buffer.compare((await b.query(big)) as Uint8Array, big)).toBe(0)
  expect(await a.query({ a: [1, null, 'x'] })).toEqual({ a: [1, null, 'x'] })
  await Promise.all(
    Array.from({ length: 5000 }, async (_, i) => {
      expect(await a.query(`q${i}`)).toBe(`q${i}`)
    }),
  )
  await Promise.all([a.close(), b.close()])
  expect(a.state).toBe('closed')
})
