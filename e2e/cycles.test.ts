/** That connecting and closing over and over leaves nothing in a process: neither memory nor handles. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { unusedPort } from './ports.js'
import { folder, Peer, program, together, type Report } from './processes.js'

const CYCLES = 2000
/** Before the first look at the heap: until then it grows with code that is compiled and tables that find their size. */
const WARM_UP = 1000
/** So many pairs are kept on purpose, to know what one holds. */
const KEPT = 100
/**
 * For each cycle. What one cycle may leave is far below what a pair holds that was kept, which is measured too, and of the
 * size of the least that one could forget: a timer or a listener with its closure. It is twice the noise, since compiled code
 * still adds some 400 KB between the two looks; after 2,000 cycles it is flat within 30 bytes.
 */
const GROWTH_BYTES_MAX = 1024

type Cycled = Report & {
  /** After the warm-up, at the end, with those that were kept, and without them. */
  readonly heap: number[]
  readonly external: number[]
  readonly before: string[]
  readonly after: string[]
  readonly seconds: number
}

// Each is busy for a while, so they are so side by side.
const cycling = together()
for (const kind of ['unix', 'tcp']) {
  cycling(
    `${CYCLES} pairs in one process on ${kind} leave neither memory nor handles`,
    async () => {
      const directory = folder()
      const address = kind === 'unix' ? { path: join(directory, 's') } : { port: await unusedPort() }
      const config = { address, cycles: CYCLES, warmUp: WARM_UP, kept: KEPT }
      const peer = new Peer(program('cycles.mjs', CYCLER), [JSON.stringify(config)], 'cycles')
      const { heap, external, before, after, seconds } = (await peer.next('cycled', 400_000)) as Cycled
      const growth = (at: number[]): number => ((at[1] ?? 0) - (at[0] ?? 0)) / (CYCLES - WARM_UP)
      const keptBytes = ((heap[2] ?? 0) - (heap[3] ?? 0)) / KEPT
      console.log(
        `MEASURED ${kind}: ${CYCLES} pairs in one process in ${seconds.toFixed(1)} s: the heap grows by ${growth(heap).toFixed(0)} bytes for each, what is outside of it by ${growth(external).toFixed(0)}; a pair that is kept holds ${keptBytes.toFixed(0)}`,
      )
      expect(growth(heap)).toBeLessThan(GROWTH_BYTES_MAX)
      expect(growth(external)).toBeLessThan(GROWTH_BYTES_MAX)
      expect(keptBytes).toBeGreaterThan(4 * GROWTH_BYTES_MAX)
      expect(after).toEqual(before)
      await peer.endsWell()
      expect(peer.stderr).toBe('')
      expect(readdirSync(directory).filter((name) => name !== 's.lock')).toEqual([])
    },
    410_000,
  )
}

/** Connects two, asks both ways and closes both, over and over. */
const CYCLER = `
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Connection } from '@pairlink/core'
import { tcp, unix } from '@pairlink/transport-net'

const { address, cycles, warmUp, kept } = JSON.parse(process.argv[2])
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
const logger = { error: (fields, message) => console.error(message, fields) }
const options = () => ({
  transport: 'path' in address ? unix(address.path) : tcp(address),
  secret: 'a-super-secret-of-many-bytes',
  logger,
  onQuery: (query) => query,
})
const heap = []
const external = []
for (const stream of [process.stdout, process.stderr]) stream.writableLength
const measure = async () => {
  // Finalizers, and what they let go of.
  for (let round = 0; round < 5; round++) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external: outside } = process.memoryUsage()
  heap.push(heapUsed)
  external.push(outside)
}
const turn = async () => {
  await new Promise((resolve) => setTimeout(resolve))
  await new Promise((resolve) => setImmediate(resolve))
}
await turn()
const before = process.getActiveResourcesInfo().sort()
const pair = async (query) => {
  const [one, other] = [new Connection(options()), new Connection(options())]
  await one.connect({ until: 'started' })
  await Promise.all([other.connect(), one.paired()])
  const answers = await Promise.all([one.query(query), other.query('back')])
  if (answers[0] !== query || answers[1] !== 'back') throw new Error('a wrong answer')
  await Promise.all([one.close(), other.close()])
  return [one, other]
}
const startedAt = performance.now()
for (let cycle = 0; cycle < cycles; cycle++) {
  if (cycle === warmUp) await measure()
  await pair(cycle)
}
await measure()
const seconds = (performance.now() - startedAt) / 1000
const hoard = []
while (hoard.length < kept) hoard.push(await pair(hoard.length))
await measure()
hoard.length = 0
await measure()
await turn()
const after = process.getActiveResourcesInfo().sort()
process.stdout.write(JSON.stringify({ event: 'cycled', heap, external, before, after, seconds }) + '\\n')
`
