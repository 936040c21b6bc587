// demo.mjs: what `npm start` shows. It starts two real processes of one file, twice, tells what they say, and checks it.
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
const isTerminal = process.stdout.isTTY === true
const paint = (/** @type {any} */ style, /** @type {string} */ text) => (isTerminal ? styleText(style, text) : text)
const say = (text = '') => process.stdout.write(text + '\n')

/** Starts a process of `file` and collects its lines; `ended` resolves to its exit code. */
function start(/** @type {string} */ file, /** @type {string[]} */ ...args) {
  const child = spawn(process.execPath, [join(here, file), ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)))
  return { child, lines, ended }
}

function fail(/** @type {string} */ reason) {
  say(paint('red', `✗ ${reason}`))
  process.exitCode = 1
}

function check(/** @type {boolean} */ holds, /** @type {string} */ text) {
  if (holds) say(`  ${paint('green', '✓')} ${text}`)
  else fail(text)
}

async function sameFileTwice() {
  say(paint('bold', 'The program of the README, started twice'))
  say()
  const sides = [start('peer.mjs'), start('peer.mjs')]
  const heads = sides.map(({ child }) => `process ${child.pid}`)
  say(`  ${heads[0]?.padEnd(24)}${heads[1] ?? ''}`)
  /** @type {string[][]} */
  const said = [[], []]
  sides.forEach(({ lines }, side) => {
    lines.on('line', (line) => {
      said[side]?.push(line)
      say(`  ${' '.repeat(24 * side)}${paint('cyan', line)}`)
    })
  })
  const codes = await Promise.all(sides.map(({ ended }) => ended))
  say()
  check(
    said.every((lines) => lines.join() === 'world'),
    'both asked "hello" and were told "world"',
  )
  check(
    codes.every((code) => code === 0),
    'both ended by themselves',
  )
  say()
}

async function tour() {
  say(paint('bold', 'Two more processes: named calls, and 8 MB of bytes'))
  say()
  const name = `demo-${process.pid}`
  const sides = [start('tour.mjs', name), start('tour.mjs', name)]
  const [asker] = sides
  if (asker === undefined) return
  /** @type {Map<string, any>} */
  const reports = new Map()
  asker.lines.on('line', (line) => {
    const report = JSON.parse(line)
    reports.set(report.step, report)
    if (report.step === 'paired') {
      say(`  ${report.pid} is paired, as the ${report.role}`)
      asker.child.stdin.write('go\n')
    }
  })
  sides[1]?.lines.on('line', (line) => {
    const report = JSON.parse(line)
    if (report.step === 'paired') say(`  ${report.pid} is paired, as the ${report.role}`)
  })
  const codes = await Promise.all(sides.map(({ ended }) => ended))
  check(reports.get('add')?.sum === 3, `add({ a: 1, b: 2 }) is ${reports.get('add')?.sum}`)
  check(reports.has('describe'), `describe() queried back: "${reports.get('describe')?.description}"`)
  const bytes = reports.get('bytes')
  check(
    bytes?.bytes === 8_000_000,
    `8 MB arrived with the same SHA-256 (${bytes?.sha256?.slice(0, 12)}…), ${bytes?.megabytesPerSecond} MB/s`,
  )
  check(
    codes.every((code) => code === 0),
    'one said goodbye, and both ended by themselves',
  )
}

const deadline = setTimeout(() => {
  fail('the demonstration took longer than 15 seconds')
  process.exit(1)
}, 15_000)
await sameFileTwice()
await tour()
clearTimeout(deadline)
