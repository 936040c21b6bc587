import { defineConfig } from 'vitepress'

const guide = [
  { text: 'Start', link: '/start' },
  { text: 'Testing your application', link: '/testing-your-application' },
  { text: 'API', link: '/api' },
  { text: 'Errors', link: '/errors' },
]
const depth = [
  { text: 'How two processes meet', link: '/meeting' },
  { text: 'Transports', link: '/transports' },
  { text: 'Writing a transport', link: '/writing-a-transport' },
  { text: 'Conformance of transports', link: '/conformance' },
  { text: 'Encryption and keys', link: '/encryption' },
  { text: 'A cipher of your own', link: '/own-cipher' },
  { text: 'TLS', link: '/tls' },
  { text: 'WebSocket', link: '/websocket' },
  { text: 'Your own event loop', link: '/event-loop' },
  { text: 'Coming from simple-ipc', link: '/coming-from-simple-ipc' },
  { text: 'The simulator', link: '/simulator' },
  { text: 'How it is tested', link: '/tests' },
]

export default defineConfig({
  title: 'pairlink',
  description: 'Two processes of one program find each other, prove one secret, and ask each other.',
  cleanUrls: true,
  ignoreDeadLinks: false,
  markdown: { languageAlias: { mjs: 'javascript', mts: 'typescript' } },
  themeConfig: {
    nav: guide,
    sidebar: [
      { text: 'Guide', items: guide },
      { text: 'In depth', items: depth },
    ],
    outline: [2, 3],
    search: { provider: 'local' },
  },
})
