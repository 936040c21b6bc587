// Part 1: many processes start at the same moment, where a killed one has left its socket file. First with the recipe that
// is usual, where it is a matter of luck, then with pairlink.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { start } from '../children.mjs'
import { check, note, say, table, title } from '../text.mjs'

const PROCESSES = 10
const ROUNDS_MAX = 10
const ROUNDS_MIN = 3
/** On a busy machine fewer rounds must do: none begins after so long. */
const BEGIN_WITHIN_MS = 2500
/** So far ahead lies the moment at which all begin: long enough that each has been told of it. */
const AHEAD_MS = 30

/** @param {import('../narrator.mjs').Scene} scene */
export async function simultaneousStart(scene) {
  const { folder, secret } = scene
  const startedAt = performance.now()
  title(1, `${PROCESSES} processes start at once, again and again, and each time a dead one has left its socket file`)
  note('The usual recipe: bind; if the address is in use, connect; if that is refused, remove the file and bind.')
  say()
  const rounds = Array.from({ length: ROUNDS_MAX }, (_, round) => ({
    recipePath: join(folder, `usual-${round}.sock`),
    pairlinkPath: join(folder, `pairlink-${round}.sock`),
  }))
  const dead = await start('a process that dies')
  await dead.run('stale', { paths: rounds.flatMap(({ recipePath, pairlinkPath }) => [recipePath, pairlinkPath]) })
  dead.kill()
  const [processes] = await Promise.all([
    Promise.all(Array.from({ length: PROCESSES }, (_, at) => start(`starter ${at + 1}`))),
    dead.end(),
  ])

  const usual = []
  const paired = []
  for (const { recipePath, pairlinkPath } of rounds) {
    if (usual.length >= ROUNDS_MIN && performance.now() - startedAt > BEGIN_WITHIN_MS) {
      rmSync(pairlinkPath) // that of the dead process, as nobody will take it over
      continue
    }
    usual.push(await together(processes, 'recipe', { path: recipePath }))
    paired.push(await together(processes, 'meet', { path: pairlinkPath, secret }))
  }
  const counts = [usual, paired].map((outcomes) => outcomes.map(listenersIn))
  table(
    ['listeners in round', ...usual.map((_, round) => String(round + 1))],
    ['the usual recipe', 'pairlink'].map((name, which) => [name, ...(counts[which] ?? []).map(String)]),
    (cell) => Number(cell) > 1,
  )
  const split = usual.filter((outcomes) => listenersIn(outcomes) > 1).length
  note(
    `The usual recipe made two listeners or more, which do not know of each other, in ${split} of ${usual.length} rounds.`,
  )
  note(split === 0 ? 'That was luck: run it again.' : 'How often is a matter of luck.')
  const expected = describe(['listener', 'dialer', ...Array(PROCESSES - 2).fill('PAIR_BUSY')])
  const odd = paired.findIndex((outcomes) => describe(outcomes) !== expected)
  check(
    odd === -1,
    `pairlink made one pair in each round, never a second listener, and told the other ${PROCESSES - 2} PAIR_BUSY`,
    `Round ${odd + 1}: ${describe(paired[odd] ?? [])}.`,
  )
  // Some go on in the next parts: on a busy machine starting a process is what takes longest.
  for (const child of processes) child.forget()
  scene.waiting = processes.splice(0, 4)
  for (const child of processes) child.process.stdin.end()
  await Promise.all(processes.map((child) => child.end()))
}

/** All do it at the same moment, and end it when the last one knows its outcome. */
async function together(
  /** @type {import('../children.mjs').Child[]} */ processes,
  /** @type {string} */ command,
  /** @type {object} */ input,
) {
  const at = Date.now() + AHEAD_MS
  const outcomes = await Promise.all(
    processes.map((child) =>
      child.run(command, { ...input, at }).catch((error) => String(error.code ?? error.message)),
    ),
  )
  await Promise.all(processes.map((child) => child.run('leave')))
  return outcomes
}

const listenersIn = (/** @type {string[]} */ outcomes) => outcomes.filter((outcome) => outcome === 'listener').length

/** @returns {string} such as '1 listener, 1 dialer, 8 PAIR_BUSY' */
function describe(/** @type {string[]} */ outcomes) {
  const names = [...new Set(['listener', 'dialer', ...outcomes])]
  return names.map((name) => `${outcomes.filter((outcome) => outcome === name).length} ${name}`).join(', ')
}
