/**
 * Every fault, over all transports and in both roles, in one table: what both sides must see, and that a right process
 * pairs afterwards.
 *
 * The helpers end all processes after each test, so the rows run before the tests, some at once, and each test tells how its
 * row ended. Only the rows run whose tests were chosen (`-t`).
 */
import { beforeAll, expect, it } from 'vitest'
import {
  displaced,
  foreign,
  FOREIGN,
  FOREIGN_LOCKS,
  longPath,
  missingDirectory,
  noPython,
  openDirectory,
  portHeld,
  wrongPorts,
} from './faults/addresses.js'
import {
  bothRestart,
  breakOff,
  impostor,
  kill,
  newcomer,
  restart,
  stale,
  standby,
  stopAndContinue,
  stopReading,
  stopReadingAndPing,
  stranger,
  third,
  twoSuccessors,
  wrongSecret,
  type Strike,
} from './faults/strikes.js'
import { FaultPeer, makeCertificate, World, type Role, type Shield, type TransportName } from './faults/world.js'
import { sideBySide } from './processes.js'

type Seen = Record<string, unknown>
interface Fault {
  readonly fault: string
  readonly strike: Strike
  /** What is seen; for each role where it differs. */
  readonly sees: Seen | ((struck: Role, transport: TransportName, shield: Shield) => Seen)
  /** All, where left out. */
  readonly over?: readonly TransportName[]
  /** Both, where left out. */
  readonly strikes?: readonly Role[]
  /** Why it cannot be tried here. */
  readonly skip?: string | undefined
  /** Whether it is over before a byte is sent, however links are protected. */
  readonly isOfAddress?: boolean
}

/** Most of the time they wait. */
const AT_ONCE = 8
/** They take about a minute on two cores that have nothing else to do. */
const ROWS_MS = 300_000
const LISTENER: readonly Role[] = ['listener']
const DIALER: readonly Role[] = ['dialer']
const ALL: readonly TransportName[] = ['unix', 'tcp', 'ws']
const UNIX: readonly TransportName[] = ['unix']
const PORTS: readonly TransportName[] = ['tcp', 'ws']
const WS: readonly TransportName[] = ['ws']

/** What there is no row for, and why. */
const IMPOSSIBLE = [
  {
    name: 'what lies at a path, and how a path is taken over (tcp, ws)',
    reason: 'a port is no file: whoever binds it has it, and nothing lies there',
  },
  {
    name: 'every row (tls over ws)',
    reason: 'wss is that of a server which is there already: one side only listens, the other only dials',
  },
]

const SOME: unknown = expect.toSatisfy((bytes: number) => bytes > 0)
const LOST_DELIVERED = { code: 'PEER_LOST', delivery: 'delivered' }
const LOST_UNKNOWN = { code: 'PEER_LOST', delivery: 'unknown' }

/** A first `connect` to something that is not pairlink, and what a listener tells of one that comes. */
const notPairlink = (struck: Role): Seen =>
  struck === 'listener'
    ? { code: 'NOT_PAIRLINK', waiting: [], links: 1, state: 'idle' }
    : { bytesBack: 0, refused: 'not-pairlink', state: 'meeting', strangers: 0 }
/** The same of one who asks for no WebSocket. Over WebSocket that is answered with a status. */
const noWebSocket = (struck: Role, transport: TransportName): Seen => ({
  ...notPairlink(struck),
  ...(struck === 'dialer' && transport === 'ws' ? { bytesBack: SOME } : {}),
})
const silent = (struck: Role): Seen =>
  struck === 'listener'
    ? { code: 'TIMEOUT', waiting: ['PEER_SILENT'], links: expect.any(Number), state: 'idle' }
    : { bytesBack: 0, refused: 'silent', state: 'meeting', strangers: 0 }
const hungUp = (struck: Role): Seen =>
  struck === 'listener'
    ? { code: 'NOT_PAIRLINK', waiting: [], links: 5, state: 'idle' }
    : { bytesBack: 0, refused: undefined, state: 'meeting', strangers: 0 }
