import type { Engine } from '../../engine.ts'
import { backup, check } from './backup.ts'
import { findMarker } from './marker.ts'
import { mark, restore } from './restore.ts'
import { checkTarget, planRestore, requestOf, targetOf } from './target.ts'
import { Source, Target } from './values.ts'

/** CockroachDB: it backs itself up into a bucket and restores itself from there; we start it, watch it, and check what lies there. */
export const cockroachdb: Engine = {
  name: 'cockroachdb',
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
