// Measures what a program loads of the packages, and prints it; .size-limit.cjs says what is measured, and how large it may be.
import { spawnSync } from 'node:child_process'
import { bin, root } from './setup.mjs'

const { stdout, stderr } = spawnSync(bin('size-limit'), ['--json'], { cwd: root, encoding: 'utf8' })
/** @type {{ name: string, passed: boolean, size: number, sizeLimit: number }[]} */
let rows = []
try {
  rows = JSON.parse(stdout)
} catch {
  console.error(stdout, stderr)
}
const kB = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(1)} kB`
for (const { name, passed, size, sizeLimit } of rows)
  console.log(`MEASURED ${name}: ${kB(size)}${passed ? '' : `, which is more than ${kB(sizeLimit)}`}`)
if (rows.length === 0 || !rows.every(({ passed }) => passed)) process.exitCode = 1
