import { Readable } from 'node:stream'
import { client } from '../../io/clients.ts'
import { type Login, open, optionFile, quoteName } from '../../io/mysql.ts'
import { output } from '../../io/process.ts'
import { dumpAccounts } from './accounts.ts'
import type { Source } from './values.ts'

export interface Dump {
  login: Login
  source: Source
  signal: AbortSignal
}

const completed = /-- Dump completed.*\s*$/

/** users.sql as a stream that errors when the server fails. */
export function usersSql({ login, signal }: Dump): Readable {
  return Readable.from(users(login, signal), { objectMode: false })
}

async function* users(login: Login, signal: AbortSignal): AsyncGenerator<string> {
  const session = await open(login, { signal })
  try {
    yield* dumpAccounts(session)
  } finally {
    session.close()
  }
}

/** databases.sql: databases, tables, views, routines, triggers and events, no rows. */
export function databasesSql(dump: Dump, databases: string[]): Readable {
  if (databases.length === 0) return Readable.from(['-- no databases\n-- Dump completed\n'], { objectMode: false })
  return mysqldump(dump, [
    '--no-data',
    '--skip-add-drop-table',
    '--routines',
    '--events',
    '--triggers',
    '--skip-lock-tables',
    '--databases',
    // a database may be named like an option
    '--',
    ...databases,
  ])
}

/** local-tables.sql: structure and rows of tables that are not NDB, database by database. */
export function localTablesSql(dump: Dump, tables: { database: string; name: string }[]): Readable {
  return Readable.from(local(dump, tables), { objectMode: false })
}

async function* local(dump: Dump, tables: { database: string; name: string }[]): AsyncGenerator<Buffer | string> {
  for (const [database, group] of Object.entries(Object.groupBy(tables, (table) => table.database))) {
    yield `\nUSE ${quoteName(database)};\n`
    const names = (group ?? []).map((table) => table.name)
    for await (const chunk of mysqldump(dump, [
      '--single-transaction',
      '--quick',
      '--hex-blob',
      '--triggers',
      '--skip-add-locks',
      '--',
      database,
      ...names,
    ])) {
      yield chunk as Buffer
    }
  }
}

/** Options come by a pipe: the password is in no file and in no argument. */
function mysqldump({ login, source, signal }: Dump, args: string[]): Readable {
  const { ca, cert, key } = login.tls
  const files = Object.entries({ 'ssl-ca': ca, 'ssl-cert': cert, 'ssl-key': key }).filter(
    (file): file is [string, string] => file[1] !== undefined,
  )
  const certificates = Object.fromEntries(files.map(([option], i) => [option, `/dev/fd/${i + 4}`]))
  return output(
    {
      file: client('mysqldump', source.clients),
      // GTIDs in a dump make its replay fail with error 3546
      args: [
        '--defaults-extra-file=/dev/fd/3',
        '--set-gtid-purged=OFF',
        '--no-tablespaces',
        '--default-character-set=utf8mb4',
        ...args,
      ],
      signal,
      files: [optionFile(login, certificates), ...files.map(([, text]) => text)],
    },
    completed,
  )
}
