/** The other process of the cases of the contract: meets at the port that its arguments say, and echoes. */
import { runPeer, type PeerRole } from '@pairlink/testkit'
import { ws } from '../src/index.js'

const [port, role] = JSON.parse(process.argv[2] ?? '') as [number, PeerRole]
await runPeer(ws({ port }), role)
