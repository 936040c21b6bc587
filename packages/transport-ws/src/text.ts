/** What strangers say, as it may stand in an error: short, and without what would move a terminal or a log to another line. */

const SHOWN_CHARACTERS_MAX = 200

export function printable(text: string): string {
  return text.slice(0, SHOWN_CHARACTERS_MAX).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
}
