import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** PostgreSQL, and TimescaleDB where the extension is there: several pg_dump on one snapshot of each database. */
export const postgres: Engine = {
  name: 'postgres',
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
