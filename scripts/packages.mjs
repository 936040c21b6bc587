// The packages that are published, as the checks need them.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './setup.mjs'

/** @returns {{ name: string, folder: string, manifest: any }[]} */
export function publishedPackages() {
  return readdirSync(join(root, 'packages')).map((entry) => {
    const folder = join(root, 'packages', entry)
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return { name: manifest.name, folder, manifest }
  })
}
