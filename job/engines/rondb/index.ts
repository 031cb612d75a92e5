import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** RonDB and NDB Cluster: native backups of all data nodes, with what only MySQL knows beside them. */
export const rondb: Engine = {
  name: 'rondb',
  features: { resume: true },
  sourceSchema: Source,
  targetSchema: Target,
  check: async (run) => (await import('./check.ts')).check(run),
  backup: async (run, sink) => (await import('./backup.ts')).backup(run, sink),
  afterCommit: async (run, done) => (await import('./backup.ts')).afterCommit(run, done),
  targetOf,
  requestOf,
  findMarker: async (run) => (await import('./marker.ts')).findMarker(run),
  checkTarget: async (run) => (await import('./target.ts')).checkTarget(run),
  planRestore: async (run, state) => (await import('./target.ts')).planRestore(run, state),
  mark: async (run, marker) => (await import('./lock.ts')).mark(run, marker),
  restore: async (run, step, reader) => (await import('./restore.ts')).restore(run, step, reader),
  release: async (run) => (await import('./restore.ts')).release(run),
  inspect: async (run, reader) => (await import('./inspect.ts')).inspect(run, reader),
  adopt: async (run, reader) => (await import('./inspect.ts')).adopt(run, reader),
  work: async (order, context) => (await import('./native.ts')).work(order, context),
}
