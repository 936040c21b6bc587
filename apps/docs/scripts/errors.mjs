// Writes errors.md from the table of errors in @pairlink/core: one heading for each code, so that each has an anchor.
import { writeFileSync } from 'node:fs'
import { ERRORS } from '@pairlink/core'

const intro = `# Errors

<!-- Made by scripts/errors.mjs from the table of errors in @pairlink/core. A change here would be lost. -->

A wrong argument is a \`TypeError\`, at once. Everything else that fails is a \`PairlinkError\`. Look at its \`code\`, which stays the
same from release to release. The message is for people and may change.

<<< @/../../examples/errors.mjs

| property | meaning |
| --- | --- |
| \`code\` | One of the codes below. |
| \`delivery\` | Of calls: \`'not-sent'\` (the other side surely did not get it), \`'delivered'\` (it has it; its handler may not have run), \`'unknown'\` (the rest). Section 7.5 of \`PROTOCOL.md\` in the repository tells case by case which. |
| \`remoteCode\` | Of \`REMOTE\`: the code of the \`QueryError\`, or the name of the error that the handler threw. |
| \`data\` | Of \`REMOTE\`: the data of the \`QueryError\`. |
| \`reason\` | Of \`CERTIFICATE\` and \`KEY_INVALID\`: which fault, in one word. See [TLS](./tls#when-it-fails) and [Encryption and keys](./encryption#when-a-key-file-is-refused). |
| \`cause\` | What lies behind it, where that is known. |

\`isPairlinkError(error, code?)\` also knows the errors of another copy of the package, where \`instanceof\` does not.
`

const sections = Object.entries(ERRORS).map(
  ([code, { cause, remedy }]) => `## ${code} {#${code}}\n\n**What happened.** ${cause}\n\n**What to do.** ${remedy}\n`,
)
writeFileSync(new URL('../errors.md', import.meta.url), [intro, ...sections].join('\n'))
