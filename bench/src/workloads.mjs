// @ts-check
// What is measured, written once against a tiny interface that each peer implements. Everything is checked on arrival:
// an answer by its length, its stamp and its last byte, a notification by its place in the sequence.

/**
 * @typedef {Uint8Array | string | object} Payload
 *
 * @typedef {object} Asker
 * @property {(query: any, done: (answer: any) => void) => void} ask
 * @property {(message: any) => void} tell a one-way message
 * @property {(done: () => void) => void} whenTaken when all that was told has been taken over for sending
 * @property {() => Kept} [kept]
 *
 * What a session keeps at this moment, and counts since it began.
 * @typedef {{ ackCount: number, receivedFrames: number, unacknowledgedBytes: number }} Kept
 *
 * @typedef {object} Answerer
 * @property {(query: any) => any} onQuery
 * @property {(message: any) => void} onNotify
 *
 * @typedef {'asker' | 'answerer'} Role
 * @typedef {'bytes' | 'string' | 'json'} Payloads
 *
 * What a file of `peers/` exports: the answerer's resolves when an asker can be opened, the asker's when it can ask.
 * @typedef {(options: { path: string, port: number, role: Role, payloads: Payloads, borrow: boolean,
 *   onError: (error: unknown) => void } & Answerer) => Promise<Asker>} Open
 *
 * @typedef {object} Measured
 * @property {number} elapsedMs
 * @property {Float64Array} [latenciesMs]
 *
 * @typedef {object} Workload
 * @property {string} id one line of the table
 * @property {string} workload the family it belongs to
 * @property {string} title
 * @property {Payloads} payloads
 * @property {number} [bytes] of one message; given where MB/s say more than messages per second
 * @property {boolean} [borrow]
 * @property {boolean} [onlyWithAll]
 * @property {number} warmUpOperationsMin
 * @property {() => Answerer} answerer
 * @property {(asker: Asker, operations: number) => Promise<Measured>} run
 */

const NOTIFICATIONS_PER_TURN = 1000
const COUNT_TIMEOUT_MS = 10_000
const LARGE_BYTES = 1024 * 1024

/** @type {Workload[]} */
export const WORKLOADS = [
  {
    id: 'W1',
    workload: 'W1',
    title: '64 B ping-pong',
    payloads: 'bytes',
    warmUpOperationsMin: 1000,
    answerer: echoes,
    run: (asker, operations) => askAll(asker, operations, bytesSlots(1, 64, 64), { latencies: true }),
  },
  echoWorkload('W2', 'W2', '64 B, 64 outstanding', 'bytes', () => bytesSlots(64, 64, 64)),
  { ...echoWorkload('W2-string', 'W2', '64-byte strings', 'string', () => stringSlots(64)), onlyWithAll: true },
  { ...echoWorkload('W2-json', 'W2', 'small JSON objects', 'json', () => jsonSlots(64)), onlyWithAll: true },
  echoWorkload('W3', 'W3', '4 KiB, 64 outstanding', 'bytes', () => bytesSlots(64, 4096, 4096)),
  largeWorkload('W4', '1 MiB, 4 outstanding, copied', false),
  largeWorkload('W4-borrow', '1 MiB, 4 outstanding, borrowed', true),
  {
    id: 'W5',
    workload: 'W5',
    title: '64 B notifications',
    payloads: 'bytes',
    warmUpOperationsMin: 10_000,
    answerer: counts,
    run: tellAll,
  },
]

/**
 * @param {string} id
 * @param {string} workload
 * @param {string} title
 * @param {Payloads} payloads
 * @param {() => Slot[]} slots
 * @returns {Workload}
 */
function echoWorkload(id, workload, title, payloads, slots) {
  return {
    id,
    workload,
    title,
    payloads,
    warmUpOperationsMin: 1000,
    answerer: echoes,
    run: (asker, operations) => askAll(asker, operations, slots(), { latencies: false }),
  }
}

/**
 * One way, from the asker to the handler: the query is large, its answer 8 bytes.
 * @param {string} id
 * @param {string} title
 * @param {boolean} borrow
 * @returns {Workload}
 */
function largeWorkload(id, title, borrow) {
  /** @type {Slot[] | undefined} made once per process: a program would keep such buffers, too */
  let slots
  return {
    id,
    workload: 'W4',
    title,
    payloads: 'bytes',
    bytes: LARGE_BYTES,
    borrow,
    warmUpOperationsMin: 120,
    answerer: swallows,
    run: (asker, operations) => askAll(asker, operations, (slots ??= bytesSlots(4, LARGE_BYTES, 8)), {}),
  }
}

// ── Answering ──

/** @returns {Answerer} */
function echoes() {
  return { onQuery: (query) => query, onNotify() {} }
}

/** @returns {Answerer} */
function swallows() {
  return {
    onQuery(query) {
      if (query.length !== LARGE_BYTES || query[LARGE_BYTES - 1] !== lastByte(LARGE_BYTES)) return new Uint8Array(0)
      const answer = new Uint8Array(8)
      answer.set(query.subarray(0, 4))
      answer[7] = lastByte(8)
      return answer
    },
    onNotify() {},
  }
}

