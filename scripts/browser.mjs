// `npm run browser`: builds what the example page needs and serves it; see examples/browser.
import { join } from 'node:path'
import { root, runAndExit, setUp } from './setup.mjs'

setUp('packages')
runAndExit(process.execPath, [join(root, 'examples', 'browser', 'server.mjs'), ...process.argv.slice(2)])
