/**
 * The table of PROTOCOL.md, section 7.5: what becomes of each kind of call when its link is lost. Each cell is read from there
 * and is a test; here stands how a call is brought to the moment of a row, and what the words of a cell mean.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { CallOptions, Connection, Context, PairlinkError } from '../../src/index.js'
import type { MemoryPipe } from './memory.js'
import { deferred, World, type Options } from './world.js'

const WINDOW_MS = 10_000
const KEEPALIVE_MS = 2500
/** After so long every acknowledgement that is due was written. */
const QUIET_MS = 50
/** What a process may have to write before it starts no further handler. */
const SEND_BYTES_MAX = 100_000

/** One run of a handler. */
interface Run {
  /** Undefined for a notification. */
  readonly signal: AbortSignal | undefined
  /** Lets it return. */
  readonly end: () => void
}

/** A call, and what is seen of it at both ends. */
interface Scene {
  readonly world: World
  readonly caller: Connection
  /** The side of the handler. */
  readonly other: Connection
  /** Where the bytes of the caller arrive, and where those of the other side do. */
  readonly there: MemoryPipe
  readonly back: MemoryPipe
  /** Makes the call. */
  start(): void
  readonly cancel: AbortController
  /** What the caller has seen, in the words of the table. */
  readonly outcomes: string[]
  /** What became of the query within whose handler the call was made. */
  readonly outer: { outcome?: string; signal?: AbortSignal }
  /** Of the handler of the call. */
  readonly runs: Run[]
  /** Of the handlers of notifications in front of the call. */
  readonly before: Run[]
  /** Notifications in front of the call of which a reset tells. */
  unknownBefore: number
}

/** Brings the call to a moment. */
type Stage = (scene: Scene) => Promise<void>

interface Kind {
  /** A message that is compared at the other end. */
  readonly payload: string | Uint8Array
  /** By the rows of the table. Where there are several, the cell must hold for each. */
  readonly moments: Readonly<Record<string, readonly Stage[]>>
  readonly isNotification?: boolean
  readonly isNested?: boolean
  readonly isCancelled?: boolean
  readonly borrow?: boolean
  /** Whose connection it is that is closed. */
  readonly closes?: 'other'
}

// ---- moments

/** The pipe takes no more: there is a sign of life in it that does not arrive. */
async function fill({ world }: Scene, end: MemoryPipe): Promise<void> {
  end.passBytes = 0
  await world.clock.advance(KEEPALIVE_MS)
  expect(end.waitingBytes).toBeGreaterThan(0)
}

/** How much of a message arrives. */
interface Part {
  /** What the pipe lets through before it is full, and how much of what it then holds. */
  readonly passBytes: number
  readonly ofHeld: (bytes: number) => number
  readonly isWrittenWhole: boolean
}
const PARTS: readonly Part[] = [
  { passBytes: 0, ofHeld: () => 0, isWrittenWhole: true },
  { passBytes: 0, ofHeld: (bytes) => Math.floor(bytes / 2), isWrittenWhole: true },
  { passBytes: 0, ofHeld: (bytes) => bytes - 1, isWrittenWhole: true },
]
/** A write takes 256 KiB of the 400,000 bytes; the next one follows when the pipe has room. */
const PARTS_OF_FRAGMENTS: readonly Part[] = [
  { passBytes: 100_000, ofHeld: () => 0, isWrittenWhole: false },
  { passBytes: 300_000, ofHeld: (bytes) => bytes - 1, isWrittenWhole: true },
]

/** What `write` makes the other end write arrives at `end` in part. */
async function partly(scene: Scene, end: MemoryPipe, part: Part, write: () => void): Promise<void> {
  const { clock } = scene.world
  end.passBytes = part.passBytes
  write()
  await clock.settle()
  const writer = end === scene.there ? scene.caller : scene.other
  expect(writer.stats().session?.queuedBytes === 0).toBe(part.isWrittenWhole)
  end.pass(part.ofHeld(end.waitingBytes))
  await clock.settle()
  expect(end.waitingBytes).toBeGreaterThan(0)
}

