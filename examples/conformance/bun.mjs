// bun.mjs: the cases of the contract under Bun: bun test ./bun.mjs
// #region run
import { test } from 'bun:test'
import { listSkipped, transportCases } from '@pairlink/testkit'
import { manifest, place } from './place.mjs'

const cases = transportCases(place, manifest)
console.log(listSkipped(cases))
for (const { id, title, skip, run } of cases) test.skipIf(skip)(`${id}: ${title}`, run, 20_000)
// #endregion run
