import type { Engine } from '../../engine.ts'
import { backup } from './backup.ts'
import { check } from './check.ts'
import { inspect } from './inspect.ts'
import { findMarker } from './marker.ts'
import { mark, release, restore } from './restore.ts'
import { checkTarget, planRestore, requestOf, targetOf } from './target.ts'
import { Source, Target } from './values.ts'

/** Redis and Valkey, alone, behind sentinels or as a cluster: snapshots over the wire, and their keys replayed one by one. */
export const redis: Engine = {
  name: 'redis',
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
