// Faults that the simulator must find, each as a change of one file of core. A text that is not there exactly once any more is
// an error: then the fault has to be planted anew.

/** @typedef {{ name: string, file: string, find: string, replace: string }} Mutant */

/** @type {readonly Mutant[]} */
export const mutants = [
  {
    name: 'forget an acknowledgement',
    file: 'protocol/session.ts',
    find: 'this.#bytesSinceAck += HEADER_BYTES + reader.lengthBytes\n    if (this.#ackAt === Infinity) this.#ackAt = this.#now + ACK_DELAY_MS',
    replace: 'this.#bytesSinceAck += HEADER_BYTES + reader.lengthBytes',
  },
  {
    name: 'replay one frame twice',
    file: 'protocol/outbox.ts',
    find: 'frameSeq !== 0 && frameSeq <= seq;',
    replace: 'frameSeq !== 0 && frameSeq < seq;',
  },
  {
    name: 'drop the last frame before a resume',
    file: 'protocol/outbox.ts',
    find: 'frameSeq !== 0 && frameSeq <= seq;',
    replace: 'frameSeq !== 0 && frameSeq <= seq + 1 && frameSeq <= slab.lastSeq;',
  },
  {
    name: 'count a PING as sequenced',
    file: 'protocol/link.ts',
    find: 'if (kind <= KIND.NOTIFY) return session.receive(reader)',
    replace:
      'if (kind <= KIND.NOTIFY) return session.receive(reader)\n    if (kind === KIND.PING) session.receive(reader)',
  },
  {
    name: 'resume across a reset',
    file: 'connection/connection.ts',
    find: 'if (this.#pair !== pair) return\n    this.#pair = undefined\n    this.#resumeUntil.clear()',
    replace: 'if (this.#pair !== pair) return\n    this.#resumeUntil.clear()',
  },
  {
    name: 'lose a cancel',
    file: 'protocol/asking.ts',
    find: 'this.#outbox.frame(KIND.CANCEL, 0, CONTENT.NONE, this.#id(slot), 0, 0, now)',
    replace: '',
  },
  {
    name: 'settle a call twice',
    file: 'protocol/asking.ts',
    find: 'settle(slot: number, now: number): void {\n    this.#deadlines.clear(slot)',
    replace: 'settle(slot: number, now: number): void {',
  },
  {
    name: 'never expire a window',
    file: 'connection/connection.ts',
    find: 'if (pair === undefined || pair.pump !== undefined) return\n    if (this.#mayResumeLate',
    replace: 'if (pair !== undefined) return\n    if (this.#mayResumeLate',
  },
  // The next five were planted by somebody who had seen nothing of the simulator, to be hard to find.
  {
    name: 'let a query overtake those that wait for their handler',
    file: 'protocol/session.ts',
    find: 'if (this.#backlog.length > 0 || !this.#mayStart()) {',
    replace: 'if (!this.#mayStart()) {',
  },
  {
    name: 'replay borrowed bytes that their owner has changed',
    file: 'protocol/outbox.ts',
    find: 'for (const reference of this.#references) {\n      if (reference.borrower === borrower)',
    replace:
      'for (const reference of this.#references.slice(this.#referencesHanded)) {\n      if (reference.borrower === borrower)',
  },
  {
    name: 'never give back what was lent when the pipe ends',
    file: 'connection/pump.ts',
    find: 'this.#alarm.clear()\n    this.#tellFlushed()',
    replace: 'this.#alarm.clear()\n    if (this.#full) this.#tellFlushed()',
  },
  {
    name: 'take the own attempts for those of the peer',
    file: 'connection/connection.ts',
    find: 'const session = this.#newSession(judgement.welcome.session, hello, 0)',
    replace: 'const session = this.#newSession(judgement.welcome.session, hello, this.#attempt)',
  },
  {
    name: 'take a probe for answered after a stop',
    file: 'protocol/link.ts',
    find: 'this.#heardAt = Math.max(this.#heardAt, freshMs - this.#silenceMs)\n',
    replace: 'this.#heardAt = Math.max(this.#heardAt, freshMs - this.#silenceMs)\n      this.#isProbing = false\n',
  },
]
