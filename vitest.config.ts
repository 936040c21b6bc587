// The unit tests of all packages. They run on the sources, so that nothing has to be built for them.
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (path: string): string => fileURLToPath(new URL(`packages/${path}`, import.meta.url))

export default defineConfig({
  resolve: {
    alias: {
      '#runtime': source('core/src/connection/runtime.node.ts'),
      '#provider': source('crypto/src/provider.node.ts'),
      '#files': source('crypto/src/files.node.ts'),
      '@pairlink/crypto': source('crypto/src/index.ts'),
      '@pairlink/core/protocol': source('core/src/protocol/index.ts'),
      '@pairlink/core': source('core/src/index.ts'),
      '@pairlink/testkit': source('testkit/src/index.ts'),
      '@pairlink/transport-net/layer': source('transport-net/src/layer.ts'),
      '@pairlink/transport-net': source('transport-net/src/index.ts'),
      '@pairlink/transport-tls': source('transport-tls/src/index.ts'),
      '@pairlink/transport-ws/browser': source('transport-ws/src/browser.ts'),
      '@pairlink/transport-ws': source('transport-ws/src/index.ts'),
      pairlink: source('pairlink/src/index.ts'),
    },
  },
  test: {
    // Only for what hangs: machines differ, and may be busy.
    testTimeout: 60_000,
    // Many wait for sockets and for other processes, and load no processor meanwhile.
    maxWorkers: 4,
    projects: [
      {
        extends: true,
        test: {
          name: 'units',
          include: ['packages/*/test/**/*.test.ts'],
          // Before Node.js 22 the WebSocket of browsers is there when asked for.
          execArgv: 'WebSocket' in globalThis ? [] : ['--experimental-websocket'],
        },
      },
      // What holds for a connection holds however it is encrypted.
      ...['sealed', 'custom'].map((name) => ({
        extends: true as const,
        test: {
          name,
          include: ['packages/core/test/connection/*.test.ts', 'packages/core/test/protocol/replay.test.ts'],
          setupFiles: [`packages/crypto/test/${name}.setup.ts`],
        },
      })),
    ],
  },
})
