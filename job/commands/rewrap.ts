import type { Catalog } from '../catalog/catalog.ts'
import { putOnce } from '../catalog/commit.ts'
import { keysKey, partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { wrapKey } from '../io/age.ts'
import { KeysFile, keyOf, keysFiles } from '../io/keys.ts'
import type { Result } from '../io/print.ts'
import type { Manifest, Part } from '../manifest.ts'
import { isMissing, type Storage } from '../storage.ts'
import { askEach, failureOf, storagesOf } from './catalogs.ts'
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
  result: 'rewrapped' | 'would be rewrapped' | 'is for these recipients already' | 'is not encrypted'
  recipients: readonly string[]
}

/** Milliseconds before each further try to write. */
const waits = [500, 2000, 5000]

/**
 * Gives the keys of old backups to the recipients that the storages have now. The parts stay as they are, and so does the header in each:
 * who could read a backup before can do it still.
 */
export async function rewrap(job: Job, { plan, pick, storages, dryRun = false }: RewrapOptions): Promise<Result> {
  const names = storagesOf(job.config, plan, storages)
  const done: Rewrapped[] = []
  let encrypting = 0
  const { unreachable } = await askEach({ job, plan, storages: names }, async (catalog) => {
    const { encryption } = catalog.storage
    if (!encryption) return
    encrypting += 1
    for (const id of await chosen(catalog, pick, job.signal)) {
      const manifest = await stillThere(catalog, id, job.signal)
      if (manifest) done.push(await rewrapOne({ job, catalog, manifest, recipients: encryption.recipients, dryRun }))
    }
  })
  if (encrypting + unreachable.length === 0)
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
    failure: failureOf(unreachable),
  }
}

async function chosen(catalog: Catalog, pick: string | number | undefined, signal: AbortSignal): Promise<string[]> {
  if (pick === undefined) return (await catalog.ids()).committed
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
  const [newest] = await keysFiles(reading)
  if (encrypted.every((part) => isFor(recipients, newest?.headers[part.path] ? newest : part.age)))
    return told('is for these recipients already')
  if (dryRun) return told('would be rewrapped')
  const headers: Record<string, string> = {}
  for (const part of encrypted) {
    job.signal.throwIfAborted()
    headers[part.path] = await again(part, { ...reading, recipients })
  }
  const file: KeysFile = { format: 1, plan, id, created: job.now().toISOString(), recipients: [...recipients], headers }
  await keep(file, { storage, signal: job.signal })
  job.log.info({ plan, backup: id, storage: storage.name, parts: encrypted.length }, 'keys wrapped again')
  return told('rewrapped')
}

function isFor(recipients: readonly string[], known: { recipients: readonly string[] } | undefined): boolean {
  return new Set(recipients).symmetricDifference(new Set(known?.recipients)).size === 0
}

async function again(
  part: Part,
  {
    recipients,
    ...reading
  }: { plan: string; id: string; storage: Storage; signal: AbortSignal; recipients: readonly string[] },
): Promise<string> {
  const fileKey = await keyOf(part, reading)
  return wrapKey({ fileKey, recipients, place: partKey(reading.plan, reading.id, part.path) })
}

/** Under the next free number: another rewrap may be at work. */
async function keep(file: KeysFile, { storage, signal }: { storage: Storage; signal: AbortSignal }): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(KeysFile.parse(file), null, 1)}\n`)
  for (let number = 1; ; number++) {
    const key = keysKey(file.plan, file.id, number)
    if (await storage.head(key)) continue
    if ((await putOnce({ storage, key, bytes, signal, waits })) === 'ours') return
  }
}
