/** The pauses between two looks for a peer. */
import type { ReconnectOptions } from './options.js'
import type { Random } from './random.js'

/** Growth stops here, unless the first pause is longer already. */
const GROWN_MS_MAX = 60_000

/** Endless; each pause in milliseconds. Jitter keeps many processes that lost the same peer from coming back as one. */
export function* pauses(
  { delayMs, growth, jitter }: Required<Omit<ReconnectOptions, 'maxRetries'>>,
  random: Random,
): Generator<number, never> {
  for (let pauseMs = delayMs; ; pauseMs = Math.max(delayMs, Math.min(GROWN_MS_MAX, pauseMs * growth))) {
    yield jitter ? pauseMs * (0.5 + random.fraction()) : pauseMs
  }
}
