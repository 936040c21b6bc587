/** A pipe between two connections of a test that has room for one write, as a slow one has. */
import type { MemoryPipe } from './memory.js'
import type { World } from './world.js'

/** Lets one write at a time through from one end of a pipe, the next when the one before was read and `step` was called. */
export class NarrowPipe {
  /** Bytes written so far. */
  bytes = 0
  largestWrite = 0
  readonly #world: World
  readonly #far: MemoryPipe

  constructor(world: World, near: MemoryPipe, far: MemoryPipe) {
    this.#world = world
    this.#far = far
    const write = near.write.bind(near)
    near.write = (chunks) => {
      far.stalled = true
      const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      this.bytes += count
      this.largestWrite = Math.max(this.largestWrite, count)
      return write(chunks)
    }
  }

  async step(): Promise<void> {
    this.#far.release()
    await this.#world.clock.settle()
  }

  /** Goes on until the promise has settled. @returns the bytes written meanwhile */
  async until(promise: Promise<unknown>): Promise<number> {
    const before = this.bytes
    let isSettled = false
    const settled = (): void => void (isSettled = true)
    promise.then(settled, settled)
    await this.#world.clock.settle()
    for (let steps = 0; !isSettled; steps++) {
      if (steps > 5000) throw new Error('not settled after 5,000 writes')
      await this.step()
    }
    return this.bytes - before
  }
}
