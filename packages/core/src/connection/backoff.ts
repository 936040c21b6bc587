/** How often a peer is looked for, and with which pauses: what `reconnect` asks for, as numbers. It waits for nothing itself. */
import type { Settings } from './options.js'
import type { Random } from './random.js'

/** After a loss both sides come back at once; up to so much apart they do not collide. */
export const FIRST_LOOK_MS_MAX = 100
/** Growth stops here, unless the first pause is longer already. */
const GROWN_MS_MAX = 60_000
/** `reconnect` is about losses: a first meeting goes on, a second at a time, until nobody waits for it. */
const FIRST_MEETING = { maxRetries: 0, delayMs: 1000, growth: 1, jitter: true }

type Policy = Exclude<Settings['reconnect'], false>

export class Backoff {
  /** How many looks may find nobody; Infinity for ever. */
  readonly roundsMax: number
  readonly #policy: Policy
  readonly #random: Random

  constructor(reconnect: Settings['reconnect'], isFirst: boolean, random: Random) {
    this.#policy = reconnect === false || isFirst ? FIRST_MEETING : reconnect
    this.#random = random
    this.roundsMax = this.#policy.maxRetries === 0 ? Infinity : this.#policy.maxRetries
  }

  /** Endless; each pause in milliseconds. Jitter keeps many processes that lost the same peer from coming back as one. */
  *pauses(): Generator<number, never> {
    const { delayMs, jitter } = this.#policy
    for (let pauseMs = delayMs; ; pauseMs = this.#grown(pauseMs)) {
      yield jitter ? pauseMs * (0.5 + this.#random.fraction()) : pauseMs
    }
  }

  /** How long one listens who does not look: as long as another would take to, whose pauses are of middle length. */
  listeningMs(): number {
    if (this.roundsMax === Infinity) return Infinity
    let sumMs = FIRST_LOOK_MS_MAX
    let pauseMs = this.#policy.delayMs
    for (let round = 0; round < this.roundsMax; round++) {
      const nextMs = this.#grown(pauseMs)
      if (nextMs === pauseMs) return sumMs + (this.roundsMax - round) * pauseMs
      sumMs += pauseMs
      pauseMs = nextMs
    }
    return sumMs
  }

  #grown(pauseMs: number): number {
    const { delayMs, growth } = this.#policy
    return Math.max(delayMs, Math.min(GROWN_MS_MAX, pauseMs * growth))
  }
}
