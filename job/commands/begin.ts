import { randomUUID } from 'node:crypto'
import type { Run as Seen, Started } from '../catalog/catalog.ts'
import { backupId, isId } from '../catalog/layout.ts'
import { mergeRuns } from '../catalog/runs.ts'
import { type Plan, seconds } from '../config.ts'
import type { BackupFacts } from '../engine.ts'
import { JobError } from '../errors.ts'
import type { Destination } from '../io/destinations.ts'
import { catalogOf, type PlanStorages, refuseTooFew } from './destinations.ts'
import type { Job } from './job.ts'

/** What a run is of, before it has an id. */
export interface Beginning {
  job: Job
  name: string
  plan: Plan
  storages: PlanStorages
}

/** A run that has its id on every storage that takes part. */
export interface Begun extends Beginning {
  id: string
  started: Date
  /** What a failed run of the same id has kept, by source. */
  resumed: Record<string, BackupFacts>
}

/** How often another id is taken because a further storage has the one of the first. */
const clashes = 5

/** Takes an id: started.json on the first storage that answers decides, the others follow. */
export async function begin(beginning: Beginning): Promise<Begun> {
  const { job, name, plan, storages } = beginning
  const started = job.now()
  const note: Started = {
    run: randomUUID(),
    plan: name,
    ...(job.config.cluster ? { cluster: job.config.cluster } : {}),
    started: started.toISOString(),
    sources: plan.sources.map((source) => source.name),
  }
  let from = backupId(started)
  for (let tries = 0; tries < clashes && isId(from); tries++) {
    const { id, taken } = await claim({ beginning, from, note })
    refuseTooFew(storages)
    if (taken.length === 0) {
      const names = storages.to.live().map(({ storage }) => storage.name)
      job.log.info({ plan: name, backup: id, storages: names }, 'backup begun')
      job.about({ plan: name, id })
      return { ...beginning, id, started, resumed: {} }
    }
    job.log.info({ plan: name, backup: id, storages: taken }, 'the id is taken there: taking the next')
    from = String(Number(id) + 1)
  }
  throw new JobError('busy', `the storages of plan ${name} have no free id in common from ${backupId(started)} on`, {
    hint: 'another installation writes backups of a plan of this name to one of them: give each a prefix of its own',
  })
}

interface Claiming {
  beginning: Beginning
  from: string
  note: Started
}

/** `taken`: the storages that have the id already; the others are told that it comes to nothing. */
async function claim({ beginning: { job, storages }, from, note }: Claiming): Promise<{ id: string; taken: string[] }> {
  const { to } = storages
  const { signal } = job
  const { first, id } = await claimFirst({ beginning: { job, storages }, from, note })
  const others = to.only((destination) => destination !== first)
  const joined = await others.each((one) => catalogOf(storages, one).join({ id, started: note, signal }))
  const taken = [...joined].filter(([, ours]) => !ours).map(([name]) => name)
  if (taken.length === 0) return { id, taken }
  const failed = { reason: `storage ${taken[0]} has this id already`, kind: 'busy', finished: job.now().toISOString() }
  const ours = to.only(({ storage }) => !taken.includes(storage.name))
  await ours.each((one) => catalogOf(storages, one).fail(id, failed))
  return { id, taken }
}

async function claimFirst({
  beginning: { job, storages },
  from,
  note,
}: Omit<Claiming, 'beginning'> & { beginning: Pick<Beginning, 'job' | 'storages'> }): Promise<{
  first: Destination
  id: string
}> {
  for (;;) {
    const [first] = storages.to.live() as [Destination]
    try {
      const id = await catalogOf(storages, first).claim({ id: from, started: note, signal: job.signal })
      return { first, id }
    } catch (error) {
      job.signal.throwIfAborted()
      storages.to.drop(first, error)
    }
  }
}

