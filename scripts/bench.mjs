// `npm run bench`: sets up what is needed, then measures; see bench/src/bench.mjs for the options.
import { join } from 'node:path'
import { root, runAndExit, setUp } from './setup.mjs'

setUp('packages')
runAndExit(process.execPath, [join(root, 'bench', 'src', 'bench.mjs'), ...process.argv.slice(2)])
