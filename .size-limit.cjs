// How large the parts are that a program loads, gzipped. A limit is what it was when last looked at, and some room.
const forNode = { gzip: true, modifyEsbuildConfig: (config) => ({ ...config, platform: 'node' }) }

module.exports = [
  { name: '@pairlink/core, Node.js', path: 'packages/core/dist/esm/index.js', limit: '24 kB', ...forNode },
  { name: '@pairlink/core, browsers', path: 'packages/core/dist/esm/index.js', limit: '28 kB', gzip: true },
  { name: '@pairlink/core/protocol', path: 'packages/core/dist/esm/protocol/index.js', limit: '16 kB', gzip: true },
  {
    name: '@pairlink/transport-net without core',
    path: 'packages/transport-net/dist/esm/index.js',
    limit: '4 kB',
    ignore: ['@pairlink/core'],
    ...forNode,
  },
]
