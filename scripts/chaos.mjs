// `npm run chaos`: kills and stops the two processes of a pair at random moments for as long as it is told, and checks that
// they always are a pair again soon, and that every call ended as its caller was told. Exits with 1 when anything deviates.
//
//   npm run chaos -- --minutes 10                  on a unix socket, with a seed that is drawn and printed
//   npm run chaos -- --minutes 1 --seed 7 --address tcp
//   npm run chaos -- --cut --address tls           cuts the link as well, by a proxy in between and from within
//   npm run chaos -- --address ws                  over WebSocket
//   npm run chaos -- --cut --sealed                and what travels is sealed
//
// With `--built` everything is built already.
import { parseArgs } from 'node:util'
import { chaos } from '../e2e/chaos/supervisor.mjs'
import { setUp } from './setup.mjs'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
    address: { type: 'string', default: 'unix' },
    sealed: { type: 'boolean', default: false },
    cut: { type: 'boolean', default: false },
    built: { type: 'boolean', default: false },
  },
})
const minutes = Number(values.minutes)
const seed = Number(values.seed)
const { address, sealed, cut } = values
if (!(minutes > 0)) fail(`--minutes must be a number above 0, not '${values.minutes}'`)
if (!Number.isInteger(seed)) fail(`--seed must be a whole number, not '${values.seed}'`)
if (address !== 'unix' && address !== 'tcp' && address !== 'tls' && address !== 'ws') {
  fail(`--address must be unix, tcp, tls or ws, not '${address}'`)
}

if (!values.built) setUp('packages')
const { deviations, line } = await chaos({ minutes, seed, address, sealed, cut })
for (const deviation of deviations) console.error(`DEVIATION ${deviation}`)
console.log(line)
process.exitCode = deviations.length > 0 ? 1 : 0

/** @returns {never} */
function fail(/** @type {string} */ text) {
  console.error(text)
  process.exit(2)
}
