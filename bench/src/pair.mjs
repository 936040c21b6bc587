// @ts-check
// Starts two processes, pairs them, lets them warm up and measures. Every workload has processes of its own, so that none
// finds what another has left behind in the heap or in the compiler.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'

/**
 * @typedef {'one' | 'free'} Placement both on one core, or where the scheduler puts them
 *
 * @typedef {object} RunOptions
 * @property {string} peer
 * @property {import('./workloads.mjs').Workload} workload
 * @property {Placement} placement
 * @property {string} folder for the socket
 * @property {string} [peersFolder] where the peer's file is
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
 * @property {import('./workloads.mjs').Kept[]} kept by both processes, where they tell
 * @property {string[]} profiles files
 */

const PINNED_CORE = '0'
/** A run may take this long, and so many times as long as it is to warm up and to measure: the host may be busy. */
const RUN_TIMEOUT_MS = 30_000
const SLOWER_MAX = 20
const PEERS_FOLDER = path.join(import.meta.dirname, 'peers')
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
  const [[run]] = await runInTurns([options], 1)
  return run
}

/**
 * Several pairs of processes live at the same time, and one after the other measures a part, again and again: what the host
 * does meanwhile meets all of them alike.
 * @param {RunOptions[]} all
 * @param {number} turns
 * @returns {Promise<Run[][]>} by index and turn
 */
export async function runInTurns(all, turns) {
  const pairs = all.map((options) => ({
    options,
    answerer: new Child(options, 'answerer'),
    asker: new Child(options, 'asker'),
  }))
  const children = pairs.flatMap(({ asker, answerer }) => [asker, answerer])
  const timeout = new AbortController()
  const timeoutMs = all.reduce((sum, run) => sum + SLOWER_MAX * (run.warmUpMs + run.measureMs), RUN_TIMEOUT_MS)
  const timer = setTimeout(() => timeout.abort(), timeoutMs)
  try {
    return await Promise.race([
      measureInTurns(pairs, turns),
      ...children.map(({ failed }) => failed),
      once(timeout.signal, 'abort').then(() => {
        const last = children.map(({ name, last }) => `${name}: ${last}`).join(', ')
        throw new Error(`no result within ${timeoutMs} ms; ${last}`)
      }),
    ])
  } finally {
    clearTimeout(timer)
    for (const child of children) child.kill()
  }
}

/**
 * @param {{ options: RunOptions, asker: Child, answerer: Child }[]} pairs
 * @param {number} turns
 * @returns {Promise<Run[][]>}
 */
async function measureInTurns(pairs, turns) {
  const measures = []
  for (const { options, asker, answerer } of pairs) {
    const place = { path: path.join(options.folder, `${++runs}.sock`), port: await freePort() }
    await answerer.request('open', place)
    await asker.request('open', place)
    const { perMs } = await asker.request('warmUp', { forMs: options.warmUpMs })
    const operations = Math.max(1, Math.round((perMs * options.measureMs) / turns))
    measures.push({ measure: () => measurePair(asker, answerer, operations), results: /** @type {Run[]} */ ([]) })
  }
  for (let turn = 0; turn < turns; turn++) {
    // There and back again, so that none is always the first.
    for (const { measure, results } of turn % 2 === 0 ? measures : measures.toReversed()) results.push(await measure())
  }
  await Promise.all(pairs.flatMap(({ asker, answerer }) => [asker.end(), answerer.end()]))
  return measures.map(({ results }) => results)
}

/** For those who meet at a port; the others take the path. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {net.AddressInfo} */ (server.address())
  server.close()
  await once(server, 'close')
  return port
}

/**
 * @param {Child} asker
 * @param {Child} answerer
 * @param {number} operations
 * @returns {Promise<Run>}
 */
async function measurePair(asker, answerer, operations) {
  const before = await answerer.request('usage')
  const measured = await asker.request('measure', { operations })
  const after = await answerer.request('usage')
  const { rssBytesMax } = await asker.request('usage')
  return {
    operations,
    perSecond: (operations / measured.elapsedMs) * 1000,
    cpuMicrosPerOperation: (measured.cpuMicros + after.cpuMicros - before.cpuMicros) / operations,
    rssBytesMax: Math.max(rssBytesMax, after.rssBytesMax),
    latency: measured.latency,
    kept: [measured, after].flatMap(({ kept }) => kept ?? []),
    profiles: [asker, answerer].flatMap(({ profile }) => profile ?? []),
  }
}

class Child {
  /**
   * @param {RunOptions} options
   * @param {import('./workloads.mjs').Role} role
   */
  constructor({ peer, workload, placement, peersFolder = PEERS_FOLDER, profileFolder }, role) {
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
    command.push(PEER_FILE, path.join(peersFolder, `${peer}.mjs`), workload.id, role)
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
