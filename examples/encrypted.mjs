// encrypted.mjs: run it twice. Whoever comes first makes the key, and both load it.
import { Connection } from '@pairlink/core'
import { aes256gcm, generateKey, loadKey, saveKey } from '@pairlink/crypto'
import { local } from '@pairlink/transport-net'

const [name = 'encrypted', keyFile = 'encrypted.key'] = process.argv.slice(2)

try {
  saveKey(keyFile, generateKey()) // for this user alone, and never over a file that is there
} catch (error) {
  if (error.reason !== 'exists') throw error // then the other process made it, or an earlier run
}

const connection = new Connection({
  transport: local(name),
  secret: 'super-secret',
  encryption: aes256gcm(loadKey(keyFile)),
  onQuery: (query) => (query === 'hello' ? 'world' : undefined),
})

await connection.connect()
console.log(await connection.query('hello')) // both print "world"
await connection.close()
