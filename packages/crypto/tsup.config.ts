import { packageBuild } from '../../scripts/tsup.mjs'

export default packageBuild(
  { index: 'src/index.ts' },
  {
    imports: { '#provider': './src/provider.node.ts', '#files': './src/files.node.ts' },
    conditional: {
      'provider.node': 'src/provider.node.ts',
      'provider.default': 'src/provider.default.ts',
      'files.node': 'src/files.node.ts',
      'files.default': 'src/files.default.ts',
    },
    bundled: [/^@noble\//],
  },
)
