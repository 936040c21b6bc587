// @ts-check
// Reads a CPU profile and names the functions that took most time themselves, for a first look without a browser.

import { readFile } from 'node:fs/promises'
import path from 'node:path'

/**
 * @param {string} file
 * @param {number} count
 * @returns {Promise<string[]>} one line per function
 */
export async function hottest(file, count) {
  const { nodes, samples, timeDeltas } = JSON.parse(await readFile(file, 'utf8'))
  const names = new Map(nodes.map((/** @type {any} */ { id, callFrame }) => [id, nameOf(callFrame)]))
  /** @type {Map<string, number>} */
  const microsByName = new Map()
  let totalMicros = 0
  for (let index = 0; index < samples.length; index++) {
    const name = names.get(samples[index])
    if (name === '(idle)') continue
    microsByName.set(name, (microsByName.get(name) ?? 0) + timeDeltas[index])
    totalMicros += timeDeltas[index]
  }
  return [...microsByName]
    .sort(([, a], [, b]) => b - a)
    .slice(0, count)
    .map(([name, micros]) => `${((micros / totalMicros) * 100).toFixed(1).padStart(6)} %  ${name}`)
}

/** @param {{ functionName: string, url: string, lineNumber: number }} callFrame */
function nameOf({ functionName, url, lineNumber }) {
  const name = functionName || '(anonymous)'
  return url === '' ? name : `${name}  ${path.basename(url)}:${lineNumber + 1}`
}
