// Part 5: nobody has to clean up after the killed process: the one that is left takes its place, and the next one finds it there.
import { start } from '../children.mjs'
import { check, ms, title } from '../text.mjs'

/** How long a pair may take to be whole again after a kill. */
const WHOLE_AGAIN_MS = 5500

/** @param {import('../narrator.mjs').Scene} scene */
export async function successor(scene) {
  title(5, 'The survivor takes the place, and a new process joins')
  const { path, secret, killedAt, dialer: survivor } = scene
  await survivor.next('listening', WHOLE_AGAIN_MS)
  const listeningMs = performance.now() - killedAt
  check(
    listeningMs < WHOLE_AGAIN_MS,
    `${ms(listeningMs)} after the kill process ${survivor.process.pid} listens in its place`,
    `It took ${ms(listeningMs)}.`,
  )
  const newcomer = await start('the new one')
  const role = await newcomer.run('meet', { path, secret })
  const pairedMs = performance.now() - killedAt
  check(
    pairedMs < WHOLE_AGAIN_MS && role === 'dialer',
    `${ms(pairedMs)} after the kill the new process ${newcomer.process.pid} has joined it`,
    `It is the ${role}, after ${ms(pairedMs)}.`,
  )
  const sum = await survivor.run('call', { method: 'add', input: { a: 1, b: 2 } })
  check(sum === 3, 'and they ask each other as before', `1 + 2 was ${sum}.`)
  scene.listener = survivor
  scene.dialer = newcomer
}
