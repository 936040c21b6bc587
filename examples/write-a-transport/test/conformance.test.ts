/** The transport keeps the contract: every case that its manifest lets run. What is skipped is printed, with the reason. */
import { test } from 'node:test'
import { listSkipped, transportCases } from '@pairlink/testkit'
import { manifest, place } from './place.js'

const cases = transportCases(place, manifest)
console.log(listSkipped(cases))
for (const { id, title, skip, run } of cases) test(`${id}: ${title}`, { skip }, run)
