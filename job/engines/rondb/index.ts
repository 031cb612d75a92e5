import type { Engine } from '../../engine.ts'
import { afterCommit, backup } from './backup.ts'
import { check } from './check.ts'
import { adopt, inspect } from './inspect.ts'
import { mark } from './lock.ts'
import { findMarker } from './marker.ts'
import { work } from './native.ts'
import { release, restore } from './restore.ts'
import { checkTarget, planRestore, requestOf, targetOf } from './target.ts'
import { Source, Target } from './values.ts'

/** RonDB and NDB Cluster: native backups of all data nodes, with what only MySQL knows beside them. */
export const rondb: Engine = {
  name: 'rondb',
  features: { resume: true },
  sourceSchema: Source,
  targetSchema: Target,
  check,
  backup,
  afterCommit,
  targetOf,
  requestOf,
  findMarker,
  checkTarget,
  planRestore,
  mark,
  restore,
  release,
  inspect,
  adopt,
  work,
}
