import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import type { RunContext } from '../engine.ts'
import type { HookActions } from '../hooks.ts'
import type { Progress } from '../io/progress.ts'
import type { Workers } from '../io/workers.ts'
import type { Figures } from '../metrics.ts'
import type { Storage } from '../storage.ts'

/** What main.ts hands to every command: the validated config and the doors to the outside. */
export interface Job extends RunContext {
  readonly config: Config
  readonly log: Logger
  readonly progress: Progress
  /** Opens a storage of the values, wrapped in retries; the same one for the same name. Unknown names are a configuration error. */
  storage(name: string): Promise<Storage>
  /** Workers of one backup's run, with what they keep below `staging`; closed with the job. */
  workers(backup: { plan: string; id: string; storages: string[]; staging?: string | undefined }): Workers
  /** What carries out hooks that need Kubernetes, loaded with the first one. `run`: backup-nightly. */
  hooks(run: string): Promise<HookActions>
  /** Told as soon as it is known which backup the run makes or restores. */
  about(backup: { plan: string; id: string }): void
  readonly warnings: readonly string[]
  /** What the run has in numbers so far, for its metrics. */
  readonly figures: Figures
  /** Now; a parameter so that tests decide. */
  now(): Date
}