/** `meanwhile`: a path can be taken over from a listener that is stopped, a port is dialled in vain. */
const stopped =
  (meanwhile: string) =>
  (struck: Role): Seen => ({
    other: {
      apart: 'PEER_SILENT',
      calls: [LOST_DELIVERED, LOST_UNKNOWN],
      meanwhile: struck === 'listener' ? meanwhile : undefined,
      waiting: struck === 'dialer' ? [] : meanwhile === 'PEER_SILENT' ? ['PEER_SILENT'] : expect.any(Array),
      again: 'same',
    },
    struck: { apart: ['PEER_LOST'], again: 'same' },
  })
const invalid = { code: 'ADDRESS_INVALID', namesPath: true, saysWhat: true, saysWhatToDo: true }
const leftAlone = (struck: Role): Seen =>
  struck === 'listener'
    ? { ...invalid, state: 'idle', isUntouched: true }
    : { apart: 'PEER_LOST', ...invalid, state: 'closed', isUntouched: true }

const FAULTS: readonly Fault[] = [
  {
    fault: 'SIGKILL',
    strike: kill,
    sees: {
      apart: 'PEER_LOST',
      calls: [LOST_DELIVERED, LOST_UNKNOWN],
      handlerIsTold: 'PEER_LOST',
      laterCall: { code: 'NOT_CONNECTED', delivery: 'not-sent' },
    },
  },
  { fault: 'SIGSTOP, then SIGCONT', over: PORTS, strike: stopAndContinue(), sees: stopped('PEER_SILENT') },
  { fault: 'SIGSTOP, then SIGCONT', over: UNIX, strikes: DIALER, strike: stopAndContinue(), sees: stopped('') },
  {
    fault: 'SIGSTOP, then SIGCONT, with handshakes of more than a second',
    over: UNIX,
    strikes: LISTENER,
    strike: stopAndContinue({ handshakeTimeoutMs: 1200 }),
    sees: stopped('listening'),
  },
  {
    fault: 'SIGSTOP, then SIGCONT, with shorter handshakes',
    over: UNIX,
    strikes: LISTENER,
    strike: stopAndContinue(),
    sees: stopped('listening'),
  },
  {
    fault: 'exit in the middle of a frame',
    strike: breakOff('half a frame'),
    sees: { apart: 'PEER_LOST', call: LOST_DELIVERED, handlersBegun: 0 },
  },
  {
    fault: 'close in the middle of a large message',
    strike: breakOff('half a message'),
    sees: { apart: 'PEER_LOST', call: LOST_DELIVERED, handlersBegun: 0 },
  },
  {
    fault: 'a peer that stops reading',
    strike: stopReading,
    sees: { apart: 'PEER_SILENT', call: LOST_UNKNOWN },
  },
  {
    fault: 'a peer that stops reading and goes on asking for signs of life',
    strike: stopReadingAndPing,
    sees: {
      partly: { code: 'TIMEOUT', delivery: 'unknown' },
      behind: { code: 'TIMEOUT', delivery: 'not-sent' },
      tooMuch: { code: 'TIMEOUT', delivery: 'not-sent' },
      state: 'paired',
      afterItsEnd: 'PEER_LOST',
    },
  },
  {
    fault: 'a handshake of a byte at a time',
    strike: stranger('drip'),
    // Behind TLS it has shown the right certificate, and is told so.
    sees: (struck, _, shield) => ({
      ...silent(struck),
      ...(struck === 'dialer' && shield === 'tls' ? { bytesBack: 1 } : {}),
    }),
  },
  { fault: 'an opening handshake of a byte at a time', over: WS, strike: stranger('drip the opening'), sees: silent },
  {
    fault: 'HTTP',
    strike: stranger('HTTP'),
    sees: (struck, transport) => ({
      ...noWebSocket(struck, transport),
      ...(struck === 'listener' ? { links: 0 } : {}),
    }),
  },
  { fault: 'silence', strike: stranger('silent'), sees: silent },
  { fault: 'silence in a WebSocket', over: WS, strike: stranger('silent in a WebSocket'), sees: silent },
  {
    fault: 'garbage',
    strike: stranger('garbage'),
    // One that is ending breaks off a handshake of TLS or WebSocket as well, so it is dialled again a few times.
    sees: (struck, transport, shield) => ({
      ...noWebSocket(struck, transport),
      ...(struck === 'listener' && (shield === 'tls' || transport === 'ws') ? { links: 5 } : {}),
    }),
  },
  { fault: 'garbage in a WebSocket', over: WS, strike: stranger('garbage in a WebSocket'), sees: notPairlink },
  { fault: 'hanging up without a byte', strike: stranger('hang up'), sees: hungUp },
  { fault: 'hanging up in a WebSocket', over: WS, strike: stranger('hang up in a WebSocket'), sees: hungUp },
  ...(
    [
      ['HTTP', 'NOT_PAIRLINK', undefined],
      ['garbage', 'NOT_PAIRLINK', undefined],
      ['garbage in a WebSocket', 'NOT_PAIRLINK', WS],
      ['hang up', 'NOT_PAIRLINK', undefined],
      ['silent', 'PEER_SILENT', undefined],
      ['silent in a WebSocket', 'PEER_SILENT', WS],
    ] as const
  ).map(
    ([mischief, code, over]): Fault => ({
      fault: `${mischief} in the place of a listener that has died`,
      ...(over !== undefined && { over }),
      strikes: DIALER,
      strike: impostor(mischief),
      sees: { apart: ['PEER_LOST', code], state: 'apart' },
    }),
  ),
  {
    fault: 'the same, until the retries are exhausted',
    strikes: DIALER,
    strike: impostor('garbage', { reconnect: { maxRetries: 2, delayMs: 200 } }),
    sees: { apart: ['PEER_LOST', 'NOT_PAIRLINK'], state: 'closed', closed: 'RETRIES_EXHAUSTED' },
  },
  {
    fault: 'a peer that is killed and started anew',
    strike: restart,
    sees: { apart: 'PEER_LOST', peer: 'new', successor: 'new' },
  },
  {
    fault: 'two successors at once',
    strike: twoSuccessors,
    sees: { apart: 'PEER_LOST', told: [{ code: 'PAIR_BUSY' }] },
  },
  {
    fault: 'both killed and started anew at once',
    strikes: LISTENER,
    strike: bothRestart,
    sees: { errors: [undefined, undefined], roles: ['dialer', 'listener'], refused: [0, 0] },
  },
  {
    fault: 'a third process, while two are paired and after',
    strike: third,
    sees: { told: { code: 'PAIR_BUSY' }, state: 'idle', refused: 'busy', disturbed: 0 },
  },
  {
    fault: 'a third process that stands by until',
    strike: standby,
    sees: { state: 'standby', apart: 'PEER_LOST', peer: 'new' },
  },
  {
    fault: 'a wrong secret',
    strike: wrongSecret,
    sees: { dialer: { code: 'SECRET_MISMATCH' }, listener: 'secret', isSecretTold: false },
  },
  {
    fault: 'a newcomer at once after the death',
    strike: newcomer,
    sees: { error: undefined, refused: 0, peer: 'new' },
  },
  { fault: 'a stale address', strikes: LISTENER, strike: stale, sees: { role: 'listener' } },

  ...FOREIGN.map(
    ({ name, put, kind, skip }): Fault => ({
      fault: `${name} at the path`,
      over: UNIX,
      skip,
      strike: foreign(put, kind),
      isOfAddress: true,
      sees: leftAlone,
    }),
  ),
  ...FOREIGN_LOCKS.map(
    ({ name, put, kind, skip }): Fault => ({
      fault: `${name} at the path of the lock`,
      over: UNIX,
      skip,
      strike: foreign(put, kind),
      isOfAddress: true,
      sees: leftAlone,
    }),
  ),
  {
    fault: 'a file in the place of the socket of a living listener',
    over: UNIX,
    strikes: LISTENER,
    strike: displaced,
    isOfAddress: true,
    sees: {
      listener: ['PEER_LOST', 'ADDRESS_INVALID'],
      dialer: ['PEER_LOST', 'ADDRESS_INVALID'],
      isUntouched: true,
    },
  },
  {
    fault: 'a missing directory',
    over: UNIX,
    strike: missingDirectory,
    isOfAddress: true,
    sees: (struck) => (struck === 'listener' ? invalid : { apart: ['PEER_LOST', 'PEER_LOST'], state: 'apart' }),
  },
  {
    fault: 'a directory that everybody may write to',
    over: UNIX,
    strike: openDirectory,
    isOfAddress: true,
    sees: (struck) => (struck === 'listener' ? invalid : { apart: 'PEER_LOST', ...invalid }),
  },
  {
    fault: 'a path that is too long',
    over: UNIX,
    strikes: LISTENER,
    strike: longPath,
    isOfAddress: true,
    sees: invalid,
  },
  {
    fault: 'a port that there cannot be',
    over: PORTS,
    strikes: LISTENER,
    strike: wrongPorts,
    isOfAddress: true,
    sees: { told: Array(4).fill(['TypeError', true]) },
  },
  {
    fault: 'a port that something holds without listening',
    over: PORTS,
    strikes: LISTENER,
    skip: noPython(),
    strike: portHeld,
    isOfAddress: true,
    sees: { ...invalid, code: 'ADDRESS_IN_USE', told: { code: 'NOT_CONNECTED', delivery: 'not-sent' } },
  },
]

