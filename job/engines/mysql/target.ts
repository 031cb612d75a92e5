import type { Marker, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { currentAccount, globalPrivileges, holds, type Login, type Session, withMysql } from '../../io/mysql.ts'
import { refuseNoFlush } from './check.ts'
import { type Clears, type Content, Creates, clearsOf, createsOf, foreign, look } from './content.ts'
import { factsOf, type MysqlFacts, missingParts, type Stored } from './facts.ts'
import { allKinds, partsOf } from './parts.ts'
import { fits } from './rows.ts'
import { type Selection, select } from './selection.ts'
import { fittingClients, isOlder, loginOf, type Server, serverOf } from './server.ts'
import { keyOf } from './tables.ts'
import type { Target } from './values.ts'

export interface Detail {
  login: Login
  server: Server
  facts: MysqlFacts
  selection: Selection<MysqlFacts['tables'][number]>
  creates: Creates
  clears: Clears
  /** Of the same product, and asked for. */
  accounts: boolean
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const facts = factsOf(run.source)
  refuseMissingParts(run, facts)
  const selection = selectionOf(run, facts)
  const login = loginOf(target, run)
  return withMysql(
    login,
    async (session) => {
      const server = await serverOf(session)
      const tools = await fittingClients(['load'], { server, values: target, run })
      const accounts = comparable(run, { server, facts })
      if (accounts) await refuseWeak(session, run)
      await refuseNoFlush(session, { ...target, at: run.at })
      await refuseShort(session, neededOf(facts, selection))
      const content = await seen(session)
      const creates = withEarlier(createsOf(selection), run.unfinished)
      const contents = foreignIn(run, content, creates)
      const detail: Detail = { login, server, facts, selection, creates, clears: clearsOf(content, creates), accounts }
      return { server, tools, contents, detail }
    },
    { signal: run.signal },
  )
}

/** A database that the backup has only in part is none that is dropped and made as a whole. */
function selectionOf(run: TargetRun, facts: MysqlFacts): Detail['selection'] {
  const selection = select({ ...facts, values: run.target as Target, at: run.at, from: 'the backup' })
  const partial = facts.objects.filter(({ without }) => without.length > 0).map(({ database }) => database)
  return { ...selection, whole: selection.whole.filter((database) => !partial.includes(database)) }
}

async function seen(session: Session): Promise<Content> {
  await session.execute('SET NAMES utf8mb4')
  return look(session)
}

/** What an unfinished run of this request was going to make may still be there, and is ours. */
function withEarlier(creates: Creates, unfinished: Marker | undefined): Creates {
  const earlier = Creates.safeParse(unfinished?.creates).data
  if (!earlier) return creates
  const both = (key: keyof Creates) => [...new Set([...creates[key], ...earlier[key]])]
  return { databases: both('databases'), objects: both('objects'), tables: both('tables'), accounts: both('accounts') }
}

function foreignIn(run: TargetRun, content: Content, creates: Creates): string[] {
  return foreign({ content, creates, unfinished: run.unfinished !== undefined, overwrite: run.overwrite })
}

/** Under the lock, before the first change: what came into the target since it was looked at is nobody's to drop. */
export async function recheck(run: TargetRun, session: Session): Promise<void> {
  const { creates, clears } = (run.state as TargetState).detail as Detail
  const content = await seen(session)
  const [found] = foreignIn(run, content, creates)
  if (found === undefined && JSON.stringify(clearsOf(content, creates)) === JSON.stringify(clears)) return
  throw new JobError(
    'target-not-empty',
    `the target changed while the backup was read: ${found ?? 'others would be dropped than planned'}`,
    { hint: 'nothing was changed; look at what was made there, and run the restore again' },
  )
}

function refuseMissingParts(run: TargetRun, facts: MysqlFacts): void {
  const missing = missingParts(facts, run.parts)
  if (missing.length === 0) return
  throw new JobError('verification', `backup ${run.backupId} has no ${missing.slice(0, 5).join(', ')}`, {
    hint: 'the backup is damaged: take another one, or another storage',
  })
}

/** Accounts are of one product: hashes, privileges and the tables behind them differ. Warns; tells whether accounts come. */
function comparable(run: TargetRun, { server, facts }: { server: Server; facts: MysqlFacts }): boolean {
  const { product, version } = run.source.server
  const wanted = (run.target as Target).accounts && facts.parts.some(({ kind }) => kind === 'accounts')
  if (product !== server.product) {
    run.warn(
      `the backup is of ${product}, the target is ${server.product}: definitions may not fit${wanted ? ', and accounts are left out' : ''}`,
    )
    return false
  }
  if (isOlder(server.version, version))
    run.warn(`the backup is of ${product} ${version}, the target is older (${server.version}): what is newer will fail`)
  return wanted
}

/** The parts of which all rows come: of others nobody knows whose the longest statement is. */
function neededOf({ parts }: MysqlFacts, { tables }: Detail['selection']): Stored[] {
  const wanted = new Set(tables.map(keyOf))
  return parts.filter((part) => part.tables?.every((table) => wanted.has(table)))
}

/** A statement that is longer than the server takes would end the restore in the middle. */
async function refuseShort(session: Session, parts: readonly Stored[]): Promise<void> {
  const [row] = await session.rows<{ bytes: number }>('SELECT @@GLOBAL.max_allowed_packet AS bytes')
  const most = Number(row?.bytes)
  const long = parts.find(({ longest = 0 }) => !fits(longest, most))
  if (!long) return
  throw new JobError(
    'server',
    `${long.path} has a statement of ${long.longest} bytes, and max_allowed_packet of server ${session.server} is ${most}`,
    {
      hint: 'nothing was changed: SET GLOBAL max_allowed_packet = 1073741824 (where that is forbidden, in the settings of the managed server), then run the restore again',
    },
  )
}

const needed = [
  'SELECT',
  'INSERT',
  'CREATE',
  'DROP',
  'CREATE VIEW',
  'CREATE ROUTINE',
  'TRIGGER',
  'EVENT',
  'CREATE USER',
]

async function refuseWeak(session: Session, run: TargetRun): Promise<void> {
  const held = await globalPrivileges(session)
  const missing = needed.filter((privilege) => !holds(held, privilege))
  if (missing.length === 0) return
  throw new JobError('server', `the account on server ${session.server} lacks ${missing.join(', ')} on *.*`, {
    hint: `a restore makes accounts and their grants: GRANT ALL ON *.* TO ${await currentAccount(session)} WITH GRANT OPTION; or ${run.at}.accounts: false`,
  })
}

/** The steps, and in people's words what each does to the target. */
export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const target = run.target as Target
  const detail = state.detail as Detail
  const { selection, clears, facts, accounts } = detail
  const drops = [
    ...clears.databases.map((database) => `database ${database}`),
    ...clears.things.map(({ kind, database, name }) => `${kind} ${database}.${name}`),
  ]
  const whole = facts.method === 'mysqldump'
  const databases = new Set([...selection.objects, ...selection.tables.map((table) => table.database)]).size
  const hasEvents = facts.objects.some(({ database, events }) => events > 0 && selection.objects.includes(database))
  const step = (name: string, says: string, kinds: Stored['kind'][] = []) => ({
    name,
    says,
    writes: name !== 'verify',
    reads: partsOf(detail, ...kinds).map(({ path }) => path),
  })
  return [
    ...(target.verify === 'before'
      ? [
          step(
            'verify',
            'read every part and compare it with the manifest; nothing is written before all are good',
            allKinds,
          ),
        ]
      : []),
    ...(drops.length > 0 ? [step('clear', `drop ${drops.join(', ')}`)] : []),
    ...(accounts
      ? [
          step(
            'accounts',
            `make missing accounts and roles${run.overwrite ? ', and set those that exist to what the backup says' : '; those that exist stay as they are'}`,
            ['accounts'],
          ),
        ]
      : []),
    ...(whole
      ? []
      : [step('tables', `make ${databases} databases with ${selection.tables.length} tables`, ['tables'])]),
    step(
      'data',
      whole ? `replay the dump of ${databases} databases` : `load the rows over ${target.parallel} connections`,
      ['data', 'dump'],
    ),
    ...(whole || selection.objects.length === 0
      ? []
      : [step('objects', 'make triggers, routines and views', ['triggers', 'routines', 'views'])]),
    ...(accounts ? [step('grants', 'give the grants and default roles', ['accounts'])] : []),
    ...(hasEvents
      ? [step('events', 'make the events: those that are enabled run from now on', ['events', 'dump'])]
      : []),
    step('prove', 'compare tables, rows, views, routines, triggers and events with the backup'),
  ]
}
