/** The other process of the cases that need one: it meets at a port, and sends back whatever it reads. */
import { runPeer, type PeerRole } from '@pairlink/testkit'
import { port } from '../src/index.js'

const [number, role] = process.argv.slice(2)
await runPeer(port(Number(number)), role as PeerRole)
