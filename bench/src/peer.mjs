// @ts-check
// One of the two processes of a pair: `peer.mjs FILE WORKLOAD ROLE`, told what to do over the IPC channel, one request
// at a time. The asker measures; both report what they have used.

import { pathToFileURL } from 'node:url'
import { WORKLOADS } from './workloads.mjs'

/**
 * @typedef {object} Usage
 * @property {number} cpuMicros user and system, of the process so far
 * @property {number} rssBytesMax
 * @property {import('./workloads.mjs').Kept} [kept] where the peer tells
 */

const [peerFile, workloadId, role] = process.argv.slice(2)
const workload = WORKLOADS.find(({ id }) => id === workloadId)
if (workload === undefined) throw new Error(`no workload ${workloadId}`)

/** @type {import('./workloads.mjs').Asker} */
let asker

/** @type {Record<string, (request: any) => Promise<object> | object>} */
const REQUESTS = {
  /** @param {{ path: string, port: number }} request */
  async open({ path, port }) {
    const { open } = /** @type {{ open: import('./workloads.mjs').Open }} */ (
      await import(pathToFileURL(peerFile).href)
    )
    asker = await open({
      path,
      port,
      role: /** @type {import('./workloads.mjs').Role} */ (role),
      payloads: workload.payloads,
      borrow: workload.borrow ?? false,
      ...workload.answerer(),
      onError: fail,
    })
    return {}
  },

  /**
   * Runs until this process has worked for a while, each time twice as much, and says how fast the last was. On a busy host
   * that takes longer: the code is to be compiled by then, or the peer that has more of it loses by that.
   * @param {{ forMs: number }} request
   */
  async warmUp({ forMs }) {
    const endsAtMs = workedMs() + forMs
    let operations = Math.ceil(workload.warmUpOperationsMin / 10)
    let operationsTotal = 0
    let perMs = 0
    while (workedMs() < endsAtMs || operationsTotal < workload.warmUpOperationsMin) {
      const startedAtMs = workedMs()
      const { elapsedMs } = await workload.run(asker, operations)
      operationsTotal += operations
      perMs = operations / elapsedMs
      const now = workedMs()
      const remainingMs = Math.max(endsAtMs - now, forMs / 10)
      operations = Math.ceil(Math.min(operations * 2, (remainingMs * operations) / (now - startedAtMs)))
    }
    return { perMs }
  },

  usage,

  /** @param {{ operations: number }} request */
  async measure({ operations }) {
    const before = usage()
    const { elapsedMs, latenciesMs } = await workload.run(asker, operations)
    const after = usage()
    latenciesMs?.sort()
    const latency = latenciesMs && {
      p50Micros: latenciesMs[Math.floor(operations * 0.5)] * 1000,
      p99Micros: latenciesMs[Math.floor(operations * 0.99)] * 1000,
    }
    return { elapsedMs, cpuMicros: after.cpuMicros - before.cpuMicros, latency, kept: after.kept }
  },

  end() {
    // After the answer is out; a normal exit, which writes the profile if one is taken.
    setImmediate(() => process.exit(0))
    return {}
  },
}

process.on('message', async (/** @type {{ request: string }} */ message) => {
  try {
    process.send?.({ done: message.request, ...(await REQUESTS[message.request](message)) })
  } catch (error) {
    fail(error)
  }
})
process.on('uncaughtException', fail)
process.on('disconnect', () => process.exit(1))

/** User and system time of this process. */
function workedMs() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** @returns {Usage} */
function usage() {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
  return { cpuMicros: userCPUTime + systemCPUTime, rssBytesMax: maxRSS * 1024, kept: asker.kept?.() }
}

/** @param {unknown} error */
function fail(error) {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const reason = /ERR_MODULE_NOT_FOUND/.test(stack) ? `not built or not installed? ${stack}` : stack
  process.send?.({ failed: reason }, () => process.exit(1))
}
