// Tests with real processes and the real clock. They use the built packages, as a program would.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { include: ['**/*.test.ts'], testTimeout: 180_000, hookTimeout: 60_000, fileParallelism: false },
})
