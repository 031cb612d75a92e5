import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** MongoDB, and what speaks its protocol: archives of mongodump, of one point in time where there is an oplog. */
export const mongodb: Engine = {
  name: 'mongodb',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  ...later(() => import('./check.ts'), 'check'),
  ...later(() => import('./backup.ts'), 'backup'),
  targetOf,
  requestOf,
  ...later(() => import('./marker.ts'), 'findMarker'),
  ...later(() => import('./target.ts'), 'checkTarget', 'planRestore'),
  ...later(() => import('./restore.ts'), 'mark', 'restore'),
  ...later(() => import('./inspect.ts'), 'inspect'),
}
