/** One case alone, with all the time that a debugger needs: `node dist/test/one-case.js close-twice`. */
import { transportCases } from '@pairlink/testkit'
import { manifest, place } from './place.js'

const [id = ''] = process.argv.slice(2)
const found = transportCases(place, manifest, { caseMs: 3_600_000 }).find((each) => each.id === id)
if (found === undefined) throw new Error(`there is no case '${id}'`)
if (found.skip !== undefined) throw new Error(`${id} does not run: ${found.skip}`)
await found.run()
console.log(`ok ${id}`)
