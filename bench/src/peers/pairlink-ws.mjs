// @ts-check
// pairlink over WebSocket at a port: who dials is the client, which masks what it sends.

import { ws } from '@pairlink/transport-ws'
import { openPairlink } from './pairlink.mjs'

/** @type {import('../workloads.mjs').Open} */
export const open = (options) => openPairlink(options, { transport: ws({ port: options.port }) })
