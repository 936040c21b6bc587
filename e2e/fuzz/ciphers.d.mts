/** For the tests of the packages, which are checked by TypeScript. */
import type { CustomEncryption } from '@pairlink/core'

export const naiveCipher: CustomEncryption
