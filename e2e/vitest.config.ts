// Tests with real processes and the real clock. They use the built packages, as a program would.
import { defineConfig } from 'vitest/config'

const files = (...names: string[]): string[] => names.map((name) => `${name}.test.ts`)
/** These say how soon something happens, so that only one other runs beside each. */
const TIMED = files('exit', 'liveness', 'load', 'race')
/** This one loads every processor, and compares how fast two sides are. */
const ALONE = files('producer')

/** Most files wait for processes more than they work, so there are more of them than processors. */
const group = (order: number, name: string, include: string[], exclude: string[], maxWorkers: number) => ({
  extends: true as const,
  test: { name, include, exclude, maxWorkers, fileParallelism: maxWorkers > 1, sequence: { groupOrder: order } },
})

export default defineConfig({
  test: {
    testTimeout: 180_000,
    hookTimeout: 60_000,
    projects: [
      group(1, 'beside', ['**/*.test.ts'], [...TIMED, ...ALONE], 3),
      group(2, 'timed', TIMED, [], 2),
      group(3, 'alone', ALONE, [], 1),
    ],
  },
})
