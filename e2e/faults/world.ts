/** Where one row happens: its own address, its processes, and their end. It knows no faults. */
import { join } from 'node:path'
import { generateCertificate } from '@pairlink/transport-tls'
import { unusedPort } from '../ports.js'
import { folder, Peer, repository, type Report } from '../processes.js'
import type { Told } from '../pair.js'

export type TransportName = 'unix' | 'tcp' | 'ws'
/** What protects the link: the proof alone, `aes256gcm`, or TLS below it. */
export type Shield = 'open' | 'sealed' | 'tls'
/** Whom the fault strikes, or in whose place a stranger stands. */
export type Role = 'listener' | 'dialer'
export type Place = ({ readonly path: string } | { readonly port: number }) & {
  readonly transport: TransportName
  readonly shield: Shield
}

export const SECRET = 'super-secret'
export const KEEPALIVE_MS = 200
export const SILENCE_MS = 800
export const HANDSHAKE_MS = 600
export const HOLD_MS = 300
const OPTIONS = {
  // So that what was in flight settles while the row looks.
  resumeWindowMs: 700,
  keepaliveMs: KEEPALIVE_MS,
  silenceMs: SILENCE_MS,
  handshakeTimeoutMs: HANDSHAKE_MS,
  holdMs: HOLD_MS,
  reconnect: { delayMs: 200 },
}
/** What is told until two are a pair. */
const ON_THE_WAY = ['state', 'listening', 'waiting', 'paired', 'apart']
/** On a busy machine everything may take long. What must be quick is measured. */
const PATIENCE_MS = 15_000

export type Answer = Report & { readonly error?: Told }

/** Where the certificate of all rows lies, once `makeCertificate` has run. */
const certificate = (): { certFile: string; keyFile: string } => {
  certificateFolder ??= folder()
  return { certFile: join(certificateFolder, 'cert.pem'), keyFile: join(certificateFolder, 'key.pem') }
}
let certificateFolder: string | undefined

export function makeCertificate(): Promise<void> {
  return generateCertificate(certificate())
}

/** A process that is not waited for in vain once it has ended. */
class MortalPeer extends Peer {
  override next(matches: string | ((report: Report) => boolean)): Promise<Report> {
    const next = super.next(matches, PATIENCE_MS)
    const ended = this.ended.then((): never => {
      throw new Error(`It ended before it reported ${matches.toString()}.\n${this.seen()}`)
    })
    return Promise.race([next, ended])
  }
}

/** What a process that is to be one of a pair is told. */
interface Plan {
  readonly place: Place
  readonly options: Record<string, unknown>
  readonly secret: string
}

/**
 * A process of the file `peers/fault-pair.mjs`. To start one costs more than most rows, so one that has ended well, with
 * nothing left of its connection, takes part in another row.
 */
export class FaultPeer extends MortalPeer {
  static readonly #spare: FaultPeer[] = []
  /** Whether it has ended well, and may take part in another row. */
  isSpare = false
  #id = 0

  private constructor() {
    super(join(repository, 'e2e/peers/fault-pair.mjs'), [], 'spare')
  }

  static with({ place, options, secret }: Plan, label: string): FaultPeer {
    const peer = FaultPeer.#spare.pop() ?? new FaultPeer()
    peer.isSpare = false
    peer.begin(label)
    const input = { place, secret, options: { ...OPTIONS, ...options }, certificate: certificate() }
    peer.send({ command: 'begin', input })
    return peer
  }

  static spare(peer: FaultPeer): void {
    FaultPeer.#spare.push(peer)
  }

  /** @throws Error when one that is spare does not end by itself */
  static async endAll(): Promise<void> {
    await Promise.all(FaultPeer.#spare.splice(0).map((peer) => peer.endsAlone()))
  }

  /** @throws Error when something of its connection would keep the process alive */
  override async endsWell(): Promise<void> {
    await this.result('left')
    this.isSpare = true
  }

  private endsAlone(): Promise<void> {
    return super.endsWell()
  }

  /** Resolves to the report of the end of a command, with `result` or `error`, and `at`. */
  run(command: string, input: Record<string, unknown> = {}): Promise<Answer> {
    const id = ++this.#id
    this.send({ id, command, input })
    const done = this.next((report) => report.event === 'done' && report['id'] === id) as Promise<Answer>
    done.catch(() => undefined) // a row that failed awaits no more of them
    return done
  }

  /** Like `run`, to the result. @throws Error when the command failed */
  async result<T>(command: string, input: Record<string, unknown> = {}): Promise<T> {
    const report = await this.run(command, input)
    if (report.error !== undefined) throw new Error(`${command}: ${JSON.stringify(report.error)}\n${this.seen()}`)
    return report['result'] as T
  }

  /** A call that is never answered. */
  never(tag: string): Promise<Answer> {
    return this.run('call', { method: 'never', input: tag, options: { timeoutMs: 60_000 } })
  }

  /** The next report of that event, or of that code. */
  told(event: string, code?: string): Promise<Report> {
    return this.next((report) => report.event === event && (code === undefined || codeOf(report) === code))
  }
}

/** A process of the file `peers/fault-raw.mjs`. */
export class RawPeer extends MortalPeer {
  constructor(place: Place, side: Role, mischief: string) {
    const plan = { place, side, mischief, secret: SECRET, certificate: certificate() }
    super(join(repository, 'e2e/peers/fault-raw.mjs'), [JSON.stringify(plan)], `${mischief} as ${side}`)
  }
}

export class World {
  readonly transport: TransportName
  readonly shield: Shield
  readonly place: Place
  readonly #peers: Peer[] = []

