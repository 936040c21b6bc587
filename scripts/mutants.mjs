// `npm run test:mutants`: plants faults in a temporary copy of core, one at a time, and lets the simulator look for each. It fails
// when one is not found within so many sessions, or when something is found where nothing was planted.
//
//   npm run test:mutants -- --only 'lose a cancel'     plants one
//   npm run test:mutants -- --patch FILE               plants what a patch of packages/core/src changes
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { mutants } from '../packages/testkit/test/mutants.mjs'
import { root, setUp } from './setup.mjs'

const SESSIONS_MAX = 10_000
/** So many sessions of the copy without a fault: what is found there would prove nothing. */
const SESSIONS_SOUND = 500
const COPIED = ['core', 'crypto', 'testkit']

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    patch: { type: 'string', multiple: true, default: [] },
    seed: { type: 'string', default: '1' },
  },
})

setUp('nothing')
const { build } = await import('tsup')
const folder = mkdtempSync(join(tmpdir(), 'pairlink-mutants-'))
let missed = 0
try {
  const wanted =
    options.only.length === 0 && options.patch.length === 0
      ? mutants
      : mutants.filter(({ name }) => options.only.includes(name))
  if (wanted.length < options.only.length) throw new Error(`There are: ${mutants.map(({ name }) => name).join(', ')}`)
  await judge('no fault', () => undefined, false)
  for (const mutant of wanted) await judge(mutant.name, () => plant(mutant), true)
  for (const patch of options.patch) {
    await judge(
      patch,
      () => void execFileSync('git', ['apply', '--unsafe-paths', resolve(patch)], { cwd: folder }),
      true,
    )
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(missed === 0 ? 'mutants: all found' : `mutants: ${missed} wrong`)
process.exitCode = missed === 0 ? 0 : 1

async function judge(/** @type {string} */ name, /** @type {() => void} */ change, /** @type {boolean} */ isFault) {
  copy()
  change()
  const kit = await bundle()
  const count = isFault ? SESSIONS_MAX : SESSIONS_SOUND
  const args = ['--kit', kit, '--seed', options.seed, '--count', String(count), '--stop-at-first']
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'sim.mjs'), ...args], {
    encoding: 'utf8',
    cwd: root,
  })
  const found = /^FAILED (\S+)/m.exec(stderr)?.[1]
  const seed = /^ {2}seed (\d+)/m.exec(stderr)?.[1]
  if (status !== 0 && found === undefined) throw new Error(`${name}: the simulator itself failed\n${stdout}${stderr}`)
  const isRight = (found !== undefined) === isFault
  if (!isRight) missed++
  const sessions = /sessions (\d+)/.exec(stdout)?.[1] ?? '?'
  const what =
    found === undefined
      ? `nothing found in ${sessions} sessions`
      : `${found}, seed ${seed}, within ${sessions} sessions`
  console.log(`${isRight ? 'ok    ' : 'WRONG '} ${name}: ${what}`)
  if (!isFault && !isRight) console.error(stderr)
}

/** The sources as they are. */
function copy() {
  rmSync(join(folder, 'packages'), { recursive: true, force: true })
  for (const name of COPIED)
    cpSync(join(root, 'packages', name, 'src'), join(folder, 'packages', name, 'src'), { recursive: true })
  mkdirSync(folder, { recursive: true })
  rmSync(join(folder, 'node_modules'), { force: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction')
}

function plant(/** @type {import('../packages/testkit/test/mutants.mjs').Mutant} */ { name, file, find, replace }) {
  const path = join(folder, 'packages', 'core', 'src', file)
  const source = readFileSync(path, 'utf8')
  if (source.split(find).length !== 2)
    throw new Error(`${name}: what is to be changed stands not exactly once in ${file}`)
  writeFileSync(
    path,
    source.replace(find, () => replace),
  )
}

/** One file of the copy, so that no built package is taken by accident. @returns {Promise<string>} */
async function bundle() {
  const source = (/** @type {string} */ path) => join(folder, 'packages', path)
  /** @type {Record<string, string>} */
  const files = {
    '@pairlink/core': source('core/src/index.ts'),
    '@pairlink/core/protocol': source('core/src/protocol/index.ts'),
    '@pairlink/crypto': source('crypto/src/index.ts'),
    '@pairlink/testkit': source('testkit/src/index.ts'),
    '#runtime': source('core/src/connection/runtime.node.ts'),
    '#provider': source('crypto/src/provider.node.ts'),
    '#files': source('crypto/src/files.node.ts'),
  }
  const entry = join(folder, 'kit.ts')
  writeFileSync(entry, "export * from '@pairlink/testkit'\nexport { aes256gcm } from '@pairlink/crypto'\n")
  await build({
    config: false,
    entry: [entry],
    outDir: join(folder, 'dist'),
    format: 'esm',
    outExtension: () => ({ js: '.mjs' }),
    target: 'node20',
    platform: 'node',
    noExternal: [/./],
    silent: true,
    clean: true,
    esbuildPlugins: [
      {
        name: 'sources of the copy',
        setup(builder) {
          builder.onResolve({ filter: /^(@pairlink\/|#)/ }, ({ path }) => ({ path: files[path] ?? path }))
        },
      },
    ],
  })
  return join(folder, 'dist', 'kit.mjs')
}
