/** TLS with a pinned certificate, over TCP and unix sockets, as a transport of pairlink. */
export { generateCertificate, type GenerateOptions } from './generate.js'
export { tls, type TlsFiles, type TlsPathPlace, type TlsPlace, type TlsPortPlace } from './tls.js'
