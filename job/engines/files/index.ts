import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** Files of a folder: of this machine, of a volume, or in a container. GNU tar reads and writes them. */
export const files: Engine = {
  name: 'files',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  ...later(() => import('./backup.ts'), 'check', 'backup'),
  targetOf,
  requestOf,
  ...later(() => import('./restore.ts'), 'findMarker', 'checkTarget', 'planRestore', 'mark', 'restore'),
  ...later(() => import('./inspect.ts'), 'inspect'),
  ...later(() => import('./work.ts'), 'work'),
}
