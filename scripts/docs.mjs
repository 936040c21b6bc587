// `npm run docs`: builds what the documentation site needs and serves it.
import { join } from 'node:path'
import { bin, root, runAndExit, setUp } from './setup.mjs'

setUp('all')
runAndExit(bin('vitepress'), ['preview', join(root, 'apps', 'docs'), ...process.argv.slice(2)])
