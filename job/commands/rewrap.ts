import type { Catalog } from '../catalog/catalog.ts'
import { putOnce } from '../catalog/commit.ts'
import { keysKey, keysNumber, manifestPrefix, partKey } from '../catalog/layout.ts'
import type { Config } from '../config.ts'
import { exitCodeOf, JobError, textOf } from '../errors.ts'
import { isKeyOf, wrapKey } from '../io/age.ts'
import { KeysFile, keyOf, keysFiles } from '../io/keys.ts'
import type { Result } from '../io/print.ts'
import type { Manifest, Part } from '../manifest.ts'
import { isMissing, type Storage } from '../storage.ts'
import { askEach, failureOf, storagesOf, type Unreachable } from './catalogs.ts'
import type { Job } from './job.ts'

export interface RewrapOptions {
  plan: string
  /** Left out: every backup of the plan. */
  pick?: string | number | undefined
  storages?: string[] | undefined
  dryRun?: boolean | undefined
}

/** What became of one backup in one storage; also what `--output json` gives. */
interface Rewrapped {
  plan: string
  id: string
  storage: string
  result:
    | 'rewrapped'
    | 'would be rewrapped'
    | 'is for these recipients already'
    | 'is not encrypted'
    | `FAILED: ${string}`
  recipients: readonly string[]
}

/** Milliseconds before each further try to write. */
const waits = [500, 2000, 5000]

/**
 * Gives the keys of old backups to the recipients that the storages have now. The parts stay as they are, and so does the header in each:
 * who could read a backup before can do it still.
 */
export async function rewrap(job: Job, { plan, pick, storages, dryRun = false }: RewrapOptions): Promise<Result> {
  const names = storages?.length ? storagesOf(job.config, plan, storages) : allStoragesOf(job.config, plan)
  const done: Rewrapped[] = []
  const failures: unknown[] = []
  let encrypting = 0
  const { unreachable } = await askEach({ job, plan, storages: names }, async (catalog) => {
    const { name: storage, encryption: { recipients } = { recipients: [] } } = catalog.storage
    if (recipients.length > 0) encrypting += 1
    for (const id of await chosen(catalog, pick, job.signal)) {
      try {
        const manifest = await stillThere(catalog, id, job.signal)
        if (manifest) done.push(await rewrapOne({ job, catalog, manifest, recipients, dryRun }))
      } catch (error) {
        job.signal.throwIfAborted()
        if (exitCodeOf(error) === 1) throw error
        failures.push(error)
        done.push({ plan, id, storage, result: `FAILED: ${textOf(error)}`, recipients })
      }
    }
  })
  if (encrypting + unreachable.length + failures.length === 0)
    throw new JobError('configuration', `storages: none of ${names.join(', ')} has encryption`, {
      hint: 'name the new recipients with storages.<name>.encryption.recipients, and the old identities beside them',
    })
  return {
    data: { plan, backups: done },
    table: {
      columns: ['plan', 'id', 'storage', 'result'],
      rows: done.map((one) => [one.plan, one.id, one.storage, one.result]),
    },
    notes: dryRun ? ['nothing was written'] : [],
    failure: failureAfter(failures, { of: done.length, unreachable }),
  }
}

/** Copies bring a plan's backups to storages that the plan itself does not name, and restores read them there. */
function allStoragesOf(config: Config, plan: string): string[] {
  const copies = Object.values(config.copies).filter((copy) => copy.plan === plan)
  const restores = Object.values(config.restores).filter(({ from }) => from.plan === plan)
  const names = new Set([
    ...(config.backups[plan]?.storages ?? []),
    ...copies.flatMap(({ from = [], to = [] }) => [...from, ...to]),
    ...restores.flatMap(({ from }) => from.storages),
  ])
  return names.size > 0 ? [...names] : storagesOf(config, plan)
}

