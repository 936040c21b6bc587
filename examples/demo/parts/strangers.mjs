// Part 6: whoever does not belong to the pair is told why, and the pair goes on without noticing.
import { take } from '../children.mjs'
import { check, ms, note, title } from '../text.mjs'

/** Who is turned away knows it long before. */
const TURNED_AWAY_MS = 3000

/** @param {import('../narrator.mjs').Scene} scene */
export async function strangers({ path, secret, broken, waiting, listener, dialer }) {
  title(6, 'A third process, and one with another secret')
  const [third, stranger] = await Promise.all([
    take(waiting, 'the third'),
    take(waiting, 'the one with another secret'),
  ])
  // What was reported until now belongs to the parts before.
  listener.forget()
  await dialer.run('ask')

  const thirdPath = broken === 'third' ? `${path}-other` : path
  const thirdCode = await toldTo(third, { path: thirdPath, secret })
  check(thirdCode === 'PAIR_BUSY', 'The third process was told PAIR_BUSY', `It was told ${thirdCode}.`)
  check(await hasRefused(listener, 'busy'), 'and the listener says whom it refused: "busy"', 'It does not.')

  const strangerSecret = broken === 'secret' ? secret : 'another-secret'
  const strangerCode = await toldTo(stranger, { path, secret: strangerSecret })
  check(
    strangerCode === 'SECRET_MISMATCH',
    'The one with another secret was told SECRET_MISMATCH',
    `It was told ${strangerCode}.`,
  )
  check(await hasRefused(listener, 'secret'), 'and the listener says: "secret"', 'It does not.')
  note('(The secret is judged first: who does not hold it is not even told that the pair is full.)')

  const { answers, slowestMs } = await dialer.run('stopAsking')
  const disturbances = [listener, dialer].flatMap((child) => [...child.all('apart'), ...child.all('asking failed')])
  check(
    disturbances.length === 0 && answers > 0,
    `Meanwhile the pair answered ${answers} calls, the slowest in ${ms(slowestMs)}, and lost none`,
    `${answers} calls were answered; ${JSON.stringify(disturbances)}`,
  )
  for (const child of [third, stranger]) {
    await child.run('leave')
    await child.run('endByItself')
  }
  const ends = await Promise.all([third.end(), stranger.end()])
  check(ends.join() === '0,0', 'Both ended by themselves', `They ended with ${ends.join(' and ')}.`)
}

/** @returns {Promise<string>} the code of the error that it was told, or that it was let in */
async function toldTo(/** @type {import('../children.mjs').Child} */ child, /** @type {object} */ input) {
  try {
    return `nothing: it is the ${await child.run('meet', { ...input, timeoutMs: TURNED_AWAY_MS })}`
  } catch (error) {
    return /** @type {any} */ (error).code ?? /** @type {Error} */ (error).message
  }
}

/** Whether the listener says so: possibly a moment later than who was refused, or more than once, as they ask again. */
async function hasRefused(/** @type {import('../children.mjs').Child} */ listener, /** @type {string} */ reason) {
  try {
    while ((await listener.next('refused', 1000))['reason'] !== reason);
    return true
  } catch {
    return false
  }
}
