/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Two Connections of one process, paired over memory: what an application tests its handlers with. It knows no test runner.
 */
import { Connection, type AnyApi, type ConnectionOptions, type Logger } from '@pairlink/core'
import { memory, type MemoryPlace } from './memory/place.js'

/** What a Connection takes; where they meet and the secret are there already. */
export type SideOptions<Mine> = Partial<Omit<ConnectionOptions<Mine>, 'transport'>>

export interface ConnectedPairOptions<One, Two> {
  /** Options of the first one alone, such as its handlers. */
  readonly one?: SideOptions<One>
  readonly two?: SideOptions<Two>
  /** Options of both. Those of a side go before them. */
  readonly both?: SideOptions<AnyApi>
  /** Where they meet, when not at a `memory()` of their own. */
  readonly place?: MemoryPlace
}

export interface ConnectedPair<One extends object, Two extends object> {
  /** Has `options.one`; calls what `options.two` answers. It listens, until something is lost. */
  readonly one: Connection<One, Two>
  readonly two: Connection<Two, One>
  /** Where faults are made: `place.cut()`, `place.stall()`. */
  readonly place: MemoryPlace
  /** Closes both; what was begun is finished first. Repeatable, and after a `close()` of your own as well. */
  dispose(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const SECRET = 'of two that meet in memory, where nobody else can'
const logger: Logger = {
  error: (fields, message) => {
    console.error(`pairlink: ${message}`, fields)
  },
}

/**
 * Makes two Connections and pairs them.
 *
 * Errors go to the console as they always do; that both are in one process is not worth a warning here.
 * @throws TypeError for options that a Connection does not take; PairlinkError when the two cannot pair. Nothing is left then
 */
export async function connectedPair<One extends object = AnyApi, Two extends object = One>(
  options: ConnectedPairOptions<One, Two> = {},
): Promise<ConnectedPair<One, Two>> {
  const { one: ofOne, two: ofTwo, both, place = memory() } = options
  const common = { secret: SECRET, logger, ...both }
  const one = new Connection<One, Two>({ ...common, ...ofOne, transport: place.transport() } as ConnectionOptions<One>)
  const two = new Connection<Two, One>({ ...common, ...ofTwo, transport: place.transport() } as ConnectionOptions<Two>)
  const dispose = async (): Promise<void> => {
    await Promise.all([one.close(), two.close()])
  }
  try {
    await one.connect({ until: 'started' })
    await Promise.all([one.paired(), two.connect()])
  } catch (error) {
    await dispose()
    throw error
  }
  return { one, two, place, dispose, [Symbol.asyncDispose]: dispose }
}
