/** What is wrong in another process is found by the case of processes that names it, and by no other one of them. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unix } from '../../transport-net/src/index.js'
import { expect, test } from 'vitest'
import { programOf } from '../../transport-net/test/children.js'
import { TransportFault, transportCases, type Place, type TransportManifest } from '../src/index.js'
import type { Order, ProcessFault } from './broken-peer.js'
import { MANIFEST } from './memory-place.js'

const PEER = fileURLToPath(new URL('broken-peer.ts', import.meta.url))
const PROCESSES: TransportManifest = { ...MANIFEST, keepsAlive: true, processes: true }
/** Long for the one that must fail; the others have no haste. */
const FAILING_MS = 8000
const CASE_MS = 30_000

const FOUND: Readonly<Record<ProcessFault, string>> = {
  'leaves a file when it is killed': 'killed-leave-no-file',
  'has a timer that no unref() reaches': 'unref-ed-process-ends',
  'removes what a killed one has left a moment after it has looked': 'stale-address-of-processes',
}

/** A place of unix sockets. The transport of this process is sound. */
async function placeOf(fault: ProcessFault): Promise<Place> {
  const program = await programOf(PEER)
  const path = join(mkdtempSync(join(tmpdir(), 'pl-')), 's')
  return {
    listener: () => unix(path),
    leftovers: () => readdirSync(dirname(path)).length,
    spawn: (role) => {
      const order: Order = [path, fault, role]
      return spawn(process.execPath, [program, JSON.stringify(order)], { stdio: 'inherit' })
    },
    dispose: () => {
      rmSync(dirname(path), { recursive: true, force: true })
    },
  }
}

test.concurrent.each(Object.entries(FOUND) as [ProcessFault, string][])(
  'a transport that %s fails %s',
  async (fault, fails) => {
    const failed: string[] = []
    for (const looked of Object.values(FOUND)) {
      const caseMs = looked === fails ? FAILING_MS : CASE_MS
      const cases = transportCases(() => placeOf(fault), PROCESSES, { caseMs })
      try {
        await cases.find(({ id }) => id === looked)?.run()
      } catch (error) {
        if (!(error instanceof TransportFault)) throw error
        failed.push(looked)
      }
    }
    expect(failed).toEqual([fails])
  },
)
