/** The other process of the cases of the contract: meets where its arguments say, and echoes. */
import { runPeer, type PeerRole } from '@pairlink/testkit'
import { tls, type TlsFiles, type TlsPlace } from '../src/index.js'

const [place, files, role] = JSON.parse(process.argv[2] ?? '') as [TlsPlace, TlsFiles, PeerRole]
await runPeer(tls(place, files), role)
