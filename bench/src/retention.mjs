// @ts-check
// What `--retention` compares: the same peer with and without what a session does for a link that may be lost. Both are
// bundled from the sources in the same way. The one without reuses its bytes as soon as they are written and writes no
// acknowledgement but the one that must open a link. It lives nowhere else, and serves W1 and W2 alone, where the socket
// takes every write at once: a late one would send bytes that are already others', and the answers would be wrong.

import { readFile } from 'node:fs/promises'
import path from 'node:path'

/**
 * @import { Run } from './pair.mjs'
 * @import { Kept } from './workloads.mjs'
 */

export const WITHOUT = 'without'
export const WITH = 'with'

const PACKAGES = path.resolve(import.meta.dirname, '../../packages')
const ENTRY = path.join(import.meta.dirname, 'peers', 'pairlink-counted.mjs')
/** @type {Record<string, string>} */
const SOURCES = {
  '@pairlink/core': path.join(PACKAGES, 'core/src/index.ts'),
  '@pairlink/transport-net': path.join(PACKAGES, 'transport-net/src/index.ts'),
  '#runtime': path.join(PACKAGES, 'core/src/connection/runtime.node.ts'),
}
/** A side acknowledges at the latest after so many frames. */
const ACK_FRAMES = 256

/**
 * What is taken out. Each text must be there exactly once: another source would be measured against itself.
 * @type {{ file: string, find: string, replace: string }[]}
 */
const CHANGES = [
  {
    file: 'core/src/protocol/session.ts',
    find: `    this.#bytesSinceAck += HEADER_BYTES + reader.lengthBytes
    if (this.#ackAt === Infinity) this.#ackAt = this.#now + ACK_DELAY_MS
`,
    replace: '',
  },
  {
    file: 'core/src/protocol/session.ts',
    find: `    return (
      this.#receivedSeq - this.#reportedSeq >= ACK_FRAMES ||
      this.#bytesSinceAck >= this.#ackBytes ||
      this.#consumedBytes - this.#reportedConsumedBytes >= this.#ackBytes ||
      this.#ackAt <= this.#now
    )
`,
    replace: '    return this.#ackAt === -Infinity\n',
  },
  {
    file: 'core/src/protocol/outbox.ts',
    find: `      if (this.#sendAt === this.#slabs.length - 1) {
        this.withdrawn = false
`,
    replace: `      if (this.#sendAt === this.#slabs.length - 1) {
        if (this.#sendAt > 0) throw new Error('more is written at once than a slab holds')
        this.retainedBytes -= slab.end
        slab.end = slab.handed = slab.firstSeq = slab.lastSeq = 0
        this.withdrawn = false
`,
  },
]

/**
 * Writes `with.mjs` and `without.mjs` into `folder`, to be opened as peers.
 * @param {string} folder
 * @throws when a change does not fit the source any more
 */
export async function buildVariants(folder) {
  const { build } = await import('tsup')
  for (const [variant, changes] of Object.entries({ [WITH]: [], [WITHOUT]: CHANGES })) {
    const unmade = new Set(changes)
    await build({
      config: false,
      entry: { [variant]: ENTRY },
      outDir: folder,
      format: 'esm',
      outExtension: () => ({ js: '.mjs' }),
      target: 'node20',
      platform: 'node',
      noExternal: [/./],
      silent: true,
      esbuildPlugins: [
        {
          name: 'sources, changed',
          setup(builder) {
            builder.onResolve({ filter: /^(@pairlink\/|#)/ }, (/** @type {{ path: string }} */ { path: name }) => {
              if (SOURCES[name] === undefined) throw new Error(`${name}: where are its sources?`)
              return { path: SOURCES[name] }
            })
            builder.onLoad({ filter: /\.ts$/ }, async (/** @type {{ path: string }} */ { path: file }) => {
              let contents = await readFile(file, 'utf8')
              for (const change of changes.filter((change) => path.join(PACKAGES, change.file) === file)) {
                if (contents.split(change.find).length !== 2) {
                  throw new Error(`${change.file} has changed: not exactly once there is\n${change.find}`)
                }
                contents = contents.replace(change.find, () => change.replace)
                unmade.delete(change)
              }
              return { contents, loader: 'ts' }
            })
          },
        },
      ],
    })
    for (const { file } of unmade) throw new Error(`${file} is not part of core any more`)
  }
}

/**
 * Whether each variant is what it is called, by what both processes of every run have said of themselves.
 * @param {Run[]} without
 * @param {Run[]} withIt
 * @returns {string} for the reader
 * @throws when one is not
 */
export function checkVariants(without, withIt) {
  const keepsNothing = (/** @type {Kept} */ side) => side.ackCount === 1 && side.unacknowledgedBytes === 0
  const acknowledges = (/** @type {Kept} */ side) => side.ackCount >= Math.floor(side.receivedFrames / ACK_FRAMES)
  checkSides(WITHOUT, without, keepsNothing)
  const sides = checkSides(WITH, withIt, acknowledges)
  const bytesMax = Math.max(...sides.map((side) => side.unacknowledgedBytes))
  if (bytesMax === 0) throw new Error(`${WITH}: no run has kept a byte`)
  const [{ ackCount, receivedFrames }] = sides
  return (
    `checked in all ${without.length + withIt.length} runs: without, 1 ACK per process and 0 bytes kept; ` +
    `with, such as ${ackCount} ACKs for ${receivedFrames} frames, and up to ${bytesMax} bytes kept`
  )
}

/**
 * @param {string} variant
 * @param {Run[]} runs
 * @param {(side: Kept) => boolean} isRight
 * @returns {Kept[]} of both processes of every run
 */
function checkSides(variant, runs, isRight) {
  const sides = runs.flatMap((run) => run.kept)
  if (sides.length !== 2 * runs.length) throw new Error(`${variant}: a process has not said what it keeps`)
  const wrong = sides.find((side) => !isRight(side))
  if (wrong !== undefined)
    throw new Error(`The variant '${variant}' is not what it is called: ${JSON.stringify(wrong)}`)
  return sides
}
