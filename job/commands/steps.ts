import { mkdir } from 'node:fs/promises'
import { isAbsolute, relative } from 'node:path'
import { bytesOf } from '../catalog/layout.ts'
import type { Engine, Marker, RestoreStep, TargetRun, TargetState } from '../engine.ts'
import { textOf } from '../errors.ts'
import { type Held, openReader, type SourceReader } from '../io/reader.ts'
import { refuseOvertaken } from '../io/restores.ts'
import type { Workers } from '../io/workers.ts'
import type { Around } from './hooks.ts'
import type { Job } from './job.ts'

/** What is going to be done to one target. */
export interface Task {
  /** What the target knew of the request when it was planned. */
  known: Marker | undefined
  name: string
  engine: Engine
  run: TargetRun
  state: TargetState
  steps: RestoreStep[]
  /** What is done around it. */
  around: Around
  /** Those that carried it out; begun again, they can write the last marker. */
  workers?: Workers
}

interface Carrying {
  job: Job
  task: Task
  /** The backup in all storages that have it. */
  held: readonly [Held, ...Held[]]
}

/** All steps; resolves to the figures of each. The marker still says `begun`. */
export async function carryOut({ job, task, held }: Carrying): Promise<Record<string, unknown>> {
  const { name, run } = task
  const { staging } = run.target as { staging?: string }
  if (staging) await makeStaging(staging, job.config.tmpDir)
  const { plan, id } = held[0].manifest
  const storages = held.map(({ storage }) => storage.name)
  const workers = job.workers({ plan, id, storages, staging })
  run.delegate = workers.order
  task.workers = workers
  const { signal, progress, warn } = job
  const reader = openReader({ held, source: name, workers, signal, progress, warn })
  try {
    return await stepByStep(job, task, reader)
  } finally {
    // the next target's workers may need their places
    await workers.close()
  }
}

/** Below the folder for temporary files, which is new in every pod, nobody else makes it. Elsewhere a volume may not be mounted. */
async function makeStaging(staging: string, tmpDir: string): Promise<void> {
  const path = relative(tmpDir, staging)
  if (path !== '' && !path.startsWith('..') && !isAbsolute(path)) await mkdir(staging, { recursive: true })
}

/** From now on the request is known as carried out. */
export async function finish({ engine, run, workers }: Task): Promise<void> {
  const { request, backupId, plan } = run
  try {
    await engine.mark(run, { request, backupId, plan, state: 'finished' })
  } finally {
    await workers?.close()
  }
}

async function stepByStep(job: Job, { name, engine, run, steps, known }: Task, reader: SourceReader) {
  const { request, backupId, plan } = run
  const figures: Record<string, unknown> = {}
  let marked = false
  for (const step of steps) {
    job.signal.throwIfAborted()
    if (step.writes && !marked) {
      // hours may have passed since it was planned
      const now = await engine.findMarker(run)
      refuseOvertaken(run, known ? [known] : [], now ? [now] : [])
      await engine.mark(run, { request, backupId, plan, state: 'begun' })
    }
    marked ||= step.writes
    const read = new Set(step.reads)
    const reads = bytesOf(run.parts.filter(({ path }) => read.has(path))) || undefined
    const begun = job.now().getTime()
    const work = () => {
      job.progress.begin(`${name}: ${step.name}`, reads)
      return engine.restore(run, step, reader)
    }
    const figure = await carried(work, { job, step, reader })
    const bytes = job.progress.end()
    const all = { ...figure, ...(reads && { bytes }), seconds: (job.now().getTime() - begun) / 1000 }
    figures[step.name] = all
    job.log.info({ source: name, step: step.name, ...all }, 'step done')
  }
  return figures
}

/** What only reads is done again when a storage turned out to be bad, and another one has the part. */
async function carried<T>(
  work: () => Promise<T>,
  { job, step, reader }: { job: Job; step: RestoreStep; reader: SourceReader },
): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      job.signal.throwIfAborted()
      if (step.writes || !reader.helps()) throw error
      job.log.info({ step: step.name, because: textOf(error) }, 'step begun again')
    }
  }
}
