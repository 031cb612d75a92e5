import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** CockroachDB: it backs itself up into a bucket and restores itself from there; we start it, watch it, and check what lies there. */
export const cockroachdb: Engine = {
  name: 'cockroachdb',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  ...later(() => import('./backup.ts'), 'check', 'backup'),
  targetOf,
  requestOf,
  ...later(() => import('./marker.ts'), 'findMarker'),
  ...later(() => import('./target.ts'), 'checkTarget', 'planRestore'),
  ...later(() => import('./restore.ts'), 'mark', 'restore'),
}
