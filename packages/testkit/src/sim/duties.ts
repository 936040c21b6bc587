/**
 * What one end of an open link owes the other, and since when: ACK (section 7.2), PONG and PING (section 9). It knows times and
 * counts, and neither pipes nor sessions.
 *
 * An end that was stopped, or whose pipe was full, owes nothing for that time. What PROTOCOL.md asks for "20 ms after" is looked
 * for a while later: a timer may be late, and what is late by less is not found.
 */

/** Section 7.2. */
const ACK_DELAY_MS = 20
const ACK_FRAMES = 256
const ACK_BYTES_MAX = 256 * 1024
/** How late a timer may fire, and an answer that needs no timer be written. */
const SLACK_MS = 30
/** What is due at once is written in the same turn of the loop. */
const AT_ONCE_MS = 5

interface Unreported {
  readonly number: number
  readonly bytes: number
  readonly at: number
}

export class Duties {
  readonly #fault: (rule: string, text: string) => void
  readonly #keepaliveMs: number
  readonly #ackBytes: number
  /** Frames that were taken over and that no ACK has reported: those from `#head` on. */
  #unreported: Unreported[] = []
  #head = 0
  #unreportedBytes = 0
  /** Since when there are so many that an ACK is due at once. */
  #enoughAt: number | undefined
  #ping: { readonly token: string; readonly at: number } | undefined
  #heardAt: number
  #hasPinged = false

  /**
   * @param peerReplayBytesMax how much the peer keeps for this end
   * @param inboxBytesMax what this end accepts
   */
  constructor(
    peerReplayBytesMax: number,
    inboxBytesMax: number,
    keepaliveMs: number,
    now: number,
    fault: (rule: string, text: string) => void,
  ) {
    this.#ackBytes = Math.max(1, Math.min(ACK_BYTES_MAX, Math.min(peerReplayBytesMax, inboxBytesMax) / 4))
    this.#keepaliveMs = keepaliveMs
    this.#heardAt = now
    this.#fault = fault
  }

  heard(now: number): void {
    this.#heardAt = now
    this.#hasPinged = false
  }

  tookOver(number: number, bytes: number, now: number): void {
    this.#unreported.push({ number, bytes, at: now })
    this.#unreportedBytes += bytes
    if (this.#isEnough) this.#enoughAt ??= now
  }

  /** An ACK with that count was written. */
  reported(count: number, now: number): void {
    for (let first = this.#unreported[this.#head]; first !== undefined && first.number <= count; ) {
      this.#unreportedBytes -= first.bytes
      first = this.#unreported[++this.#head]
    }
    if (this.#head === this.#unreported.length) {
      this.#unreported = []
      this.#head = 0
    }
    this.#enoughAt = this.#isEnough ? now : undefined
  }

  wasPinged(token: string, now: number): void {
    this.#ping = { token, at: now }
  }

  hasPinged(): void {
    this.#hasPinged = true
  }

  /**
   * Section 9: a PONG repeats the latest PING, and there is one for each at most. A reader takes any token; here it is the
   * writer who is judged.
   */
  pong(token: string): void {
    if (this.#ping === undefined) this.#fault('wire-pong', 'a PONG, and no PING was there to be answered')
    else if (this.#ping.token !== token) this.#fault('wire-pong', 'a PONG with another token than the latest PING')
    this.#ping = undefined
  }

  /** @param freeSince since when it has been running and could write */
  look(now: number, freeSince: number): void {
    const overdue = (since: number | undefined, allowedMs: number): boolean =>
      since !== undefined && now - Math.max(since, freeSince) > allowedMs
    const [first] = this.#head === 0 ? this.#unreported : [this.#unreported[this.#head]]
    if (overdue(this.#enoughAt, AT_ONCE_MS)) {
      const frames = this.#unreported.length - this.#head
      this.#fault('wire-ack-enough', `${frames} frames of ${this.#unreportedBytes} bytes, and no ACK has reported them`)
      this.#enoughAt = undefined
    }
    if (first !== undefined && overdue(first.at, ACK_DELAY_MS + SLACK_MS)) {
      this.#fault('wire-ack-due', `frame ${first.number} came ${now - first.at} ms ago, and no ACK has reported it`)
      this.#unreported = []
      this.#head = 0
    }
    if (this.#ping !== undefined && overdue(this.#ping.at, SLACK_MS + ACK_DELAY_MS)) {
      this.#fault('wire-pong-due', `a PING came ${now - this.#ping.at} ms ago, and there is no PONG`)
      this.#ping = undefined
    }
    if (!this.#hasPinged && overdue(this.#heardAt, this.#keepaliveMs + ACK_DELAY_MS + SLACK_MS)) {
      this.#fault('wire-ping-due', `nothing has come for ${now - this.#heardAt} ms, and there is no PING`)
      this.#hasPinged = true
    }
  }

  get #isEnough(): boolean {
    return this.#unreported.length - this.#head >= ACK_FRAMES || this.#unreportedBytes >= this.#ackBytes
  }
}
