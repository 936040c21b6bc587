/** What happens to a pair: deaths, stops, strangers, third processes. Each gives what both sides saw, and who is left. */
import { rmSync } from 'node:fs'
import { codeOf, HOLD_MS, KEEPALIVE_MS, SILENCE_MS, toldOf, type FaultPeer, type Role, type World } from './world.js'

export interface Outcome {
  /** What the table compares. */
  readonly seen: Record<string, unknown>
  /** Right processes that live: they must pair with each other, or one with a new one. */
  readonly survivors: readonly FaultPeer[]
  /** Takes away what lies in the way of that. */
  readonly clear?: () => void | Promise<void>
}
export type Strike = (world: World, struck: Role) => Promise<Outcome>

/** How late a process may be on a busy machine with what it does at a certain time. */
const LATE_MS = 1500
const LOST_MS = 1000
/** So often a stopped listener is dialled in vain before it is continued. */
const LOOKS = 3
const MIB = 2 ** 20

/** @throws Error when it took longer */
function inTime(what: string, tookMs: number, mostMs: number, peer: FaultPeer): void {
  if (tookMs > mostMs) throw new Error(`${what} took ${tookMs} ms instead of ${mostMs} at most.\n${peer.seen()}`)
}

/** Every code of an event so far, each once. */
function codes(peer: FaultPeer, event: string): (string | undefined)[] {
  return [...new Set(peer.all(event).map(codeOf))]
}

/** A call that the victim has begun and acknowledged, and one that it cannot even read. The victim is stopped then. */
async function callsInFlight(victim: FaultPeer, survivor: FaultPeer): Promise<Promise<unknown>[]> {
  const begun = survivor.never('begun')
  const incoming = victim.never('incoming')
  await Promise.all([victim.next('began'), survivor.next('began')])
  await survivor.result('acknowledged')
  void incoming
  victim.child.kill('SIGSTOP')
  const unread = survivor.never('unread')
  await survivor.result('stats') // what was called before it has been written
  return [begun.then(toldOf), unread.then(toldOf)]
}

export const kill: Strike = async (world, struck) => {
  const [victim, survivor] = await world.struckPair(struck)
  const calls = await callsInFlight(victim, survivor)
  const killedAt = Date.now()
  victim.kill()
  const apart = await survivor.next('apart')
  inTime('Noticing the death', Number(apart['at']) - killedAt, LOST_MS, survivor)
  const later = await survivor.run('call', { method: 'pid' })
  const seen = {
    apart: codeOf(apart),
    calls: await Promise.all(calls),
    handlerIsTold: (await survivor.next('told to stop'))['reason'],
    laterCall: toldOf(later),
  }
  return { seen, survivors: [survivor] }
}

export const stopAndContinue =
  (options: Record<string, unknown> = {}): Strike =>
  async (world, struck) => {
    const [victim, survivor] = await world.struckPair(struck, options)
    const stoppedAt = Date.now()
    const calls = await callsInFlight(victim, survivor)
    const apart = await survivor.next('apart')
    inTime('Noticing the silence', Number(apart['at']) - stoppedAt, SILENCE_MS + KEEPALIVE_MS + LATE_MS, survivor)
    const lost = await Promise.all(calls)
    // It lasts until whoever is left has taken the address over, or has looked for it in vain a few times.
    let meanwhile: string | undefined
    for (let looks = 0; struck === 'listener' && meanwhile === undefined; looks++) {
      const told = await survivor.next(({ event }) => event === 'listening' || event === 'apart')
      if (told.event === 'listening' || looks === LOOKS)
        meanwhile = told.event === 'listening' ? 'listening' : codeOf(told)
    }
    const waiting = codes(survivor, 'waiting')
    victim.child.kill('SIGCONT')
    const [again, back] = await Promise.all([survivor.next('paired'), victim.told('paired')])
    const seen = {
      other: { apart: codeOf(apart), calls: lost, meanwhile, waiting, again: again['peer'] },
      struck: { apart: [...new Set([...codes(victim, 'apart')])], again: back['peer'] },
    }
    return { seen, survivors: [survivor, victim] }
  }

/** One that spoke rightly until now dies while it says something. */
export const breakOff =
  (mischief: string): Strike =>
  async (world, struck) => {
    const [raw, survivor] = await world.rawPair(struck, mischief)
    const call = survivor.never('begun')
    await raw.next('began')
    await survivor.result('acknowledged')
    raw.send({})
    const apart = await survivor.next('apart')
    const seen = { apart: codeOf(apart), call: toldOf(await call), handlersBegun: survivor.all('began').length }
    raw.kill()
    return { seen, survivors: [survivor] }
  }