  private constructor(transport: TransportName, shield: Shield, place: Place) {
    this.transport = transport
    this.shield = shield
    this.place = place
  }

  static async of(transport: TransportName, shield: Shield): Promise<World> {
    const where = transport === 'unix' ? { path: join(folder(), 's') } : { port: await unusedPort() }
    return new World(transport, shield, { ...where, transport, shield })
  }

  /** The path of a place that has one. */
  get path(): string {
    return 'path' in this.place ? this.place.path : ''
  }

  peer(label: string, options: Record<string, unknown> = {}, at: { place?: Place; secret?: string } = {}): FaultPeer {
    return this.with(FaultPeer.with({ place: at.place ?? this.place, options, secret: at.secret ?? SECRET }, label))
  }

  raw(side: Role, mischief: string): RawPeer {
    return this.with(new RawPeer(this.place, side, mischief))
  }

  /** The world ends this process with the others. */
  with<P extends Peer>(peer: P): P {
    this.#peers.push(peer)
    return peer
  }

  /** One that listens. */
  async listener(label = 'listener', options: Record<string, unknown> = {}): Promise<FaultPeer> {
    const listener = this.peer(label, options)
    await listener.result('connect', { until: 'started' })
    return listener
  }

  async pair(options: Record<string, unknown> = {}): Promise<{ listener: FaultPeer; dialer: FaultPeer }> {
    const listener = await this.listener('listener', options)
    const dialer = this.peer('dialer', options)
    await dialer.result('connect')
    await Promise.all([listener.next('paired'), dialer.next('paired')])
    // On a busy machine the first handshake may have been too slow, and was made again: that is no part of what follows.
    await dialer.result('call', { method: 'pid' })
    for (const peer of [listener, dialer]) for (const event of ON_THE_WAY) peer.all(event)
    return { listener, dialer }
  }

  /** A pair, by whom the fault strikes. */
  async struckPair(struck: Role, options: Record<string, unknown> = {}): Promise<[FaultPeer, FaultPeer]> {
    const { listener, dialer } = await this.pair(options)
    return struck === 'listener' ? [listener, dialer] : [dialer, listener]
  }

  /** A process that misbehaves, paired with a right one. */
  async rawPair(struck: Role, mischief: string): Promise<[RawPeer, FaultPeer]> {
    if (struck === 'dialer') {
      const other = await this.listener()
      const raw = this.raw('dialer', mischief)
      await Promise.all([raw.next('paired'), other.next('paired')])
      return [raw, other]
    }
    const raw = this.raw('listener', mischief)
    await raw.next('ready')
    const other = this.peer('dialer')
    await Promise.all([other.result('connect'), raw.next('paired'), other.next('paired')])
    return [raw, other]
  }

  seen(): string {
    return this.#peers.map((peer) => peer.seen()).join('\n')
  }

  async end(): Promise<void> {
    const isSpare = (peer: Peer): peer is FaultPeer => peer instanceof FaultPeer && peer.isSpare
    const ending = this.#peers.filter((peer) => !isSpare(peer))
    for (const peer of ending) peer.kill()
    await Promise.all(ending.map((peer) => peer.ended))
    for (const peer of this.#peers.filter(isSpare)) FaultPeer.spare(peer)
  }
}

export function codeOf(report: Report): string | undefined {
  return (report['error'] as Told | undefined)?.code
}

/** What of an error a table compares. */
export function toldOf({ error }: Answer): { code?: string | undefined; delivery?: string } | undefined {
  return error && { code: error.code, ...(error.delivery === undefined ? {} : { delivery: error.delivery }) }
}
