/** What the parts of one Connection have in common; each gets no more of it than this. */
import type { Environment } from './environment.js'
import type { Logger } from './logger.js'
import type { Settings } from './options.js'
import type { Signals } from './signals.js'

export interface Shared {
  readonly settings: Settings
  readonly environment: Environment
  readonly signals: Signals
  /** Where the two meet, for messages. */
  readonly address: string
  /** The time of this turn of the loop: read once, since a clock costs more than a call. */
  now(): number
  /** The time of this moment, for whoever begins to wait in the middle of a long turn. */
  read(): number
  /** Something is to be written: it goes out at the end of this turn. */
  wake(): void
  log(level: keyof Logger, fields: Record<string, unknown>, message: string): void
  /** The bytes of a method name. @throws TypeError for one that is too long */
  methodBytes(method: string): Uint8Array
}
