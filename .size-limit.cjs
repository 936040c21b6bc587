// How large the parts are that a program loads, gzipped. A limit is what it was when last looked at, and some room.
// The workspace's own tsconfig must not be seen: its `paths` lead to the sources.
const bundle = (platform) => ({
  gzip: true,
  modifyEsbuildConfig: (config) => ({ ...config, platform, tsconfigRaw: '{}' }),
})

// What a page loads that does nothing but dial: the names that its application imports, each from where it comes.
const page = (name, limit, names) => ({
  name: `a page: ${name}`,
  path: Object.keys(names),
  import: names,
  limit,
  ...bundle('browser'),
})
const OPEN = {
  'packages/core/dist/esm/index.js': '{ Connection }',
  'packages/transport-ws/dist/esm/browser.js': '{ webSocket }',
}
const SEALED = { ...OPEN, 'packages/crypto/dist/esm/index.js': '{ aes256gcm }' }

module.exports = [
  page('Connection over webSocket(url), open', '40.5 kB', OPEN),
  page('Connection over webSocket(url), sealed', '48.5 kB', SEALED),
  { name: '@pairlink/core, Node.js', path: 'packages/core/dist/esm/index.js', limit: '37.5 kB', ...bundle('node') },
  { name: '@pairlink/core, browsers', path: 'packages/core/dist/esm/index.js', limit: '40.5 kB', ...bundle('browser') },
  {
    name: '@pairlink/core/protocol',
    path: 'packages/core/dist/esm/protocol/index.js',
    limit: '18.5 kB',
    ...bundle('neutral'),
  },
  {
    name: '@pairlink/transport-net without core',
    path: 'packages/transport-net/dist/esm/index.js',
    limit: '8.5 kB',
    ignore: ['@pairlink/core'],
    ...bundle('node'),
  },
  {
    name: '@pairlink/crypto, Node.js',
    path: 'packages/crypto/dist/esm/index.js',
    limit: '6 kB',
    ignore: ['@pairlink/core'],
    ...bundle('node'),
  },
  {
    name: '@pairlink/crypto, browsers',
    path: 'packages/crypto/dist/esm/index.js',
    limit: '9 kB',
    ignore: ['@pairlink/core'],
    ...bundle('browser'),
  },
  {
    name: '@pairlink/transport-tls without core and transport-net',
    path: 'packages/transport-tls/dist/esm/index.js',
    import: '{ tls }',
    limit: '8 kB',
    ignore: ['@pairlink/core', '@pairlink/transport-net'],
    ...bundle('node'),
  },
  {
    name: '@pairlink/testkit without core',
    path: 'packages/testkit/dist/esm/index.js',
    limit: '40 kB',
    ignore: ['@pairlink/core'],
    ...bundle('node'),
  },
  {
    name: '@pairlink/transport-ws without core, transport-net and ws',
    path: 'packages/transport-ws/dist/esm/index.js',
    limit: '8 kB',
    ignore: ['@pairlink/core', '@pairlink/transport-net', 'ws'],
    ...bundle('node'),
  },
  {
    name: '@pairlink/transport-ws, browsers, without core',
    path: 'packages/transport-ws/dist/esm/browser.js',
    limit: '3 kB',
    ignore: ['@pairlink/core'],
    ...bundle('browser'),
  },
  { name: 'pairlink', path: 'packages/pairlink/dist/esm/index.js', limit: '45 kB', ...bundle('node') },
]
