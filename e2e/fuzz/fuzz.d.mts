/** For the tests of the packages, which are checked by TypeScript. */
import type { Input } from './inputs.mjs'
import type { Target } from './targets.mjs'

export interface Counts {
  readonly target: string
  readonly runs: number
  readonly ends: ReadonlyMap<string, number>
}
export interface Found {
  readonly target: string
  readonly input: Input
  readonly error: unknown
}
export function fuzz(options: {
  readonly targets: readonly Target[]
  readonly seed: number
  readonly runs?: number
  readonly forMs?: number
}): Promise<{ readonly counts: readonly Counts[]; readonly found: Found | undefined }>
export function report(found: Found, file: string, seed: number): string