const heldBack: Stage = async (scene) => {
  await fill(scene, scene.there)
  for (let count = 0; count < 2; count++) await scene.caller.notify(new Uint8Array(SEND_BYTES_MAX / 2))
  scene.unknownBefore = 2
  scene.start()
  await scene.world.clock.settle()
}

const queued: Stage = async (scene) => {
  await fill(scene, scene.there)
  scene.start()
  await scene.world.clock.settle()
}

const halfWritten = (parts: readonly Part[]): Stage[] =>
  parts.map((part) => async (scene) => {
    const { clock } = scene.world
    await scene.caller.notify('before')
    scene.unknownBefore = 1
    await clock.settle()
    await partly(scene, scene.there, part, () => {
      scene.start()
    })
    // An acknowledgement comes back, of what stands in front and of no more.
    await clock.advance(QUIET_MS)
    expect(scene.before).toHaveLength(1)
    expect(scene.runs).toHaveLength(0)
  })

const written: Stage = async (scene) => {
  scene.back.passBytes = 0
  scene.start()
  await scene.world.clock.advance(QUIET_MS)
  expect(scene.runs).toHaveLength(1)
}

/** Two large answers, of which one would let it pass, hold up the handler. */
const queryAcknowledged: Stage = async (scene) => {
  const { world, back } = scene
  back.passBytes = 0
  for (let count = 0; count < 2; count++) scene.caller.query('before').catch(() => undefined)
  await world.clock.settle()
  scene.start()
  await world.clock.advance(QUIET_MS)
  // The other side writes once more, beginning with the acknowledgement.
  back.pass(back.waitingBytes)
  await world.clock.settle()
  back.pass(SEND_BYTES_MAX)
  await world.clock.settle()
  expect(back.waitingBytes).toBeGreaterThan(0)
  expect(scene.runs).toHaveLength(0)
}

/** The notification before it is still being handled. */
const notificationAcknowledged: Stage = async (scene) => {
  await scene.caller.notify('before')
  scene.unknownBefore = 1
  scene.start()
  await scene.world.clock.advance(QUIET_MS)
  expect(scene.before).toHaveLength(1)
  expect(scene.runs).toHaveLength(0)
}

const handlerRunning: Stage = async (scene) => {
  scene.start()
  await scene.world.clock.advance(QUIET_MS)
  expect(scene.runs).toHaveLength(1)
}

const answerQueued: Stage = async (scene) => {
  await handlerRunning(scene)
  await fill(scene, scene.back)
  endRuns(scene)
  await scene.world.clock.settle()
  expect(scene.other.stats().session?.queuedBytes).toBeGreaterThan(0)
}

const answerPartlyRead = (parts: readonly Part[]): Stage[] =>
  parts.map((part) => async (scene) => {
    await handlerRunning(scene)
    await partly(scene, scene.back, part, () => {
      endRuns(scene)
    })
    expect(scene.outcomes).toEqual([])
  })

const answerWritten: Stage = async (scene) => {
  await handlerRunning(scene)
  scene.there.passBytes = 0
  endRuns(scene)
  await scene.world.clock.advance(QUIET_MS)
}

const handlerEnded: Stage = async (scene) => {
  await handlerRunning(scene)
  endRuns(scene)
  await scene.world.clock.advance(QUIET_MS)
}

/** Neither an answer arrives nor the report that a notification was handled. */
const handlerEndedUnheard: Stage = async (scene) => {
  await handlerRunning(scene)
  scene.back.passBytes = 0
  endRuns(scene)
  await scene.world.clock.advance(QUIET_MS)
}

// ---- kinds

const SMALL = 'the call'
const LARGE = new Uint8Array(400_000).map((_, at) => at * 31)

