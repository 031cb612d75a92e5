import type { Engine } from '../../engine.ts'
import { backup } from './backup.ts'
import { check } from './check.ts'
import { inspect } from './inspect.ts'
import { findMarker } from './marker.ts'
import { mark, release, restore } from './restore.ts'
import { checkTarget, planRestore, requestOf, targetOf } from './target.ts'
import { Source, Target } from './values.ts'

/** PostgreSQL, and TimescaleDB where the extension is there: several pg_dump on one snapshot of each database. */
export const postgres: Engine = {
  name: 'postgres',
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
