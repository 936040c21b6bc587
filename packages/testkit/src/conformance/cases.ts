/**
 * The cases that every transport must pass, as a list for whichever test runner there is: this file decides which of them
 * run, bounds their time, and says which sentence of the contract a failure breaks.
 */
import { clearTimeout, setTimeout } from '../timers.js'
import type { Case } from './case.js'
import { CONNECTION_CASES } from './connections.js'
import { ENDING_CASES } from './ending.js'
import { LEAVING_CASES } from './leavings.js'
import type { PlaceFactory, TransportManifest } from './manifest.js'
import { MEETING_CASES } from './meeting.js'
import { PIPE_CASES } from './pipes.js'
import { PROCESS_CASES } from './processes.js'
import { Broken, Stage } from './stage.js'

const CASES: readonly Case[] = [
  ...MEETING_CASES,
  ...LEAVING_CASES,
  ...PIPE_CASES,
  ...ENDING_CASES,
  ...PROCESS_CASES,
  ...CONNECTION_CASES,
]
/** Most take a few milliseconds; the longest moves 128 MB. */
const CASE_MS = 15_000
/** How long the clearing up behind a case is waited for. */
const CLEAR_MS = 5000

export interface TransportCase {
  /** Never changes. */
  readonly id: string
  /** The sentence of the contract that the case looks at. */
  readonly title: string
  /** Why this transport is not asked for it; print it. */
  readonly skip?: string
  /**
   * Runs it, also when it should be skipped. Cases do not disturb each other, but those that look at handles and at
   * rejections take all of the process for theirs: run one at a time.
   * @throws TransportFault when the contract is broken, or something throws that should not: its `cause`
   */
  run(): Promise<void>
}

/** A sentence of the contract is broken. */
export class TransportFault extends Error {
  override readonly name = 'TransportFault'
  /** Which case has found it. */
  readonly id: string
  /** What was seen instead. */
  readonly seen: string

  constructor({ id, title }: Case, seen: string, cause?: unknown) {
    super(`${id}: ${seen}. The contract says: ${title}`, { cause })
    this.id = id
    this.seen = seen
  }
}

export interface TransportCasesOptions {
  /** The time of one case, in milliseconds: 15,000 by default. */
  readonly caseMs?: number
}

/**
 * The cases of the contract of transports, for one of them. Nothing runs yet.
 * @param factory makes places, a fresh one whenever it is called
 * @param manifest what this transport can do
 * @throws TypeError when `manifest.except` names a case that does not exist
 */
export function transportCases(
  factory: PlaceFactory,
  manifest: TransportManifest,
  { caseMs = CASE_MS }: TransportCasesOptions = {},
): readonly TransportCase[] {
  for (const id of Object.keys(manifest.except ?? {})) {
    if (!CASES.some((known) => known.id === id)) throw new TypeError(`except: there is no case '${id}'`)
  }
  return CASES.map((one) => {
    const { id, title } = one
    const run = (): Promise<void> => runCase(one, new Stage(factory, manifest), caseMs)
    const skip = reasonToSkip(one, manifest)
    return skip === undefined ? { id, title, run } : { id, title, run, skip }
  })
}

/** The cases that do not run and why, to be printed; empty when all run. */
export function listSkipped(cases: readonly TransportCase[]): string {
  const skipped = cases.flatMap(({ id, skip }) => (skip === undefined ? [] : [`  ${id}: ${skip}`]))
  if (skipped.length === 0) return ''
  return [`${skipped.length} of ${cases.length} cases of the contract do not run:`, ...skipped].join('\n')
}

function reasonToSkip({ id, needs = [] }: Case, manifest: TransportManifest): string | undefined {
  for (const need of needs) {
    const reason = need(manifest)
    if (reason !== undefined) return reason
  }
  return manifest.except?.[id]
}

async function runCase(one: Case, stage: Stage, caseMs: number): Promise<void> {
  const work = one.run(stage)
  try {
    await within(work, caseMs, () => new Broken(`after ${caseMs} ms it still waited for ${stage.waitingFor}`))
  } catch (error) {
    if (error instanceof Broken) throw new TransportFault(one, error.message)
    throw new TransportFault(one, `this was thrown: ${error instanceof Error ? error.message : String(error)}`, error)
  } finally {
    await within(stage.clear(), CLEAR_MS, () => undefined)
  }
}

/** The same promise, unless it takes too long: then what `late` makes is thrown, or nothing is. */
async function within(work: Promise<void>, limitMs: number, late: () => Error | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const tooLate = new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => {
      const error = late()
      if (error === undefined) resolve()
      else reject(error)
    }, limitMs)
  })
  try {
    await Promise.race([work, tooLate])
  } finally {
    clearTimeout(timer)
    work.catch(() => undefined)
  }
}
