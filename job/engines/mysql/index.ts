import type { Engine } from '../../engine.ts'
import { backup } from './backup.ts'
import { check } from './check.ts'
import { inspect } from './inspect.ts'
import { findMarker } from './marker.ts'
import { mark, release, restore } from './restore.ts'
import { checkTarget, planRestore, requestOf, targetOf } from './target.ts'
import { Source, Target } from './values.ts'

/** MySQL and MariaDB: one snapshot over several connections of the server's own dump program. */
export const mysql: Engine = {
  name: 'mysql',
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
  release,
  inspect,
}
