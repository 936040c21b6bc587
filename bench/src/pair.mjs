// @ts-check
// Starts two processes, pairs them, lets them warm up and measures once. Every measurement has processes of its own, so
// that no workload finds what another has left behind in the heap or in the compiler.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

/**
 * @typedef {'one' | 'free'} Placement both on one core, or where the scheduler puts them
 *
 * @typedef {object} RunOptions
 * @property {string} peer
 * @property {import('./workloads.mjs').Workload} workload
 * @property {Placement} placement
 * @property {string} folder for the socket
 * @property {number} warmUpMs
 * @property {number} measureMs
 * @property {string} [profileFolder] where CPU profiles of both processes go
 *
 * @typedef {object} Run
 * @property {number} operations
 * @property {number} perSecond
 * @property {number} cpuMicrosPerOperation of both processes
 * @property {number} rssBytesMax of the larger one of both processes
 * @property {{ p50Micros: number, p99Micros: number }} [latency]
 * @property {string[]} profiles files
 */

const PINNED_CORE = '0'
const RUN_TIMEOUT_MS = 60_000
const PEER_FILE = path.join(import.meta.dirname, 'peer.mjs')
let runs = 0

/** Whether processes can be pinned here: `undefined`, or why not. */
export function whyNotPinned() {
  const { error, status, stderr } = spawnSync('taskset', ['-c', PINNED_CORE, 'true'])
  if (error !== undefined) return `no taskset here (${error.message})`
  return status === 0 ? undefined : `taskset: ${stderr.toString().trim()}`
}

/**
 * @param {RunOptions} options
 * @returns {Promise<Run>}
 */
export async function runPair(options) {
  const answerer = new Child(options, 'answerer')
  const asker = new Child(options, 'asker')
  const timeout = new AbortController()
  const timer = setTimeout(() => timeout.abort(), RUN_TIMEOUT_MS)
  try {
    return await Promise.race([
      measurePair(options, asker, answerer),
      asker.failed,
      answerer.failed,
      once(timeout.signal, 'abort').then(() => {
        throw new Error(`${asker.name}: no result within ${RUN_TIMEOUT_MS} ms, during ${asker.last}/${answerer.last}`)
      }),
    ])
  } finally {
    clearTimeout(timer)
    asker.kill()
    answerer.kill()
  }
}

/**
 * @param {RunOptions} options
 * @param {Child} asker
 * @param {Child} answerer
 * @returns {Promise<Run>}
 */
async function measurePair({ folder, warmUpMs, measureMs }, asker, answerer) {
  const socketPath = path.join(folder, `${++runs}.sock`)
  await answerer.request('open', { path: socketPath })
  await asker.request('open', { path: socketPath })
  const { perMs } = await asker.request('warmUp', { forMs: warmUpMs })
  const operations = Math.max(1, Math.round(perMs * measureMs))
  const before = await answerer.request('usage')
  const measured = await asker.request('measure', { operations })
  const after = await answerer.request('usage')
  const { rssBytesMax } = await asker.request('usage')
  await Promise.all([asker.end(), answerer.end()])
  return {
    operations,
    perSecond: (operations / measured.elapsedMs) * 1000,
    cpuMicrosPerOperation: (measured.cpuMicros + after.cpuMicros - before.cpuMicros) / operations,
    rssBytesMax: Math.max(rssBytesMax, after.rssBytesMax),
    latency: measured.latency,
    profiles: [asker, answerer].flatMap(({ profile }) => profile ?? []),
  }
}

class Child {
  /**
   * @param {RunOptions} options
   * @param {import('./workloads.mjs').Role} role
   */
  constructor({ peer, workload, placement, profileFolder }, role) {
    this.name = `${peer} ${role} (${workload.id}, ${placement})`
    this.last = 'start'
    this.ending = false
    /** @type {(answer: any) => void} */
    this.answered = () => {}

    const command = [process.execPath]
    if (placement === 'one') command.unshift('taskset', '-c', PINNED_CORE)
    if (profileFolder !== undefined) {
      const file = `${peer}-${workload.id}-${placement}-${role}.cpuprofile`
      this.profile = path.join(profileFolder, file)
      command.push('--cpu-prof', `--cpu-prof-dir=${profileFolder}`, `--cpu-prof-name=${file}`)
    }
    command.push(PEER_FILE, peer, workload.id, role)
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.process = child
    this.exited = new Promise((resolve) => child.once('exit', resolve))

    /** @type {Promise<never>} rejects when the process fails or ends by itself */
    this.failed = new Promise((_, reject) => {
      const fail = (/** @type {Error} */ error) => this.ending || reject(error)
      child.on('error', fail)
      child.on('exit', (code, signal) => fail(new Error(`${this.name} ended with ${signal ?? code}, ${this.last}`)))
      child.on('message', (/** @type {any} */ message) => {
        if (message.failed === undefined) this.answered(message)
        else fail(new Error(`${this.name}: ${message.failed}`))
      })
    })
    this.failed.catch(() => {})
  }

  /**
   * @param {string} request
   * @param {object} [details]
   * @returns {Promise<any>}
   */
  request(request, details) {
    this.last = request
    return new Promise((resolve) => {
      this.answered = resolve
      this.process.send({ request, ...details })
    })
  }

  async end() {
    this.ending = true
    await this.request('end')
    await this.exited
  }

  kill() {
    this.ending = true
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL')
  }
}
