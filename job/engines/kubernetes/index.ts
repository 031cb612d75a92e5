import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** Objects of the namespace, such as Secrets and ConfigMaps, as YAML that kubectl can create. */
export const kubernetes: Engine = {
  name: 'kubernetes',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  check: async (run) => (await import('./backup.ts')).check(run),
  backup: async (run, sink) => (await import('./backup.ts')).backup(run, sink),
  targetOf,
  requestOf,
  findMarker: async (run) => (await import('./marker.ts')).findMarker(run),
  checkTarget: async (run) => (await import('./restore.ts')).checkTarget(run),
  planRestore: async (run, state) => (await import('./restore.ts')).planRestore(run, state),
  mark: async (run, marker) => (await import('./restore.ts')).mark(run, marker),
  restore: async (run, step, reader) => (await import('./restore.ts')).restore(run, step, reader),
}
