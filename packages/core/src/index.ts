/** What an application imports: the Connection, its errors, and the types of both; and the plug for transport authors. */
export { Connection } from './connection/connection.js'
export type {
  CallOptions,
  ConnectionEvents,
  ConnectionState,
  ConnectionStats,
  Context,
  NotifyOptions,
  Role,
} from './connection/surface.js'
export type { RefusedReason } from './connection/endings.js'
export type { Clock, Timer } from './connection/clock.js'
export type { Environment } from './connection/environment.js'
export { ERRORS, isPairlinkError, PairlinkError, QueryError } from './connection/errors.js'
export type { ErrorCode, PairlinkErrorOptions } from './connection/errors.js'
export type { Logger, LogMethod } from './connection/logger.js'
export type {
  AnyApi,
  ConnectionOptions,
  Handlers,
  Input,
  Method,
  OnNotify,
  OnQuery,
  Output,
  ReconnectOptions,
} from './connection/options.js'
export type { Peer } from './connection/pair.js'
export type { Random } from './connection/random.js'
export type { ConnectOptions, PairedOptions } from './connection/waiters.js'
export type {
  CustomEncryption,
  Delivery,
  Encryption,
  Hash,
  Limits,
  Opener,
  SealedEncryption,
  SealedHandshake,
  SealedKeys,
  Sealer,
  SessionStats,
  Side,
  Utf8,
} from './protocol/index.js'
export type { Listener, Pipe, PipeSink, Reach, SilentHolder, Transport } from './transport.js'
