import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** CockroachDB: it backs itself up into a bucket and restores itself from there; we start it, watch it, and check what lies there. */
export const cockroachdb: Engine = {
  name: 'cockroachdb',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  check: async (run) => (await import('./backup.ts')).check(run),
  backup: async (run, sink) => (await import('./backup.ts')).backup(run, sink),
  targetOf,
  requestOf,
  findMarker: async (run) => (await import('./marker.ts')).findMarker(run),
  checkTarget: async (run) => (await import('./target.ts')).checkTarget(run),
  planRestore: async (run, state) => (await import('./target.ts')).planRestore(run, state),
  mark: async (run, marker) => (await import('./restore.ts')).mark(run, marker),
  restore: async (run, step, reader) => (await import('./restore.ts')).restore(run, step, reader),
}
