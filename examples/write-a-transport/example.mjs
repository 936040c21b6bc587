// example.mjs: two processes over a folder. Run it in two terminals, behind `npm run build`.
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { Connection } from '@pairlink/core'
import { files } from './dist/src/index.js'

const [folder = join(tmpdir(), `pairlink-files-example-${userInfo().uid}`)] = process.argv.slice(2)
const connection = new Connection({
  transport: files(folder),
  secret: 'the same random bytes in both processes, 16 or more',
  onQuery: (query) => (query === 'hello' ? 'world' : undefined),
})
await connection.connect()
console.log(connection.role, await connection.query('hello'))
await connection.close()