/** Nothing that is sent arrives, and more is sent than the system holds. */
export const stopReading: Strike = async (world, struck) => {
  const [raw, survivor] = await world.rawPair(struck, 'stop reading')
  raw.send({})
  const stoppedAt = Number((await raw.next('stopped'))['at'])
  const partly = survivor.run('sendBytes', { bytes: 15 * MIB })
  const apart = await survivor.next('apart')
  inTime('Noticing the silence', Number(apart['at']) - stoppedAt, SILENCE_MS + KEEPALIVE_MS + LATE_MS, survivor)
  const seen = { apart: codeOf(apart), call: toldOf(await partly) }
  raw.kill()
  return { seen, survivors: [survivor] }
}

/** It reads nothing, but what it says keeps the link alive: the time of the calls and the bounds of the queues hold. */
export const stopReadingAndPing: Strike = async (world, struck) => {
  const [raw, survivor] = await world.rawPair(struck, 'stop reading, go on asking')
  raw.send({})
  await raw.next('stopped')
  // Longer than silence may last: it is not for silence that they end.
  const options = { timeoutMs: SILENCE_MS + KEEPALIVE_MS + 300 }
  const partly = survivor.run('sendBytes', { bytes: 15 * MIB, options })
  await survivor.result('stuck')
  const behind = survivor.run('call', { method: 'size', input: 'not at all', options })
  const tooMuch = survivor.run('sendBytes', { bytes: 15 * MIB, options })
  const settled = await Promise.all([partly, behind, tooMuch])
  const [told, toldBehind, toldTooMuch] = settled.map(toldOf)
  const { state } = await survivor.result<{ state: string }>('stats')
  raw.kill()
  const apart = await survivor.next('apart')
  const seen = { partly: told, behind: toldBehind, tooMuch: toldTooMuch, state, afterItsEnd: codeOf(apart) }
  return { seen, survivors: [survivor] }
}

export const restart: Strike = async (world, struck) => {
  const [victim, survivor] = await world.struckPair(struck)
  victim.kill()
  const successor = world.peer('successor')
  await successor.result('connect')
  const [apart, paired] = await Promise.all([survivor.next('apart'), survivor.next('paired')])
  const seen = { apart: codeOf(apart), peer: paired['peer'], successor: (await successor.next('paired'))['peer'] }
  return { seen, survivors: [survivor, successor] }
}

/** Two are started anew where one has died: there is room for one. */
export const twoSuccessors: Strike = async (world, struck) => {
  const [victim, survivor] = await world.struckPair(struck)
  victim.kill()
  const successors = [world.peer('successor 1'), world.peer('successor 2')]
  const answers = await Promise.all(successors.map((peer) => peer.run('connect')))
  const apart = await survivor.told('apart')
  const out = successors.filter((_, at) => answers[at]?.error !== undefined)
  const chosen = successors.filter((peer) => !out.includes(peer))
  const told = answers.flatMap((answer) => toldOf(answer) ?? [])
  // Where the listener has died, the successors may have found each other first.
  const isSurvivorOut = out.length === 0
  if (isSurvivorOut) told.push({ code: codeOf(await survivor.told('apart', 'PAIR_BUSY')) ?? '' })
  for (const peer of isSurvivorOut ? chosen.slice(1) : out) peer.kill()
  const left = isSurvivorOut ? chosen.slice(0, 1) : chosen
  return { seen: { apart: codeOf(apart), told }, survivors: [survivor, ...left] }
}

/** Both have died, and both are started anew at the same moment. */
export const bothRestart: Strike = async (world, struck) => {
  const [first, second] = await world.struckPair(struck)
  first.kill()
  second.kill()
  const successors = [world.peer('new 1'), world.peer('new 2')]
  const answers = await Promise.all(successors.map((peer) => peer.run('connect')))
  const paired = await Promise.all(successors.map((peer) => peer.next('paired')))
  const roles = paired.map((report) => report['role']).sort()
  return {
    seen: { errors: answers.map(toldOf), roles, refused: successors.map((peer) => peer.all('refused').length) },
    survivors: successors,
  }
}

/** Refused while there are two, welcome when one of them has died. */
export const third: Strike = async (world, struck) => {
  const { listener, dialer } = await world.pair()
  const [victim, survivor] = struck === 'listener' ? [listener, dialer] : [dialer, listener]
  const comer = world.peer('third')
  const told = toldOf(await comer.run('connect'))
  const refused = (await listener.next('refused'))['reason']
  const disturbed = [listener, dialer].flatMap((peer) => peer.all('apart')).length
  const { state } = await comer.result<{ state: string }>('stats')
  victim.kill()
  await survivor.next('apart')
  return { seen: { told, state, refused, disturbed }, survivors: [survivor, comer] }
}

export const standby: Strike = async (world, struck) => {
  const [victim, survivor] = await world.struckPair(struck)
  const comer = world.peer('third', { whenBusy: 'wait' })
  await comer.result('connect', { until: 'started' })
  const { state } = await comer.result<{ state: string }>('stats')
  victim.kill()
  const [apart, paired] = await Promise.all([survivor.next('apart'), survivor.next('paired'), comer.next('paired')])
  return { seen: { state, apart: codeOf(apart), peer: paired['peer'] }, survivors: [survivor, comer] }
}

