/** Whether a folder can be met in: it is this user's alone, and on this host. */
import { statfsSync, statSync } from 'node:fs'
import { PairlinkError } from '@pairlink/core'

/** NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS: who is there may be on another host, where it cannot be seen to live. */
const NETWORKS = [0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x65735546, 0x01021997, 0x00c36400, 0x5346414f]

/** @throws PairlinkError `ADDRESS_INVALID`, or the system's error */
export function checkFolder(path: string): void {
  const { uid, mode } = statSync(path)
  const isPrivate = uid === process.getuid?.() && (mode & 0o077) === 0
  if (isPrivate && !NETWORKS.includes(statfsSync(path).type)) return
  const remedy = isPrivate
    ? 'Choose one that is not on a network'
    : 'It must be owned by this user and have the mode 700'
  throw new PairlinkError('ADDRESS_INVALID', `files:${path} is not a private folder of this host. ${remedy}`)
}
