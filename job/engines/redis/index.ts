import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** Redis and Valkey, alone, behind sentinels or as a cluster: snapshots over the wire, and their keys replayed one by one. */
export const redis: Engine = {
  name: 'redis',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  ...later(() => import('./check.ts'), 'check'),
  ...later(() => import('./backup.ts'), 'backup'),
  targetOf,
  requestOf,
  ...later(() => import('./marker.ts'), 'findMarker'),
  ...later(() => import('./target.ts'), 'checkTarget', 'planRestore'),
  ...later(() => import('./restore.ts'), 'mark', 'restore', 'release'),
  ...later(() => import('./inspect.ts'), 'inspect'),
}
