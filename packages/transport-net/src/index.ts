/** Sockets of the operating system as transports of pairlink. */
export { inherited, type InheritedOptions } from './inherited.js'
export { local } from './local.js'
export type { LockOptions, TcpOptions, UnixOptions } from './options.js'
export { tcp, tcp4, tcp6, unix } from './plain.js'
