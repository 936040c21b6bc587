/** WebSocket as a Transport, on Node.js: a port, a server that is there already, and a URL that is dialled. */
export { attachWs, type AttachOptions, type HttpServer } from './attach.js'
export { webSocket, type DialOptions } from './dial.js'
export type { GuestOptions } from './options.js'
export { ws, type WsOptions } from './ws.js'
