import type { Engine } from '../../engine.ts'
import { backup, check } from './backup.ts'
import { inspect } from './inspect.ts'
import { checkTarget, findMarker, mark, planRestore, requestOf, restore, targetOf } from './restore.ts'
import { Source, Target } from './values.ts'
import { work } from './work.ts'

/** Files of a folder: of this machine, of a volume, or in a container. GNU tar reads and writes them. */
export const files: Engine = {
  name: 'files',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  check,
  backup,
  targetOf,
  requestOf,
  findMarker,
  checkTarget,
  planRestore,
  mark,
  restore,
  inspect,
  work,
}
