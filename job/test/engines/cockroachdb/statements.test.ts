import { describe, expect, test } from 'vitest'
import { backupStatement, placeUrl, restoreStatement, showStatement } from '../../../engines/cockroachdb/statements.ts'
import { Source, Target } from '../../../engines/cockroachdb/values.ts'
import type { ExternalPlace } from '../../../storage.ts'

const source = (more = {}) => Source.parse({ host: 'crdb', credentials: { secret: 'db' }, ...more })

describe('the URL of the bucket', () => {
  const place: ExternalPlace = {
    kind: 's3',
    bucket: 'backups',
    prefix: 'prod/nightly/1795218000/crdb/collection',
    endpoint: 'https://s3.example.org:9000',
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: 'AK', secretAccessKey: 'a+b/c=' },
  }
  test.each([
    [
      'has the credentials, with what URLs escape',
      place,
      {},
      'AUTH=specified&AWS_ACCESS_KEY_ID=AK&AWS_SECRET_ACCESS_KEY=a%2Bb%2Fc%3D&AWS_ENDPOINT=https%3A%2F%2Fs3.example.org%3A9000&AWS_REGION=us-east-1&AWS_USE_PATH_STYLE=true',
    ],
    [
      'has none when the nodes have their own',
      place,
      { storageAccess: 'implicit' },
      'AUTH=implicit&AWS_ENDPOINT=https%3A%2F%2Fs3.example.org%3A9000&AWS_REGION=us-east-1&AWS_USE_PATH_STYLE=true',
    ],
    [
      'has none when the storage has none',
      {
        kind: 's3',
        bucket: 'backups',
        prefix: place.prefix,
        forcePathStyle: false,
        region: 'eu-north-1',
        sse: 'aws:kms',
        kmsKeyId: 'k',
      },
      {},
      'AUTH=implicit&AWS_REGION=eu-north-1&AWS_SERVER_ENC_MODE=aws%3Akms&AWS_SERVER_KMS_ID=k',
    ],
    [
      'names the server as the nodes reach it',
      place,
      { storageAccess: 'implicit', storageEndpoint: 'http://s3:9000' },
      'AUTH=implicit&AWS_ENDPOINT=http%3A%2F%2Fs3%3A9000&AWS_REGION=us-east-1&AWS_USE_PATH_STYLE=true',
    ],
  ])('%s', (_, at, more, query) => {
    expect(placeUrl(at as ExternalPlace, source(more))).toBe(`s3://backups/${place.prefix}?${query}`)
  })
})

describe('the database is told', () => {
  test.each([
    [{}, undefined, `BACKUP INTO 'external://c' AS OF SYSTEM TIME '-10s' WITH detached`],
    [
      { age: '30s', revisionHistory: true, extraOptions: ['include_all_virtual_clusters'] },
      undefined,
      `BACKUP INTO 'external://c' AS OF SYSTEM TIME '-30s' WITH detached, revision_history, include_all_virtual_clusters`,
    ],
    [
      { include: { databases: ['shop', 'odd "name'] } },
      'secret',
      `BACKUP DATABASE "shop", "odd ""name" INTO 'external://c' AS OF SYSTEM TIME '-10s' WITH detached, encryption_passphrase = $1`,
    ],
  ])('to back up %j', (more, passphrase, sql) => {
    expect(backupStatement(source(more), 'c', passphrase)).toEqual({ sql, values: passphrase ? [passphrase] : [] })
  })

  test('to restore and to show', () => {
    const how = { connection: 'c', options: ['skip_missing_views'], passphrase: 'p', at: undefined }
    expect(restoreStatement('DATABASE "a"', how).sql).toBe(
      `RESTORE DATABASE "a" FROM LATEST IN 'external://c' WITH detached, skip_missing_views, encryption_passphrase = $1`,
    )
    expect(
      restoreStatement('SYSTEM USERS', { ...how, options: [], passphrase: undefined, at: '2026-11-21T14:30:00Z' }),
    ).toEqual({
      sql: `RESTORE SYSTEM USERS FROM LATEST IN 'external://c' AS OF SYSTEM TIME '2026-11-21T14:30:00Z' WITH detached`,
      values: [],
    })
    expect(showStatement('c', undefined).sql).toBe(`SHOW BACKUP FROM LATEST IN 'external://c' WITH check_files`)
  })

  test.each([
    [{ include: {} }, /databases or tables/],
    [{ include: { databases: ['a'], tables: ['a.public.b'] } }, /not both/],
    [{ extraOptions: ["encryption_passphrase = 'x'"] }, /an option without a value/],
    [{ age: "1s' --" }, /a number of seconds/],
  ])('nothing, for %j', (more, says) => {
    expect(Source.safeParse({ host: 'crdb', credentials: { secret: 'db' }, ...more }).error?.message).toMatch(says)
  })

  test.each(['2026-11-21', '2026-11-21 14:30:00', '2026-11-21T14:30:00+01:00', "2026-11-21T14:30:00Z' --", '-10s'])(
    'of no time but one in UTC, not %s',
    (at) => {
      expect(Target.safeParse({ host: 'crdb', credentials: { secret: 'db' }, at }).error?.message).toMatch(/in UTC/)
    },
  )
})
