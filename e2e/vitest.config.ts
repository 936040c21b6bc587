// Tests with real processes and the real clock. They use the built packages, as a program would.
import { defineConfig } from 'vitest/config'

/** These measure times or load every processor, so nothing runs beside them. */
const ALONE = ['ends', 'exit', 'faults', 'liveness', 'load', 'producer', 'race'].map((name) => `${name}.test.ts`)

export default defineConfig({
  test: {
    testTimeout: 180_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'beside',
          include: ['**/*.test.ts'],
          exclude: ALONE,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: 'alone', include: ALONE, maxWorkers: 1, fileParallelism: false, sequence: { groupOrder: 2 } },
      },
    ],
  },
})
