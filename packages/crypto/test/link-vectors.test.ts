import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { customVectors, sealedVectors } from './make-vectors.js'

const UPDATE = process.env['UPDATE_VECTORS'] === '1'

test.each([
  ['sealed.json', sealedVectors],
  ['custom.json', customVectors],
])('vectors/%s is what the protocol makes of the fixed values', (name, make) => {
  const path = fileURLToPath(new URL(`../../../vectors/${name}`, import.meta.url))
  const made = `${JSON.stringify(make(), null, 2)}\n`
  if (UPDATE) writeFileSync(path, made)
  expect(readFileSync(path, 'utf8')).toBe(made)
})
