// narrator.mjs: what `npm start` shows. It starts real processes, tells what they do, and checks everything that it tells:
// the first thing that is not so ends it with exit code 1. `--break` spoils one part on purpose, so that it can be seen to
// be noticed.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { killAll } from './children.mjs'
import { paint, say } from './text.mjs'
import { cleanClose } from './parts/close.mjs'
import { calls } from './parts/calls.mjs'
import { cut } from './parts/cut.mjs'
import { kill } from './parts/kill.mjs'
import { simultaneousStart } from './parts/start.mjs'
import { strangers } from './parts/strangers.mjs'
import { successor } from './parts/successor.mjs'

/**
 * What the parts share. `listener` and `dialer` are the present pair.
 * @typedef {object} Scene
 * @property {string} folder
 * @property {string} path
 * @property {string} secret
 * @property {string | undefined} broken
 * @property {number} killedAt
 * @property {import('./children.mjs').Child[]} waiting started, and in no pair
 * @property {import('./children.mjs').Child} listener
 * @property {import('./children.mjs').Child} dialer
 */

const WHOLE_MS = 15_000
const BREAKS = ['cut', 'kill', 'third', 'secret']
const EXIT_CODES = /** @type {const} */ ({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })

const [argument, ...others] = process.argv.slice(2)
const broken = BREAKS.find((name) => argument === `--break=${name}`)
if ((argument !== undefined && broken === undefined) || others.length > 0) {
  process.stderr.write(`Usage: npm start [-- --break=${BREAKS.join('|')}]\n`)
  process.exit(2)
}

const startedAt = performance.now()
// The paths of sockets must be short.
const folder = mkdtempSync(join(tmpdir(), 'plk-demo-'))
let isEnding = false

/** No process and no file stays, however it ends. */
async function end(/** @type {number} */ code, reason = '') {
  if (isEnding) return
  isEnding = true
  const complaints = await killAll()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
  if (reason !== '') say(`\n${paint('red', `✗ ${reason}`)}`)
  if (reason !== '' && complaints !== '') say(complaints)
  process.exit(code)
}

for (const [signal, code] of Object.entries(EXIT_CODES)) process.on(signal, () => void end(code))
process.on('uncaughtException', (error) => void end(1, error.stack ?? error.message))
process.stdout.on('error', () => void end(1)) // nobody reads any more
setTimeout(() => void end(1, `The demonstration took longer than ${WHOLE_MS / 1000} seconds.`), WHOLE_MS)

/** @type {Partial<Scene>} */
const begun = { folder, path: join(folder, 'pairlink.sock'), secret: 'super-secret', broken, waiting: [] }
const scene = /** @type {Scene} */ (begun) // each part adds what those after it need
try {
  for (const part of [simultaneousStart, calls, cut, kill, successor, strangers, cleanClose]) {
    await part(scene)
  }
  say()
  say(paint('bold', `All of it was checked, in ${((performance.now() - startedAt) / 1000).toFixed(1)} seconds.`))
  await end(0)
} catch (error) {
  await end(1, error instanceof Error ? error.message : String(error))
}
