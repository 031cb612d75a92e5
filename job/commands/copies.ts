import { createReadStream, readFileSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { addAbortSignal, Readable } from 'node:stream'
import { openCatalog } from '../catalog/catalog.ts'
import { byAge, isId, keysKey, keysNumber, manifestKey, partKey } from '../catalog/layout.ts'
import { seconds } from '../config.ts'
import { JobError } from '../errors.ts'
import { openExported } from '../io/exported.ts'
import type { Source } from '../io/keys.ts'
import { inParallel } from '../io/parallel.ts'
import { type Manifest, type Part, parseManifest, requireTrust } from '../manifest.ts'
import { type Identities, type Listed, readAll, type Storage } from '../storage.ts'
import { filesystemStorage } from '../storages/filesystem.ts'
import { trustOf } from './catalogs.ts'
import { holding } from './hold.ts'
import type { Job } from './job.ts'
import { findNewest, type Search } from './show.ts'

/** A backup wherever it lies: in a storage, in a folder that somebody copied, in an exported file. */
export interface Copy {
  manifest: Manifest
  /** The manifest as it is stored. */
  bytes: Buffer
  /** For people. */
  where: string
  /** Does the work with each of these parts, several at once where the place allows it. */
  each(parts: Part[], work: (part: Part, storage: PartsOf) => Promise<void>): Promise<void>
  close(): Promise<void>
}

/** What parts are read from. */
type PartsOf = Source

interface Options {
  plan?: string | undefined
  pick?: string | number | undefined
  storages?: string[] | undefined
  /** A folder or its manifest, an exported backup, or `-` for `input`. */
  from?: string | undefined
  /** A file of age identities, for a copy that is encrypted. */
  identity?: string | undefined
  input?: Readable & { isTTY?: boolean }
}

const partsAtOnce = 3

export async function openCopy(job: Job, options: Options): Promise<Copy> {
  const { from, input, identity } = options
  if (from === undefined) return inStorage(job, options)
  const encryption = await identitiesOf(from, identity)
  const archive = () => inArchive(openArchive({ file: from, input, signal: job.signal }), { file: from, encryption })
  if (from === '-') return archive()
  const found = await stat(from).catch((error) => {
    throw readable(error, from)
  })
  if (found.isDirectory()) return inFolder(await folderAt(resolve(from)), encryption)
  return from.endsWith('.json') ? inFolder(resolve(from).slice(0, -'.json'.length), encryption) : archive()
}

async function inStorage(job: Job, { plan = '', pick = 'latest', storages }: Options): Promise<Copy> {
  const { storage, bytes, manifest } = await findStored(job, { plan, pick, storages })
  const each = fromEach(storage)
  const held = { job, storage, plan, id: manifest.id, by: 'unpack' }
  return {
    manifest,
    bytes,
    where: `storage ${storage.name}`,
    each: (parts, work) => underHold(held, () => each(parts, work)),
    close: async () => {},
  }
}

/** The backup that a pick asks for, of those whose signatures count, with the bytes of its manifest. */
export async function findStored(job: Job, search: Omit<Search, 'trust'>) {
  const { plan } = search
  const trust = trustOf(job.config, plan)
  const found = await findNewest(job, { ...search, trust })
  const storage = await job.storage(found.storage)
  const key = manifestKey(plan, found.manifest.id)
  const where = `${key} in storage ${storage.name}`
  const bytes = await readAll(storage, key, job.signal)
  const manifest = parseManifest(bytes, where)
  // read again: what was found need not be there any more
  if (trust) requireTrust(manifest, trust, where)
  return { storage, bytes, manifest }
}

interface Held {
  job: Job
  storage: Storage
  plan: string
  id: string
  by: string
}

/** Prunes stay away from the backup while it is read, for as long as a run of its plan may take. */
export async function underHold<T>({ job, storage, plan, id, by }: Held, work: () => Promise<T>): Promise<T> {
  const deadline = seconds(job.config.backups[plan]?.deadline ?? '24h')
  return holding({ job, catalogs: [openCatalog({ storage, plan })], id, by, seconds: deadline }, work)
}

/** The folder has any name and lies anywhere; its manifest has the same name and lies beside it. */
async function inFolder(folder: string, encryption: Identities): Promise<Copy> {
  const file = `${folder}.json`
  const bytes = await readFile(file).catch((cause) => {
    if (cause.code !== 'ENOENT') throw readable(cause, file)
    throw new JobError('nothing-matches', `there is no ${file}`, {
      hint: 'a backup is a folder and, beside it, its manifest: copy both; or name the folder that has both of them',
    })
  })
  const manifest = parseManifest(bytes, file)
  const disk = filesystemStorage({ name: folder, root: folder })
  const inside = partKey(manifest.plan, manifest.id, '').length
  const storage: PartsOf = {
    name: folder,
    get: (key, options) => (isBeside(key, manifest) ? beside(key) : disk.get(key.slice(inside), options)),
    list: () => keysBeside(folder, manifest),
    encryption,
  }
  return { manifest, bytes, where: folder, each: fromEach(storage), close: () => disk.close() }

  async function beside(key: string): Promise<Readable> {
    const number = keysNumber(manifest.plan, manifest.id, key)
    return createReadStream(`${folder}.keys-${number}.json`)
  }
}

function isBeside(key: string, { plan, id }: Manifest): boolean {
  return keysNumber(plan, id, key) !== undefined
}

/** The siblings of the manifest that have keys, under the keys that they have in a storage. */
async function* keysBeside(folder: string, { plan, id }: Manifest): AsyncGenerator<Listed> {
  for (const name of await readdir(dirname(folder))) {
    const number = /^\.keys-(\d+)\.json$/.exec(
      name.startsWith(basename(folder)) ? name.slice(basename(folder).length) : '',
    )
    if (number) yield { kind: 'object', key: keysKey(plan, id, Number(number[1])), size: 0, modified: new Date(0) }
  }
}

/** Of a copy that no values know. */
async function identitiesOf(from: string, identity: string | undefined): Promise<Identities> {
  const { identitiesIn } = await import('../io/age.ts')
  return {
    at: '--identity',
    identities: () => {
      if (identity === undefined)
        throw new JobError('configuration', `${from} is encrypted`, {
          hint: 'name a file with an identity of age that opens it: --identity key.txt',
        })
      return identitiesIn(textOfFile(identity), `--identity ${identity}`)
    },
  }
}

function textOfFile(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw readable(error, file)
  }
}

