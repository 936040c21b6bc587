/**
 * Lets two processes ask and notify each other without a pause, kills and stops them at random moments, cuts the link between
 * them, and judges: they must be a pair again in time, and every call must have ended as its caller was told.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as after } from 'node:timers/promises'
import { generateCertificate } from '@pairlink/transport-tls'
import { judge } from './judge.mjs'
import { Run } from './processes.mjs'
import { Proxy } from './proxy.mjs'

const STOP_MS_MAX = 3000
const RESTART_MS_MAX = 1000
/** How far apart the two processes may be hit in one round. */
const SPREAD_MS_MAX = 500
const LOAD_MS_MAX = 1500
const CUTS_MAX = 12
/** How long a pair has its link; and one that is cut in the middle of the handshake, from when both sides have spoken. */
const CUT_AFTER_MS_MAX = 30
const EARLY_MS_MAX = 10
/** How long a link may show no byte before it is cut, or goes on. */
const STALL_MS_MAX = 200
/** How many bytes of each direction still pass when the last ones are to be lost. */
const LAST_BYTES_MAX = 100_000
const LAST_MS_MAX = 30
/** How many bytes of one side pass of a link that is cut in its beginning: an opening or TLS handshake, ours, the first frames. */
const FIRST_BYTES_MAX = 3000
/** The next link takes as long as a side needs that does not know of the end, or a process that was killed or stopped. */
const NEXT_LINK_MS = STOP_MS_MAX + 2000

const SIDES = ['a', 'b']

/**
 * How a link is lost, and out of a hundred how often. Half-open, the one that is not told has to find out by silence.
 * @type {Record<string, { share: number, cut: (link: object, plan: Cut, run: Run, proxy: Proxy) => void }>}
 */
const WAYS = {
  dropped: { share: 18, cut: (link) => link.drop() },
  reset: { share: 12, cut: (link) => link.reset() },
  'dropped, and the next one in its beginning': {
    share: 12,
    cut: (link, { from, firstBytes }, _, proxy) => {
      proxy.dropNextAt({ side: from, bytes: firstBytes })
      link.drop()
    },
  },
  'last bytes lost': { share: 22, cut: (link, { bytes, forMs }) => link.loseLast(bytes, forMs) },
  'half-open for the listener': { share: 6, cut: (link) => link.halfOpen('dialer') },
  'half-open for the dialer': { share: 2, cut: (link) => link.halfOpen('listener') },
  'destroyed by one': { share: 18, cut: (_, { side }, run) => run.at(side).send({ command: 'cut', way: 'destroy' }) },
  'ended by one': { share: 10, cut: (_, { side }, run) => run.at(side).send({ command: 'cut', way: 'end' }) },
}

/**
 * Everything of a round is drawn before it happens, so that a seed repeats it.
 * @typedef {object} Round
 * @property {number} loadMs how long nothing happens before
 * @property {Hit[]} hits on processes
 * @property {Cut[]} cuts of links, one after another
 *
 * @typedef {{ side: string, signal: 'SIGKILL' | 'SIGSTOP', atMs: number, forMs: number }} Hit
 * `cutAt`: after which part of the stall it is cut; beyond 1 the link goes on first.
 * @typedef {{ way: string, isEarly: boolean, afterMs: number, stallMs: number, cutAt: number, bytes: number, firstBytes: number, from: 'dialer' | 'listener', forMs: number, side: string }} Cut
 *
 * @typedef {object} Setting
 * @property {number} seed
 * @property {'unix' | 'tcp' | 'tls' | 'ws'} address
 * @property {boolean} [sealed]
 * @property {number} [outstanding] calls of each side
 * @property {(line: string) => void} [print]
 *
 * @typedef {object} Result
 * @property {string[]} deviations what went wrong, empty when all is well
 * @property {string} line the counts
 * @property {number} cuts
 * @property {number} resumes how often a side was told that the session goes on
 */

/**
 * Random rounds for so many minutes, with cuts where they are asked for. With a `pace` of 2 everything that takes its time takes
 * half of it, so that there are as many rounds in half of the minutes.
 * @param {Setting & { minutes: number, cut?: boolean, pace?: number }} setting
 * @returns {Promise<Result>}
 */
export function chaos({ minutes, cut = false, pace = 1, ...setting }) {
  const random = seeded(setting.seed)
  const options = { keepaliveMs: 500 / pace, silenceMs: 1500 / pace }
  return supervise({ ...setting, random, options, isProxied: cut, rounds: rounds(random, minutes, cut, pace) })
}

