import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { type Row, SqlFault, startWire } from './postgres-wire.ts'

/** Tables of one database: `schema.name` and how many rows each has. */
export type Databases = Record<string, Record<string, number>>

export interface Cockroach {
  port: number
  databases: Databases
  /** What it held at earlier times, oldest first: in backups with their history. */
  past: { time: string; databases: Databases }[]
  /** All statements, with what came in parameters. */
  said: { sql: string; values: (string | null)[] }[]
  connections: Map<string, string>
  users: string[]
  /** What goes wrong from now on. */
  trouble:
    | 'none'
    | 'no job'
    | 'job fails'
    | 'job hangs'
    | 'job is paused'
    | 'nothing is written'
    | 'written elsewhere'
    | 'no privilege'
    | 'rows are lost'
    | 'restore dies'
  /** Called before a statement is answered. */
  onStatement(sql: string): void
  version: string
  close(): Promise<void>
}

interface Saved {
  databases: Databases
  users: string[]
  passphrase: string | null
  end: string
  past: Cockroach['past'] | undefined
}

/** Groups of the pattern that a statement matched. */
type Found = (string | undefined)[]

interface Job {
  status: string
  error: string | null
  asked: number
}

/**
 * Answers as CockroachDB does to the statements of backups and restores, as its documentation shows them, and really writes and reads
 * a bucket. What it holds is the number of rows of each table.
 */
