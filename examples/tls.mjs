// tls.mjs: run it twice, after certificate.mjs. Both processes have the same two files.
import { Connection } from '@pairlink/core'
import { tls } from '@pairlink/transport-tls'

const [port = '4711', certFile = 'app.pem', keyFile = 'app.key'] = process.argv.slice(2)

const connection = new Connection({
  transport: tls({ port: Number(port) }, { certFile, keyFile }),
  secret: 'super-secret',
  onQuery: (query) => (query === 'hello' ? 'world' : undefined),
})

await connection.connect()
console.log(await connection.query('hello')) // both print "world"
await connection.close()