/** The one that is struck has another secret. */
export const wrongSecret: Strike = async (world, struck) => {
  const wrong = world.peer('wrong', {}, { secret: 'another-secret' })
  const right = world.peer('right')
  const [listener, dialer] = struck === 'listener' ? [wrong, right] : [right, wrong]
  await listener.result('connect', { until: 'started' })
  const told = toldOf(await dialer.run('connect'))
  const refused = (await listener.next('refused'))['reason']
  await wrong.result('close')
  await wrong.endsWell()
  const isSecretTold = /super-secret|another-secret/.test(
    [...right.lines, ...wrong.lines].join('\n') + right.stderr + wrong.stderr,
  )
  return { seen: { dialer: told, listener: refused, isSecretTold }, survivors: [right] }
}

/** A newcomer that is there at once: it waits while the listener keeps the place, and is welcomed then. */
export const newcomer: Strike = async (world, struck) => {
  const [victim, survivor] = await world.struckPair(struck)
  const comer = world.peer('newcomer')
  await comer.next('ready')
  victim.kill()
  const apart = await survivor.next(({ event, now }) => event === 'state' && now === 'apart')
  const { error } = await comer.run('connect')
  const paired = await survivor.next('paired')
  const waitedMs = Number(paired['at']) - Number(apart['at'])
  const refused = survivor.all('refused').length
  // Where a dialer is left, there is no place that it could keep. Without one, a newcomer is welcome within milliseconds.
  const isPlaceKept = struck === 'listener' ? undefined : waitedMs >= HOLD_MS / 2
  if (isPlaceKept === false) throw new Error(`It waited ${waitedMs} ms.\n${world.seen()}`)
  return { seen: { error, refused, peer: paired['peer'] }, survivors: [survivor, comer] }
}

/** The listener dies alone. What it leaves at the address keeps nobody away. */
export const stale: Strike = async (world) => {
  const dead = await world.listener('dead')
  dead.kill()
  await dead.ended
  const next = world.peer('next')
  const { at } = await next.next('ready')
  await next.result('connect', { until: 'started' })
  const listening = await next.next('listening')
  inTime('Taking the address over', Number(listening['at']) - Number(at), LOST_MS + LATE_MS, next)
  return { seen: { role: (await next.result<{ role: string }>('stats')).role }, survivors: [next] }
}

/** Something else than pairlink at the place of the listener, or of the dialer. */
export const stranger =
  (mischief: string): Strike =>
  async (world, struck) => {
    if (struck === 'dialer') {
      const listener = await world.listener()
      const raw = world.raw('dialer', mischief)
      const ended = await raw.next('link ended')
      const refused = mischief.startsWith('hang up') ? undefined : (await listener.next('refused'))['reason']
      const { state, strangers } = await listener.result<{ state: string; strangers: number }>('stats')
      return { seen: { bytesBack: ended['bytes'], refused, state, strangers }, survivors: [listener] }
    }
    const raw = world.raw('listener', mischief)
    await raw.next('ready')
    const dialer = world.peer('dialer')
    await dialer.next('ready')
    const startedAt = Date.now()
    const connecting = dialer.run('connect', { timeoutMs: 3500 })
    const { error, at, state } = await connecting
    if (error?.code === 'NOT_PAIRLINK') inTime('Giving up', Number(at) - startedAt, 2000, dialer)
    await dialer.next(({ event, now }) => event === 'state' && now === 'idle')
    raw.kill()
    await raw.ended
    const waiting = codes(dialer, 'waiting')
    return { seen: { code: error?.code, waiting, links: raw.all('link').length, state }, survivors: [dialer] }
  }

/** The same, in the place of a listener that has died: the one that is left goes on looking. */
export const impostor =
  (mischief: string, options: Record<string, unknown> = {}): Strike =>
  async (world) => {
    const { listener, dialer } = await world.pair(options)
    // Stopped, it does not notice the death before the place is taken.
    dialer.child.kill('SIGSTOP')
    listener.kill()
    await listener.ended
    if (world.path !== '') rmSync(world.path)
    const raw = world.raw('listener', mischief)
    await raw.next('ready')
    dialer.child.kill('SIGCONT')
    const first = await dialer.next('apart')
    const second = await dialer.next(({ event }) => event === 'apart')
    const isGivenUp = 'reconnect' in options
    const closed = isGivenUp ? codeOf(await dialer.next('closed')) : undefined
    const { state } = await dialer.result<{ state: string }>('stats')
    raw.kill()
    await raw.ended
    const seen = { apart: [codeOf(first), codeOf(second)], state, ...(isGivenUp ? { closed } : {}) }
    if (isGivenUp) await dialer.endsWell()
    return { seen, survivors: isGivenUp ? [] : [dialer] }
  }
