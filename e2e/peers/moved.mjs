// The program that the page "Coming from simple-ipc" shows, run in the folder that is given.
process.chdir(process.argv[2])
// #region program
import { Connection } from '@pairlink/core'
import { aes256gcm, loadKey } from '@pairlink/crypto'
import { unix } from '@pairlink/transport-net'

const connection = new Connection({
  transport: unix('./app.sock'),
  secret: 'super-secret',
  encryption: aes256gcm(loadKey('./encryption.key', { allowShared: true })),
  onQuery: (message) => (message === 'hello' ? 'world' : undefined),
})

await connection.connect()
console.log(await connection.query('hello'))
await connection.close()
// #endregion program
