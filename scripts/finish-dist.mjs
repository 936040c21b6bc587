// The last step of a package's build, run in its folder: the declarations go beside both formats, and the CommonJS one gets
// a package.json that says what it is.
import { cpSync, writeFileSync } from 'node:fs'

for (const format of ['esm', 'cjs']) {
  cpSync('dist/types', `dist/${format}`, { recursive: true, filter: (path) => !path.endsWith('.tsbuildinfo') })
}
writeFileSync('dist/cjs/package.json', `${JSON.stringify({ type: 'commonjs' })}\n`)
