import type { Engine } from '../../engine.ts'
import { backup, check } from './backup.ts'
import { findMarker } from './marker.ts'
import { checkTarget, mark, planRestore, requestOf, restore, targetOf } from './restore.ts'
import { Source, Target } from './values.ts'

/** Objects of the namespace, such as Secrets and ConfigMaps, as YAML that kubectl can create. */
export const kubernetes: Engine = {
  name: 'kubernetes',
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
}
