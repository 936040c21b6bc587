// Part 3: the link breaks in the middle of a large answer and of five calls. Nobody is told a failure: the two meet again, and
// everything goes on where it stopped.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { check, ms, note, title } from '../text.mjs'

const BYTES = 8_000_000
const CALLS = ['one', 'two', 'three', 'four', 'five']

/** @param {import('../narrator.mjs').Scene} scene */
export async function cut({ folder, listener, dialer }) {
  title(3, 'The link is cut in the middle of an 8 MB answer and of five calls')
  const file = join(folder, 'cut.txt')
  for (const child of [listener, dialer]) child.forget()
  for (const name of CALLS) {
    await dialer.run('begin', { name, file, way: 'wait', paddingBytes: 0 })
    await listener.next('at work')
  }
  note('Five calls are in their handlers, which do not answer yet.')
  await dialer.run('cutAfter', { bytes: BYTES / 2 })
  const fetching = dialer.run('fetch', { size: BYTES }).catch((error) => ({ code: error.code }))
  const losses = await Promise.all([listener, dialer].map((child) => child.next('apart')))
  const cutAt = performance.now()
  check(
    losses.every(({ error }) => error?.code === 'PEER_LOST'),
    'After 4 MB of the answer the pipe was destroyed, and both noticed',
    `They were told ${JSON.stringify(losses)}.`,
  )
  const met = await Promise.all([listener, dialer].map((child) => child.next('paired')))
  note(`${ms(performance.now() - cutAt)} later they have met again. Now the five handlers answer.`)
  await listener.run('release')

  const { code = 'answered', arrived, sum } = await fetching
  const settled = await Promise.all(CALLS.map(() => dialer.next('settled')))
  const failed = [code, ...settled.map(({ error }) => error.code)].filter((outcome) => outcome !== 'answered')
  check(
    failed.length === 0,
    'All six were answered, and none of their callers was told a failure',
    `${failed.length} of 6 failed: ${failed.join(', ')}.`,
  )
  const given = await dialer.run('call', { method: 'checksum' })
  check(
    arrived === BYTES && sum === given,
    `The 8 MB are those that were sent: the same SHA-256 (${given.slice(0, 12)}…)`,
    `${arrived} bytes arrived, with the SHA-256 ${sum} instead of ${given}.`,
  )
  const handled = readFileSync(file, 'utf8').trim().split('\n').sort().join()
  const once = CALLS.map((name) => `${name} begun`)
  check(
    handled === once.sort().join(),
    'Each of the five was handled once, and not a second time after the cut',
    `There was: ${handled}.`,
  )
  check(
    met.every(({ resumed }) => resumed === true),
    'Both were told that it is the session of before: resumed',
    'It is a new one.',
  )
}
