/** The program on the README's first screen, as it stands there, by two real processes, again and again. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { pause, Peer, program, repository, seeded, sideBySide } from './processes.js'

const RUNS = 300
const SIDE_BY_SIDE = 4
const OFFSET_MS_MAX = 50

const block = /^```js\n(.*?)^```$/ms.exec(readFileSync(join(repository, 'README.md'), 'utf8'))?.[1] ?? ''

it('is the example peer.mjs', () => {
  expect(readFileSync(join(repository, 'examples/peer.mjs'), 'utf8')).toBe(block)
})

it(`pairs ${RUNS} times, prints world twice and ends by itself`, { timeout: 400_000 }, async () => {
  expect(block.split("'example'")).toHaveLength(2)
  const random = seeded('start offsets')
  const lengths: number[] = []
  await sideBySide(RUNS, SIDE_BY_SIDE, async (run) => {
    const name = `readme-${process.pid}-${run}`
    const file = program('peer.mjs', block.replace("'example'", `'${name}'`))
    const offsetMs = random() * OFFSET_MS_MAX
    const startedAt = performance.now()
    const first = new Peer(file, [], `run ${run}, first`)
    await pause(offsetMs)
    const second = new Peer(file, [], `run ${run}, second, ${offsetMs.toFixed(1)} ms later`)
    const both = [first, second]
    const seen = (): string => both.map((peer) => peer.seen()).join('\n')
    const results = await Promise.all(
      both.map((peer) => peer.within(peer.ended, 'its end', 15_000).catch((error: unknown) => error)),
    )
    const fine = both.every(({ lines, stderr }) => lines.join('\n') === 'world' && stderr === '')
    if (!fine || results.some((result) => (result as { code?: unknown }).code !== 0)) {
      throw new Error(`Run ${run} went wrong.\n${seen()}`)
    }
    const socket = `/tmp/pairlink-${process.getuid?.()}/${name}.sock`
    if (existsSync(socket)) throw new Error(`Run ${run} left ${socket}.\n${seen()}`)
    rmSync(`${socket}.lock`)
    lengths.push(performance.now() - startedAt)
  })
  expect(lengths).toHaveLength(RUNS)
  lengths.sort((a, b) => a - b)
  const at = (share: number): string => `${Math.round(lengths[Math.floor(share * (RUNS - 1))] ?? 0)} ms`
  console.log(
    `MEASURED the README's program, ${RUNS} runs: half within ${at(0.5)}, 99 of 100 within ${at(0.99)}, the longest ${at(1)}`,
  )
})
