/** An address as one string, such as it stands in a configuration or an environment variable. */
import type { Transport } from '@pairlink/core'
import { local, tcp, tcp4, tcp6, unix } from '@pairlink/transport-net'

export interface TransportUrlOptions {
  /** Lets TCP leave this host, where the link must be encrypted. */
  readonly allowNetwork?: boolean
}

const FORMS = "'unix:/run/app.sock', 'local:name', 'tcp://127.0.0.1:1234', 'tcp4://…' and 'tcp6://[::1]:1234'"
const TCP = { tcp, tcp4, tcp6 }

/**
 * The transport that an address names, with the defaults of that transport.
 * @throws TypeError for anything that is no such address. Paths are taken as they stand: nothing in them is decoded.
 */
export function transportFromUrl(url: string, options: TransportUrlOptions = {}): Transport {
  if (typeof url !== 'string') throw new TypeError(`transportFromUrl: an address is a string such as ${FORMS}`)
  const [, scheme = '', rest = ''] = /^([a-z0-9]+):(.*)$/s.exec(url) ?? []
  switch (scheme) {
    case 'unix':
      return unix(rest)
    case 'local':
      return local(rest)
    case 'tcp':
    case 'tcp4':
    case 'tcp6':
      return TCP[scheme]({ ...hostAndPort(scheme, rest), ...options })
    default:
      throw new TypeError(`transportFromUrl: '${url}' is no address; there are ${FORMS}`)
  }
}

function hostAndPort(scheme: string, rest: string): { host?: string; port: number } {
  const [, literal, name, port] = /^\/\/(?:\[([^\]]+)\]|([^\s:/?#@]*)):(\d{1,5})\/?$/.exec(rest) ?? []
  if (port === undefined) {
    throw new TypeError(`transportFromUrl: '${scheme}:${rest}' must be ${scheme}://host:port, without a path`)
  }
  const host = literal ?? name
  return { port: Number(port), ...(host === undefined || host === '' ? {} : { host }) }
}
