/** What `dial` and `listen` answer, as several cases look at it: in words, with a signal that fires, and until two have met. */
import type { Listener, Pipe, Transport } from '@pairlink/core'
import type { Place } from './manifest.js'
import { must, Broken, dialerOf, never, pause, type Stage } from './stage.js'

export function missing(claim: string, member: string): Error {
  return new Error(`the manifest says '${claim}', and the place has no ${member}`)
}

export function isListener(result: Awaited<ReturnType<Transport['listen']>>): result is Listener {
  return typeof result === 'object' && 'close' in result
}

/** What came of a listen, in words; it is closed behind the case. */
export function kindOf(stage: Stage, result: Listener | Pipe | string): string {
  if (typeof result === 'string') return `'${result}'`
  if ('close' in result) {
    stage.defer(() => result.close())
    return 'a Listener'
  }
  stage.started(result)
  return 'a Pipe'
}

export async function expectAbsent(stage: Stage, transport: Transport, where: string): Promise<void> {
  const dialled = await stage.dialOnce(transport)
  if (typeof dialled !== 'string') stage.started(dialled)
  must(dialled === 'absent', `dial() ${where} gave ${typeof dialled === 'string' ? `'${dialled}'` : 'a Pipe'}`)
}

/** Waits until a dial to a listener that was killed finds nobody. */
export async function untilAbsent(stage: Stage, place: Place): Promise<void> {
  for (let last = ''; last !== 'absent'; ) {
    const dialled = await stage.dialOnce(dialerOf(place))
    // A process that is ending may still be dialled, and hangs up.
    if (typeof dialled === 'object') stage.started(dialled).pipe.destroy()
    last = typeof dialled === 'object' ? 'a Pipe' : dialled
    stage.waitingFor = `a dial to a listener that was killed to give 'absent' (the last one gave ${last})`
    await pause(10)
  }
}

/** Leaves the address as a killed listener does; where the place cannot, a process is killed that listens. */
export async function leaveStale(stage: Stage, place: Place): Promise<void> {
  if (place.leaveStale !== undefined) return place.leaveStale()
  if (place.spawn === undefined) throw missing('goesStale', 'leaveStale()')
  const peer = await stage.spawn(place, 'listener')
  const { pipe } = await stage.dial(dialerOf(place))
  peer.kill('SIGKILL')
  pipe.destroy()
  await untilAbsent(stage, place)
}

type Work = (signal: AbortSignal) => Promise<Listener | Pipe | string>

/** Aborts it, before or right behind the call. Gives what was opened in spite of that; a word opens nothing. */
export async function aborted(stage: Stage, isEarly: boolean, work: Work): Promise<string | undefined> {
  const abort = new AbortController()
  if (isEarly) abort.abort(new Error('aborted'))
  const promise = work(abort.signal)
  const settling = { isDone: false }
  const settled = (): void => {
    settling.isDone = true
  }
  promise.then(settled, settled)
  // What was known at once has been said by then, and is not taken back.
  await Promise.resolve()
  const isLate = settling.isDone && !isEarly
  abort.abort(new Error('aborted'))
  try {
    const result = await stage.within(promise, 'a promise to settle whose signal has fired')
    if (typeof result === 'string') return undefined
    const kind = kindOf(stage, result)
    if ('close' in result) await result.close()
    else result.destroy()
    return isLate ? undefined : kind
  } catch (error) {
    if (error instanceof Broken) throw error
    return undefined
  }
}

export async function expectAbort(stage: Stage, what: string, work: Work): Promise<void> {
  for (const isEarly of [true, false]) {
    const result = await aborted(stage, isEarly, work)
    const when = isEarly ? 'had fired before' : 'fired right behind the call'
    must(result === undefined, `${what} whose signal ${when} resolved to ${result ?? ''}`)
  }
}

/** Meets as the core does: dials, listens where nobody is, and goes round while somebody else is about to. */
export async function meet(stage: Stage, transport: Transport): Promise<'listener' | 'dialer'> {
  for (;;) {
    const dialled = await stage.dialOnce(transport)
    if (typeof dialled !== 'string') {
      stage.started(dialled)
      return 'dialer'
    }
    if (dialled === 'absent') {
      const listened = await stage.within(
        transport.listen((pipe) => void stage.started(pipe), never()),
        'listen() to settle',
      )
      if (typeof listened !== 'string') {
        const kind = kindOf(stage, listened)
        return kind === 'a Listener' ? 'listener' : 'dialer'
      }
    }
    await pause(1 + Math.random() * 4)
  }
}
