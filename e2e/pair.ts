/** A peer of `peers/pair.mjs`, and commands as promises. */
import { join } from 'node:path'
import { Peer, repository, type Report } from './processes.js'

export interface Told {
  readonly code?: string
  readonly message: string
  readonly delivery?: string
}

export class PairPeer extends Peer {
  #id = 0

  constructor(path: string, options: Record<string, unknown> = {}, label = 'peer') {
    super(join(repository, 'e2e/peers/pair.mjs'), [JSON.stringify({ path, options })], label)
  }

  /** Resolves to the report of the end of a command, with `result` or `error`, and `at`. */
  run(command: string, input: Record<string, unknown> = {}, withinMs?: number): Promise<Report & { error?: Told }> {
    const id = ++this.#id
    this.send({ id, command, input })
    return this.next((report) => report.event === 'done' && report['id'] === id, withinMs) as Promise<
      Report & { error?: Told }
    >
  }

  /** Like `run`, to the result. @throws Error when the command failed */
  async result<T>(command: string, input: Record<string, unknown> = {}, withinMs?: number): Promise<T> {
    const report = await this.run(command, input, withinMs)
    if (report.error !== undefined) throw new Error(`${command}: ${JSON.stringify(report.error)}\n${this.seen()}`)
    return report['result'] as T
  }
}

/** Starts one that listens at the path, and then one that dials it. */
export async function pairAt(path: string, options: Record<string, unknown> = {}): Promise<[PairPeer, PairPeer]> {
  const listener = await listenerAt(path, options)
  const dialer = new PairPeer(path, options, 'dialer')
  await dialer.result('connect')
  await Promise.all([listener.next('paired'), dialer.next('paired')])
  return [listener, dialer]
}

export async function listenerAt(path: string, options: Record<string, unknown> = {}): Promise<PairPeer> {
  const listener = new PairPeer(path, options, 'listener')
  await listener.result('connect', { until: 'started' })
  return listener
}
