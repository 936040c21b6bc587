/** What waits for a moment, and must not act on what was true before the process was stopped. */
import { expect, test, vi } from 'vitest'
import { Alarm, type Clock } from '../../src/connection/clock.js'

/** A clock whose timers and polls the test calls. */
function byHand() {
  const due: (() => void)[] = []
  const polls: (() => void)[] = []
  const timer = { cancel: () => undefined, ref: () => undefined, unref: () => undefined }
  const clock: Clock = {
    now: () => 0,
    after: (_, callback) => {
      due.push(callback)
      return timer
    },
    soon: (callback) => {
      callback()
    },
    afterPoll: (callback) => {
      polls.push(callback)
    },
  }
  return { clock, due, polls }
}

test.each([
  ['rings when nothing that was read has changed it', [100]],
  ['is silent when what was read has set it anew', []],
  ['is silent when what was read has cleared it', []],
])('an alarm that reads first %s', (what, expected) => {
  const { clock, due, polls } = byHand()
  const rang: number[] = []
  const alarm = new Alarm(clock, (moment) => rang.push(moment), true)
  alarm.set(100)
  due[0]?.()
  expect(rang).toEqual([])
  if (what.includes('cleared')) alarm.clear()
  if (what.includes('anew')) alarm.set(1000)
  polls[0]?.()
  expect(rang).toEqual(expected)
})

test('a time that is longer than any timer of the platform is waited for to its end, held or not', async () => {
  vi.useFakeTimers()
  vi.resetModules()
  try {
    const { systemClock } = await import('../../src/connection/clock.js')
    const days = 24 * 3600 * 1000
    const rang: string[] = []
    systemClock.after(100 * days, () => rang.push('after 100 days'))
    const cancelled = systemClock.after(100 * days, () => rang.push('cancelled'))
    systemClock.after(100 * days, () => rang.push('unheld')).unref()
    await vi.advanceTimersByTimeAsync(99 * days)
    expect(rang).toEqual([])
    cancelled.cancel()
    await vi.advanceTimersByTimeAsync(days)
    expect(rang).toEqual(['after 100 days', 'unheld'])
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
    vi.resetModules()
  }
})
