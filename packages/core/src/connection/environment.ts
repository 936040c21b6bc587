/** All that a Connection takes from the world besides its transport, in one place: a simulator brings its own. */
import { hash } from '#runtime'
import type { Hash, Id, Utf8 } from '../protocol/index.js'
import { systemClock, type Clock } from './clock.js'
import { randomId, systemRandom, type Random } from './random.js'
import { utf8 } from './text.js'

export interface Environment {
  readonly clock: Clock
  readonly random: Random
  readonly hash: Hash
  readonly utf8: Utf8
  /** The same for all connections of one process. */
  readonly process: Id
}

export const systemEnvironment: Environment = {
  clock: systemClock,
  random: systemRandom,
  hash,
  utf8,
  process: randomId(systemRandom),
}
