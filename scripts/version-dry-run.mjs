// Plays the next release on a copy: the pending changesets are applied, and no package may become 1.0.0 by it. (With a plain
// caret as peer range, one minor of core would.)
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bin, root } from './setup.mjs'

const copy = mkdtempSync(join(tmpdir(), 'pairlink-version-'))
try {
  cpSync(root, copy, {
    recursive: true,
    filter: (path) => !/[/\\](node_modules|dist|\.git|\.turbo|cache)$/.test(path),
  })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'junction')
  const git = (/** @type {string[]} */ ...args) =>
    execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@localhost', ...args], { cwd: copy, stdio: 'pipe' })
  git('init', '-q', '-b', 'main')
  git('add', '-A')
  git('commit', '-q', '-m', 'copy')
  execFileSync(bin('changeset'), ['version'], { cwd: copy, stdio: 'pipe' })
  const versions = readdirSync(join(copy, 'packages')).map((folder) => {
    const { name, version } = JSON.parse(readFileSync(join(copy, 'packages', folder, 'package.json'), 'utf8'))
    return { name, version }
  })
  for (const { name, version } of versions) assert.match(version, /^0\./, `${name} would become ${version}`)
  assert.equal(new Set(versions.map(({ version }) => version)).size, 1, 'all packages have one version')
  console.log(`The next release would be ${versions[0]?.version}.`)
} finally {
  rmSync(copy, { recursive: true, force: true })
}