/**
 * So many cuts as fast as the two can bear, and a SIGKILL in the middle of them. Where nobody was killed yet, nothing may fail.
 * @param {Setting & { count: number }} setting
 * @returns {Promise<Result>}
 */
export function cuts({ count, ...setting }) {
  const random = seeded(setting.seed)
  const options = { keepaliveMs: 100, silenceMs: 300, reconnect: { delayMs: 20 } }
  const [before, behind] = [Math.ceil(count / 2), Math.floor(count / 2)]
  const kill = { side: random() < 0.5 ? 'a' : 'b', signal: 'SIGKILL', atMs: random() * 100, forMs: 0 }
  const rounds = [
    { loadMs: 0, hits: [], cuts: Array.from({ length: before }, () => cutOf(random)) },
    { loadMs: 0, hits: [kill], cuts: Array.from({ length: behind }, () => cutOf(random)) },
  ]
  return supervise({ ...setting, random, options, isProxied: true, rounds })
}

async function supervise({
  seed,
  address: kind,
  sealed = false,
  outstanding = 16,
  print = console.log,
  random,
  options,
  isProxied,
  rounds,
}) {
  const name = sealed ? `${kind}, sealed` : kind
  const place = mkdtempSync('/tmp/plk-chaos-')
  const logs = mkdtempSync('/tmp/plk-chaos-logs-')
  const placeOf = async (file) =>
    kind === 'unix' ? { path: join(place, file) } : { host: '127.0.0.1', port: await freePort(random) }
  const address = await placeOf('s')
  const proxy = isProxied ? new Proxy(address) : undefined
  const proxied = isProxied ? await placeOf('p') : undefined
  await proxy?.listen(proxied)
  const certificate = { certFile: join(logs, 'cert.pem'), keyFile: join(logs, 'key.pem') }
  if (kind === 'tls') await generateCertificate(certificate)
  const config = {
    kind,
    address,
    proxied,
    outstanding,
    options,
    ...(kind === 'tls' && { certificate }),
    ...(sealed && { key: randomBytes(32).toString('hex') }),
  }
  const run = new Run(config, logs)
  const startedAt = performance.now()
  const clock = () => `+${((performance.now() - startedAt) / 1000).toFixed(1)} s`.padStart(9)
  const pairMs = []
  const counts = { SIGKILL: 0, SIGSTOP: 0 }
  /** By way. */
  const cut = new Map()
  print(`chaos on ${name}: seed ${seed}, logs in ${logs}`)
  try {
    for (const side of SIDES) run.start(side)
    await run.pairs(performance.now())
    for (const { loadMs, hits, cuts } of rounds) {
      if (run.deviations.length > 0) break
      await after(loadMs)
      const texts = [...hits.map((hit) => textOf(hit, run)), ...(cuts.length > 0 ? [`${cuts.length} cuts`] : [])]
      print(`${clock()}  ${texts.join('; ')}`)
      for (const { signal } of hits) counts[signal]++
      await Promise.all([...hits.map((hit) => run.carryOut(hit)), carryOut(cuts, proxy, run, cut)])
      const tookMs = await run.pairs(performance.now())
      if (tookMs === undefined) break
      pairMs.push(tookMs)
      print(`${clock()}  a pair after ${Math.round(tookMs)} ms`)
    }
    await run.finish()
    proxy?.close()
    const tally = await judge(run)
    if (run.hasFinished) checkLeft(run, place)
    const deviations = [...run.deviations, ...tally.deviations]
    pairMs.sort((x, y) => x - y)
    const at = (share) => Math.round(pairMs[Math.floor(share * (pairMs.length - 1))] ?? 0)
    const outcomes = [...tally.outcomes].sort(([, x], [, y]) => y - x).map(([name, count]) => `${name} ${count}`)
    const cutCount = [...cut.values()].reduce((sum, count) => sum + count, 0)
    const ways = [...cut].map(([way, count]) => `${way} ${count}`).join(', ')
    const line = [
      `${name}, seed ${seed}: ${counts.SIGKILL} SIGKILL, ${counts.SIGSTOP} SIGSTOP in ${pairMs.length} rounds`,
      ...(isProxied ? [`${cutCount} cuts (${ways}), ${run.resumes} resumes told`] : []),
      `a pair again after ${at(0.5)} ms (half), ${at(0.99)} (99 of 100), ${at(1)} (the longest)`,
      `${tally.handled} handled, ${tally.open} open when their process was killed`,
      outcomes.join(', '),
      `${tally.heard} notifications in order`,
      `${deviations.length} deviations`,
    ].join('; ')
    if (deviations.length === 0) rmSync(logs, { recursive: true, force: true })
    else deviations.push(`seed ${seed}, logs in ${logs}`)
    return { deviations, line, cuts: cutCount, resumes: run.resumes }
  } finally {
    run.killAll()
    proxy?.close()
    rmSync(place, { recursive: true, force: true })
  }
}

