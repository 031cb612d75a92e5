import type { Engine } from '../../engine.ts'
import { later } from '../../io/later.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** Objects of the namespace, such as Secrets and ConfigMaps, as YAML that kubectl can create. */
export const kubernetes: Engine = {
  name: 'kubernetes',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  ...later(() => import('./backup.ts'), 'check', 'backup'),
  targetOf,
  requestOf,
  ...later(() => import('./marker.ts'), 'findMarker'),
  ...later(() => import('./restore.ts'), 'checkTarget', 'planRestore', 'mark', 'restore'),
}
