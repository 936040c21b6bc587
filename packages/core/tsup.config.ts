import { packageBuild } from '../../scripts/tsup.mjs'

export default packageBuild(
  {
    index: 'src/index.ts',
    'protocol/index': 'src/protocol/index.ts',
    'runtime.node': 'src/connection/runtime.node.ts',
    'runtime.default': 'src/connection/runtime.default.ts',
  },
  // The runtime is chosen by the condition of whoever loads the package; what only the default one needs is bundled into it.
  { external: ['#runtime'], noExternal: [/^@noble\//] },
)