/** The folder of a backup, or of the only backup that the folder of a plan has. */
async function folderAt(folder: string): Promise<string> {
  const beside = await stat(`${folder}.json`).catch(() => undefined)
  if (beside?.isFile()) return folder
  const names = await readdir(folder)
  const ids = names.flatMap((name) => (name.endsWith('.json') && isId(name.slice(0, -5)) ? [name.slice(0, -5)] : []))
  const [only, ...more] = ids.sort(byAge)
  if (only !== undefined && more.length === 0) return join(folder, only)
  const newest = more.at(-1)
  throw new JobError('nothing-matches', newest ? `${folder} has ${ids.length} backups` : `${folder} has no backup`, {
    hint: newest
      ? `name one: --from ${join(folder, newest)} is the newest`
      : `name the folder of a backup, with its manifest beside it: ${join(basename(dirname(folder)), '1795218000')} and 1795218000.json`,
  })
}

function fromEach(storage: PartsOf): Copy['each'] {
  return async (parts, work) => void (await inParallel(parts, partsAtOnce, (part) => work(part, storage)))
}

/** Read once, from its beginning to its end, whatever is chosen of it. */
async function inArchive(
  source: Readable,
  { file, encryption }: { file: string; encryption: Identities },
): Promise<Copy> {
  const where = file === '-' ? 'standard input' : file
  const { manifest, bytes, siblings, parts } = await openExported(source, where).catch((error) => {
    source.destroy()
    throw readable(error, where)
  })
  const keys = new Map(siblings.map((sibling) => [sibling.key, sibling.bytes]))
  let part = source
  const storage: PartsOf = {
    name: where,
    encryption,
    get: async (key) => {
      const known = keys.get(key)
      return known ? Readable.from([known], { objectMode: false }) : part
    },
    list: async function* () {
      for (const [key, { length }] of keys) yield { kind: 'object', key, size: length, modified: new Date(0) }
    },
  }
  return {
    manifest,
    bytes,
    where,
    each: async (chosen, work) => {
      const paths = new Set(chosen.map(({ path }) => path))
      for await (const found of parts()) {
        part = found.data
        if (paths.has(found.part.path)) await work(found.part, storage)
        else for await (const _ of part);
      }
    },
    close: async () => void source.destroy(),
  }
}

interface Opening {
  /** `-` is `input`, or standard input. */
  file: string
  input?: (Readable & { isTTY?: boolean }) | undefined
  signal: AbortSignal
}

/** The bytes of an archive, until they end or the signal ends them. */
export function openArchive({ file, input, signal }: Opening): Readable {
  if (file !== '-') return addAbortSignal(signal, createReadStream(file, { highWaterMark: 1024 * 1024 }))
  const stream = input ?? process.stdin
  if (!stream.isTTY) return addAbortSignal(signal, stream)
  throw new JobError('configuration', 'standard input is a terminal', { hint: 'redirect an exported backup into it' })
}

/** A file that cannot be opened is a wrong flag. */
export function readable(error: unknown, file: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException
  if (error instanceof JobError || syscall === undefined) return error
  const text = { ENOENT: 'does not exist', EACCES: 'may not be read', EISDIR: 'is a folder' }[code ?? '']
  // the cause would say it again
  if (text) return new JobError('configuration', `${file} ${text}`)
  return new JobError('storage', `${file} cannot be read`, { cause: error })
}