const nestedMoments = (parts: readonly Part[]): Kind['moments'] => ({
  queued: [queued],
  'half written': halfWritten(parts),
  written: [written],
  'handler running': [handlerRunning],
  answered: [handlerEndedUnheard],
  'answer half read': answerPartlyRead(parts),
})
const queryMoments = (parts: readonly Part[]): Kind['moments'] => ({
  ...nestedMoments(parts),
  acknowledged: [queryAcknowledged],
})
const notifyMoments: Kind['moments'] = {
  'held back': [heldBack],
  queued: [queued],
  'half written': halfWritten(PARTS),
  written: [written],
  acknowledged: [notificationAcknowledged],
  'handler running': [handlerRunning],
  handled: [handlerEndedUnheard],
  reported: [handlerEnded],
}
const answerMoments = (parts: readonly Part[]): Kind['moments'] => ({
  'handler running': [handlerRunning],
  queued: [answerQueued],
  'half written': answerPartlyRead(parts),
  written: [answerWritten],
  acknowledged: [handlerEnded],
})

const KINDS: Readonly<Record<string, Kind>> = {
  query: { payload: SMALL, moments: queryMoments(PARTS) },
  'query in fragments': { payload: LARGE, moments: queryMoments(PARTS_OF_FRAGMENTS) },
  'nested query': { payload: SMALL, moments: nestedMoments(PARTS), isNested: true },
  'cancelled query': { payload: SMALL, moments: queryMoments(PARTS), isCancelled: true },
  notify: { payload: SMALL, moments: notifyMoments, isNotification: true },
  'notify with borrow': { payload: LARGE.slice(0, 5000), moments: notifyMoments, isNotification: true, borrow: true },
  answer: { payload: SMALL, moments: answerMoments(PARTS), closes: 'other' },
  'answer in fragments': { payload: LARGE, moments: answerMoments(PARTS_OF_FRAGMENTS), closes: 'other' },
}

async function setUp(kind: Kind, callerIs: string): Promise<Scene> {
  const world = new World()
  const runs: Run[] = []
  const before: Run[] = []
  const outcomes: string[] = []
  const outer: Scene['outer'] = {}
  const cancel = new AbortController()
  const begin = deferred<undefined>()
  const isTheCall = (message: unknown): boolean => isSame(message, kind.payload)

  const run = (message: unknown, signal?: AbortSignal): Promise<unknown> => {
    const { promise, resolve } = deferred()
    const end = (): void => {
      resolve(message)
    }
    ;(isTheCall(message) ? runs : before).push({ signal, end })
    return promise
  }
  const sendIt = (target: Connection | Context): Promise<unknown> => {
    const payload = kind.borrow === true ? (kind.payload as Uint8Array).slice() : kind.payload
    const options: CallOptions = { signal: cancel.signal, borrow: kind.borrow === true }
    const sent = kind.isNotification === true ? target.notify(payload, options) : target.query(payload, options)
    return sent
      .then(
        (answer) => outcomes.push(kind.isNotification === true ? 'taken' : isTheCall(answer) ? 'answered' : 'wrong'),
        (error: unknown) => outcomes.push(wordsOf(error)),
      )
      .finally(() => {
        // What was lent is the caller's again.
        if (typeof payload !== 'string' && kind.borrow === true) payload.fill(0)
      })
  }

  const options: Options = {
    resumeWindowMs: WINDOW_MS,
    keepaliveMs: KEEPALIVE_MS,
    queryTimeoutMs: Infinity,
    failover: false,
    limits: { sendBytesMax: SEND_BYTES_MAX },
  }
  const callerOptions: Options = {
    ...options,
    onQuery: async (_query, context) => {
      outer.signal = context.signal
      await begin.promise
      await sendIt(context)
      return 'outer'
    },
  }
  const otherOptions: Options = {
    ...options,
    onQuery: (query, { signal }) => (query === 'before' ? new Uint8Array(1_000_000) : run(query, signal)),
    onNotify: (message) => run(message),
  }
  const isListener = callerIs === 'listener'
  const [first, second] = isListener ? [callerOptions, otherOptions] : [otherOptions, callerOptions]
  const [listener, dialer] = await world.pair(first, second)
  const [dialersEnd, listenersEnd] = world.pipe
  const scene: Scene = {
    world,
    ...(isListener
      ? { caller: listener, other: dialer, there: dialersEnd, back: listenersEnd }
      : { caller: dialer, other: listener, there: listenersEnd, back: dialersEnd }),
    start: () => {
      if (kind.isNested === true) begin.resolve(undefined)
      else void sendIt(scene.caller)
    },
    cancel,
    outcomes,
    outer,
    runs,
    before,
    unknownBefore: 0,
  }
  if (kind.isNested === true) {
    scene.other.query('outer').then(
      () => (outer.outcome = 'answered'),
      (error: unknown) => (outer.outcome = wordsOf(error)),
    )
  }
  await world.clock.advance(2 * QUIET_MS)
  return scene
}

