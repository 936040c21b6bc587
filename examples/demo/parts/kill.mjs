// Part 4: the listener is killed during five calls, each at another stage. What each caller is told is compared with what the
// dead process had really done, which it wrote into a file before it went on.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { check, note, table, title } from '../text.mjs'

/** Much longer than a process takes to confirm what it got (20 ms), and to fill a pipe that nobody reads. */
const SETTLE_MS = 150
const LARGE_BYTES = 8_000_000
const TRUTHS = /** @type {const} */ ({
  nothing: 'never handled it',
  begun: 'was handling it',
  finished: 'had done the work',
})

/** @param {import('../narrator.mjs').Scene} scene */
export async function kill(scene) {
  title(4, 'SIGKILL of the listener, during five calls at different stages')
  const { listener, dialer, folder, broken } = scene
  const file = join(folder, 'done.txt')
  const begin = (
    /** @type {string} */ name,
    /** @type {import('../process.mjs').Job['way']} */ way,
    paddingBytes = 0,
  ) => dialer.run('begin', { name, file, way, paddingBytes })

  await begin('its work done, not answered', 'finish')
  await begin('waiting in its handler', 'begin')
  await listener.next('at work')
  await listener.next('at work')
  await pause(SETTLE_MS)
  // Any answer shows that the process was heard after it had time to confirm the two.
  await dialer.run('call', { method: 'pid' })
  await begin('just arrived, not confirmed', 'block')
  await listener.next('at work')
  // Nobody reads any more: of 8 MB a part goes on its way, and what comes behind it stays here.
  await begin('8 MB, partly on their way', 'begin', LARGE_BYTES)
  await pause(SETTLE_MS)
  await begin('behind them, not sent', 'begin')
  await pause(SETTLE_MS)

  if (broken !== 'kill') listener.kill()
  scene.killedAt = performance.now()
  const end = await listener.end(2000).catch(() => 'still running')
  check(end === 'SIGKILL', `Process ${listener.process.pid} was killed`, `It is ${end}.`)
  const settled = await Promise.all(Array.from({ length: 5 }, () => dialer.next('settled')))
  const told = new Set(settled.map(({ name }) => name)).size
  check(told === 5, 'Each of the five calls has ended, and its caller knows:', `Only ${told} have.`)
  const done = readFileSync(file, 'utf8').split('\n')
  /** @type {{ name: string, code: string, delivery: string | undefined, truth: keyof typeof TRUTHS }[]} */
  const rows = settled.map(({ name, error }) => ({ name, ...error, truth: truthOf(name, done) }))
  table(
    ['the call', 'its caller was told', 'the dead process'],
    rows.map(({ name, code, delivery, truth }) => [name, `${code}, ${delivery}`, TRUTHS[truth]]),
  )
  const wrong = rows.find(
    ({ delivery, truth }) => delivery === (truth === 'nothing' ? 'delivered' : 'not-sent') || delivery === undefined,
  )
  check(
    wrong === undefined,
    'Told "not-sent", it was never handled; told "delivered", the other side had it',
    `"${wrong?.name}" was told ${wrong?.delivery}, and the dead process ${wrong && TRUTHS[wrong.truth]}.`,
  )
  const kinds = ['delivered', 'not-sent', 'unknown']
  const missing = kinds.find((kind) => !rows.some(({ delivery }) => delivery === kind))
  check(missing === undefined, 'All three were seen', `Nobody was told ${missing}.`)
  note('"unknown" is the honest answer for the rest: nothing that the survivor has seen can tell.')
}

/** @returns {keyof typeof TRUTHS} what the file says of the call */
function truthOf(/** @type {string} */ name, /** @type {string[]} */ done) {
  if (done.includes(`${name} finished`)) return 'finished'
  return done.includes(`${name} begun`) ? 'begun' : 'nothing'
}
