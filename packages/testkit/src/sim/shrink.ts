/** Makes a schedule that fails shorter, as long as it breaks the same rule. It knows nothing of what the steps mean. */
import { runSession, type SessionOptions } from './session.js'
import type { CallPlan, Schedule, Step } from './schedule.js'

/** Each try is a whole session. */
const TRIES_MAX = 400

/** @returns the shortest schedule found that breaks `rule`; the given one when nothing shorter does */
export async function shrink(schedule: Schedule, rule: string, options: SessionOptions = {}): Promise<Schedule> {
  let best = schedule
  let tries = 0
  const fails = async (candidate: Schedule): Promise<boolean> => {
    if (++tries > TRIES_MAX) return false
    const { findings } = await runSession(candidate, { ...options, trace: undefined })
    if (!findings.some((finding) => finding.rule === rule)) return false
    best = candidate
    return true
  }
  // Delta debugging (Zeller, 1999): leave out halves, quarters, … of the steps.
  for (let part = best.steps.length; part >= 1; part = Math.floor(part / 2)) {
    for (let from = 0; from < best.steps.length; ) {
      const steps = [...best.steps.slice(0, from), ...best.steps.slice(from + part)]
      if (!(await fails({ ...best, steps }))) from += part
    }
  }
  for (const simpler of simplifications(best)) await fails({ ...best, ...simpler })
  for (let at = 0; at < best.steps.length; at++) {
    for (const simpler of simplerSteps(best.steps[at])) {
      await fails({ ...best, steps: best.steps.with(at, simpler) })
    }
  }
  return best
}

function simplifications({ wire, processes }: Schedule): Partial<Schedule>[] {
  return [
    ...(processes > 2 ? [{ processes: 2 }] : []),
    { protection: 'open' },
    { wire: { ...wire, splits: 0, joins: 0 } },
    { wire: { ...wire, splits: 0, joins: 0, delayMs: [1, 1] } },
    { wire: { ...wire, splits: 0, joins: 0, delayMs: [1, 1], losesTail: 0 } },
  ]
}

function simplerSteps(step: Step | undefined): Step[] {
  if (step?.do !== 'ask') return []
  const plain: Partial<CallPlan>[] = [
    { content: 'bytes' },
    { sizeBytes: 8 },
    { answerBytes: 8 },
    { handlerMs: 0 },
    { timeoutMs: -1 },
    { cancelAfterMs: -1 },
    { borrows: false, fails: false, heeds: true },
  ]
  const { nested, then, ...flat } = step.call
  return [
    ...(step.times > 1 ? [{ ...step, times: 1 }] : []),
    ...(nested === undefined && then === undefined ? [] : [{ ...step, call: flat }]),
    ...plain.map((change) => ({ ...step, call: { ...step.call, ...change } })),
  ]
}