function isSame(a: unknown, b: string | Uint8Array): boolean {
  return typeof b === 'string' ? a === b : a instanceof Uint8Array && Buffer.compare(a, b) === 0
}

function wordsOf(error: unknown): string {
  const { code, delivery } = error as PairlinkError
  return `${code} ${delivery}`
}

function endRuns({ runs, before }: Scene): void {
  for (const { end } of [...before, ...runs]) end()
}

// ---- what follows

/** Both ends are gone, and with them what did not arrive; nobody meets anybody until `meet`. */
async function cut({ world }: Scene): Promise<void> {
  world.address.onDial = () => 'again'
  for (const end of world.pipe) end.stalled = true
  for (const end of [...world.pipe]) end.vanish()
  await world.clock.settle()
}

async function meet({ world }: Scene): Promise<void> {
  world.address.onDial = undefined
  await world.clock.advance(3000)
}

/** Every handler may return, and what comes of that is given time. */
async function finish(scene: Scene): Promise<void> {
  for (let round = 0; round < 3; round++) {
    endRuns(scene)
    await scene.world.clock.advance(QUIET_MS)
  }
}

/** How the application is told of what follows, by each side. */
function told(connection: Connection): string[] {
  const seen: string[] = []
  connection.on('paired', ({ resumed }) => seen.push(resumed ? 'resumed' : 'paired'))
  connection.on('reset', ({ notificationsUnknown }) => seen.push(`reset ${notificationsUnknown}`))
  connection.on('closed', ({ error }) => seen.push(`closed ${error?.code ?? 'in order'}`))
  return seen
}

/** Of what `stats` counts, when everything is over. */
const NOTHING_LEFT = {
  callsOpen: 0,
  queuedBytes: 0,
  unacknowledgedBytes: 0,
  reassemblyBytes: 0,
  inboxBytes: 0,
  unconsumedBytes: 0,
  queriesInFlight: 0,
  callsWaiting: 0,
  handlersRunning: 0,
}

/** Lets happen what the column says. Returns how both must be told of it, the caller's side first. */
type Ending = (scene: Scene, kind: Kind, unknown: number) => Promise<[string[], string[]]>

const ENDINGS: Readonly<Record<string, Ending>> = {
  resumed: async (scene, kind) => {
    await meet(scene)
    await finish(scene)
    const { caller, other } = scene
    for (const connection of [caller, other]) {
      const { session, callsOpen } = connection.stats()
      expect({ callsOpen, ...session }).toMatchObject(NOTHING_LEFT)
    }
    if (kind.isNested === true) expect(scene.outer).toMatchObject({ outcome: 'answered', signal: { aborted: false } })
    return [['resumed'], ['resumed']]
  },
  reset: async (scene, kind, unknown) => {
    await scene.world.clock.advance(WINDOW_MS)
    expect(scene.caller.stats().callsOpen).toBe(0)
    await finish(scene)
    expectOuterLost(scene, kind)
    await meet(scene)
    return [
      [`reset ${scene.unknownBefore + unknown}`, 'paired'],
      ['reset 0', 'paired'],
    ]
  },
  closed: async (scene, kind) => {
    const { world, caller, other } = scene
    const [closes, stays] = kind.closes === 'other' ? [other, caller] : [caller, other]
    await world.finish(closes.close())
    if (closes === caller) expect(scene.outcomes).toHaveLength(1)
    await world.clock.advance(WINDOW_MS)
    await finish(scene)
    expectOuterLost(scene, kind)
    expect(stays.stats().callsOpen).toBe(0)
    const seen: [string[], string[]] = [['closed in order'], ['reset 0']]
    return closes === caller ? seen : [seen[1], seen[0]]
  },
}

