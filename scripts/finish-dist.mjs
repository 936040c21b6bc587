// The last step of a package's build, run in its folder: the declarations go beside both formats, and the CommonJS one gets
// a package.json that says so. That file hides the package's own `imports` map from what lies under it, so it repeats it.
import { cpSync, readFileSync, writeFileSync } from 'node:fs'

for (const format of ['esm', 'cjs']) {
  cpSync('dist/types', `dist/${format}`, { recursive: true, filter: (path) => !path.endsWith('.tsbuildinfo') })
}
const { imports } = JSON.parse(readFileSync('package.json', 'utf8'))
const rebased = imports && JSON.parse(JSON.stringify(imports).replaceAll('./dist/esm/', './'))
writeFileSync('dist/cjs/package.json', `${JSON.stringify({ type: 'commonjs', imports: rebased }, null, 2)}\n`)
