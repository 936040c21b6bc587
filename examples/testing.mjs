// testing.mjs: handlers and calls of an application, tested without a second process.
import assert from 'node:assert/strict'
import { connectedPair } from '@pairlink/testkit'

// #region pair
/** What the application does. */
const handlers = { add: ({ a, b }) => a + b }

const { one, two, place, dispose } = await connectedPair({
  one: { onQuery: (query) => `one heard ${query}` },
  two: { handlers },
  both: { drainMs: 100 }, // so long a Connection that closes waits for a peer that is silent
})
assert.equal(await one.call('add', { a: 1, b: 2 }), 3)
assert.equal(await two.query('two'), 'one heard two')
// #endregion pair

// #region faults
place.stall() // nothing arrives any more
const sum = one.call('add', { a: 2, b: 2 })
place.cut() // the link is lost, and what was under way
place.flow()
assert.equal(await sum, 4) // it is answered over the next link, and handled once

place.silence() // half-open: nobody is told
await assert.rejects(one.call('add', { a: 3, b: 3 }, { timeoutMs: 50 }), { code: 'TIMEOUT', delivery: 'unknown' })

await dispose()
assert.equal(place.handles, 0)
// #endregion faults
console.log('done')
