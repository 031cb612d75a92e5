import { z } from 'zod'
import type { Marker, TargetRun } from '../../engine.ts'
import { type Login, type Session, withMysql } from '../../io/mysql.ts'
import { isUnfinished } from '../../io/restores.ts'
import { readMarkers } from './marker.ts'
import { isUserTable, named, utf8 } from './tables.ts'
import { leftOut, systemDatabases } from './values.ts'

/** What is in a target, by all its MySQL servers and by NDB. */
export interface Content {
  /** Databases with anything in them. */
  databases: Map<string, Thing[]>
  disk: DiskObjects
}

/** What tables on disk need. They belong to the cluster, not to a database, and are never dropped with one. */
export interface DiskObjects {
  tablespaces: string[]
  logFileGroups: string[]
}

export interface Thing {
  name: string
  kind: 'NDB table' | 'table' | 'view' | 'routine' | 'event'
}

/** What a restore is going to make, as the marker keeps it: after a crash only this may be dropped. */
export const Creates = z.object({
  /** Databases that are dropped and made as a whole. */
  databases: z.array(z.string()),
  /** Databases whose views, routines and events are made: the whole ones, and those that some tables are left out of. */
  objects: z.array(z.string()).default([]),
  /** Tables, `database.table`. */
  tables: z.array(z.string()),
  /** Accounts, `user@host`, by MySQL server: known once the restore looks at them. */
  accounts: z.record(z.string(), z.array(z.string())).default({}),
})
export type Creates = z.infer<typeof Creates>

/** Pure: what an unfinished run made of an older backup goes, too, even if this backup has nothing of that name. */
export function withEarlier(creates: Omit<Creates, 'accounts'>, earlier: Creates | undefined): Creates {
  const both = (key: keyof typeof creates) => [...new Set([...creates[key], ...(earlier?.[key] ?? [])])]
  return {
    databases: both('databases'),
    objects: both('objects'),
    tables: both('tables'),
    accounts: earlier?.accounts ?? {},
  }
}

/** What has to go first: after a crash, or with `overwrite`. */
export interface Clears {
  databases: string[]
  tables: string[]
  /** Tables that stay in databases that come back as a whole: not NDB, and not in the backup. */
  stays: string[]
}

/** Looks at the target through every MySQL server, and at what NDB has that no MySQL server knows of. */
export async function look(logins: Login[], run: TargetRun): Promise<{ content: Content; markers: Marker[] }> {
  const content: Content = { databases: new Map(), disk: { tablespaces: [], logFileGroups: [] } }
  let markers: Marker[] = []
  for (const [i, login] of logins.entries()) {
    await withMysql(
      login,
      async (session) => {
        if (i === 0) {
          markers = await readMarkers(session)
          await lookInNdb(session, content)
        }
        await lookInServer(session, content)
      },
      run,
    )
  }
  return { content, markers }
}

async function lookInNdb(session: Session, content: Content): Promise<void> {
  const rows = await session.rows<{ fq_name: string }>(
    `SELECT DISTINCT ${utf8('fq_name')} COLLATE utf8mb4_bin AS fq_name FROM ndbinfo.memory_per_fragment WHERE type NOT LIKE '%index%'`,
  )
  const disk = await session.rows<{ type: number; name: string }>(
    `SELECT type, ${utf8('fq_name')} AS name FROM ndbinfo.dict_obj_info WHERE type IN (20, 21)`,
  )
  content.disk = {
    tablespaces: disk.filter((row) => Number(row.type) === 20).map((row) => row.name),
    logFileGroups: disk.filter((row) => Number(row.type) === 21).map((row) => row.name),
  }
  for (const table of rows.map((row) => named(row.fq_name)).filter(isUserTable))
    add(content, table.database, { name: table.name, kind: 'NDB table' })
}

async function lookInServer(session: Session, content: Content): Promise<void> {
  const rows = await session.rows<{ db: string; name: string; kind: Thing['kind'] }>(
    `SELECT table_schema AS db, table_name AS name, IF(table_type = 'VIEW', 'view', IF(LOWER(engine) = 'ndbcluster', 'NDB table', 'table')) AS kind FROM information_schema.tables WHERE table_schema NOT IN (?)
     UNION ALL SELECT routine_schema, routine_name, 'routine' FROM information_schema.routines WHERE routine_schema NOT IN (?)
     UNION ALL SELECT event_schema, event_name, 'event' FROM information_schema.events WHERE event_schema NOT IN (?)`,
    [systemDatabases, systemDatabases, systemDatabases],
  )
  for (const { db, name, kind } of rows) add(content, db, { name, kind })
}

function add(content: Content, database: string, thing: Thing): void {
  if (systemDatabases.includes(database) || leftOut.includes(database)) return
  const things = content.databases.get(database) ?? []
  if (!things.some((one) => one.name === thing.name && one.kind === thing.kind))
    content.databases.set(database, [...things, thing])
}

interface Guard {
  content: Content
  /** What an unfinished run of this request was going to make. */
  ours: Creates | undefined
  overwrite: boolean
  markers: Marker[]
}

/**
 * Pure: what the restore may not touch but would have to. Empty target: nothing. With `overwrite`: what it replaces is allowed, the rest
 * stays untouched beside it. After a crash of this request: what its marker lists is ours, anything else in those databases is foreign.
 */
export function foreign({ content, ours, overwrite, markers }: Guard): string[] {
  if (overwrite) return []
  const isOurs = (database: string, thing: Thing) =>
    isTable(thing) ? ours?.tables.includes(`${database}.${thing.name}`) : ours?.objects.includes(database)
  const found: string[] = []
  for (const [database, things] of content.databases) {
    const others = things.filter((thing) => !isOurs(database, thing))
    if (others.length === 0) continue
    const names = others.slice(0, 3).map((thing) => thing.name)
    found.push(
      `database ${database} (${others.length} ${others.length === 1 ? 'object' : 'objects'}: ${names.join(', ')}${others.length > 3 ? ', …' : ''})`,
    )
  }
  const other = markers.find(isUnfinished)
  if (found.length > 0 && other && !ours) found.push(`an unfinished restore of backup ${other.backupId}`)
  return found
}

function isTable({ kind }: Thing): boolean {
  return kind === 'NDB table' || kind === 'table'
}

/**
 * Pure. Whole databases go as a whole, unless tables in them are not NDB and not in the backup: nothing would bring those back, so
 * only the NDB tables go. Of databases that do not come back as a whole only the tables that do.
 */
export function clearsOf(content: Content, creates: Creates): Clears {
  const clears: Clears = { databases: [], tables: [], stays: [] }
  for (const [database, things] of content.databases) {
    const names = (kind: Thing['kind']) =>
      things.filter((thing) => thing.kind === kind).map((thing) => `${database}.${thing.name}`)
    const irreplaceable = names('table').filter((table) => !creates.tables.includes(table))
    const whole = creates.databases.includes(database)
    if (whole && irreplaceable.length === 0) clears.databases.push(database)
    else clears.tables.push(...names('NDB table').filter((table) => whole || creates.tables.includes(table)))
    if (whole) clears.stays.push(...irreplaceable)
  }
  return clears
}
