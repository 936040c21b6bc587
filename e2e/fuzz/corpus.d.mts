/** For the tests of the packages, which are checked by TypeScript. */
import type { Input } from './inputs.mjs'
import type { Target } from './targets.mjs'

export function kept(target: Target): { readonly name: string; readonly input: Input }[]
