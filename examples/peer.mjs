// peer.mjs: run it twice, in two terminals. That is the whole setup.
import { Connection } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

const connection = new Connection({
  transport: local('example'),
  secret: 'super-secret',
  onQuery: (query) => (query === 'hello' ? 'world' : undefined),
})

await connection.connect() // the first process waits here, the second one pairs with it
console.log(await connection.query('hello')) // both print "world"
await connection.close() // answers what the other still asks, then ends
