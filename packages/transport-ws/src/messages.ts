/**
 * What both sides keep to wherever they run: the name of what is spoken, and how a stream of bytes is cut into messages. A
 * WebSocket cannot be closed in one direction, so an empty message says that no more follow. No runtime is known here.
 */

/** Names pairlink and its way of using a WebSocket, in the opening handshake. */
export const SUBPROTOCOL = 'pairlink.1'
/** A message is never longer, also one that comes in. */
export const MESSAGE_BYTES_MAX = 65_536
/** Of a message that comes in; what writes here never uses more than one. */
export const FRAGMENTS_MAX = 64
/** The last message of a direction. */
export const END = new Uint8Array(0)
/** Both directions are over. */
export const CLOSE_DONE = 1000

/** Up to here, copying chunks into one message is cheaper than a message for each. */
const JOIN_BYTES_MAX = 16 * 1024

/** The same bytes as messages, none of them empty. Chunks are views of what was given unless they were joined. */
export function messagesOf(chunks: readonly Uint8Array[]): Uint8Array[] {
  const messages: Uint8Array[] = []
  let small: Uint8Array[] = []
  let smallBytes = 0
  const flush = (): void => {
    if (smallBytes > 0) messages.push(join(small, smallBytes))
    small = []
    smallBytes = 0
  }
  for (const chunk of chunks) {
    if (chunk.length > JOIN_BYTES_MAX) {
      flush()
      for (let at = 0; at < chunk.length; at += MESSAGE_BYTES_MAX)
        messages.push(chunk.subarray(at, at + MESSAGE_BYTES_MAX))
    } else {
      if (smallBytes + chunk.length > MESSAGE_BYTES_MAX) flush()
      small.push(chunk)
      smallBytes += chunk.length
    }
  }
  flush()
  return messages
}

function join(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const [only] = chunks
  if (only !== undefined && chunks.length === 1) return only
  const joined = new Uint8Array(bytes)
  let at = 0
  for (const chunk of chunks) {
    joined.set(chunk, at)
    at += chunk.length
  }
  return joined
}
