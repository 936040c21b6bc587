/** Sockets of the operating system as transports of pairlink. */
export { inherited, type InheritedOptions } from './inherited.js'
export { local } from './local.js'
export { tcp, tcp4, tcp6, type TcpOptions } from './tcp.js'
export { unix, type LockOptions, type UnixOptions } from './unix.js'