export async function startCockroach(password: string): Promise<Cockroach> {
  const jobs = new Map<string, Job>()
  const markers = new Map<string, Row>()
  const state: Omit<Cockroach, 'port' | 'close'> = {
    databases: { defaultdb: {}, postgres: {} },
    past: [],
    onStatement: () => {},
    said: [],
    connections: new Map(),
    users: ['root'],
    trouble: 'none',
    version: 'CockroachDB CCL v23.2.4 (x86_64-pc-linux-gnu, built 2024/04/08, go1.21.5)',
  }

  type Handler = (found: Found, values: (string | null)[]) => Row[] | Promise<Row[]>
  const handlers: [RegExp, Handler][] = [
    [/^SELECT version\(\)/, () => [{ version: state.version }]],
    [
      /^SELECT database_name FROM \[SHOW DATABASES\] WHERE/,
      () => ('holdfast' in state.databases ? [{ database_name: 'holdfast' }] : []),
    ],
    [
      /^SELECT database_name AS name FROM \[SHOW DATABASES\]/,
      () => ['system', ...Object.keys(state.databases)].map((name) => ({ name })),
    ],
    [
      /\[SHOW TABLES FROM "(.+?)"\]/,
      ([database = '']) =>
        Object.keys(state.databases[database] ?? {}).map((table) => {
          const [schema = '', name = ''] = table.split('.')
          return { schema, name }
        }),
    ],
    [
      /^CREATE EXTERNAL CONNECTION (\w+) AS \$1$/,
      ([name = ''], [url]) => {
        if (state.trouble === 'no privilege') throw new SqlFault('42501', 'must have EXTERNALCONNECTION privilege')
        state.connections.set(name, url ?? '')
        return []
      },
    ],
    [
      /^DROP EXTERNAL CONNECTION (\w+)$/,
      ([name = '']) => {
        if (!state.connections.delete(name))
          throw new SqlFault('42704', `external connection with name ${name} not found`)
        return []
      },
    ],
    [/^BACKUP (.*?)INTO 'external:\/\/(.+?)' AS OF SYSTEM TIME '-\d+s' WITH (.+)$/, backup],
    [/^RESTORE (.+) FROM LATEST IN 'external:\/\/(.+?)'(?: AS OF SYSTEM TIME '(.+?)')? WITH (.+)$/, restore],
    [/^SHOW BACKUP FROM LATEST IN 'external:\/\/(.+?)' WITH (.+)$/, show],
    [/FROM \[SHOW JOB (\d+)\]$/, ([id = '']) => [jobState(id)]],
    [
      /^CANCEL JOB (\d+)$/,
      ([id = '']) => {
        Object.assign(jobs.get(id) ?? {}, { status: 'canceled' })
        return []
      },
    ],
    [
      /^CREATE DATABASE IF NOT EXISTS "?(\w+)"?$/,
      ([name = '']) => {
        state.databases[name] ??= {}
        return []
      },
    ],
    [
      /^DROP DATABASE "(.+)" CASCADE$/,
      ([name = '']) => {
        delete state.databases[name]
        return []
      },
    ],
    [
      /^DROP TABLE "(.+)"\."(.+)"\."(.+)" CASCADE$/,
      ([database = '', schema, name]) => {
        delete state.databases[database]?.[`${schema}.${name}`]
        return []
      },
    ],
    [/^CREATE TABLE IF NOT EXISTS holdfast/, () => []],
    [
      /^UPSERT INTO holdfast/,
      (_, [request = '', backup_id = '', plan = '', marked = '', creates = '']) => {
        markers.set(String(request), { request, backup_id, plan, state: marked, creates })
        return []
      },
    ],
    [
      /^DELETE FROM holdfast.*request <> \$1$/,
      (_, [request]) => {
        for (const key of markers.keys()) if (key !== request) markers.delete(key)
        return []
      },
    ],
    [/^SELECT request.* FROM holdfast/, () => [...markers.values()]],
    [
      /^SELECT count\(\*\) AS n FROM "(.+)"\."(.+)"\."(.+)"$/,
      ([database = '', schema, name]) => {
        const n = state.databases[database]?.[`${schema}.${name}`]
        if (n === undefined) throw new SqlFault('42P01', `relation "${name}" does not exist`)
        return [{ n }]
      },
    ],
  ]

  async function answer(sql: string, values: (string | null)[]): Promise<Row[]> {
    state.said.push({ sql, values })
    state.onStatement(sql)
    for (const [pattern, handler] of handlers) {
      const found = pattern.exec(sql)
      if (found) return handler(found.slice(1), values)
    }
    throw new SqlFault('42601', `at or near "${sql.slice(0, 40)}": syntax error`)
  }

  function job(status: string, error: string | null = null): Row[] {
    const id = String(900_000_000_000_000_000n + BigInt(jobs.size))
    jobs.set(id, { status, error, asked: 0 })
    return [{ job_id: id }]
  }

  function jobState(id: string): Row {
    const found = jobs.get(id)
    if (!found) throw new SqlFault('22023', `job with ID ${id} does not exist`)
    const running = found.status === 'hanging' || (found.status === 'succeeded' && found.asked++ === 0)
    return { status: running ? 'running' : found.status, fraction: running ? 0.5 : 1, error: found.error }
  }

  async function backup([what = '', connection = '', options = '']: Found, [passphrase = null]: (string | null)[]) {
    if (state.trouble === 'no job') return []
    if (state.trouble === 'job is paused') return job('paused')
    if (state.trouble === 'job fails') return job('failed', 'AccessDenied: no')
    if (state.trouble === 'job hangs') return job('hanging')
    if (state.trouble === 'nothing is written') return job('succeeded')
    const names = [...what.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name)
    const chosen = Object.entries(state.databases).filter(
      ([name]) => name !== 'holdfast' && (what === '' || names.includes(name)),
    )
    const tables = what.startsWith('TABLE')
      ? ([, all]: [string, Record<string, number>]) =>
          Object.fromEntries(
            Object.entries(all).filter(([table]) => table.split('.').every((part) => names.includes(part))),
          )
      : undefined
    const databases = Object.fromEntries(chosen.map((entry) => [entry[0], tables ? tables(entry) : { ...entry[1] }]))
    const saved: Saved = {
      databases,
      users: [...state.users],
      passphrase: options.includes('encryption_passphrase') ? passphrase : null,
      end: '2026-11-21 15:00:00.123456+00',
      past: options.includes('revision_history') ? state.past : undefined,
    }
    const folder = '2026/11/21-150000.12'
    const bucket = bucketOf(connection)
    await bucket.put(`${folder}/data/1.sst`, 'x'.repeat(50_000))
    await bucket.put(`${folder}/data/2.sst`, '')
    await bucket.put(`${folder}/BACKUP_MANIFEST`, JSON.stringify(saved))
    await bucket.put('metadata/latest/LATEST-0001', folder)
    return job('succeeded')
  }

  function bucketOf(connection = '') {
    return bucketAt(state.connections.get(connection), state.trouble === 'written elsewhere' ? 'elsewhere/' : '')
  }

  async function latest(connection: string, options: string, passphrase: string | null): Promise<Saved> {
    const bucket = bucketOf(connection)
    const folder = await bucket.get('metadata/latest/LATEST-0001').catch(() => undefined)
    if (folder === undefined) throw new SqlFault('58030', 'path does not contain a completed latest backup')
    const saved = JSON.parse(await bucket.get(`${folder}/BACKUP_MANIFEST`)) as Saved
    if ((options.includes('encryption_passphrase') ? passphrase : null) === saved.passphrase) return saved
    throw new SqlFault('22023', 'failed to decrypt -- maybe incorrect key: cipher: message authentication failed')
  }

  /** What was saved, as it was at a time. */
  function at(saved: Saved, time: string | undefined): Saved {
    if (time === undefined) return saved
    const then = saved.past?.findLast((one) => Date.parse(one.time) <= Date.parse(time))
    if (then) return { ...saved, databases: then.databases }
    throw new SqlFault('22023', 'invalid RESTORE timestamp: restoring to arbitrary time requires revision_history')
  }

  async function restore(
    [what = '', connection = '', time, options = '']: Found,
    [passphrase = null]: (string | null)[],
  ) {
    const saved = at(await latest(connection, options, passphrase), time)
    if (what === 'SYSTEM USERS') {
      state.users = [...new Set([...state.users, ...saved.users])]
      return job('succeeded')
    }
    for (const list of what.replace(/^\w+ /, '').split(', ')) {
      const [database = '', schema, name] = list.split('.').map((part) => part.slice(1, -1))
      if (name !== undefined)
        Object.assign(state.databases[database] ?? {}, {
          [`${schema}.${name}`]: saved.databases[database]?.[`${schema}.${name}`] ?? 0,
        })
      else if (database in state.databases) throw new SqlFault('42P04', `database "${database}" already exists`)
      else state.databases[database] = { ...saved.databases[database] }
      if (state.trouble === 'rows are lost')
        for (const table of Object.keys(state.databases[database] ?? {}))
          Object.assign(state.databases[database] ?? {}, { [table]: 1 })
      if (state.trouble === 'restore dies') return job('failed', 'node unavailable')
    }
    return job('succeeded')
  }

  async function show([connection = '', options = '']: Found, [passphrase = null]: (string | null)[]): Promise<Row[]> {
    const { databases, end } = await latest(connection, options, passphrase)
    const shown = (
      database: string | null,
      schema: string | null,
      name: string,
      type: string,
      rows: number | null,
    ): Row => ({
      database_name: database,
      parent_schema_name: schema,
      object_name: name,
      object_type: type,
      end_time: end,
      rows,
    })
    const system = [shown(null, null, 'system', 'database', null), shown('system', 'public', 'users', 'table', 3)]
    return [
      ...system,
      ...Object.entries(databases).flatMap(([database, tables]) => [
        shown(null, null, database, 'database', null),
        ...Object.entries(tables).map(([table, rows]) => {
          const [schema = '', name = ''] = table.split('.')
          return shown(database, schema, name, 'table', rows)
        }),
      ]),
    ]
  }

  const wire = await startWire({ password, answer })
  return Object.assign(state, wire)
}

/** The bucket behind a URL as CockroachDB takes it. */
function bucketAt(text = '', before = '') {
  const url = new URL(text)
  const option = (name: string) => url.searchParams.get(name) ?? undefined
  const endpoint = option('AWS_ENDPOINT')
  const client = new S3Client({
    ...(endpoint ? { endpoint } : {}),
    region: option('AWS_REGION') ?? 'us-east-1',
    forcePathStyle: option('AWS_USE_PATH_STYLE') === 'true',
    credentials: {
      accessKeyId: option('AWS_ACCESS_KEY_ID') ?? '',
      secretAccessKey: option('AWS_SECRET_ACCESS_KEY') ?? '',
    },
  })
  const Bucket = url.host
  const at = (key: string) => `${before}${decodeURIComponent(url.pathname.slice(1))}/${key}`
  return {
    put: (key: string, Body: string) => client.send(new PutObjectCommand({ Bucket, Key: at(key), Body })),
    get: async (key: string) =>
      (await (await client.send(new GetObjectCommand({ Bucket, Key: at(key) }))).Body?.transformToString()) ?? '',
  }
}
