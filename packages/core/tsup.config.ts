import { packageBuild } from '../../scripts/tsup.mjs'

export default packageBuild(
  { index: 'src/index.ts', 'protocol/index': 'src/protocol/index.ts' },
  {
    imports: { '#runtime': './src/connection/runtime.node.ts' },
    conditional: {
      'runtime.node': 'src/connection/runtime.node.ts',
      'runtime.default': 'src/connection/runtime.default.ts',
    },
    bundled: [/^@noble\//],
  },
)
