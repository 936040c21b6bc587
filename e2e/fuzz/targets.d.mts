/** For the tests of the packages, which are checked by TypeScript. */
import type { Encryption } from '@pairlink/core'
import type { Link } from '@pairlink/core/protocol'
import type { Change, Input } from './inputs.mjs'

export interface Outcome {
  readonly end: string
  readonly bytes: number
}
export interface Target {
  readonly name: string
  honest(): readonly Input[]
  others(): readonly Uint8Array[]
  run(input: Input): Outcome | Promise<Outcome>
}
export function targetsOf(
  encryptions: readonly (Encryption | undefined)[],
  options?: { readonly wrap?: (link: Link) => Link },
): Target[]
export function inputFor(target: Target, random: () => number, kept: readonly Input[]): Input
export type { Change, Input }