/** A failed run, on the storages that have enough of it. */
export async function takeUp(beginning: Beginning, pick: string): Promise<Begun> {
  const { job, name, plan, storages } = beginning
  const { to } = storages
  const there = await to.each((one) => catalogOf(storages, one).ids())
  const id = pick === 'latest' ? await newestFailed(beginning) : pick
  const finished = [...there].filter(([, { committed }]) => id && committed.includes(id)).map(([storage]) => storage)
  if (finished.length > 0) {
    const hint = there.size > 1 ? `holdfast copy ${name} ${id} brings it to storages that do not have it` : undefined
    throw new JobError('nothing-matches', `backup ${id} is finished: nothing is left to do`, { hint })
  }
  const begun = to.only(({ storage }) => there.get(storage.name)?.uncommitted.includes(id ?? '') ?? false)
  if (id === undefined || begun.live().length === 0) {
    throw new JobError('nothing-matches', `plan ${name} has no unfinished run${id ? ` ${id}` : ''}`, {
      hint: `holdfast list ${name} --runs shows them; holdfast backup ${name} takes a new backup`,
    })
  }
  const kept = await begun.each((one) => catalogOf(storages, one).facts(id, job.signal))
  const lacking = (facts: Facts) => lackingIn(plan, facts)
  const [best] = [...kept].sort(
    ([, one], [, other]) => Number(lacking(one) !== undefined) - Number(lacking(other) !== undefined),
  )
  const [, resumed] = best as [string, Facts]
  const without = lacking(resumed)
  if (without !== undefined) {
    throw new JobError(
      'nothing-matches',
      `run ${id} ended before source ${without} was complete: there is nothing to take up`,
      { hint: `holdfast backup ${name} takes a new backup` },
    )
  }
  for (const one of to.live()) {
    const facts = kept.get(one.storage.name)
    if (!facts || lacking(facts) !== undefined) to.drop(one, tooLittle(one, id))
  }
  const [first] = to.live() as [Destination]
  const started = await catalogOf(storages, first).startOf(id, job.signal)
  job.log.info({ plan: name, backup: id }, 'backup taken up again')
  job.about({ plan: name, id })
  return { ...beginning, id, started, resumed }
}

type Facts = Record<string, BackupFacts>

/** The first source of which nothing was kept: without it a run cannot be taken up. */
function lackingIn({ sources }: Plan, facts: Facts): string | undefined {
  return sources.find((source) => !facts[source.name])?.name
}

function tooLittle({ storage }: Destination, id: string): JobError {
  return new JobError('storage', `storage ${storage.name} has too little of run ${id} to take it up there`)
}

/** Never one that may be running still: two runs of one id would take each other's files away. */
async function newestFailed(beginning: Beginning): Promise<string | undefined> {
  const { job, name, plan, storages } = beginning
  const runs = await runsIn(job, plan, storages)
  const failed = runs.findLast((run) => run.state === 'failed')
  const running = runs.findLast((run) => run.state === 'running')
  if (!failed && running) {
    throw new JobError('busy', `run ${running.id} of plan ${name} has not said that it failed`, {
      hint: (await canBeTakenUp(beginning, running.id))
        ? `if it is dead: holdfast backup ${name} --resume ${running.id}`
        : `if it is dead, nothing of it can be taken up: holdfast backup ${name} takes a new backup`,
    })
  }
  return failed?.id
}

async function canBeTakenUp({ job, plan, storages }: Beginning, id: string): Promise<boolean> {
  const kept = await storages.to.each((one) => catalogOf(storages, one).facts(id, job.signal))
  return [...kept.values()].some((facts) => lackingIn(plan, facts) === undefined)
}

/** The runs of a plan, as all its storages together show them. */
export async function runsIn(job: Job, plan: Plan, storages: PlanStorages): Promise<Seen[]> {
  const options = { deadlineSeconds: seconds(plan.deadline), now: job.now(), signal: job.signal }
  const seen = await storages.to.each((one) => catalogOf(storages, one).runs(options))
  return mergeRuns([...seen.values()])
}
