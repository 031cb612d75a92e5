import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** MySQL and MariaDB: one snapshot over several connections; definitions by the server's own dump program. */
export const mysql: Engine = {
  name: 'mysql',
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
