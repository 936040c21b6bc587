// Compares what each package exports with the report that is checked in beside it, so that a change of the public surface is
// seen in review. With --update it writes the reports instead.
import { existsSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { publishedPackages } from './packages.mjs'

const { Extractor, ExtractorConfig } = createRequire(import.meta.url)('@microsoft/api-extractor')
const isUpdate = process.argv.includes('--update')
let differences = 0

for (const { name, folder, manifest } of publishedPackages()) {
  for (const [entry, conditions] of Object.entries(manifest.exports)) {
    const types = /** @type {any} */ (conditions).import?.types
    if (types === undefined) continue
    const reportName = entry === '.' ? 'index' : entry.slice(2).replaceAll('/', '-')
    mkdirSync(join(folder, 'etc'), { recursive: true })
    const config = ExtractorConfig.prepare({
      configObjectFullPath: join(folder, 'api-extractor.json'),
      packageJsonFullPath: join(folder, 'package.json'),
      configObject: {
        projectFolder: folder,
        mainEntryPointFilePath: join(folder, types),
        bundledPackages: [],
        compiler: { tsconfigFilePath: join(folder, 'tsconfig.json') },
        apiReport: {
          enabled: true,
          reportFileName: `${reportName}.api.md`,
          reportFolder: join(folder, 'etc'),
          reportTempFolder: join(folder, 'dist', 'api'),
        },
        docModel: { enabled: false },
        dtsRollup: { enabled: false },
        tsdocMetadata: { enabled: false },
        messages: {
          compilerMessageReporting: { default: { logLevel: 'none' } },
          extractorMessageReporting: { default: { logLevel: 'none' } },
          tsdocMessageReporting: { default: { logLevel: 'none' } },
        },
      },
    })
    const isMissing = !existsSync(join(folder, 'etc', `${reportName}.api.md`))
    const result = Extractor.invoke(config, { localBuild: isUpdate, messageCallback: quiet })
    if (!isUpdate && (isMissing || result.apiReportChanged)) {
      differences++
      console.error(
        `${name} (${entry}) exports something else than its report says; see the change with: npm run api && git diff`,
      )
    }
  }
}
console.log(isUpdate ? 'The reports are written.' : `${differences} reports differ.`)
process.exitCode = differences > 0 ? 1 : 0

/** @param {any} message */
function quiet(message) {
  message.handled = message.logLevel !== 'error' || message.text?.includes('API signature')
}
