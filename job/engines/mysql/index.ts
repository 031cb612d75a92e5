import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** MySQL and MariaDB: one snapshot over several connections of the server's own dump program. */
export const mysql: Engine = {
  name: 'mysql',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  check: async (run) => (await import('./check.ts')).check(run),
  backup: async (run, sink) => (await import('./backup.ts')).backup(run, sink),
  targetOf,
  requestOf,
  findMarker: async (run) => (await import('./marker.ts')).findMarker(run),
  checkTarget: async (run) => (await import('./target.ts')).checkTarget(run),
  planRestore: async (run, state) => (await import('./target.ts')).planRestore(run, state),
  mark: async (run, marker) => (await import('./restore.ts')).mark(run, marker),
  restore: async (run, step, reader) => (await import('./restore.ts')).restore(run, step, reader),
  release: async (run) => (await import('./restore.ts')).release(run),
  inspect: async (run, reader) => (await import('./inspect.ts')).inspect(run, reader),
}
