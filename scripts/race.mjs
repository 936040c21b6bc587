// `npm run race`: real processes race for one address, many times over, and every round is judged; see e2e/race/rounds.mjs.
import { parseArgs } from 'node:util'
import { race } from '../e2e/race/rounds.mjs'
import { setUp } from './setup.mjs'

const USAGE = `Usage: npm run race -- --rounds N --processes P --stale|--clean|--mixed [options]

  --rounds N           how many rounds, 100 by default
  --processes P        how many processes race in each, from 2; 2 by default
  --stale              a killed process has left the address
  --clean              nobody was there before; the default
  --mixed              the one or the other, drawn for each round
  --address unix|tcp   unix by default
  --abstract           lock by an abstract name instead of the program flock
  --recipe             race the usual recipe (bind, connect, unlink, bind) instead of pairlink
  --pause MS           how long the recipe pauses between its steps, 0 by default
  --seed N             draws the same again
  --built              everything is built already`
/** Then it is known that something is wrong, and hanging rounds take long. */
const DEVIATIONS_MAX = 20

const options = readOptions()
if (options !== undefined) {
  if (!options.isBuilt) setUp('packages')
  console.log(`seed ${options.seed}`)
  const startedAt = performance.now()
  const { line, deviations, spreadMs } = await race(options)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(line)
  console.log(`took ${seconds} s; released within ${spreadMs.toFixed(2)} ms (median)`)
  if (deviations.length >= DEVIATIONS_MAX) console.log(`Ended after ${DEVIATIONS_MAX} deviating rounds.`)
  process.exitCode = deviations.length === 0 ? 0 : 1
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        rounds: { type: 'string', default: '100' },
        processes: { type: 'string', default: '2' },
        stale: { type: 'boolean', default: false },
        clean: { type: 'boolean', default: false },
        mixed: { type: 'boolean', default: false },
        address: { type: 'string', default: 'unix' },
        abstract: { type: 'boolean', default: false },
        recipe: { type: 'boolean', default: false },
        pause: { type: 'string', default: '0' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
        built: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      return undefined
    }
    const { address } = values
    if (address !== 'unix' && address !== 'tcp') throw new Error('--address is unix or tcp')
    if (values.abstract && (address === 'tcp' || values.recipe))
      throw new Error('--abstract is for unix, with pairlink')
    const states = /** @type {const} */ (['stale', 'clean', 'mixed']).filter((state) => values[state])
    if (states.length > 1) throw new Error('One of --stale, --clean and --mixed')
    const pauseMs = whole('pause', values.pause, 0)
    if (pauseMs > 0 && !values.recipe) throw new Error('--pause is for --recipe')
    return {
      rounds: whole('rounds', values.rounds, 1),
      processes: whole('processes', values.processes, 2),
      state: states[0] ?? 'clean',
      address,
      isAbstract: values.abstract,
      ...(values.recipe ? { recipe: { pauseMs } } : {}),
      seed: whole('seed', values.seed, 0),
      deviationsMax: DEVIATIONS_MAX,
      onDeviation: (/** @type {string} */ line) => console.log(line),
      isBuilt: values.built,
    }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    process.exitCode = 1
    return undefined
  }
}

function whole(/** @type {string} */ name, /** @type {string} */ text, /** @type {number} */ least) {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new Error(`--${name} takes a whole number from ${least}`)
}
