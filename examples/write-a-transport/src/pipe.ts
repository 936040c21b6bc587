/**
 * A pipe of two open files: one that only this side appends to, and one that it follows. A file is a row of records: a byte
 * that says what it is, four of length, and the data. It knows neither the folder nor the names of the files.
 */
import { closeSync, fchmodSync, fstatSync, readSync, writeSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import type { Pipe, PipeSink } from '@pairlink/core'
import { follow, type Follower } from './follow.js'
import { isAlive } from './owner.js'

/** ASK has the other side answer ACK once it has read so far: a file takes any amount, so only that tells what has left. */
const [DATA, END, ASK, ACK] = [1, 2, 3, 4]
const HEAD_BYTES = 5
/** After so much it is asked, and *enough* until the answer. */
const ENOUGH_BYTES = 256 * 1024
const OWNER_WRITES = 0o200
const buffer = Buffer.allocUnsafeSlow(64 * 1024) // of all pipes: what is read into it is transient

/** Tells whoever reads the file that nothing more comes: by its mode, which also works on a full disk and within a record. */
export function leave(output: number): void {
  fchmodSync(output, 0o400)
  closeSync(output)
}

/** @param peer the owner at the other side */
export function filePipe(input: number, output: number, peer: string, holder?: string): Pipe {
  let sink: PipeSink | undefined
  let follower: Follower | undefined
  let [position, dataLeft, unasked] = [0, 0, 0]
  let [isAsking, hasEnded, peerHasEnded, isOver] = [false, false, false, false]

  function finish(error?: Error): void {
    if (isOver) return
    isOver = true
    closeSync(input)
    leave(output)
    void (follower?.close() ?? turn()).then(() => sink?.closed(error))
  }

  function append(kind: number, chunks: readonly Uint8Array[] = []): void {
    const record = Buffer.concat([Buffer.from([kind, 0, 0, 0, 0]), ...chunks])
    record.writeUInt32BE(record.length - HEAD_BYTES, 1)
    try {
      for (let at = 0; at < record.length; ) at += writeSync(output, record, at)
    } catch (error) {
      finish(error as Error)
    }
  }

  function look(isTime: boolean): void {
    try {
      // Asked before the reading: whoever has gone has written its last, and that is read now.
      const hasLeft = (fstatSync(input).mode & OWNER_WRITES) === 0
      const hasDied = isTime && !isAlive(peer)
      while (!isOver && readSome()) continue
      if (hasLeft || hasDied)
        finish(peerHasEnded ? undefined : new Error(`the other ${hasLeft ? 'side' : 'process'} has gone`))
    } catch (error) {
      finish(error as Error)
    }
  }

  /** Reads the next head, or data behind one. False when it is not there yet. */
  function readSome(): boolean {
    const isData = dataLeft > 0
    const count = readSync(input, buffer, 0, isData ? Math.min(dataLeft, buffer.length) : HEAD_BYTES, position)
    if (count < (isData ? 1 : HEAD_BYTES)) return false
    position += count
    dataLeft = isData ? dataLeft - count : buffer.readUInt32BE(1)
    if (isData) sink?.bytes(buffer.subarray(0, count), true)
    else received(buffer[0])
    return true
  }

  function received(kind: number | undefined): void {
    if (kind === ASK) {
      append(ACK)
    } else if (kind === ACK) {
      isAsking = false
      sink?.drained()
    } else if (kind === END) {
      peerHasEnded = true
      sink?.ended()
      if (hasEnded) finish()
    }
  }

  return {
    holder,
    start(to) {
      sink = to
      // The file has no name any more, but can be watched through its descriptor.
      if (!isOver) follower = follow(`/proc/self/fd/${input}`, look)
    },
    write(chunks) {
      const bytes = chunks.reduce((sum, { length }) => sum + length, 0)
      if (hasEnded || isOver || bytes === 0) return !isAsking
      append(DATA, chunks)
      unasked += bytes
      if (unasked >= ENOUGH_BYTES && !isAsking && !isOver) {
        isAsking = true
        unasked = 0
        append(ASK)
      }
      return !isAsking
    },
    end() {
      if (hasEnded || isOver) return
      hasEnded = true
      append(END)
      if (peerHasEnded) finish()
    },
    destroy: () => finish(),
    ref: () => isOver || follower?.keep(true),
    unref: () => isOver || follower?.keep(false),
  }
}
