import type { Engine } from '../../engine.ts'
import { requestOf, Source, Target, targetOf } from './values.ts'

/** Files of a folder: of this machine, of a volume, or in a container. GNU tar reads and writes them. */
export const files: Engine = {
  name: 'files',
  features: { resume: false },
  sourceSchema: Source,
  targetSchema: Target,
  check: async (run) => (await import('./backup.ts')).check(run),
  backup: async (run, sink) => (await import('./backup.ts')).backup(run, sink),
  targetOf,
  requestOf,
  findMarker: async (run) => (await import('./restore.ts')).findMarker(run),
  checkTarget: async (run) => (await import('./restore.ts')).checkTarget(run),
  planRestore: async (run, state) => (await import('./restore.ts')).planRestore(run, state),
  mark: async (run, marker) => (await import('./restore.ts')).mark(run, marker),
  restore: async (run, step, reader) => (await import('./restore.ts')).restore(run, step, reader),
  inspect: async (run, reader) => (await import('./inspect.ts')).inspect(run, reader),
  work: async (order, context) => (await import('./work.ts')).work(order, context),
}
