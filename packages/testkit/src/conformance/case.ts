/** What the tables of cases are made of. */
import type { Need } from './manifest.js'
import type { Stage } from './stage.js'

export interface Case {
  /** Never changes, so that reports of different versions can be compared, and exceptions stay where they belong. */
  readonly id: string
  /** The sentence of the contract that the case looks at. A failure repeats it. */
  readonly title: string
  readonly needs?: readonly Need[]
  run(stage: Stage): Promise<void>
}
