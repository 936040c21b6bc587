// `npm run test:long`: what takes too long for `npm test`. It runs the parts below one after another and prints what each
// one found and how long it took.
//
//   npm run test:long -- --list           names the parts
//   npm run test:long -- --only race-2-flock   runs one; may be given more than once
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bin, quietEnvironment, root, setUp } from './setup.mjs'

/**
 * @typedef {object} Part
 * @property {string} name
 * @property {string} shows what must hold
 * @property {string[]} command for Node, after everything was set up; it ends with 0 when that holds
 * @property {Record<string, string>} [env] what it finds in its environment
 */

const racing = (/** @type {string[]} */ ...args) => [join(root, 'scripts', 'race.mjs'), '--built', ...args]

/** Where the million of sessions begins: none of them is among those of `npm test`. */
const SIM_SEED = 1_000_000

/** @type {Part[]} */
const parts = [
  ...[2, 6, 10].map((processes) => ({
    name: `race-${processes}-flock`,
    shows: `${processes} processes, 2,000 rounds: one pair, locked by flock`,
    command: racing('--rounds', '2000', '--processes', String(processes), '--mixed'),
  })),
  ...[2, 6, 10].map((processes) => ({
    name: `race-${processes}-abstract`,
    shows: `${processes} processes, 2,000 rounds: one pair, locked by an abstract name`,
    command: racing('--rounds', '2000', '--processes', String(processes), '--mixed', '--abstract'),
  })),
  {
    name: 'race-tcp',
    shows: '6 processes, 500 rounds at ports: one pair',
    command: racing('--rounds', '500', '--processes', '6', '--mixed', '--address', 'tcp'),
  },
  ...['unix', 'tcp', 'ws'].map((address) => ({
    name: `chaos-${address}`,
    shows: `two supervised processes killed and stopped for ten minutes, over ${address}`,
    command: [join(root, 'scripts', 'chaos.mjs'), '--minutes', '10', '--address', address],
  })),
  ...[['unix'], ['tcp'], ['tls'], ['ws'], ['unix', '--sealed']].map(([address = '', ...sealed]) => ({
    name: `chaos-cut-${sealed.length > 0 ? 'sealed' : address}`,
    shows: `the same with the link cut again and again, over ${address}${sealed.length > 0 ? ', sealed' : ''}`,
    command: [
      join(root, 'scripts', 'chaos.mjs'),
      '--built',
      '--minutes',
      '10',
      '--cut',
      '--address',
      address,
      ...sealed,
    ],
  })),
  {
    name: 'producer',
    shows: 'a producer 100 times faster than its consumer for 30 seconds, both ways: memory stays flat',
    command: [bin('vitest'), 'run', '--root', join(root, 'e2e'), 'producer.test.ts'],
    env: { PRODUCER_SECONDS: '30' },
  },
  ...Array.from({ length: 10 }, (_, part) => ({
    name: `sim-${part}`,
    shows: `100,000 simulated sessions, the ${part + 1}. of ten parts of a million`,
    command: [
      join(root, 'scripts', 'sim.mjs'),
      '--built',
      '--seed',
      String(SIM_SEED + part * 100_000),
      '--count',
      '100000',
    ],
  })),
  {
    name: 'mutants',
    shows: 'the simulator finds the faults that are planted',
    command: [join(root, 'scripts', 'mutants.mjs')],
  },
  {
    name: 'fuzz',
    shows: 'ten minutes of bytes that no honest peer sends',
    command: [join(root, 'scripts', 'fuzz.mjs'), '--minutes', '10', '--built'],
  },
]

const { values: options } = parseArgs({
  options: { only: { type: 'string', multiple: true }, list: { type: 'boolean', default: false } },
})
if (options.list) {
  for (const { name, shows } of parts) console.log(`${name.padEnd(20)} ${shows}`)
  process.exit(0)
}
const unknown = (options.only ?? []).filter((wanted) => !parts.some(({ name }) => name === wanted))
if (unknown.length > 0) {
  console.error(`No part ${unknown.join(', ')}; there are: ${parts.map(({ name }) => name).join(', ')}`)
  process.exit(1)
}

setUp('packages')
let failed = 0
for (const { name, shows, command, env } of parts) {
  if (options.only !== undefined && !options.only.includes(name)) continue
  console.log(`\n${name}: ${shows}`)
  const startedAt = performance.now()
  const code = await run(command, env)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(`${code === 0 ? 'ok' : 'FAILED'} ${name} (${seconds} s)`)
  if (code !== 0) failed++
}
console.log(`\nlong: ${failed === 0 ? 'all parts passed' : `${failed} failed`}`)
process.exitCode = failed === 0 ? 0 : 1

/** @returns {Promise<number>} */
function run(/** @type {string[]} */ command, /** @type {Record<string, string>} */ env = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, command, {
      cwd: root,
      env: { ...quietEnvironment, ...env },
      stdio: 'inherit',
    })
    child.once('error', (error) => {
      console.error(String(error))
      resolve(1)
    })
    child.once('close', (code) => resolve(code ?? 1))
  })
}
