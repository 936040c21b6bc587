/** The other process of `broken-processes.test.ts`: one whose transport has the fault that its arguments name. */
import { rmSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import type { Transport } from '@pairlink/core'
import { unix } from '../../transport-net/src/index.js'
import { runPeer, type PeerRole } from '../src/index.js'

export type ProcessFault = keyof typeof FAULTS
export type Order = readonly [path: string, fault: ProcessFault, role: PeerRole]

/** So long it is no longer true what was seen before. */
const LATE_MS = 100

/** The same transport with one of its members replaced. */
const altered = (sound: Transport, members: Partial<Transport>): Transport => ({
  address: sound.address,
  reach: sound.reach,
  encrypted: sound.encrypted,
  dial: (signal) => sound.dial(signal),
  listen: (...how) => sound.listen(...how),
  ...members,
})

const FAULTS = {
  'has a timer that no unref() reaches': (sound: Transport): Transport => {
    setInterval(() => undefined, 1000)
    return sound
  },
  'removes what a killed one has left a moment after it has looked': (sound: Transport, path: string): Transport =>
    altered(sound, {
      listen: async (...how) => {
        await setTimeout(LATE_MS)
        rmSync(path, { force: true })
        return sound.listen(...how)
      },
    }),
  'leaves a file when it is killed': (sound: Transport, path: string): Transport =>
    altered(sound, {
      dial: (signal) => {
        writeFileSync(`${path}.${process.pid}`, '')
        return sound.dial(signal)
      },
    }),
} as const

const [path, fault, role] = JSON.parse(process.argv[2] ?? '') as Order
await runPeer(FAULTS[fault](unix(path), path), role)
