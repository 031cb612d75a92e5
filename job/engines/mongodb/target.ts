import type { Marker, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { refuseOvertaken } from '../../io/restores.ts'
import { toolVersion } from './clients.ts'
import { type Login, loginOf, withMongo } from './connection.ts'
import { type Found, listContent } from './content.ts'
import { factsOf, type MongoFacts, missingParts, namespaceOf } from './facts.ts'
import { Creates, readMarkers } from './marker.ts'
import { type Selection, select } from './selection.ts'
import { examineServer, refuseOlder } from './server.ts'
import type { Target } from './values.ts'

export interface Detail {
  login: Login
  facts: MongoFacts
  selection: Selection
  /** Namespaces of the target that the restore makes. */
  creates: string[]
  /** Those of them that are there already. */
  clears: string[]
  markers: Marker[]
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const { signal } = run
  const facts = factsOf(run.source)
  refuseMissingParts(run, facts)
  const selection = select(facts, target, run.at)
  const login = loginOf(target, run, run.at)
  const { server, content, markers } = await withMongo(login, { signal }, async (client) => ({
    server: await examineServer(client),
    content: await listContent(client),
    markers: await readMarkers(client),
  }))
  refuseOlder(run.source.server, server)
  const { product, version } = server
  const tools = await toolVersion('mongorestore', { clients: target.clients, server: version, signal })
  const ours = madeBefore(run)
  const creates = [...new Set([...selection.collections.map(({ to }) => to), ...selection.replayed, ...ours])]
  const clears = content.map(namespaceOf).filter((name) => creates.includes(name))
  const detail: Detail = { login, facts, selection, creates, clears, markers }
  const contents = foreign({ content, creates, ours, overwrite: run.overwrite })
  return { server: { product, version }, tools, contents, detail }
}

/** Of an unfinished restore only what it was going to make is ours. */
function madeBefore({ unfinished }: TargetRun): string[] {
  return Creates.parse(unfinished?.creates)
}

function refuseMissingParts(run: TargetRun, facts: MongoFacts): void {
  const missing = missingParts(facts, run.parts)
  if (missing.length === 0) return
  throw new JobError('verification', `backup ${run.backupId} has no ${missing.join(', ')}`, {
    hint: 'the backup is damaged: take another one, or another storage',
  })
}

interface Foreign {
  content: Found[]
  creates: string[]
  ours: string[]
  overwrite: boolean
}

/** What nobody said may go. */
function foreign({ content, creates, ours, overwrite }: Foreign): string[] {
  if (overwrite) return []
  // users of the server's own database may have been there before: only what would collide counts
  const counts = content.filter((one) => one.database !== 'admin' || creates.includes(namespaceOf(one)))
  const others = counts.filter((one) => !ours.includes(namespaceOf(one)))
  return Object.entries(Object.groupBy(others, ({ database }) => database)).map(
    ([database, found = []]) =>
      `database ${database} (${found.length} ${found.length === 1 ? 'collection' : 'collections'})`,
  )
}

/** Before the first change: hours may have passed since the target was looked at. What came into it since is nobody's to drop. */
export async function recheck(run: TargetRun): Promise<void> {
  const { login, creates, clears, markers } = (run.state as TargetState).detail as Detail
  const { content, now: markersNow } = await withMongo(login, run, async (client) => ({
    content: await listContent(client),
    now: await readMarkers(client),
  }))
  refuseOvertaken(run, markers, markersNow)
  const [found] = foreign({ content, creates, ours: madeBefore(run), overwrite: run.overwrite })
  const now = content.map(namespaceOf).filter((name) => creates.includes(name))
  const surprise = found ?? now.find((name) => !clears.includes(name))
  if (surprise === undefined) return
  throw new JobError('target-not-empty', `the target changed while the backup was being read: ${surprise}`, {
    hint: 'nothing was changed; look at what was made there, and run the restore again',
  })
}

/** The steps, and in people's words what each does to the target. */
export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const target = run.target as Target
  const { selection, clears, facts } = state.detail as Detail
  for (const warning of selection.warnings) run.warn(warning)
  const databases = new Set(selection.collections.map(({ to }) => to.split('.')[0]))
  const accounts = selection.archives.some(({ users }) => users)
  const last = facts.oplog?.last
  const reads = selection.archives.map(({ path }) => path)
  return [
    ...(target.verify === 'before'
      ? [
          {
            name: 'verify',
            says: 'read the whole backup and check it; nothing is written before',
            writes: false,
            reads,
          },
        ]
      : []),
    ...(clears.length > 0 ? [{ name: 'clear', says: `drop ${clears.join(', ')}`, writes: true }] : []),
    {
      name: 'data',
      says: `restore ${selection.collections.length} collections with their indexes into ${databases.size} databases${accounts ? ', users and roles' : ''}${
        selection.oplog ? `, and replay the oplog to ${last?.seconds}:${last?.increment}` : ''
      }`,
      writes: true,
      reads,
    },
    { name: 'prove', says: 'count the documents and compare the indexes with the backup', writes: true },
  ]
}
