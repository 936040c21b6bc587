/**
 * Everything that can go wrong for a user, as one class and one table of codes. The table is the source of the docs page,
 * so each line says what happened and what to do.
 */
import type { Delivery } from '../protocol/index.js'

/** Every code, with its cause and its remedy in one line each. */
export const ERRORS = {
  NOT_CONNECTED: {
    cause: 'A call was made while there is no peer: before pairing, after a loss, or after the peer has said goodbye.',
    remedy: 'Await connect() or paired() first, or pass whenApart: "wait" to wait within the timeout.',
  },
  TIMEOUT: {
    cause: 'No answer, or no pair, came in the time that the call allowed.',
    remedy:
      'Raise queryTimeoutMs or timeoutMs, or look at what the handler on the other side does; delivery says how far it got.',
  },
  CANCELLED: {
    cause: 'The signal of the call was aborted.',
    remedy: 'Nothing: this is what you asked for. The cause is the reason of the signal.',
  },
  REMOTE: {
    cause: 'The handler on the other side threw, or could not answer.',
    remedy: 'See remoteCode, message and data; the stack is in the log of the other process.',
  },
  NO_HANDLER: {
    cause: 'The other side has no onQuery.',
    remedy: 'Give its Connection an onQuery, or use call() with one of its handlers.',
  },
  NO_METHOD: {
    cause: 'The other side has no handler of this name.',
    remedy: 'Check the spelling, and that both processes run the same version of the program.',
  },
  PEER_LOST: {
    cause: 'The link to the peer broke while the call was in flight; or, in an event, there is nobody at the address.',
    remedy: 'See delivery: with "not-sent" it is safe to call again, otherwise only if the call may happen twice.',
  },
  TOO_LARGE: {
    cause: 'The message is larger than the other side takes.',
    remedy: 'Raise limits.messageBytesMax on the receiving side, or send it in pieces.',
  },
  QUEUE_FULL: {
    cause: 'Too much is waiting to be sent or handled.',
    remedy:
      'Await earlier calls. Queries are bounded by 16 times limits.handlersMax of the other side; notifications, and what waits for a peer, by the own limits.sendBytesMax.',
  },
  CLOSED: {
    cause: 'The connection was closed.',
    remedy: 'Make a new Connection; a closed one stays closed.',
  },
  SECRET_MISMATCH: {
    cause: 'The two processes do not hold the same secret.',
    remedy: 'Give both the same secret; mind trailing newlines of secrets read from files.',
  },
  VERSION_MISMATCH: {
    cause: 'The two processes speak different versions of the protocol.',
    remedy: 'Update pairlink on the older side.',
  },
  ENCRYPTION_MISMATCH: {
    cause: 'One side encrypts and the other does not, or they use different ciphers.',
    remedy: 'Run the same version with the same options on both sides.',
  },
  SELF: {
    cause: 'The connection met itself.',
    remedy: 'Two connections are needed, usually in two processes; check that nothing loops the address back.',
  },
  NOT_PAIRLINK: {
    cause: 'Something at the address answers, and it is not pairlink.',
    remedy: 'Choose another address, or stop the program that holds this one.',
  },
  PAIR_BUSY: {
    cause: 'Two processes are paired at this address already.',
    remedy: 'Use another name for another pair, or whenBusy: "wait" to stand by until one of the two has ended.',
  },
  PEER_SILENT: {
    cause: 'Somebody accepted and then said nothing, or a peer fell silent.',
    remedy: 'Look whether the other process is stopped or blocked.',
  },
  ADDRESS_IN_USE: {
    cause: 'The address is taken by something that does not answer.',
    remedy: 'The message says what lies there and how to remove it.',
  },
  ADDRESS_INVALID: {
    cause: 'The address cannot be used, or not safely.',
    remedy: 'The message names the path and what to change; nothing there was touched.',
  },
  NOT_LOCAL: {
    cause: 'The address reaches beyond this host, and the link would not be safe there.',
    remedy: 'Use a loopback address; links beyond this host need encryption.',
  },
  RETRIES_EXHAUSTED: {
    cause: 'The peer did not come back within reconnect.maxRetries attempts.',
    remedy: 'Raise reconnect.maxRetries; 0 tries for ever.',
  },
  CERTIFICATE: {
    cause:
      'A certificate is not what it must be: the own files, or what the other side showed; reason tells which fault.',
    remedy:
      'The message names the file or the fault. Both sides load the same files; generateCertificate() makes a fitting pair.',
  },
  KEY_INVALID: {
    cause: 'A key file cannot be used, or not safely, or would have been overwritten; reason tells which.',
    remedy: 'The message names the file and what to change. saveKey(path, generateKey()) makes one.',
  },
  PROTOCOL: {
    cause: 'The other side broke the protocol.',
    remedy: 'Check that it is a pairlink of a matching version, and report it if so.',
  },
} as const satisfies Record<string, { readonly cause: string; readonly remedy: string }>

