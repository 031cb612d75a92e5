import { z } from 'zod'
import type { Session } from '../../io/mysql.ts'
import type { Selection } from './selection.ts'
import { keyOf } from './tables.ts'
import { systemDatabases } from './values.ts'

export interface Thing {
  database: string
  name: string
  kind: 'table' | 'view' | 'routine' | 'event'
}

export interface Content {
  databases: string[]
  things: Thing[]
}

/** What a restore is going to make, as the marker keeps it: after a crash only this may be dropped. */
export const Creates = z.object({
  /** Databases that are dropped and made as a whole. */
  databases: z.array(z.string()),
  /** Databases whose views, routines and events are made: the whole ones, and those that some tables are left out of. */
  objects: z.array(z.string()),
  /** Tables, `database.table`. */
  tables: z.array(z.string()),
  /** Accounts, `user@host`: known once the restore looks at them. */
  accounts: z.array(z.string()).default([]),
})
export type Creates = z.infer<typeof Creates>

export async function look(session: Session): Promise<Content> {
  const databases = await session.rows<{ name: string }>(
    'SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name NOT IN (?)',
    [systemDatabases],
  )
  const things = await session.rows<Thing>(
    `SELECT table_schema AS \`database\`, table_name AS name, IF(table_type LIKE '%VIEW', 'view', 'table') AS kind FROM information_schema.tables WHERE table_schema NOT IN (?)
     UNION ALL SELECT routine_schema, routine_name, 'routine' FROM information_schema.routines WHERE routine_schema NOT IN (?)
     UNION ALL SELECT event_schema, event_name, 'event' FROM information_schema.events WHERE event_schema NOT IN (?)`,
    [systemDatabases, systemDatabases, systemDatabases],
  )
  return { databases: databases.map((row) => row.name), things }
}

interface Guard {
  content: Content
  creates: Creates
  unfinished: boolean
  overwrite: boolean
}

/**
 * Pure: what the restore may not touch but would have to. Other databases of the server are none of its business. After a crash of
 * this request, what its marker lists is ours.
 */
export function foreign({ content, creates, unfinished, overwrite }: Guard): string[] {
  if (overwrite) return []
  const inTheWay = content.things.filter((thing) => touches(thing, creates) && !(unfinished && isOurs(thing, creates)))
  return [...Map.groupBy(inTheWay, (thing) => thing.database)].map(([database, things]) => {
    const names = things.slice(0, 3).map((thing) => thing.name)
    const count = `${things.length} ${things.length === 1 ? 'object' : 'objects'}`
    return `database ${database} (${count}: ${names.join(', ')}${things.length > 3 ? ', …' : ''})`
  })
}

function touches(thing: Thing, creates: Creates): boolean {
  return creates.objects.includes(thing.database) || creates.tables.includes(keyOf(thing))
}

/** In a database that comes with its views, a table of the same name may be a placeholder of one that was not finished. */
function isOurs(thing: Thing, creates: Creates): boolean {
  return thing.kind === 'table' ? creates.tables.includes(keyOf(thing)) : creates.objects.includes(thing.database)
}

/** What has to go first: after a crash, or with `overwrite`. */
export interface Clears {
  databases: string[]
  things: Thing[]
}

/** Pure. Whole databases go as a whole, empty ones too, since they come back with their character set; of others only what comes back. */
export function clearsOf({ databases, things }: Content, creates: Creates): Clears {
  const whole = (database: string) => creates.databases.includes(database)
  const comes = (thing: Thing) =>
    thing.kind === 'table' ? creates.tables.includes(keyOf(thing)) : creates.objects.includes(thing.database)
  return {
    databases: databases.filter(whole),
    things: things.filter((thing) => !whole(thing.database) && comes(thing)),
  }
}

export function createsOf({ whole, objects, tables }: Selection<{ database: string; name: string }>): Creates {
  return { databases: whole, objects, tables: tables.map(keyOf), accounts: [] }
}
