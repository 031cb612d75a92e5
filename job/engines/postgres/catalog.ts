import type { Session } from './server.ts'
import { ownSchema } from './values.ts'

/** What is in a server and its databases, by their catalogs. */

export interface DatabaseRow {
  name: string
  owner: string
  encoding: string
  collate: string
  ctype: string
  provider: string
  /** Locale of ICU or of the builtin provider. */
  locale: string | null
  connectable: boolean
  template: boolean
}

export interface ServerRow {
  /** `17.12`. */
  version: string
  major: number
  superuser: boolean
  createDb: boolean
  createRole: boolean
  standby: boolean
}

export async function lookAtServer(session: Session): Promise<ServerRow> {
  const [row] = await session.rows<ServerRow & { number: number }>(
    `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
            rolsuper AS superuser, rolcreatedb OR rolsuper AS "createDb", rolcreaterole OR rolsuper AS "createRole",
            pg_is_in_recovery() AS standby
       FROM pg_roles WHERE rolname = current_user`,
  )
  const { number, ...server } = row as ServerRow & { number: number }
  return { ...server, version: server.version.split(' ')[0] ?? '', major: Math.floor(number / 10_000) }
}

/** All databases but template0. */
export async function databasesOf(session: Session, major: number): Promise<DatabaseRow[]> {
  const locale = major >= 17 ? 'datlocale' : major >= 15 ? 'daticulocale' : 'NULL'
  const provider = major >= 15 ? 'datlocprovider' : "'c'"
  return session.rows<DatabaseRow>(
    `SELECT datname AS name, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding,
            datcollate AS collate, datctype AS ctype, ${provider}::text AS provider, ${locale}::text AS locale,
            datallowconn AS connectable, datistemplate AS template
       FROM pg_database WHERE datname <> 'template0' ORDER BY datname`,
  )
}

export interface TableRow {
  oid: string
  schema: string
  name: string
  /** Of the rows, with what is stored beside them. */
  bytes: number
  /** Changes when the table is emptied or rewritten. */
  file: string
}

/** What belongs to an extension comes back with it; only its configuration tables have rows that count. */
const notOfExtension = (id: string, catalog: string) =>
  `NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = '${catalog}'::regclass AND d.objid = ${id} AND d.deptype = 'e')`

const userSchemas = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '${ownSchema}')`

/** Tables with rows of their own: partitions yes, partitioned and foreign tables no. */
export async function tablesOf(session: Session): Promise<TableRow[]> {
  const rows = await session.rows<TableRow & { bytes: string }>(
    `SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS name, pg_table_size(c.oid)::text AS bytes,
            c.relfilenode::text AS file
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND ${userSchemas} AND ${notOfExtension('c.oid', 'pg_class')}
      ORDER BY c.oid`,
  )
  return rows.map((row) => ({ ...row, bytes: Number(row.bytes ?? 0) }))
}

export interface ExtensionRow {
  name: string
  version: string
  schema: string
}

export async function extensionsOf(session: Session): Promise<ExtensionRow[]> {
  return session.rows<ExtensionRow>(
    `SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema
       FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname`,
  )
}

/** What of a database the account may not read, as a person would name it. */
export async function unreadable(session: Session): Promise<string[]> {
  const rows = await session.rows<{ what: string }>(
    `WITH mine AS (
       SELECT c.oid, c.relkind, n.oid AS schema, format('%I.%I', n.nspname, c.relname) AS name
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND ${userSchemas}
          AND (${notOfExtension('c.oid', 'pg_class')} OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension)))
     SELECT format('schema %s', nspname) AS what FROM pg_namespace n
      WHERE oid IN (SELECT schema FROM mine) AND NOT has_schema_privilege(oid, 'USAGE')
     UNION ALL SELECT format('table %s', name) FROM mine
      WHERE CASE WHEN relkind <> 'S' THEN NOT has_table_privilege(oid, 'SELECT') END
     UNION ALL SELECT format('sequence %s', name) FROM mine
      WHERE CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'SELECT') END
     UNION ALL SELECT format('large object %s', oid) FROM pg_largeobject_metadata m
      WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND NOT pg_has_role(lomowner, 'USAGE')
        AND NOT EXISTS (SELECT 1 FROM aclexplode(lomacl) a
                         WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))`,
  )
  return rows.map((row) => row.what)
}

/** Tables whose row security would leave rows out for this account. */
export async function hiddenRows(session: Session): Promise<string[]> {
  const rows = await session.rows<{ name: string }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND ${userSchemas} AND row_security_active(c.oid)`,
  )
  return rows.map((row) => row.name)
}

/** Things in a database that a restore would meet, counted by kind. Empty: nothing but what a new database has. */
export async function contentsOf(session: Session): Promise<Record<string, number>> {
  const rows = await session.rows<{ kind: string; n: number }>(
    `SELECT kind, count(*)::int AS n FROM (
       SELECT CASE c.relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'foreign tables'
                ELSE 'views' END AS kind
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'S', 'f', 'v', 'm') AND c.relpersistence <> 't' AND ${userSchemas}
          AND n.nspname !~ '^_?timescaledb_' AND ${notOfExtension('c.oid', 'pg_class')}
       UNION ALL SELECT 'routines' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE ${userSchemas} AND ${notOfExtension('p.oid', 'pg_proc')}
       UNION ALL SELECT 'types' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typtype IN ('d', 'e', 'r') AND ${userSchemas} AND ${notOfExtension('t.oid', 'pg_type')}
       UNION ALL SELECT 'schemas' FROM pg_namespace n
        WHERE ${userSchemas} AND n.nspname <> 'public' AND ${notOfExtension('n.oid', 'pg_namespace')}
       UNION ALL SELECT 'large objects' FROM pg_largeobject_metadata
       UNION ALL SELECT 'publications' FROM pg_publication
       UNION ALL SELECT 'event triggers' FROM pg_event_trigger e WHERE ${notOfExtension('e.oid', 'pg_event_trigger')}
     ) found GROUP BY kind ORDER BY kind = 'tables' DESC, kind`,
  )
  return Object.fromEntries(rows.map((row) => [row.kind, row.n]))
}

export async function largeObjectsOf(session: Session): Promise<number> {
  const [row] = await session.rows<{ n: number }>('SELECT count(*)::int AS n FROM pg_largeobject_metadata')
  return row?.n ?? 0
}

export async function roleNames(session: Session): Promise<Set<string>> {
  const rows = await session.rows<{ name: string }>('SELECT rolname AS name FROM pg_roles')
  return new Set(rows.map((row) => row.name))
}

export async function tablespaceNames(session: Session): Promise<Set<string>> {
  const rows = await session.rows<{ name: string }>('SELECT spcname AS name FROM pg_tablespace')
  return new Set(rows.map((row) => row.name))
}