/** Any query is answered with how many notifications came and how many were wrong; the right count starts anew. */
function counts() {
  let received = 0
  let wrong = 0
  return {
    onNotify(/** @type {Uint8Array} */ message) {
      received++
      if (message.length !== 64 || stampOf(message) !== received || message[63] !== lastByte(64)) wrong++
    },
    onQuery(/** @type {Uint8Array} */ query) {
      const answer = new Uint8Array(8)
      setStamp(answer, received)
      answer[4] = Math.min(wrong, 255)
      if (received === stampOf(query)) received = wrong = 0
      return answer
    },
  }
}

// ── Asking ──

/**
 * Keeps every slot's query outstanding until `operations` of them are answered.
 * @param {Asker} asker
 * @param {number} operations
 * @param {Slot[]} slots
 * @param {{ latencies?: boolean }} options
 * @returns {Promise<Measured>}
 */
function askAll(asker, operations, slots, { latencies }) {
  const latenciesMs = latencies ? new Float64Array(operations) : undefined
  return new Promise((resolve, reject) => {
    const startedAtMs = performance.now()
    let asked = 0
    let answered = 0
    for (const slot of slots) {
      let askedAtMs = 0
      const next = () => {
        asked++
        const query = slot.stamp(asked)
        if (latenciesMs !== undefined) askedAtMs = performance.now()
        asker.ask(query, done)
      }
      const done = (/** @type {any} */ answer) => {
        if (latenciesMs !== undefined) latenciesMs[answered] = performance.now() - askedAtMs
        if (!slot.isAnswer(answer)) return reject(new Error(`wrong answer: ${describe(answer)}`))
        if (++answered === operations) return resolve({ elapsedMs: performance.now() - startedAtMs, latenciesMs })
        if (asked < operations) next()
      }
      if (asked < operations) next()
    }
  })
}

/**
 * Tells in bursts, one per turn of the loop and not before the last was taken; ends when the receiver has counted all.
 * @param {Asker} asker
 * @param {number} operations
 * @returns {Promise<Measured>}
 */
function tellAll(asker, operations) {
  const message = new Uint8Array(64).fill(lastByte(64))
  return new Promise((resolve, reject) => {
    const startedAtMs = performance.now()
    let told = 0
    const burst = () => {
      const end = Math.min(told + NOTIFICATIONS_PER_TURN, operations)
      while (told < end) {
        setStamp(message, ++told)
        asker.tell(message)
      }
      asker.whenTaken(told < operations ? nextTurn : askForCount)
    }
    const nextTurn = () => void setImmediate(burst)

    // A query may overtake notifications that wait for their handler, so it is asked until they are all counted.
    const expected = new Uint8Array(8)
    setStamp(expected, operations)
    let deadlineMs = 0
    const askForCount = () => {
      deadlineMs ||= performance.now() + COUNT_TIMEOUT_MS
      asker.ask(expected, counted)
    }
    const counted = (/** @type {Uint8Array} */ answer) => {
      const elapsedMs = performance.now() - startedAtMs
      const received = stampOf(answer)
      if (answer.length !== 8 || answer[4] > 0) reject(new Error(`wrong notifications: ${answer[4]} or more`))
      else if (received === operations) resolve({ elapsedMs })
      else if (performance.now() < deadlineMs) setImmediate(askForCount)
      else reject(new Error(`${operations} notifications told, ${received} received`))
    }
    burst()
  })
}

// ── Payloads ──

/**
 * One outstanding query: its payload, stamped anew each time, and what its answer must look like.
 * @typedef {object} Slot
 * @property {(number: number) => any} stamp
 * @property {(answer: any) => boolean} isAnswer
 */

/**
 * @param {number} count
 * @param {number} queryBytes
 * @param {number} answerBytes
 * @returns {Slot[]}
 */
function bytesSlots(count, queryBytes, answerBytes) {
  return Array.from({ length: count }, () => {
    const query = new Uint8Array(queryBytes).fill(lastByte(queryBytes))
    const last = lastByte(answerBytes)
    let stamp = 0
    return {
      stamp(number) {
        stamp = number
        setStamp(query, number)
        return query
      },
      isAnswer: (answer) =>
        answer.length === answerBytes && stampOf(answer) === stamp && answer[answerBytes - 1] === last,
    }
  })
}

/**
 * @param {number} count
 * @returns {Slot[]}
 */
function stringSlots(count) {
  return Array.from({ length: count }, (_, index) => {
    const text = Buffer.from(`${index} `.padEnd(64, 'the quick brown fox ')).toString()
    return { stamp: () => text, isAnswer: (answer) => answer === text }
  })
}

/**
 * @param {number} count
 * @returns {Slot[]}
 */
function jsonSlots(count) {
  return Array.from({ length: count }, () => {
    let stamp = 0
    return {
      stamp(number) {
        stamp = number
        return { id: number, name: 'a small object', ready: true, at: { x: 1.5, y: 2 } }
      },
      isAnswer: (answer) => answer.id === stamp && answer.name === 'a small object' && answer.at.y === 2,
    }
  })
}

/** @param {number} bytes */
function lastByte(bytes) {
  return 0x51 + (bytes % 64)
}

/**
 * @param {Uint8Array} bytes
 * @param {number} number
 */
function setStamp(bytes, number) {
  bytes[0] = number
  bytes[1] = number >>> 8
  bytes[2] = number >>> 16
  bytes[3] = number >>> 24
}

/** @param {Uint8Array} bytes */
function stampOf(bytes) {
  return (bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)) >>> 0
}

/** @param {any} answer */
function describe(answer) {
  return answer instanceof Uint8Array ? `${answer.length} bytes, ${answer.slice(0, 8)}` : JSON.stringify(answer)
}