interface Row extends Fault {
  readonly name: string
  readonly transport: TransportName
  readonly shield: Shield
  readonly struck: Role
}
const ROWS = (['open', 'sealed', 'tls'] as const).flatMap((shield) =>
  FAULTS.filter(({ isOfAddress = false }) => shield === 'open' || !isOfAddress).flatMap((fault) =>
    (fault.over ?? ALL)
      .filter((transport) => shield !== 'tls' || transport !== 'ws')
      .flatMap((transport) =>
        (fault.strikes ?? (['listener', 'dialer'] as const)).map((struck): Row => {
          const where =
            shield === 'open' ? transport : shield === 'tls' ? `tls over ${transport}` : `${transport}, sealed`
          return { ...fault, transport, shield, struck, name: `${fault.fault} (${where}, strikes the ${struck})` }
        }),
      ),
  ),
)

const failures = new Map<string, unknown>()
const tookMs = new Map<string, number>()

beforeAll(async ({}, suite) => {
  const chosen = new Set(suite.tasks.filter((task) => task.mode === 'run').map((task) => task.name))
  const rows = ROWS.filter((row) => chosen.has(row.name) && row.skip === undefined)
  await makeCertificate()
  const startedAt = performance.now()
  await sideBySide(rows.length, AT_ONCE, async (at) => {
    const row = rows[at] as Row
    const rowStartedAt = performance.now()
    try {
      await run(row)
    } catch (error) {
      failures.set(row.name, error)
    }
    tookMs.set(row.name, performance.now() - rowStartedAt)
  })
  const allMs = performance.now() - startedAt
  const slowest = [...tookMs].sort(([, a], [, b]) => b - a).slice(0, 3)
  const told = slowest.map(([name, ms]) => `${name}: ${(ms / 1000).toFixed(1)} s`).join('; ')
  await FaultPeer.endAll()
  console.log(`MEASURED ${rows.length} fault runs in ${(allMs / 1000).toFixed(1)} s; the slowest: ${told}`)
}, ROWS_MS)

