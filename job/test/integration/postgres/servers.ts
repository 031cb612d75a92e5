import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import pg from 'pg'
import type { Server } from '../../servers/kit.ts'
import { secrets } from '../harness.ts'

/** Runs SQL as the superuser; rows of the last statement. */
export async function sql<Row = Record<string, unknown>>(
  server: Server,
  text: string,
  database = 'postgres',
): Promise<Row[]> {
  const client = new pg.Client({ ...loginOf(server), database })
  await client.connect()
  try {
    const result = await client.query(text)
    return ((Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? []) as Row[]
  } finally {
    await client.end()
  }
}

export function loginOf({ host, port, user, password, caFile }: Server) {
  return { host, port, user, password, ssl: caFile ? { ca: readFileSync(caFile, 'utf8') } : false }
}

/** A client of the server's release, logged in. */
export function client(server: Server, program: string, args: string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const { host, port, user, password, caFile } = server
    const tls = caFile ? { PGSSLMODE: 'verify-full', PGSSLROOTCERT: caFile } : {}
    const child = spawn(`${server.clients}/${program}`, args, {
      env: { ...process.env, PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, ...tls },
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    child.on('close', (code) => (code === 0 ? resolve(stdout) : reject(new Error(`${program} ${args}: ${stderr}`))))
    child.stdin.end(input)
  })
}

/** The superuser that the job uses; its password is one of the secrets. */
export async function prepare(server: Server): Promise<void> {
  await sql(server, `CREATE ROLE hf SUPERUSER LOGIN PASSWORD '${secrets.database}'`)
}

export function connection(server: Server, more: Record<string, unknown> = {}) {
  const { host, port, clients, caFile } = server
  const tls = caFile ? { ca: { secret: 'pg-ca' } } : { mode: 'disabled' }
  return { host, port, clients, credentials: { secret: 'db' }, tls, ...more }
}

/** Everything there is to say about a database: structure as pg_dump writes it, and a hash of each table's rows. */
export async function describeDatabase(server: Server, database: string): Promise<Record<string, string>> {
  const dumped = await client(server, 'pg_dump', [
    '--schema-only',
    '--create',
    '-N',
    'holdfast',
    '-d',
    `dbname='${database}'`,
  ])
  const said: Record<string, string> = { schema: plain(dumped) }
  const tables = await sql<{ name: string }>(
    server,
    `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'holdfast')
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`,
    database,
  )
  const hash = (name: string) =>
    `SELECT ${quotedText(name)} AS name, count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\n' ORDER BY t::text)), '') AS h FROM ONLY ${name} t`
  const hashes = await sql<{ name: string; h: string }>(
    server,
    tables.map(({ name }) => hash(name)).join(' UNION ALL ') || 'SELECT 1 WHERE false',
    database,
  )
  for (const { name, h } of hashes) said[name] = h
  for (const [what, query] of Object.entries(others)) {
    const rows = await sql(server, query, database)
    said[what] = JSON.stringify(rows)
  }
  return said
}

const others = {
  sequences:
    "SELECT schemaname, sequencename, last_value FROM pg_sequences WHERE schemaname !~ 'timescale' ORDER BY 1, 2",
  largeObjects: `SELECT m.oid, pg_get_userbyid(lomowner) AS owner, lomacl::text, md5(lo_get(m.oid)) AS bytes, obj_description(m.oid, 'pg_largeobject')
                   FROM pg_largeobject_metadata m ORDER BY 1`,
  settings: `SELECT coalesce(r.rolname, '') AS role, s.setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
               LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE d.datname = current_database() ORDER BY 1`,
}

/** Without what no two dumps have in common. */
export function plain(dump: string): string {
  return dump.replaceAll(/^\\(un)?restrict .*\n/gm, '').replaceAll(/^-- Dumped .*\n/gm, '')
}

export async function describeRoles(server: Server): Promise<string> {
  return plain(await client(server, 'pg_dumpall', ['--globals-only']))
    .split('\n')
    .filter((line) => !/^(CREATE|ALTER) ROLE (hf|postgres)\b|^--|^$/.test(line))
    .sort()
    .join('\n')
}

export async function dropAll(server: Server): Promise<void> {
  for (const { name } of await sql<{ name: string }>(
    server,
    "SELECT datname AS name FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')",
  )) {
    await sql(server, 'ALTER SUBSCRIPTION far DISABLE', name).catch(() => {})
    await sql(server, 'ALTER SUBSCRIPTION far SET (slot_name = NONE)', name).catch(() => {})
    await sql(server, 'DROP SUBSCRIPTION IF EXISTS far', name)
    await sql(server, `DROP DATABASE ${quoted(name)} WITH (FORCE)`)
  }
  await sql(server, 'DROP SCHEMA IF EXISTS holdfast CASCADE')
  for (const { name } of await sql<{ name: string }>(
    server,
    "SELECT spcname AS name FROM pg_tablespace WHERE spcname !~ '^pg_'",
  ))
    await sql(server, `DROP TABLESPACE "${name}"`)
  for (const { name } of await sql<{ name: string }>(
    server,
    "SELECT quote_ident(rolname) AS name FROM pg_roles WHERE rolname !~ '^pg_' AND rolname NOT IN ('postgres', 'hf')",
  ))
    await sql(server, `DROP OWNED BY ${name} CASCADE; DROP ROLE ${name}`)
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function quotedText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
