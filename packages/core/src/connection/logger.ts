/**
 * What is logged and where. A logger takes fields and a message, as pino does; each method but `error` may be missing.
 * Neither secrets nor payloads are ever passed to it.
 */

import { quietly } from './quietly.js'

export type LogMethod = (fields: Record<string, unknown>, message: string) => unknown

export interface Logger {
  error: LogMethod
  warn?: LogMethod
  info?: LogMethod
  debug?: LogMethod
}

export const consoleLogger: Logger = {
  error: (fields, message) => {
    console.error(`pairlink: ${message}`, fields)
  },
  warn: (fields, message) => {
    console.warn(`pairlink: ${message}`, fields)
  },
}

/** A logger that cannot throw: the first failure of the one inside is told on the console, later ones are not. */
export class SafeLogger {
  readonly #logger: Logger
  #failed = false

  constructor(logger: Logger) {
    this.#logger = logger
  }

  log(level: keyof Logger, fields: Record<string, unknown>, message: string): void {
    quietly(
      () => this.#logger[level]?.(fields, message),
      (error) => {
        if (this.#failed) return
        this.#failed = true
        consoleLogger.error({ error }, 'the logger threw; this is not logged again')
      },
    )
  }
}
