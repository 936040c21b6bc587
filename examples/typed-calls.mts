// typed-calls.mts: run it twice. One contract gives the types of the handlers and of the calls.
import { Connection } from '@pairlink/core'
import { local } from '@pairlink/transport-net'

interface Api {
  add(input: { a: number; b: number }): number
  version(): Promise<string>
}

const connection = new Connection<Api>({
  transport: local(process.argv[2] ?? 'typed-calls'),
  secret: 'super-secret',
  handlers: {
    add: ({ a, b }) => a + b,
    version: async () => '1.0.0',
  },
})

await connection.connect()
const [sum, version] = await Promise.all([
  connection.call('add', { a: 1, b: 2 }), // number
  connection.call('version'), // string
])
await connection.close()
console.log(sum.toFixed(0), version.toUpperCase())
