/** For the tests of the packages, which are checked by TypeScript. */
export interface Input {
  readonly seed: number
  readonly pieces: readonly Uint8Array[]
}
export interface Change {
  readonly how: number
  readonly piece: number
  readonly at: number
  readonly value: number
}
export function encodeInput(input: Input): string
export function decodeInput(text: string): Input
export function changed(
  pieces: readonly Uint8Array[],
  changes: readonly Change[],
  others: readonly Uint8Array[],
): Uint8Array[]
