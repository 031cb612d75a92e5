import type { Engine } from '../../engine.ts'
import { backup } from './backup.ts'
import { check } from './check.ts'
import { inspect } from './inspect.ts'
import { findMarker } from './marker.ts'
import { mark, restore } from './restore.ts'
import { checkTarget, planRestore, requestOf, targetOf } from './target.ts'
import { Source, Target } from './values.ts'

/** MongoDB, and what speaks its protocol: archives of mongodump, of one point in time where there is an oplog. */
export const mongodb: Engine = {
  name: 'mongodb',
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
}
