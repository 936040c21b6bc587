// `npm test`: everything that must hold for a change to land. It sets up what is needed, then runs the stages below, two at a
// time as long as they do not disturb each other, prints a line for each and the whole output of those that fail.
//
//   npm test -- --list          names the stages
//   npm test -- --only unit     runs one; may be given more than once
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { publishedPackages } from './packages.mjs'
import { bin, quietEnvironment, root, setUp } from './setup.mjs'

/**
 * @typedef {object} Stage
 * @property {string} name
 * @property {string} shows what must hold
 * @property {[program: string, ...args: string[]][]} commands run one after another
 * @property {boolean} [alone] nothing may run beside it: it measures, or starts many processes
 * @property {string} [report] where vitest writes how many tests there were
 */

const { values: options } = parseArgs({
  options: { only: { type: 'string', multiple: true }, list: { type: 'boolean', default: false } },
})
const reports = mkdtempSync(join(tmpdir(), 'pairlink-reports-'))
const packages = publishedPackages()
const node = process.execPath
const script = (/** @type {string} */ name) => join(root, 'scripts', name)
const vitest = (/** @type {string} */ name, /** @type {string[]} */ ...args) => ({
  commands: [
    /** @type {[string, ...string[]]} */ ([
      bin('vitest'),
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${join(reports, `${name}.json`)}`,
      ...args,
    ]),
  ],
  report: join(reports, `${name}.json`),
})

/** @type {Stage[]} */
const stages = [
  // The longest that others may run beside come first.
  { name: 'unit', shows: 'the packages do what they say, in virtual time', ...vitest('unit') },
  {
    name: 'tarballs',
    shows: 'the packed packages work in empty folders',
    commands: [[node, script('tarballs.mjs')]],
  },
  { name: 'format', shows: 'the code is formatted', commands: [[bin('prettier'), '--check', '--log-level=warn', '.']] },
  { name: 'lint', shows: 'no lint, and the protocol is pure', commands: [[bin('eslint'), '.', '--max-warnings=0']] },
  {
    name: 'types',
    shows: 'the tests and the type tests compile',
    commands: packages.map(({ folder }) => [bin('tsc'), '-p', join(folder, 'test')]),
  },
  { name: 'unused', shows: 'no file, export or dependency is unused', commands: [[bin('knip'), '--no-progress']] },
  { name: 'api', shows: 'the public surface is the one of the reports', commands: [[node, script('api-reports.mjs')]] },
  {
    name: 'publint',
    shows: 'the packages are fit to publish',
    commands: packages.map(({ folder }) => [bin('publint'), '--strict', folder]),
  },
  {
    name: 'type-resolution',
    shows: 'types resolve for ES modules and CommonJS',
    commands: packages.map(({ folder }) => [bin('attw'), '--pack', folder, '--profile', 'node16', '--quiet']),
  },
  { name: 'size', shows: 'the packages stay small', commands: [[node, script('size.mjs')]] },
  {
    name: 'version',
    shows: 'the next release is no accidental 1.0.0',
    commands: [[node, script('version-dry-run.mjs')]],
  },
  {
    name: 'docs',
    shows: 'the documentation builds and has no dead link',
    commands: [[bin('turbo'), 'run', 'build', '--filter=@pairlink/docs', '--output-logs=errors-only']],
  },
  {
    name: 'sim',
    shows: 'whole processes keep every promise in 20,000 simulated sessions, half of them never seen before',
    commands: [
      [node, script('sim.mjs'), '--built', '--seed', '1', '--count', '10000'],
      [node, script('sim.mjs'), '--built', '--count', '10000'],
    ],
    alone: true,
  },
  {
    name: 'e2e',
    shows: 'real processes find, ask and leave each other',
    ...vitest('e2e', '--root', join(root, 'e2e')),
    alone: true,
  },
]

if (options.list) {
  for (const { name, shows } of stages) console.log(`${name.padEnd(16)} ${shows}`)
  process.exit(0)
}
const wanted = options.only === undefined ? stages : stages.filter(({ name }) => options.only?.includes(name))
if (wanted.length === 0) {
  console.error(`No such stage; there are: ${stages.map(({ name }) => name).join(', ')}`)
  process.exit(1)
}

setUp('packages')
console.log()
/** @type {Set<Stage>} */
const started = new Set()
let passed = 0
let failed = 0
/** @type {string[]} */
const failures = []
await Promise.all([
  lane(wanted.filter(({ alone }) => alone !== true)),
  lane(wanted.filter(({ alone }) => alone !== true)),
])
for (const stage of wanted.filter(({ alone }) => alone === true)) await run(stage)
rmSync(reports, { recursive: true, force: true })
for (const output of failures) console.log(output)
console.log(`\npairlink: ${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0

/** Both lanes take from the same list. */
async function lane(/** @type {Stage[]} */ list) {
  for (const stage of list) {
    if (started.has(stage)) continue
    started.add(stage)
    await run(stage)
  }
}

async function run(/** @type {Stage} */ stage) {
  const startedAt = performance.now()
  let output = ''
  let isGood = true
  for (const [program, ...args] of stage.commands) {
    const result = await capture(program, args)
    output += result.output
    isGood &&= result.code === 0
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)
  const counts = count(stage, isGood)
  passed += counts.passed
  failed += counts.failed
  const tests = stage.report === undefined ? '' : ` (${counts.passed} passed, ${counts.failed} failed)`
  console.log(`${isGood ? 'ok    ' : 'FAILED'} ${seconds} s  ${stage.name.padEnd(16)} ${stage.shows}${tests}`)
  for (const line of output.split('\n'))
    if (/^(SKIPPED|MEASURED|sessions) /.test(line.trim())) console.log(`                  ${line.trim()}`)
  if (!isGood) failures.push(`\n=== ${stage.name} ===\n${output}`)
}

/** A stage counts as one check, or as the tests that it ran. @returns {{ passed: number, failed: number }} */
function count(/** @type {Stage} */ stage, /** @type {boolean} */ isGood) {
  if (stage.report !== undefined) {
    try {
      const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(stage.report, 'utf8'))
      return { passed: numPassedTests, failed: Math.max(numFailedTests, isGood ? 0 : 1) }
    } catch {
      // No report: the runner itself failed, which counts as one.
    }
  }
  return isGood ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }
}

/** @returns {Promise<{ code: number, output: string }>} */
function capture(/** @type {string} */ program, /** @type {string[]} */ args) {
  return new Promise((resolve) => {
    const env = { ...quietEnvironment, NO_COLOR: '1', FORCE_COLOR: undefined, CI: 'true' }
    const child = spawn(program, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.once('error', (error) => resolve({ code: 1, output: `${output}${error}` }))
    child.once('close', (code) => resolve({ code: code ?? 1, output }))
  })
}
