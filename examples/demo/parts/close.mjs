// Part 7: one of the pair closes. The other one hears the goodbye, both end, and no socket file stays of any pair before.
import { readdirSync } from 'node:fs'
import { check, title } from '../text.mjs'

/** @param {import('../narrator.mjs').Scene} scene */
export async function cleanClose({ folder, listener, dialer }) {
  title(7, 'One says goodbye')
  await Promise.all([listener.run('endByItself'), dialer.run('endByItself')])
  await dialer.run('leave')
  const ends = await Promise.all([listener.end(), dialer.end()])
  check(ends.join() === '0,0', 'Both ended by themselves, with code 0', `They ended with ${ends.join(' and ')}.`)
  // The lock file stays: removing it is what would let two processes hold the same lock.
  const left = readdirSync(folder).filter((name) => name.startsWith('pairlink') && !name.endsWith('.lock'))
  check(left.length === 0, 'and of all pairs until now no socket file is left', `There is ${left.join(', ')}.`)
}