/** A backup that stays as it was can be read with the old identities alone: nobody may take those away. */
function failureAfter(
  failures: readonly unknown[],
  { of, unreachable }: { of: number; unreachable: readonly Unreachable[] },
): unknown {
  const [first] = failures
  if (first === undefined) return failureOf(unreachable)
  const { kind, hint } = first instanceof JobError ? first : { kind: 'bug' as const, hint: undefined }
  const elsewhere = unreachable.map(({ storage, error }) => `; ${storage}: ${textOf(error)}`).join('')
  return new JobError(kind, `${failures.length} of ${of} backups were not rewrapped${elsewhere}`, {
    hint,
    cause: first,
  })
}

/** Newest first: these are the ones that are needed soonest. */
async function chosen(catalog: Catalog, pick: string | number | undefined, signal: AbortSignal): Promise<string[]> {
  if (pick === undefined) return (await catalog.ids()).committed.toReversed()
  return [(await catalog.find({ pick, signal })).id]
}

/** A prune at the same time may have removed it. */
async function stillThere(catalog: Catalog, id: string, signal: AbortSignal): Promise<Manifest | undefined> {
  try {
    return await catalog.manifest(id, signal)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

interface One {
  job: Job
  catalog: Catalog
  manifest: Manifest
  recipients: readonly string[]
  dryRun: boolean
}

async function rewrapOne({ job, catalog: { storage }, manifest, recipients, dryRun }: One): Promise<Rewrapped> {
  const { plan, id } = manifest
  const reading = { plan, id, storage, signal: job.signal }
  const encrypted = manifest.parts.filter(({ age }) => age)
  const told = (result: Rewrapped['result']) => ({ plan, id, storage: storage.name, result, recipients })
  if (encrypted.length === 0) return told('is not encrypted')
  const files = await keysFiles(reading)
  const known: Known[] = []
  for (const part of encrypted) {
    job.signal.throwIfAborted()
    known.push({ part, fileKey: await keyOf(part, reading), files })
  }
  if (known.every((one) => isFor(recipients, one))) return told('is for these recipients already')
  if (dryRun) return told('would be rewrapped')
  const headers: Record<string, string> = {}
  for (const { part, fileKey } of known) {
    job.signal.throwIfAborted()
    headers[part.path] = await wrapKey({ fileKey, recipients, place: partKey(plan, id, part.path) })
  }
  const file: KeysFile = { format: 1, plan, id, created: job.now().toISOString(), recipients: [...recipients], headers }
  await keep(file, { storage, signal: job.signal })
  job.log.info({ plan, backup: id, storage: storage.name, parts: encrypted.length }, 'keys wrapped again')
  return told('rewrapped')
}

interface Known {
  part: Part
  fileKey: Buffer
  files: readonly KeysFile[]
}

/** Whoever can write to the storage can say what he likes of a file, but cannot make a header around a key that he does not have. */
function isFor(recipients: readonly string[], { part, fileKey, files }: Known): boolean {
  const told = files.map(({ recipients, headers }) => ({ recipients, header: headers[part.path] }))
  return [...told, ...(part.age ? [part.age] : [])].some(
    (one) =>
      one.header !== undefined &&
      new Set(recipients).symmetricDifference(new Set(one.recipients)).size === 0 &&
      isKeyOf(fileKey, one.header),
  )
}

/** Above the highest number that is there; another rewrap may be at work. */
async function keep(file: KeysFile, { storage, signal }: { storage: Storage; signal: AbortSignal }): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(KeysFile.parse(file), null, 1)}\n`)
  for (let number = 1 + (await highest(file, storage)); ; number++) {
    const key = keysKey(file.plan, file.id, number)
    if (keysNumber(file.plan, file.id, key) === undefined)
      throw new JobError('storage', `storage ${storage.name} has no number left after ${key}`, {
        hint: 'rewrap did not make a file of that number: look who did, and remove it',
      })
    if ((await putOnce({ storage, key, bytes, signal, waits })) === 'ours') return
  }
}

async function highest({ plan, id }: KeysFile, storage: Storage): Promise<number> {
  let number = 0
  for await (const { key } of storage.list(manifestPrefix(plan, id)))
    number = Math.max(number, keysNumber(plan, id, key) ?? 0)
  return number
}
