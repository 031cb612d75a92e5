import { rm } from 'node:fs/promises'
import type { Reader, RestoreStep, TargetRun } from '../../engine.ts'
import { stepOf } from '../../io/restores.ts'
import { fetch } from './fetch.ts'
import { unlock } from './lock.ts'
import { detailOf, type Progress, type Step } from './progress.ts'
import { prove } from './proof.ts'
import { accounts, clear, grants, local, objects, sync } from './replay.ts'
import { data, indexes, tables } from './rows.ts'

const progress = new WeakMap<object, Progress>()

const steps: Record<string, Step> = {
  fetch,
  clear,
  tables,
  data,
  indexes,
  sync,
  accounts,
  local,
  objects,
  grants,
  prove: (run, _, { detail, restored }) => prove({ run, detail, restored }),
}

/** One step; the plan is always begun from its first, so every step may find what a crashed run left. */
export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  const todo = stepOf(steps, step)
  const state = progress.get(run) ?? { detail: detailOf(run), restored: [], slots: 0, folder: '' }
  progress.set(run, state)
  return todo(run, reader, state)
}

/** The folder has the hashes of all passwords. What a kill leaves of it is swept by the next worker. */
export async function release(run: TargetRun): Promise<void> {
  unlock(run)
  const folder = progress.get(run)?.folder
  if (folder) await rm(folder, { recursive: true, force: true }).catch(() => {})
}
