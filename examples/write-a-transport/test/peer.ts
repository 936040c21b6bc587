/** The other process of the cases that need one: it meets in a folder, and does what its role is. */
import { runPeer, type PeerRole } from '@pairlink/testkit'
import { files } from '../src/index.js'

const [folder = '', role] = process.argv.slice(2)
await runPeer(files(folder), role as PeerRole)
