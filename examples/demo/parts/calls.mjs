// Part 2: what two paired processes can do for each other: calls in both directions, and many bytes which small calls overtake.
import { take } from '../children.mjs'
import { check, ms, note, title } from '../text.mjs'

const BYTES = 8_000_000

/** @param {import('../narrator.mjs').Scene} scene */
export async function calls(scene) {
  title(2, 'Two processes of one program ask each other')
  const { path, secret, broken } = scene
  // Without a time to come back in, a session ends with its link.
  const options = broken === 'cut' ? { resumeWindowMs: 0 } : {}
  const listener = (scene.listener = await take(scene.waiting, 'the first'))
  await listener.run('meet', { path, secret, until: 'started', options })
  const dialer = (scene.dialer = await take(scene.waiting, 'the second'))
  await dialer.run('meet', { path, secret, options })
  note(`Process ${listener.process.pid} came first and listens, process ${dialer.process.pid} found it.`)

  const sums = await Promise.all(
    [listener, dialer].map((child, at) => child.run('call', { method: 'add', input: { a: 40, b: at + 1 } })),
  )
  check(sums.join() === '41,42', 'Each asked the other to add, and got the sum', `They got ${sums.join(' and ')}.`)
  const answer = await dialer.run('call', { method: 'whoAsks' })
  const expected = `a process with the id ${dialer.process.pid}`
  check(
    answer === expected,
    `"Who asks?" was answered by asking back: "${answer}"`,
    `It should have been "${expected}".`,
  )

  const { arrived, ms: tookMs, answers, slowestMs, sent, kept } = await dialer.run('overtake', { size: BYTES })
  const speed = Math.round(BYTES / 1e3 / tookMs)
  check(
    arrived === BYTES && sent === kept,
    `8 MB arrived in ${ms(tookMs)} (${speed} MB/s), with the same SHA-256 (${sent.slice(0, 12)}…)`,
    `${arrived} bytes arrived, with the SHA-256 ${kept} instead of ${sent}.`,
  )
  check(
    answers > 0,
    `${answers} small calls were answered before those 8 MB were; the slowest took ${ms(slowestMs)}`,
    'None was answered before.',
  )
}
