import type { ExternalPlace } from '../../engine.ts'
import type { Source, Target } from './values.ts'

/** Pure: SQL as CockroachDB 23.2 and later take it. What is secret goes into parameters. */

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** `database.schema.table` → its parts, quoted. */
export function quoteTable(name: string): string {
  return name.split('.').map(quoteName).join('.')
}

/** The URL that the nodes open the place with. Holds its credentials. */
export function placeUrl(place: ExternalPlace, { storageAccess, storageEndpoint }: Source | Target): string {
  const endpoint = storageEndpoint ?? place.endpoint
  const { credentials } = place
  const explicit = storageAccess === 'credentials' && credentials !== undefined
  const options = {
    ...(explicit
      ? {
          AUTH: 'specified',
          AWS_ACCESS_KEY_ID: credentials.accessKeyId,
          AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
          AWS_SESSION_TOKEN: credentials.sessionToken,
        }
      : { AUTH: 'implicit' }),
    AWS_ENDPOINT: endpoint,
    AWS_REGION: place.region,
    AWS_USE_PATH_STYLE: endpoint !== undefined && place.forcePathStyle ? 'true' : undefined,
    AWS_SERVER_ENC_MODE: place.sse,
    AWS_SERVER_KMS_ID: place.kmsKeyId,
    S3_STORAGE_CLASS: place.storageClass,
  }
  const query = Object.entries(options).filter((option): option is [string, string] => option[1] !== undefined)
  const path = place.prefix.split('/').map(encodeURIComponent).join('/')
  return `s3://${place.bucket}/${path}?${query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`
}

export interface Statement {
  sql: string
  values: string[]
}

/** The backup as a job of the database; the row it returns has its id. */
export function backupStatement(source: Source, connection: string, passphrase: string | undefined): Statement {
  const { include, age, revisionHistory, extraOptions } = source
  const options = [...(revisionHistory ? ['revision_history'] : []), ...extraOptions]
  const what = include?.tables.length
    ? ` TABLE ${include.tables.map(quoteTable).join(', ')}`
    : include
      ? ` DATABASE ${include.databases.map(quoteName).join(', ')}`
      : ''
  return {
    sql: `BACKUP${what} INTO 'external://${connection}' AS OF SYSTEM TIME '-${age}' WITH ${withOptions(options, passphrase)}`,
    values: passphrase === undefined ? [] : [passphrase],
  }
}

interface Restoring {
  connection: string
  options: string[]
  passphrase: string | undefined
  /** An earlier time, of a backup with its history. */
  at: string | undefined
}

/** `what`: `DATABASE a, b`, `TABLE a.b.c` or `SYSTEM USERS`. */
export function restoreStatement(what: string, { connection, options, passphrase, at }: Restoring): Statement {
  const time = at === undefined ? '' : ` AS OF SYSTEM TIME '${at}'`
  return {
    sql: `RESTORE ${what} FROM LATEST IN 'external://${connection}'${time} WITH ${withOptions(options, passphrase)}`,
    values: passphrase === undefined ? [] : [passphrase],
  }
}

function withOptions(options: string[], passphrase: string | undefined): string {
  return ['detached', ...options, ...(passphrase === undefined ? [] : ['encryption_passphrase = $1'])].join(', ')
}

/** What is in the backup, and that all of its files are there. */
export function showStatement(connection: string, passphrase: string | undefined): Statement {
  const options = ['check_files', ...(passphrase === undefined ? [] : ['encryption_passphrase = $1'])]
  return {
    sql: `SHOW BACKUP FROM LATEST IN 'external://${connection}' WITH ${options.join(', ')}`,
    values: passphrase === undefined ? [] : [passphrase],
  }
}
