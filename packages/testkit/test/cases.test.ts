/** The list of cases: what is skipped says why, ids do not change, and a failure says which sentence is broken. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { listSkipped, memory, TransportFault, transportCases } from '../src/index.js'
import { MANIFEST, placeOf } from './memory-place.js'

const place = () => placeOf(memory())
/** What the manifest of another transport may say. */
const POOR = {
  ...MANIFEST,
  listens: 'listener',
  dials: 'dialer',
  tellsTaken: false,
  manyPipes: false,
  halfClose: false,
  enoughBytes: false,
  holder: false,
  canBeLost: false,
  goesStale: false,
} as const

test('the documentation lists the cases; an id that stands there never changes', () => {
  const page = readFileSync(new URL('../../../apps/docs/conformance.md', import.meta.url), 'utf8')
  const [, listed = ''] = page.split('## The cases')
  const rows = [...listed.matchAll(/^\| `([a-z-]+)` \| (.*) \|$/gm)].map(([, id, title]) => [id, title])
  expect(rows).toEqual(transportCases(place, MANIFEST).map(({ id, title }) => [id, title]))
})

test('each title is a sentence of its own', () => {
  const titles = transportCases(place, MANIFEST).map(({ title }) => title)
  expect(new Set(titles).size).toBe(titles.length)
  for (const title of titles) expect(title).toMatch(/\.$/)
})

test('what a manifest denies is skipped, and each skipped case says why', () => {
  const { encryption, ...poorest } = POOR
  expect(encryption).toBeDefined()
  const skipped = transportCases(place, poorest).filter(({ skip }) => skip !== undefined)
  expect(skipped.length).toBeGreaterThan(20)
  const text = listSkipped(transportCases(place, poorest))
  expect(text).toContain(
    `${skipped.length} of ${transportCases(place, poorest).length} cases of the contract do not run`,
  )
  for (const { id, skip } of skipped) expect(text).toContain(`  ${id}: ${skip}`)
})

test('an exception is skipped with its reason; one for a case that does not exist is a TypeError', () => {
  const cases = transportCases(place, { ...MANIFEST, except: { order: 'it is a bag' } })
  expect(cases.find(({ id }) => id === 'order')?.skip).toBe('it is a bag')
  expect(() => transportCases(place, { ...MANIFEST, except: { ordre: 'it is a bag' } })).toThrow(TypeError)
})

test('a case that takes too long says what it waited for, and which sentence of the contract is broken', async () => {
  const deaf = () => ({
    ...place(),
    listener: () => ({ ...memory().transport(), dial: () => new Promise<never>(() => {}) }),
  })
  const one = transportCases(deaf, MANIFEST, { caseMs: 100 }).find(({ id }) => id === 'dial-with-nobody-there')
  const error: unknown = await one?.run().catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(TransportFault)
  expect((error as Error).message).toBe(
    "dial-with-nobody-there: after 100 ms it still waited for dial() to settle. The contract says: dial resolves to 'absent' when surely nobody listens.",
  )
})

test('what a manifest claims and a place lacks is told', async () => {
  const one = transportCases(() => ({ listener: () => memory().transport() }), MANIFEST).find(
    ({ id }) => id === 'stale-address',
  )
  await expect(one?.run()).rejects.toThrow("the manifest says 'goesStale', and the place has no leaveStale()")
})