for (const { name, reason } of IMPOSSIBLE) {
  it(name, (context) => {
    console.log(`SKIPPED ${name}: ${reason}`)
    context.skip(reason)
  })
}

for (const { name, skip } of ROWS) {
  it(name, (context) => {
    if (skip !== undefined) {
      console.log(`SKIPPED ${name}: ${skip}`)
      context.skip(skip)
    }
    if (failures.has(name)) throw failures.get(name)
  })
}

async function run(row: Row): Promise<void> {
  const world = await World.of(row.transport, row.shield)
  try {
    const { seen, survivors, clear } = await row.strike(world, row.struck)
    const sees = typeof row.sees === 'function' ? row.sees(row.struck, row.transport, row.shield) : row.sees
    expect(seen).toEqual(sees)
    await clear?.()
    await pairs(world, survivors)
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${world.seen()}`, { cause: error })
  } finally {
    await world.end()
  }
}

/** Those that are left pair with each other, or with new ones, and end in order. */
async function pairs(world: World, survivors: readonly FaultPeer[]): Promise<void> {
  const peers = [...survivors]
  while (peers.length < 2) peers.push(world.peer('successor'))
  await Promise.all(peers.map((peer) => peer.result('connect')))
  const [one, other] = peers as [FaultPeer, FaultPeer]
  expect(await one.result('call', { method: 'pid' })).toBe(other.pid)
  expect(await other.result('call', { method: 'pid' })).toBe(one.pid)
  await Promise.all(peers.map((peer) => peer.result('close')))
  await Promise.all(peers.map((peer) => peer.endsWell()))
  const logged = peers.flatMap((peer) => peer.all('log'))
  expect(logged).toEqual([])
}
