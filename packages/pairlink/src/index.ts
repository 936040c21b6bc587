/** pairlink and its sockets in one import, for those who do not pick the parts. */
export * from '@pairlink/core'
export * from '@pairlink/transport-net'
export { transportFromUrl, type TransportUrlOptions } from './url.js'
