// `npm run fuzz`: feeds links, sessions and connections with what no honest peer sends, and checks that they end as they may,
// deliver nothing that was not sent, and stay within time and memory; see e2e/fuzz. A finding is printed and kept.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { setUp } from './setup.mjs'

const USAGE = `Usage: npm run fuzz -- --minutes M [options]

  --minutes M     how long, 1 by default
  --target NAME   one target instead of all; may be given more than once
  --seed N        draws the same again, as far as the time goes
  --grow          keeps inputs that end in a way of their own
  --replay FILE   runs one input of the one target that is named
  --ends          prints all ways in which runs ended
  --list          names the targets
  --built         everything is built already`

const options = readOptions()
if (options !== undefined) {
  if (!options.isBuilt) setUp('packages')
  const { targetsOf } = await import('../e2e/fuzz/targets.mjs')
  const { naiveCipher } = await import('../e2e/fuzz/ciphers.mjs')
  const { aes256gcm } = await import('@pairlink/crypto')
  const all = targetsOf([undefined, naiveCipher, aes256gcm(new Uint8Array(32).fill(1))])
  const targets = options.names.length === 0 ? all : all.filter(({ name }) => options.names.includes(name))
  if (options.isListing) for (const { name } of all) console.log(name)
  else if (targets.length < options.names.length) fail(`There are: ${all.map(({ name }) => name).join(', ')}`)
  else if (options.replay !== undefined) await replay(targets, options.replay)
  else await run(targets, options)
}

async function run(
  /** @type {readonly import('../e2e/fuzz/targets.mjs').Target[]} */ targets,
  /** @type {NonNullable<ReturnType<typeof readOptions>>} */ { minutes, seed, isGrowing, isPrintingEnds },
) {
  const { fuzz, lineOf, report } = await import('../e2e/fuzz/fuzz.mjs')
  const { keep } = await import('../e2e/fuzz/corpus.mjs')
  console.log(`seed ${seed}`)
  const { counts, found, fresh, grown } = await fuzz({ targets, seed, forMs: minutes * 60_000, isGrowing })
  for (const one of counts) {
    console.log(lineOf(one))
    if (!isPrintingEnds) continue
    for (const [end, count] of [...one.ends].sort((a, b) => b[1] - a[1])) console.log(`  ${count} ${end}`)
  }
  const kept = isGrowing ? `, ${grown.length} kept` : '; --grow keeps them'
  if (fresh > 0) console.log(`${fresh} inputs ended in a way of their own${kept}`)
  if (found === undefined) return
  const target = targets.find(({ name }) => name === found.target)
  console.error(report(found, target === undefined ? 'no file' : keep(target, found.input, 'crash-'), seed))
  process.exitCode = 1
}

async function replay(
  /** @type {readonly import('../e2e/fuzz/targets.mjs').Target[]} */ targets,
  /** @type {string} */ file,
) {
  const { decodeInput } = await import('../e2e/fuzz/inputs.mjs')
  const [target] = targets
  if (target === undefined || targets.length > 1) return fail('--replay needs one --target')
  const { end } = await target.run(decodeInput(readFileSync(file, 'utf8')))
  console.log(`${target.name} ended as '${end}'`)
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '1' },
        target: { type: 'string', multiple: true, default: [] },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
        grow: { type: 'boolean', default: false },
        replay: { type: 'string' },
        ends: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        built: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      return undefined
    }
    const minutes = Number(values.minutes)
    const seed = Number(values.seed)
    if (!(minutes > 0)) throw new Error('--minutes takes a number above 0')
    if (!Number.isSafeInteger(seed) || seed < 0) throw new Error('--seed takes a whole number from 0')
    return {
      minutes,
      seed,
      names: values.target,
      isGrowing: values.grow,
      replay: values.replay,
      isPrintingEnds: values.ends,
      isListing: values.list,
      isBuilt: values.built,
    }
  } catch (error) {
    fail(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    return undefined
  }
}

function fail(/** @type {string} */ text) {
  console.error(text)
  process.exitCode = 2
}
