/** What the fuzzer looks for: something that must never happen, whatever comes in. */
export class Finding extends Error {
  name = 'Finding'
}