/** The query whose handler has made the call was one that ran when the link was lost. */
function expectOuterLost({ outer }: Scene, kind: Kind): void {
  if (kind.isNested !== true) return
  expect(outer.outcome).toBe('PEER_LOST delivered')
  expect((outer.signal?.reason as PairlinkError).code).toBe('PEER_LOST')
}

// ---- the words of a cell

/** What became of the handler. */
function handlerWords(runs: readonly Run[]): string {
  const [run] = runs
  if (run === undefined) return 'never ran'
  if (runs.length > 1) return `ran ${runs.length} times`
  return run.signal?.aborted === true ? `aborted ${(run.signal.reason as PairlinkError).code}` : 'ran once'
}

interface Cell {
  readonly kind: string
  readonly moment: string
  readonly ending: string
  readonly words: string
}

function nameOf({ kind, moment, ending }: Omit<Cell, 'words'>): string {
  return `${kind}, ${moment}, ${ending}`
}

/** The cells of all tables of the section, in plain words. */
function cellsOf(section: string): Cell[] {
  const cells: Cell[] = []
  let head: string[] | undefined
  for (const line of section.split('\n')) {
    if (!line.startsWith('|')) {
      head = undefined
      continue
    }
    const columns = line
      .replace(/[`*]/g, '')
      .split('|')
      .slice(1, -1)
      .map((column) => column.trim())
    if (head === undefined) {
      head = columns
    } else if (!line.startsWith('| ---')) {
      const [kind = '', ...endings] = head
      const [moment = '', ...rest] = columns
      endings.forEach((ending, at) => cells.push({ kind, moment, ending, words: rest[at] ?? '' }))
    }
  }
  return cells
}

const protocol = readFileSync(new URL('../../../../PROTOCOL.md', import.meta.url), 'utf8')
const CELLS = cellsOf(/^### 7\.5 .*?(?=^## )/ms.exec(protocol)?.[0] ?? '')

test('the table has each kind of call, moment and ending of these tests once, and no other', () => {
  const known = Object.entries(KINDS).flatMap(([kind, { moments }]) =>
    Object.keys(moments).flatMap((moment) => Object.keys(ENDINGS).map((ending) => nameOf({ kind, moment, ending }))),
  )
  expect(CELLS.map(nameOf).sort()).toEqual(known.sort())
})

describe.each(['listener', 'dialer'])('a call of the %s', (callerIs) => {
  test.each(CELLS.map((cell) => [nameOf(cell), cell.words, cell] as const))('%s: %s', async (_name, words, cell) => {
    const kind = KINDS[cell.kind]
    const stages = kind?.moments[cell.moment] ?? []
    const follow = ENDINGS[cell.ending]
    if (kind === undefined || follow === undefined || stages.length === 0) throw new Error('no such cell')
    const parsed = /^(?<outcome>[^,·]+)(, (?<unknown>\d+) unknown)? · (?<handler>[^·]+)$/.exec(words)?.groups
    if (parsed === undefined) throw new Error(`a cell of other words: ${words}`)
    for (const stage of stages) {
      const scene = await setUp(kind, callerIs)
      const seen = [told(scene.caller), told(scene.other)]
      await stage(scene)
      await cut(scene)
      expect([scene.caller.state, scene.other.state]).toEqual(['apart', 'apart'])
      if (kind.isCancelled === true) {
        scene.cancel.abort()
        await scene.world.clock.settle()
        expect(scene.outcomes).toHaveLength(1)
      }
      const expected = await follow(scene, kind, Number(parsed['unknown'] ?? 0))
      expect(scene.outcomes).toEqual([parsed['outcome']])
      expect(parsed['handler']?.split(' or ')).toContain(handlerWords(scene.runs))
      expect(seen).toEqual(expected)
      expect(scene.world.errors()).toEqual([])
      await scene.world.end()
    }
  })
})
