// The unit tests of all packages. They run on the sources, so that nothing has to be built for them.
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (path: string): string => fileURLToPath(new URL(`packages/${path}`, import.meta.url))

export default defineConfig({
  resolve: {
    alias: {
      '#runtime': source('core/src/connection/runtime.node.ts'),
      '@pairlink/core/protocol': source('core/src/protocol/index.ts'),
      '@pairlink/core': source('core/src/index.ts'),
      '@pairlink/transport-net': source('transport-net/src/index.ts'),
      pairlink: source('pairlink/src/index.ts'),
    },
  },
  test: { include: ['packages/*/test/**/*.test.ts'], testTimeout: 20_000 },
})
