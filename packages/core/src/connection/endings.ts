/** How the end of a link is told: to whoever dialled, to a user who has lost a peer, to one who turned somebody away. */
import type { LinkEnd, Refusal, RefuseReason } from '../protocol/index.js'
import { PairlinkError, type ErrorCode } from './errors.js'

/** What became of one dial: a pair, or why not. */
export type Outcome =
  | { readonly kind: 'paired' }
  /** Nobody's fault, or passing: again after a short pause. `error` says what it is when it does not pass. */
  | { readonly kind: 'again'; readonly error?: PairlinkError }
  /** Two are paired there; worth another try while `retryInMs` lasts. */
  | { readonly kind: 'busy'; readonly error: PairlinkError; readonly retryInMs: number }
  /** Accepted, and ended without a byte. */
  | { readonly kind: 'mute'; readonly error: PairlinkError }
  | { readonly kind: 'failed'; readonly error: PairlinkError; readonly isFinal: boolean }

/**
 * Why somebody was turned away: what a REFUSE said, or `not-pairlink` (other bytes), `silent` (no proof in time), `crowd` (too
 * many strangers at once, and it was the oldest), `certificate` (TLS did not get so far).
 */
export type RefusedReason = RefuseReason | 'not-pairlink' | 'silent' | 'crowd' | 'certificate'

/**
 * How a dial that did not become a pair looks to the user, and whether another try can change it.
 * @param failure why the transport ended the pipe, where it had a reason of its own
 */
export function outcomeOf(end: LinkEnd, address: string, failure: PairlinkError | undefined): Outcome {
  const failed = (code: ErrorCode, text: string, isFinal: boolean, cause?: unknown): Outcome => ({
    kind: 'failed',
    error: new PairlinkError(code, `${printable(text)} (at ${address})`, cause === undefined ? {} : { cause }),
    isFinal,
  })
  switch (end.by) {
    case 'refused': {
      const [code, text] = refusalError(end.refusal, 'The other side refused, without proving who it is')
      if (code !== 'PAIR_BUSY') return failed(code, text, true)
      return {
        kind: 'busy',
        error: new PairlinkError(code, `${text} (at ${address})`),
        retryInMs: end.refusal.retryInMs,
      }
    }
    case 'mismatch':
    case 'refusing':
      return failed(...refusalError(end.refusal, 'The other side does not fit'), true)
    case 'foreign':
      return failed('NOT_PAIRLINK', 'What answers here is not pairlink', true)
    case 'violation':
      return failed('PROTOCOL', `The handshake broke the protocol: ${end.error.message}`, true, end.error)
    case 'handshake-timeout':
      return failed('PEER_SILENT', 'Somebody accepted and then said nothing', false)
    case 'silence':
      return failed('PEER_SILENT', 'The other side fell silent', false)
    case 'cipher':
      return failed('PROTOCOL', `The own cipher failed: ${end.error.message}`, true, end.error)
    case 'pipe':
      if (failure?.code === 'NOT_PAIRLINK') return { kind: 'mute', error: failure }
      if (failure !== undefined) return { kind: 'failed', error: failure, isFinal: true }
      if (end.heard) {
        const text = `What answers at ${address} hangs up in the middle of the handshake`
        return { kind: 'again', error: new PairlinkError('PEER_LOST', text) }
      }
      return {
        kind: 'mute',
        error: new PairlinkError(
          'NOT_PAIRLINK',
          `Something accepts at ${address} and hangs up without a word: it is no pairlink, or see the log of the other side`,
        ),
      }
    case 'close':
    case 'drop':
      return { kind: 'again' }
    default:
      return end satisfies never
  }
}

function refusalError(refusal: Refusal, who: string): [ErrorCode, string] {
  switch (refusal.reason) {
    case 'version':
      return ['VERSION_MISMATCH', `${who}: it speaks version ${refusal.version}`]
    case 'mode': {
      const cipher = refusal.cipherName === '' ? '' : ` with the cipher '${refusal.cipherName}'`
      return ['ENCRYPTION_MISMATCH', `${who}: it uses mode ${refusal.mode}${cipher}`]
    }
    case 'secret':
      return [
        'SECRET_MISMATCH',
        `${who}: the secrets differ, or the keys where there is encryption. Give both processes the same`,
      ]
    case 'self':
      return ['SELF', 'The connection met itself']
    case 'busy':
      return ['PAIR_BUSY', 'The other side says that two are paired here already. Use another address for another pair']
    case 'protocol':
      return ['PROTOCOL', `${who}: ${refusal.text}`]
    default:
      return refusal.reason satisfies never
  }
}

/** Text of whoever answered, which may be anybody: without what would move a terminal or a log to another line. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
}

/** Somebody accepted, and sent nothing until the time of the handshake was up. */
export function isUnanswered(outcome: Outcome): boolean {
  return outcome.kind === 'failed' && outcome.error.code === 'PEER_SILENT'
}

export function exhausted(cause: PairlinkError, rounds: number, address: string): PairlinkError {
  const text = `No peer came back in ${rounds} ${rounds === 1 ? 'attempt' : 'attempts'} at ${address}; the last: ${cause.message}`
  return new PairlinkError('RETRIES_EXHAUSTED', text, { cause })
}

/** Why a pair is lost. */
export function lossOf(end: LinkEnd, address: string): PairlinkError {
  switch (end.by) {
    case 'silence':
      return new PairlinkError(
        'PEER_SILENT',
        `Nothing was heard from the peer for ${Math.round(end.silentMs)} ms at ${address}`,
      )
    case 'violation':
      return new PairlinkError('PROTOCOL', `The peer broke the protocol: ${end.error.message}`, { cause: end.error })
    case 'cipher':
      return new PairlinkError('PROTOCOL', `The own cipher failed: ${end.error.message}`, { cause: end.error })
    default:
      return new PairlinkError('PEER_LOST', `The link to the peer at ${address} ended without a goodbye`)
  }
}

/** Undefined for one that left by itself. */
export function refusedReason(end: LinkEnd, failure: PairlinkError | undefined): RefusedReason | undefined {
  switch (end.by) {
    case 'pipe':
      if (failure === undefined) return undefined
      return failure.code === 'CERTIFICATE' ? 'certificate' : failure.code === 'PROTOCOL' ? 'protocol' : 'not-pairlink'
    case 'refusing':
      return end.refusal.reason
    case 'foreign':
      return 'not-pairlink'
    case 'violation':
      return 'protocol'
    case 'handshake-timeout':
      return 'silent'
    case 'drop':
      return 'crowd'
    default:
      return undefined
  }
}
