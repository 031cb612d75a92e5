import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** PostgreSQL, and TimescaleDB where the extension is there: several pg_dump on one snapshot of each database. */
export const postgres: Engine = {
  name: 'postgres',
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
