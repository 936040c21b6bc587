import { packageBuild } from '../../scripts/tsup.mjs'

export default packageBuild({ index: 'src/index.ts' })
