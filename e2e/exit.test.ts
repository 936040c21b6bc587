/** Processes end by themselves: after `close()` at any moment, and after `unref()`. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { folder, pause, Peer, repository, seeded, sideBySide } from './processes.js'

const RUNS = 60
const file = join(repository, 'e2e/peers/exit.mjs')

it(`closes at ${RUNS} random moments, and both processes end by themselves`, { timeout: 120_000 }, async () => {
  const random = seeded('moments of closing')
  const moments: Record<string, number> = {}
  await sideBySide(RUNS, 3, async (run) => {
    const place = folder()
    const plans = [0, 1].map(() => {
      const kind = random()
      const moment = random()
      const when =
        kind < 0.1
          ? { closeAfterMs: 0 }
          : kind < 0.5
            ? { closeAfterMs: moment * 150 }
            : { closePairedAfterMs: moment * 20 }
      // Whoever waits for a peer that never comes closes in the end.
      return { path: join(place, 's'), closeAfterMs: 2000, ...when, twice: random() < 0.3 }
    })
    const offsetMs = random() * 30
    const peers: Peer[] = []
    for (const plan of plans) {
      peers.push(new Peer(file, [JSON.stringify(plan)], `run ${run}: ${JSON.stringify(plan)}`))
      if (peers.length === 1) await pause(offsetMs)
    }
    const seen = (): string => peers.map((peer) => peer.seen()).join('\n')
    try {
      await Promise.all(peers.map((peer) => peer.endsWell(8000)))
      for (const peer of peers) {
        expect(peer.stderr).toBe('')
        const [closed] = peer.all('closed')
        expect(closed?.['state']).toBe('closed')
        const before = String(closed?.['before'])
        moments[before] = (moments[before] ?? 0) + 1
      }
      // The lock file stays: whoever removed it could take it from under another.
      expect(readdirSync(place).filter((name) => name !== 's.lock')).toEqual([])
    } catch (error) {
      throw new Error(`Run ${run} went wrong: ${String(error)}\n${seen()}`, { cause: error })
    }
  })
  console.log(`MEASURED closed in the states ${JSON.stringify(moments)}`)
  for (const state of ['idle', 'meeting', 'paired']) expect(moments[state]).toBeGreaterThan(0)
})

it.each([
  ['while it waits', { unref: 'at once', until: 'started' }],
  ['when it listens', { unref: 'connected', until: 'started' }],
])('a connection that was let go %s keeps no process', async (_name, plan) => {
  const peer = new Peer(file, [JSON.stringify({ path: join(folder(), 's'), ...plan })])
  peer.child.stdin?.end()
  await peer.endsWell(5000)
})

it('a pair that both sides let go keeps neither process', async () => {
  const plan = JSON.stringify({ path: join(folder(), 's'), unref: 'connected' })
  const peers = [new Peer(file, [plan], 'one'), new Peer(file, [plan], 'other')]
  await Promise.all(peers.map((peer) => peer.next('connected')))
  await Promise.all(peers.map((peer) => peer.endsWell(5000)))
})
