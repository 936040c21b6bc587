// `npm start`: sets up what is needed, then shows what pairlink does.
import { join } from 'node:path'
import { root, runAndExit, setUp } from './setup.mjs'

setUp('packages')
process.stdout.write('\n')
runAndExit(process.execPath, [join(root, 'examples', 'demo', 'narrator.mjs'), ...process.argv.slice(2)])
