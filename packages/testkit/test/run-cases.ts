/** The cases of a transport as tests of vitest, for our own packages; others copy these lines from the documentation. */
import { test } from 'vitest'
import { listSkipped, type TransportCase } from '../src/index.js'

export function runCases(cases: readonly TransportCase[]): void {
  const skipped = listSkipped(cases)
  if (skipped !== '') console.log(skipped)
  for (const { id, title, skip, run } of cases) test.skipIf(skip !== undefined)(`${id}: ${title}`, run)
}