export type ErrorCode = keyof typeof ERRORS

export interface PairlinkErrorOptions {
  readonly cause?: unknown
  readonly delivery?: Delivery | undefined
  readonly reason?: string | undefined
  readonly remoteCode?: string | undefined
  readonly data?: unknown
}

/** A global symbol, so that errors of another copy or module format of this package are known too. */
const BRAND = Symbol.for('pairlink.error')

/** The one class of all failures that are not a wrong argument (those are `TypeError`). */
export class PairlinkError extends Error {
  override readonly name = 'PairlinkError'
  /** Stable; what the message says is not. */
  readonly code: ErrorCode
  /** For calls: whether the peer surely did not get it, may have, or did. */
  declare readonly delivery?: Delivery
  /** With `CERTIFICATE`, `KEY_INVALID` and what a transport says of strangers: which fault, in one stable word. */
  declare readonly reason?: string
  /** With `REMOTE`: the code of the `QueryError`, or the name of what the handler threw. */
  declare readonly remoteCode?: string
  /** With `REMOTE`: the data of the `QueryError`. */
  declare readonly data?: unknown

  constructor(code: ErrorCode, message: string, options: PairlinkErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    if (options.delivery !== undefined) this.delivery = options.delivery
    if (options.reason !== undefined) this.reason = options.reason
    if (options.remoteCode !== undefined) this.remoteCode = options.remoteCode
    if (options.data !== undefined) this.data = options.data
    Object.defineProperty(this, BRAND, { value: true })
  }
}

/** True for a PairlinkError, also one of another copy of the package; with `code` only for that code. */
export function isPairlinkError(error: unknown, code?: ErrorCode): error is PairlinkError {
  return isBranded(error, BRAND) && (code === undefined || (error as PairlinkError).code === code)
}

/** Thrown by a handler, it reaches the caller whole, as `REMOTE` with `remoteCode`, message and data, and is not logged. */
export class QueryError extends Error {
  override readonly name = 'QueryError'
  readonly code: string
  readonly data: unknown

  /**
   * @param code up to 64 bytes of UTF-8; longer ones are cut
   * @param message up to 1,024 bytes of UTF-8; longer ones are cut
   * @param data anything that a payload can be
   */
  constructor(code: string, message: string, data?: unknown) {
    super(message)
    this.code = code
    this.data = data
    Object.defineProperty(this, QUERY_ERROR_BRAND, { value: true })
  }
}
const QUERY_ERROR_BRAND = Symbol.for('pairlink.query-error')

export function isQueryError(error: unknown): error is QueryError {
  return isBranded(error, QUERY_ERROR_BRAND)
}

function isBranded(error: unknown, brand: symbol): boolean {
  try {
    return typeof error === 'object' && error !== null && brand in error
  } catch {
    return false // a revoked proxy, which may be thrown too
  }
}
