import { once } from 'node:events'
import { z } from 'zod'
import type { BackupFacts } from '../engine.ts'
import { JobError } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import { formatManifest, type Manifest, parseManifest, requireTrust, SourceFacts, type Trust } from '../manifest.ts'
import { isMissing, readAll, type Storage } from '../storage.ts'
import { putOnce } from './commit.ts'
import { type FindOptions, findBackup } from './find.ts'
import { type Guarded, type Guards, isGuard, openGuards } from './guards.ts'
import {
  byAge,
  dateOf,
  factsKey,
  factsSource,
  failedKey,
  folderKey,
  isId,
  isRunFile,
  isTime,
  keysNumber,
  manifestKey,
  manifestPrefix,
  missedKey,
  parseName,
  pathOf,
  planPrefix,
  startedKey,
} from './layout.ts'
import { Failed, formatRunFile, Missed, parseRunFile, type Run, Started } from './runs.ts'
import { type Verified, type VerifyOptions, verifyParts } from './verify.ts'

export type { FindOptions } from './find.ts'
export { Failed, type Run, Started } from './runs.ts'
export type { Problem, Verified, VerifyOptions } from './verify.ts'

/** The backups of one plan in one storage. Keeps no state: every answer comes from the storage. */
export interface Catalog {
  readonly storage: Storage
  readonly plan: string

  /**
   * Takes the first free id from `id` on, by putting started.json if absent; resolves to it. `started.run` must be unique.
   * With several storages claim on the first, then `join` the others. Throws `busy` when 60 ids in a row are taken.
   */
  claim(options: { id: string; started: Started; signal: AbortSignal }): Promise<string>
  /** Claims exactly this id; false when it is taken. True as well when this very run has it already. */
  join(options: { id: string; started: Started; signal: AbortSignal }): Promise<boolean>
  /** Keeps what would die with the coordinator. Written again when said again. */
  keepFacts(options: { id: string; source: string; facts: BackupFacts; signal: AbortSignal }): Promise<void>
  /** The facts kept so far, by source. */
  facts(id: string, signal?: AbortSignal): Promise<Record<string, BackupFacts>>
  /** What a run wrote when it began; undefined when there is none that can be read. */
  started(id: string, signal?: AbortSignal): Promise<Started | undefined>
  /** Says why a run ended. Never rejects, has its own time limit (10 s): true when it was stored. */
  fail(id: string, failed: Failed): Promise<boolean>
  /** Says, beside a backup, which storages of the run do not have it, when the run is over. Never rejects, as `fail`. */
  miss(id: string, missed: Missed): Promise<boolean>
  /** Undefined when the run had all its storages, or did not get to say so. */
  missed(id: string, signal?: AbortSignal): Promise<Missed | undefined>
  /**
   * THE moment a backup exists. Resolves only when the storage holds exactly this manifest, also when an answer was lost
   * on the way. Rejects with `storage`: another manifest is there, none is there, or nobody can tell, and then the
   * message says "may have been". Once it was called, nothing of the run may be deleted.
   */
  commit(manifest: Manifest, signal: AbortSignal): Promise<void>

  /** One listing. */
  ids(): Promise<Ids>
  /** Reads and checks one manifest. Rejects with ObjectMissing when there is none, `verification` when it is not this backup's. */
  manifest(id: string, signal?: AbortSignal): Promise<Manifest>
  /** As `manifest`, with the bytes that it was read from. */
  stored(id: string, signal?: AbortSignal): Promise<{ manifest: Manifest; bytes: Buffer }>
  /** The backup that a pick asks for. Throws `nothing-matches`, naming what there is, or `configuration`. */
  find(options: FindOptions): Promise<Manifest>
  /** Every run the storage knows of, oldest first. `ids`: from a listing that was made just now. */
  runs(options: { ids?: Ids; deadlineSeconds: number; now: Date; signal?: AbortSignal }): Promise<Run[]>
  /** When the backup was started. Reads the manifest only for ids that tell no time (adopted ones). */
  startOf(id: string, signal?: AbortSignal): Promise<Date>

