// vitest.mjs: the cases of the contract under vitest, which finds it under a name such as conformance.test.mjs.
// #region run
import { test } from 'vitest'
import { listSkipped, transportCases } from '@pairlink/testkit'
import { manifest, place } from './place.mjs'

const cases = transportCases(place, manifest)
console.log(listSkipped(cases))
for (const { id, title, skip, run } of cases) test.skipIf(skip)(`${id}: ${title}`, { timeout: 20_000 }, run)
// #endregion run
