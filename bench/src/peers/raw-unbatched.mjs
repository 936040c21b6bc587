// @ts-check
// The reference with one write per message instead of one per turn: shows what batching alone is worth, and that the
// benchmark sees it.

import { openRaw } from './raw.mjs'

/** @type {import('../workloads.mjs').Open} */
export const open = (options) => openRaw(options, { batched: false })
