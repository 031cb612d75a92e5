import type { TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { Login } from '../../io/connection.ts'
import { contentsOf, type DatabaseRow, type ExtensionRow, extensionsOf } from './catalog.ts'
import { quoteName, type Session, withSession } from './server.ts'
import type { Place } from './target.ts'
import { timescaledb } from './timescale.ts'
import { ownSchema, type Target } from './values.ts'

/** What is there of the databases that a restore would fill, by their names in the target. */
export type Seen = Map<string, { row: DatabaseRow; extensions: ExtensionRow[]; contents: string | undefined }>

interface Looking {
  login: Login
  names: string[]
  existing: DatabaseRow[]
  run: TargetRun
}

/** `contents`: in words, `12 tables, 3 routines`; undefined when nothing is in it. */
export async function look({ login, names, existing, run }: Looking): Promise<Seen> {
  const seen: Seen = new Map()
  for (const row of existing.filter((one) => names.includes(one.name))) {
    if (!row.connectable) {
      seen.set(row.name, { row, extensions: [], contents: 'closed to connections' })
      continue
    }
    const found = await withSession(
      login,
      row.name,
      async (session) => ({ extensions: await extensionsOf(session), counts: await contentsOf(session) }),
      run,
    )
    const words = Object.entries(found.counts).map(([kind, count]) => `${count} ${kind}`)
    seen.set(row.name, { row, extensions: found.extensions, contents: words.length > 0 ? words.join(', ') : undefined })
  }
  return seen
}

interface Comparing {
  login: Login
  places: Place[]
  seen: Seen
  run: TargetRun
}

/** What the backup needs must be installed beside the target; TimescaleDB in the very version, for its catalog comes back as it was. */
export async function checkExtensions({ login, places, seen, run }: Comparing): Promise<void> {
  const available = await withSession(
    login,
    (run.target as Target).database,
    (session) =>
      session.rows<{ name: string; version: string }>('SELECT name, version FROM pg_available_extension_versions'),
    run,
  )
  for (const { facts, name, inPlace } of places) {
    for (const extension of facts.extensions) {
      const versions = available.filter((one) => one.name === extension.name).map((one) => one.version)
      if (versions.length === 0) throw absent(extension, login)
      const exact = versions.includes(extension.version)
      const there = inPlace ? seen.get(name)?.extensions.find((one) => one.name === extension.name) : undefined
      if (extension.name === timescaledb)
        refuseOther({ extension, versions, there: there?.version, database: name, login })
      else if (!exact)
        run.warn(
          `extension ${extension.name} of database ${name} was ${extension.version}, the target has ${versions.join(', ')}`,
        )
    }
  }
}

function absent({ name, version }: ExtensionRow, { server }: Login): JobError {
  return new JobError('server', `the target ${server} has no extension ${name}, the backup needs version ${version}`, {
    hint: `install it on the target's machine`,
  })
}

interface Versions {
  extension: ExtensionRow
  versions: string[]
  there: string | undefined
  database: string
  login: Login
}

function refuseOther({ extension: { version }, versions, there, database, login }: Versions): void {
  if (!versions.includes(version))
    throw new JobError(
      'server',
      `the backup was made with TimescaleDB ${version}, the target ${login.server} has ${versions.join(', ')}`,
      {
        hint: `install TimescaleDB ${version} on the target, restore, and update then: ALTER EXTENSION timescaledb UPDATE`,
      },
    )
  if (there !== undefined && there !== version)
    throw new JobError('server', `database ${database} has TimescaleDB ${there}, the backup was made with ${version}`, {
      hint: `DROP EXTENSION timescaledb in the empty database ${database}, or drop the database`,
    })
}

interface Dropping {
  login: Login
  /** Where to be logged in meanwhile. */
  from: string
  name: string
  run: TargetRun
}

/** Drops a database, whoever is connected to it. */
export async function drop({ login, from, name, run }: Dropping): Promise<void> {
  const [row] = await withSession(
    login,
    from,
    (session) =>
      session.rows<{ template: boolean; connectable: boolean }>(
        'SELECT datistemplate AS template, datallowconn AS connectable FROM pg_database WHERE datname = $1',
        [name],
      ),
    run,
  )
  if (row?.connectable) await withSession(login, name, dropSubscriptions, run)
  await withSession(
    login,
    from,
    async (session) => {
      if (row?.template) await session.execute(`ALTER DATABASE ${quoteName(name)} IS_TEMPLATE false`)
      await session.execute(`DROP DATABASE IF EXISTS ${quoteName(name)} WITH (FORCE)`)
    },
    run,
  )
}

/** A database that has some cannot be dropped. Their slots at the other end stay: the restored subscriptions name them again. */
async function dropSubscriptions(session: Session): Promise<void> {
  const rows = await session.rows<{ name: string }>(
    'SELECT quote_ident(subname) AS name FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())',
  )
  for (const { name } of rows) {
    await session.execute(`ALTER SUBSCRIPTION ${name} DISABLE`)
    await session.execute(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`)
    await session.execute(`DROP SUBSCRIPTION ${name}`)
  }
}

/** All that a dump could have brought, but our own schema. Extensions go last but one: others may depend on them. */
const leftovers = `
DO $$ DECLARE one text; BEGIN
  FOR one IN SELECT format('EVENT TRIGGER %I', evtname) FROM pg_event_trigger e
              WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
             UNION ALL SELECT format('PUBLICATION %I', pubname) FROM pg_publication
             UNION ALL SELECT format('EXTENSION %I CASCADE', extname) FROM pg_extension WHERE extname = '${timescaledb}'
             UNION ALL SELECT format('SCHEMA %I CASCADE', nspname) FROM pg_namespace n
              WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '${ownSchema}') AND nspname !~ '^_?timescaledb_'
             UNION ALL SELECT format('EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_extension WHERE extname NOT IN ('plpgsql', '${timescaledb}')
             UNION ALL SELECT format('FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', fdwname) FROM pg_foreign_data_wrapper
  LOOP EXECUTE 'DROP ' || one; END LOOP;
  PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
  CREATE SCHEMA public;
  GRANT USAGE ON SCHEMA public TO PUBLIC;
  IF current_setting('server_version_num')::int >= 150000 THEN ALTER SCHEMA public OWNER TO pg_database_owner;
  ELSE GRANT CREATE ON SCHEMA public TO PUBLIC; END IF;
  COMMENT ON SCHEMA public IS 'standard public schema';
END $$`

/** Empties a database that stays. */
export async function empty(session: Session, name: string): Promise<void> {
  await session.execute(`ALTER DATABASE ${quoteName(name)} RESET ${timescaledb}.restoring`).catch(() => {})
  await dropSubscriptions(session)
  await session.execute(leftovers, `emptying database ${name}`)
  const rest = Object.keys(await contentsOf(session))
  if (rest.length === 0) return
  throw new JobError('server', `database ${name} still has ${rest.join(', ')} after it was emptied`, {
    hint: 'drop them by hand, and run the restore again',
  })
}
