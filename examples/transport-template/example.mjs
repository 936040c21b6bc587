// example.mjs: two processes over this transport. Run it in two terminals, behind `npm run build`.
import { Connection } from '@pairlink/core'
import { port } from './dist/src/index.js'

const [number = 47_211] = process.argv.slice(2).map(Number)
const connection = new Connection({
  transport: port(number),
  secret: 'the same random bytes in both processes, 16 or more',
  onQuery: (query) => (query === 'hello' ? 'world' : undefined),
})
await connection.connect()
console.log(connection.role, await connection.query('hello'))
await connection.close()