/** Cuts one link after the other, each as soon as there is one again. */
async function carryOut(plans, proxy, run, counts) {
  for (const plan of plans) {
    const link = await linkFor(plan, proxy, run)
    if (link === undefined) return // that there is no pair is found next
    if (plan.stallMs > 0) {
      link.stall(plan.stallMs)
      await after(plan.stallMs * plan.cutAt)
    }
    WAYS[plan.way].cut(link, plan, run, proxy)
    counts.set(plan.way, (counts.get(plan.way) ?? 0) + 1)
  }
}

/** Resolves to a link at the moment at which it is to be cut; to undefined when none comes. */
async function linkFor({ isEarly, afterMs }, proxy, run) {
  for (;;) {
    const link = await proxy.next(NEXT_LINK_MS)
    if (link === undefined) return undefined
    if (!isEarly) await run.pairedSince(link.spokenAt, NEXT_LINK_MS)
    await after(afterMs)
    if (!link.isOver) return link
  }
}

/** @returns {Generator<Round>} */
function* rounds(random, minutes, withCuts, pace) {
  const end = performance.now() + minutes * 60_000
  while (performance.now() < end) {
    const loadMs = random() < 0.2 ? 0 : (random() * LOAD_MS_MAX) / pace
    const cuts = withCuts ? Array.from({ length: 1 + Math.floor(random() * CUTS_MAX) }, () => cutOf(random)) : []
    yield { loadMs, hits: withCuts && random() < 0.6 ? [] : hitsOf(random, pace), cuts }
  }
}

/** @returns {Hit[]} */
function hitsOf(random, pace) {
  const hit = random()
  const victims = hit < 0.35 ? ['a'] : hit < 0.7 ? ['b'] : SIDES
  return victims.map((side) => {
    const signal = random() < 0.55 ? 'SIGKILL' : 'SIGSTOP'
    const atMs = victims.length === 1 ? 0 : random() * SPREAD_MS_MAX
    const most = signal === 'SIGKILL' ? RESTART_MS_MAX : STOP_MS_MAX
    const forMs = signal === 'SIGKILL' && random() < 0.3 ? 0 : random() * most
    return { side, signal, atMs: atMs / pace, forMs: forMs / pace }
  })
}

function textOf({ side, signal, atMs, forMs }, run) {
  const { name, role } = run.at(side)
  return `${name} (${role ?? 'not met'}) ${signal} in ${Math.round(atMs)} ms for ${Math.round(forMs)} ms`
}

/** @returns {Cut} */
function cutOf(random) {
  let drawn = random() * 100
  const way = Object.keys(WAYS).find((name) => (drawn -= WAYS[name].share) < 0) ?? 'dropped'
  const isEarly = random() < 0.15
  const isStalled = random() < 0.15
  return {
    way,
    isEarly,
    afterMs: random() * (isEarly ? EARLY_MS_MAX : CUT_AFTER_MS_MAX),
    stallMs: isStalled ? random() * STALL_MS_MAX : 0,
    cutAt: random() * 2,
    bytes: Math.floor(random() ** 4 * LAST_BYTES_MAX),
    forMs: random() * LAST_MS_MAX,
    side: random() < 0.5 ? 'a' : 'b',
    firstBytes: Math.floor(random() ** 2 * FIRST_BYTES_MAX),
    from: random() < 0.5 ? 'dialer' : 'listener',
  }
}

/** Nothing is left but the lock file. */
function checkLeft(run, place) {
  const left = readdirSync(place).filter((name) => name !== 's.lock')
  if (left.length > 0) run.deviations.push(`files are left: ${left.join(', ')}`)
}

/** A port that is free now, below those that systems give to outgoing connections. */
async function freePort(random) {
  for (;;) {
    const port = 10_000 + Math.floor(random() * 10_000)
    const server = createServer()
    const isFree = await new Promise((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
function seeded(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
