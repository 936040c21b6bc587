/** The other process of the cases of the contract: meets where its arguments say, and echoes. */
import { runPeer, type PeerRole } from '@pairlink/testkit'
import { tls, type TlsFiles, type TlsPlace } from '../src/index.js'

export type Order = readonly [TlsPlace, TlsFiles, PeerRole]

const [place, files, role] = JSON.parse(process.argv[2] ?? '') as Order
await runPeer(tls(place, files), role)
