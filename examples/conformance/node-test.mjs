// node-test.mjs: the cases of the contract under the test runner of Node.js: node --test node-test.mjs
// #region run
import { test } from 'node:test'
import { listSkipped, transportCases } from '@pairlink/testkit'
import { manifest, place } from './place.mjs'

const cases = transportCases(place, manifest)
console.log(listSkipped(cases))
for (const { id, title, skip, run } of cases) test(`${id}: ${title}`, { skip }, run)
// #endregion run
