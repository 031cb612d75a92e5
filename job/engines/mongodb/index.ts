import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** MongoDB, and what speaks its protocol: archives of mongodump, of one point in time where there is an oplog. */
export const mongodb: Engine = {
  name: 'mongodb',
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
  inspect: async (run, reader) => (await import('./inspect.ts')).inspect(run, reader),
}
