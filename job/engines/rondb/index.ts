import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** RonDB and NDB Cluster: native backups of all data nodes, with what only MySQL knows beside them. */
export const rondb: Engine = {
  name: 'rondb',
  features: { resume: true },
  sourceSchema: Source,
  targetSchema: Target,
  ...later(() => import('./check.ts'), 'check'),
  ...later(() => import('./backup.ts'), 'backup', 'afterCommit'),
  targetOf,
  requestOf,
  ...later(() => import('./marker.ts'), 'findMarker'),
  ...later(() => import('./target.ts'), 'checkTarget', 'planRestore'),
  ...later(() => import('./lock.ts'), 'mark'),
  ...later(() => import('./restore.ts'), 'restore', 'release'),
  ...later(() => import('./inspect.ts'), 'inspect', 'adopt'),
  ...later(() => import('./native.ts'), 'work'),
}
