/** Sockets of the operating system as transports of pairlink. */
export { local } from './local.js'
export { unix, type UnixOptions } from './unix.js'
