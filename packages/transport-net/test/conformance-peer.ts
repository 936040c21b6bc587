/** The other process of the cases of the contract: meets where its arguments say, and echoes. */
import { runPeer, type PeerRole } from '@pairlink/testkit'
import { tcp, unix } from '../src/index.js'

export type Where = { readonly path: string } | { readonly port: number }

const [where, role] = JSON.parse(process.argv[2] ?? '') as [Where, PeerRole]
await runPeer('path' in where ? unix(where.path) : tcp(where), role)
