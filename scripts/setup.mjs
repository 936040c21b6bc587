// What every command of the repository needs first, done only where it is not done already: the dependencies as the lockfile
// names them, and what has changed since the last build. One line is printed for each step. The second time no network is
// needed.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stampFile = join(root, 'node_modules', '.cache', 'pairlink-installed')
/** Tools that would tell their makers that they were used are asked not to. */
export const quietEnvironment = {
  ...process.env,
  TURBO_TELEMETRY_DISABLED: '1',
  DO_NOT_TRACK: '1',
  TURBO_NO_UPDATE_NOTIFIER: '1',
}

/** @param {'packages' | 'all' | 'nothing'} build what to build; `all` has the documentation site in it */
export function setUp(build = 'packages') {
  checkNode()
  install()
  if (build !== 'nothing') {
    const filter = build === 'packages' ? ['--filter=./packages/*'] : []
    step('Building what has changed', bin('turbo'), ['run', 'build', '--output-logs=errors-only', ...filter])
  }
}

/** The path of a development tool's program. @param {string} name */
export function bin(name) {
  return join(root, 'node_modules', '.bin', process.platform === 'win32' ? `${name}.cmd` : name)
}

/** Runs a program in the repository's root with the terminal's own streams, and exits with its code. @param {string[]} args */
export function runAndExit(/** @type {string} */ program, args) {
  const { status } = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...quietEnvironment, ...process.env },
  })
  process.exit(status ?? 1)
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  process.stderr.write(`pairlink needs Node.js 20.19 or newer; this is ${process.versions.node}.\n`)
  process.exit(1)
}

function install() {
  const lockfile = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === lockfile) return
  step('Installing what the lockfile names', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  mkdirSync(dirname(stampFile), { recursive: true })
  writeFileSync(stampFile, lockfile)
}

/** Runs one step; its output is shown only when it fails, which ends everything. @param {string[]} args */
function step(/** @type {string} */ title, /** @type {string} */ program, args) {
  process.stdout.write(`${title} … `)
  const startedAt = performance.now()
  const shell = process.platform === 'win32'
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: root,
    env: quietEnvironment,
    encoding: 'utf8',
    shell,
  })
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  process.stdout.write(`${status === 0 ? 'done' : 'failed'} (${seconds} s)\n`)
  if (status === 0) return
  process.stderr.write(`${stdout}${stderr}${error ? String(error) : ''}\n`)
  process.exit(1)
}
