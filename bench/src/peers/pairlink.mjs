// @ts-check
// pairlink as a user would type it: public API only, every default. Both processes run the same code; the role only
// says who asks, and the process that is opened first listens.

import { Connection } from '@pairlink/core'
import { unix } from '@pairlink/transport-net'

const BORROWED = { borrow: true }
/** Long enough for an address that others can reach. */
const SECRET = 'a secret of the benchmark'

/** @type {import('../workloads.mjs').Open} */
export const open = (options) => openPairlink(options)

/**
 * @param {Parameters<import('../workloads.mjs').Open>[0]} options
 * @param {Partial<import('@pairlink/core').ConnectionOptions>} [more]
 * @returns {Promise<import('../workloads.mjs').Asker & { stats: () => import('@pairlink/core').ConnectionStats }>}
 */
export async function openPairlink({ path, role, borrow, onQuery, onNotify, onError }, more) {
  const connection = new Connection({ transport: unix(path), secret: SECRET, onQuery, onNotify, ...more })
  connection.on('closed', ({ error }) => error && onError(error))
  await connection.connect(role === 'answerer' ? { until: 'started' } : {})

  // What was told and is not yet taken by the send queue: every promise is watched, as a careful user would.
  let untaken = 0
  /** @type {(() => void) | undefined} */
  let onTaken
  const taken = () => {
    if (--untaken > 0 || onTaken === undefined) return
    const done = onTaken
    onTaken = undefined
    done()
  }

  return {
    ask: borrow
      ? (query, done) => void connection.query(query, BORROWED).then(done, onError)
      : (query, done) => void connection.query(query).then(done, onError),
    tell(message) {
      untaken++
      connection.notify(message).then(taken, onError)
    },
    whenTaken(done) {
      if (untaken === 0) done()
      else onTaken = done
    },
    stats: () => connection.stats(),
  }
}