  /** Rejects with `storage` when it says that it does not have what the manifest says was sent. */
  confirm(manifest: Manifest, signal: AbortSignal): Promise<void>
  /** Compares the stored parts with the manifest; resolves to everything that is wrong. */
  verify(manifest: Manifest, options: VerifyOptions): Promise<Verified>
  /** Pins and holds. */
  readonly guards: Guards
  /**
   * Removes a backup: the manifest, its siblings, the parts. A crash in between leaves a leftover that `leftovers` finds; where a lock or a missing
   * right keeps the manifest, nothing else goes either. False, and it is there, when it was pinned or held meanwhile.
   */
  remove(id: string, now: Date): Promise<boolean>
  /**
   * Folders without a manifest, with what a prune may do about them. A leftover goes when it gave no sign of life
   * (started.json, id, newest object) for `keepFailedSeconds`, and never within the deadline. Folders that no run
   * of ours began, such as those rondb-helm wrote, are never removed. `uncommitted`: as `ids` gave them.
   */
  leftovers(options: LeftoverOptions): Promise<Leftover[]>
  /** Removes a leftover. False, and nothing removed, when it has become a backup meanwhile, was begun anew or is held. */
  sweep(id: string, patience: Patience): Promise<boolean>
}

/** All sorted, oldest first. */
export interface Ids {
  committed: string[]
  /** Folders without a manifest. */
  uncommitted: string[]
  /** Siblings that guard a backup, by its id: `pin`, `hold-<run>`. */
  guards: Map<string, string[]>
  /** Siblings with keys for other recipients, by its id: `keys-<n>`. */
  keys: Map<string, string[]>
}

export interface LeftoverOptions extends Patience {
  uncommitted: readonly string[]
}

/** How long an unfinished run is left alone. */
export interface Patience {
  keepFailedSeconds: number
  deadlineSeconds: number
  now: Date
}

export interface Leftover {
  id: string
  remove: boolean
  reason: string
}

export interface CatalogOptions {
  storage: Storage
  plan: string
  /** Whose manifests count; everybody's without it. Others are read as damaged ones are: with `verification`. */
  trust?: Trust | undefined
  /** Milliseconds before each further try of a claim or commit; the storage has its own retries below that. */
  waits?: readonly number[]
}

const claimTries = 60
const readersAtOnce = 8
const failMs = 10_000
const putBackMs = 60_000

