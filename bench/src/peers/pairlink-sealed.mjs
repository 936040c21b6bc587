// @ts-check
// pairlink with encryption: aes256gcm.

import { aes256gcm } from '@pairlink/crypto'
import { openPairlink } from './pairlink.mjs'

const KEY = new Uint8Array(32).fill(7)

/** @type {import('../workloads.mjs').Open} */
export const open = (options) => openPairlink(options, { encryption: aes256gcm(KEY) })
