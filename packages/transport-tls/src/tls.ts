/**
 * TLS as a Transport: the meeting places of transport-net, with a layer between their sockets and their pipes. How places
 * are taken, and how a handshake goes, is known elsewhere.
 */
import type { Transport } from '@pairlink/core'
import type { UnixOptions } from '@pairlink/transport-net'
import { checkOptions, tcpWith, unixWith, type Layer } from '@pairlink/transport-net/layer'
import { credentialsOf, type CertificateFiles } from './files.js'
import { TlsPipe } from './pipe.js'
import { pathOf } from './read.js'

/** A port, as `tcp` has it. */
export interface TlsPortPlace {
  /** 1 to 65,535. */
  readonly port: number
  /** An address of this host, or a name of one: `127.0.0.1` by default, `::1` with family 6. */
  readonly host?: string
  /** IPv4 or IPv6 alone; by default as `host` says. */
  readonly family?: 4 | 6
}

/** A path of the file system, as `unix` has it. */
export interface TlsPathPlace extends UnixOptions {
  /** Relative ones are resolved now. */
  readonly path: string
}

export type TlsPlace = TlsPortPlace | TlsPathPlace

export interface TlsFiles {
  /** Our certificate as PEM, with intermediate ones behind it where there is a CA. */
  readonly certFile: string
  /** Its key as PEM, without a password, and for this user alone. */
  readonly keyFile: string
  /** Lets in everybody whose certificate leads to a CA in this file, instead of those alone who show ours. */
  readonly caFile?: string
  /** The oldest version that is spoken: `TLSv1.3` by default. */
  readonly minVersion?: 'TLSv1.3' | 'TLSv1.2'
  /** Lets the link leave this host. */
  readonly allowNetwork?: boolean
}

const VERSIONS: readonly string[] = ['TLSv1.3', 'TLSv1.2']
const FAMILIES: readonly number[] = [0, 4, 6]

/**
 * Meets at a port or a path, over TLS with a certificate on both sides. A peer must show the very certificate that lies in
 * our own file, so both processes are given the same files; or one that leads to `caFile`. The files are read for each
 * dial and each link that comes in, so they can be replaced at any time.
 *
 * What is wrong with the files is a `PairlinkError` `CERTIFICATE` of dialling and listening; what is wrong with a peer's
 * certificate closes its pipe with one.
 * @throws TypeError for options that can never work
 */
export function tls(where: TlsPlace, files: TlsFiles): Transport {
  checkOptions('tls', where, ['port', 'host', 'family', 'path', 'mode', 'gid', 'owner', 'lock'])
  checkOptions('tls', files, ['certFile', 'keyFile', 'caFile', 'minVersion', 'allowNetwork'])
  const { caFile, minVersion = 'TLSv1.3', allowNetwork = false } = files
  if (!VERSIONS.includes(minVersion)) throw new TypeError(`tls: minVersion must be one of ${VERSIONS.join(', ')}`)
  if (typeof allowNetwork !== 'boolean') throw new TypeError('tls: allowNetwork must be true or false')
  const layer = layerOf(
    {
      certFile: pathOf('tls', 'certFile', files.certFile),
      keyFile: pathOf('tls', 'keyFile', files.keyFile),
      caFile: caFile === undefined ? undefined : pathOf('tls', 'caFile', caFile),
      minVersion,
    },
    () => transport.address,
  )
  const transport = meetingAt(where, allowNetwork, layer)
  return transport
}

function meetingAt(where: TlsPlace, allowNetwork: boolean, layer: Layer): Transport {
  if ('path' in where) {
    const { path, ...options } = where
    return unixWith('tls+unix', path, options, layer)
  }
  const { family = 0, ...options } = where
  if (!FAMILIES.includes(family)) throw new TypeError('tls: family must be 4 or 6')
  return tcpWith('tls', { ...options, allowNetwork }, family, layer)
}

function layerOf(files: CertificateFiles, address: () => string): Layer {
  const credentials = credentialsOf(files)
  return {
    encrypted: true,
    check() {
      credentials()
    },
    accepted(socket) {
      return new TlsPipe({ side: 'listener', socket, holder: undefined, credentials, address: address() })
    },
    dialling() {
      const loaded = credentials()
      return {
        pipe: (socket, holder) =>
          new TlsPipe({ side: 'dialer', socket, holder, credentials: () => loaded, address: address() }),
      }
    },
  }
}