export function openCatalog({ storage, plan, trust, waits = [500, 2000, 5000] }: CatalogOptions): Catalog {
  const catalog: Catalog = {
    storage,
    plan,

    async claim({ id, started, signal }) {
      for (let tries = 0; tries < claimTries; tries++) {
        const candidate = String(Number(id) + tries)
        if (!isId(candidate)) break
        if (await catalog.join({ id: candidate, started, signal })) return candidate
      }
      throw new JobError('busy', `no free backup id from ${id} on in storage ${storage.name}`, {
        hint: `look at ${planPrefix(plan)} in the storage: something else writes there`,
      })
    },

    async join({ id, started, signal }) {
      const bytes = formatRunFile(started)
      if (await isTaken(id, bytes, signal)) return false
      return (await putOnce({ storage, key: startedKey(plan, id), bytes, signal, waits })) === 'ours'
    },

    async keepFacts({ id, source, facts, signal }) {
      const bytes = formatRunFile(facts)
      await storage.put(factsKey(plan, id, source), bytes, { size: bytes.length, signal })
    },

    async facts(id, signal) {
      const found: Record<string, BackupFacts> = {}
      for await (const { key } of storage.list(folderKey(plan, id), { delimiter: '/' })) {
        const source = factsSource(pathOf(plan, id, key) ?? '')
        if (source) found[source] = parseFacts(await readAll(storage, key, signal), key)
      }
      return found
    },

    started: (id, signal) => runFile(startedKey(plan, id), Started, signal),

    fail: (id, failed) => putLast(failedKey(plan, id), formatRunFile(failed)),

    miss: (id, missed) => putLast(missedKey(plan, id), formatRunFile(missed)),

    missed: (id, signal) => runFile(missedKey(plan, id), Missed, signal),

    async commit(manifest, signal) {
      const key = manifestKey(plan, manifest.id)
      const holder = await putOnce({ storage, key, bytes: formatManifest(manifest), signal, waits })
      if (holder === 'ours') return
      throw new JobError('storage', `storage ${storage.name} holds another backup's manifest at ${key}`, {
        hint: 'two runs had the same id; the parts of this run were left as they are',
      })
    },

    async ids() {
      const committed = new Set<string>()
      const folders = new Set<string>()
      const guards = new Map<string, string[]>()
      const keys = new Map<string, string[]>()
      for await (const { key } of storage.list(planPrefix(plan), { delimiter: '/' })) {
        const named = parseName(plan, key)
        if (named?.kind === 'manifest') committed.add(named.id)
        if (named?.kind === 'folder') folders.add(named.id)
        if (named?.kind !== 'sibling') continue
        const { id, word } = named
        if (isGuard(word)) guards.set(id, [...(guards.get(id) ?? []), word])
        else if (keysNumber(plan, id, key) !== undefined) keys.set(id, [...(keys.get(id) ?? []), word])
      }
      return {
        committed: [...committed].sort(byAge),
        uncommitted: [...folders.difference(committed)].sort(byAge),
        guards,
        keys,
      }
    },

    manifest: async (id, signal) => (await catalog.stored(id, signal)).manifest,

    async stored(id, signal) {
      const key = manifestKey(plan, id)
      const where = `${key} in storage ${storage.name}`
      const bytes = await readAll(storage, key, signal)
      const manifest = parseManifest(bytes, where)
      if (trust) requireTrust(manifest, trust, where)
      if (manifest.id === id && manifest.plan === plan) return { manifest, bytes }
      throw new JobError('verification', `${where} is the manifest of backup ${manifest.id} of plan ${manifest.plan}`, {
        hint: 'somebody moved or renamed it; manifests stay where they were written',
      })
    },

    find: (options) => findBackup(catalog, options),

    async runs({ ids, deadlineSeconds, now, signal }) {
      const { committed, uncommitted } = ids ?? (await catalog.ids())
      const unfinished = await inParallel(uncommitted, readersAtOnce, async (id): Promise<Run> => {
        const started = await catalog.started(id, signal)
        const failed = await runFile(failedKey(plan, id), Failed, signal)
        const age = (now.getTime() - beginning(id, started).getTime()) / 1000
        const running = started !== undefined && failed === undefined && age <= deadlineSeconds
        return { id, state: running ? 'running' : 'failed', ...(started && { started }), ...(failed && { failed }) }
      })
      const finished = committed.map((id): Run => ({ id, state: 'committed' }))
      return [...finished, ...unfinished].sort((a, b) => byAge(a.id, b.id))
    },

    async startOf(id, signal) {
      return isTime(id) ? dateOf(id) : new Date((await catalog.manifest(id, signal)).started)
    },

    async confirm(manifest, signal) {
      const [first] = (await catalog.verify(manifest, { level: 'present', signal })).problems
      if (!first) return
      const text = `storage ${storage.name} does not have what was sent: ${first.path} ${first.says}`
      throw new JobError('storage', text)
    },

    verify: (manifest, options) => verifyParts({ storage, plan, manifest, ...options }),

    guards: openGuards(storage, plan),

    async remove(id, now) {
      // again, and as late as can be: a reader may have come since it was planned
      if (await isGuarded(id, now)) return false
      // An adopted folder was begun by no run of ours, and such are not swept: after a crash in here this file says that it may be.
      const begun = await storage.head(startedKey(plan, id))
      if (!begun) await catalog.fail(id, { reason: 'was being removed', kind: 'removed', finished: now.toISOString() })
      const beside = await keysBelow(manifestPrefix(plan, id))
      const manifest = await readAll(storage, manifestKey(plan, id)).catch(noneWhenMissing)
      await storage.delete([manifestKey(plan, id)])
      // whoever guards it looks for the manifest afterwards: so one of the two sees the other
      if (manifest && (await isGuarded(id, now))) {
        await putBack(manifestKey(plan, id), manifest)
        if (!begun) await storage.delete([failedKey(plan, id)])
        return false
      }
      await discard(beside.filter((key) => key !== manifestKey(plan, id)))
      await removeFolder(id)
      return true
    },

    leftovers: (options) => inParallel(options.uncommitted, readersAtOnce, (id) => judge(id, options)),

    async sweep(id, patience) {
      // again, and as late as can be: a copy may have begun it anew since it was planned
      if (!(await judge(id, patience)).remove) return false
      const { holds } = await guardsOf(id, patience.now)
      if (holds.length > 0) return false
      if (await storage.head(manifestKey(plan, id))) return false
      await discard(await keysBelow(manifestPrefix(plan, id)))
      await removeFolder(id)
      return true
    },
  }
  return catalog

  /** What a run says at its end: it has no time for more, and a file system that hangs hears no signal. */
  async function putLast(key: string, bytes: Buffer): Promise<boolean> {
    const late = AbortSignal.timeout(failMs)
    const given = once(late, 'abort').then(() => false)
    const put = storage.put(key, bytes, { size: bytes.length, signal: late }).then(() => true)
    return Promise.race([put.catch(() => false), given])
  }

  /** Taken by a backup, or by a folder that does not begin with this very claim (whose answer may have been lost). */
  async function isTaken(id: string, claim: Buffer, signal: AbortSignal): Promise<boolean> {
    if (await storage.head(manifestKey(plan, id))) return true
    for await (const _ of storage.list(folderKey(plan, id))) {
      const held = await readAll(storage, startedKey(plan, id), signal).catch(noneWhenMissing)
      return held === undefined || !held.equals(claim)
    }
    return false
  }

  async function runFile<T>(key: string, schema: z.ZodType<T>, signal?: AbortSignal): Promise<T | undefined> {
    const bytes = await readAll(storage, key, signal).catch(noneWhenMissing)
    return bytes && parseRunFile(schema, bytes)
  }

  async function judge(id: string, { keepFailedSeconds, deadlineSeconds, now }: Patience): Promise<Leftover> {
    const started = await catalog.started(id)
    let ours = started !== undefined
    let lastSign = beginning(id, started).getTime()
    for await (const entry of storage.list(folderKey(plan, id))) {
      if (entry.kind !== 'object') continue
      ours ||= isRunFile(pathOf(plan, id, entry.key) ?? '')
      lastSign = Math.max(lastSign, entry.modified.getTime())
    }
    const quiet = Math.floor((now.getTime() - lastSign) / 1000)
    if (!ours) return { id, remove: false, reason: 'not begun by holdfast: left alone' }
    if (quiet <= deadlineSeconds) return { id, remove: false, reason: 'may still be running' }
    if (quiet <= keepFailedSeconds) return { id, remove: false, reason: 'failed, kept for --resume and for a look' }
    return { id, remove: true, reason: `unfinished, nothing happened to it for ${Math.floor(quiet / 3600)} h` }
  }

  async function guardsOf(id: string, now: Date): Promise<Guarded> {
    return catalog.guards.read(id, await catalog.guards.names(id), now)
  }

  async function isGuarded(id: string, now: Date): Promise<boolean> {
    const { pin, holds } = await guardsOf(id, now)
    return pin !== undefined || holds.length > 0
  }

  /** A run that is ended now must not leave a backup without its manifest. */
  async function putBack(key: string, bytes: Buffer): Promise<void> {
    await putOnce({ storage, key, bytes, signal: AbortSignal.timeout(putBackMs), waits })
  }

  /** The run's own files go last: what is left after a crash still says whose it is. */
  async function removeFolder(id: string): Promise<void> {
    const keys = await keysBelow(folderKey(plan, id))
    const own = (key: string) => isRunFile(pathOf(plan, id, key) ?? '')
    await discard(keys.filter((key) => !own(key)))
    await discard(keys.filter(own))
  }

  async function discard(keys: string[]): Promise<void> {
    if (keys.length > 0) await storage.delete(keys)
  }

  async function keysBelow(prefix: string): Promise<string[]> {
    const keys: string[] = []
    for await (const entry of storage.list(prefix)) keys.push(entry.key)
    return keys
  }
}

function beginning(id: string, started: Started | undefined): Date {
  return started ? new Date(started.started) : dateOf(id)
}

function noneWhenMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error
}

const KeptFacts = SourceFacts.pick({ server: true, tools: true, facts: true }).extend({
  warnings: z.array(z.string()).optional(),
})

function parseFacts(bytes: Buffer, key: string): BackupFacts {
  const facts = parseRunFile(KeptFacts, bytes)
  if (facts) return facts
  throw new JobError('verification', `${key} holds no facts of a source`, {
    hint: 'this run cannot be taken up again: take a new backup',
  })
}
