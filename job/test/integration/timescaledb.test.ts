import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Server, startServer } from '../servers/kit.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openWorkspace, succeeds, type Workspace } from './harness.ts'
import { fakeClients } from './postgres/fake-clients.ts'
import { connection, describeDatabase, dropAll, prepare, sql } from './postgres/servers.ts'
import { catalogRows, internals } from './postgres/timescale-internals.ts'

const [started, s3] = await Promise.all([startServer('timescaledb-18'), startS3()])
const chunks = 500

describe.skipIf(!started || !s3)('TimescaleDB', () => {
  const [server, store] = [started as Server, s3 as S3Server]
  let work: Workspace
  let bucket: string
  let before: Record<string, unknown>

  const source = (more: Record<string, unknown> = {}) => ({ name: 'time', postgres: connection(server, more) })

  beforeAll(async () => {
    work = await openWorkspace()
    await work.secret('s3', { 'access-key-id': store.accessKey, 'secret-access-key': store.secretKey })
    bucket = await store.createBucket()
    const credentials = { secret: 's3' }
    work.values.storages.s3 = { s3: { bucket, prefix: 'site', endpoint: store.endpoint, credentials } }
    await prepare(server)
    await sql(server, 'CREATE DATABASE metrics')
    await sql(server, 'CREATE EXTENSION IF NOT EXISTS timescaledb', 'metrics')
    await sql(
      server,
      `CREATE TABLE readings (at timestamptz NOT NULL, sensor int, value float8, note text);
       ALTER TABLE readings ALTER note SET STORAGE EXTERNAL;
       SELECT create_hypertable('readings', 'at', chunk_time_interval => interval '1 hour');
       CREATE INDEX ON readings (sensor, at DESC);
       CREATE TABLE spread (at bigint NOT NULL, sensor int NOT NULL, v int, PRIMARY KEY (at, sensor));
       SELECT create_hypertable('spread', 'at', partitioning_column => 'sensor', number_partitions => 3, chunk_time_interval => 1000);
       CREATE TABLE sensors (id int PRIMARY KEY, name text); INSERT INTO sensors SELECT i, 's' || i FROM generate_series(1, 20) i;
       CREATE TABLE raw (at timestamptz NOT NULL, sensor int, value float8);
       SELECT create_hypertable('raw', 'at', chunk_time_interval => interval '10 days');
       INSERT INTO raw SELECT '2026-01-01'::timestamptz + i * interval '1 hour', i % 5, i FROM generate_series(0, 999) i;
       ALTER TABLE spread ADD FOREIGN KEY (sensor) REFERENCES sensors;
       CREATE VIEW latest AS SELECT sensor, last(value, at) AS value FROM readings GROUP BY sensor`,
      'metrics',
    )
    await sql(
      server,
      `INSERT INTO readings SELECT '2026-01-01'::timestamptz + i * interval '3 minutes', i % 20, i, repeat(md5(i::text), 140) FROM generate_series(0, ${chunks * 20 - 1}) i;
       INSERT INTO spread SELECT i, 1 + i % 20, i FROM generate_series(1, 5000) i`,
      'metrics',
    )
    await sql(server, 'CREATE ROLE keeper')
    await sql(server, internals, 'metrics')
    before = await described()
    expect(before.chunks).toBeGreaterThan(chunks)
    work.values.backups.metrics = {
      storages: ['local'],
      schedule: '15 3 * * *',
      sources: [source({ include: { databases: ['metrics'] } })],
    }
    work.values.backups.single = {
      storages: ['s3'],
      sources: [source({ include: { databases: ['metrics'] }, method: 'single', globals: false })],
    }
  })

  afterAll(async () => {
    await work.remove()
    await Promise.all([server.destroy(), store.stop()])
  })

  /** Structure and rows of everything, and what TimescaleDB finds when it looks by time, in chunks it chooses itself. */
  async function described(database = 'metrics'): Promise<Record<string, unknown>> {
    const counts = `SELECT time_bucket('7 hours', at) AS t, count(*)::int AS n, sum(value) AS v FROM readings
                     WHERE at >= '2026-01-03 05:30' AND at < '2026-01-19' GROUP BY 1 ORDER BY 1`
    const plan = await sql<Record<string, string>>(
      server,
      "EXPLAIN SELECT * FROM readings WHERE at BETWEEN '2026-01-05 10:10' AND '2026-01-05 10:20'",
      database,
    )
    const [row] = await sql<{ n: number }>(
      server,
      'SELECT count(*)::int AS n FROM timescaledb_information.chunks',
      database,
    )
    return {
      ...(await describeDatabase(server, database)),
      chunks: row?.n,
      byTime: await sql(server, counts, database),
      bySensor: await sql(server, 'SELECT count(*)::int AS n FROM spread WHERE at > 1500 AND sensor = 7', database),
      dimensions: await sql(server, 'SELECT * FROM timescaledb_information.dimensions ORDER BY 1, 2, 3', database),
      scanned: new Set(plan.flatMap((line) => line['QUERY PLAN']?.match(/_hyper_\d+_\d+_chunk\b/g) ?? [])).size,
      catalog: await sql(server, catalogRows, database),
      daily: await sql(server, 'SELECT * FROM daily ORDER BY 1, 2', database),
      settings: await sql(server, "SELECT current_setting('timescaledb.restoring', true) AS restoring", database),
    }
  }

  async function writable(): Promise<void> {
    const count = 'SELECT count(*)::int AS n FROM timescaledb_information.chunks'
    const [was] = await sql<{ n: number }>(server, count, 'metrics')
    await sql(server, "INSERT INTO readings VALUES ('2027-01-01', 1, 1, 'new')", 'metrics')
    expect(await sql(server, count, 'metrics')).toEqual([{ n: Number(was?.n) + 1 }])
    expect(await sql(server, "SELECT count(*)::int AS n FROM readings WHERE at > '2026-12-31'", 'metrics')).toEqual([
      { n: 1 },
    ])
  }

  test(`with ${chunks} chunks comes back with all of them, found by time, and takes new rows`, async () => {
    const backup = await succeeds(work.holdfast('backup', 'metrics'))
    const { parts } = await work.manifest('metrics', `${backup.summary.backup}`)
    // chunks come back side by side
    expect(parts.length).toBeGreaterThan(4)
    await dropAll(server)
    const { summary } = await succeeds(work.holdfast('restore', '--backup', 'metrics'))
    expect(summary.warnings ?? []).toEqual([])
    expect(await described()).toEqual(before)
    await writable()
  })

  test('in one archive comes back too, and is told of as Colonies does', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'single'))
    const said = await work.holdfast('show', 'single', '--output', 'colonies')
    const shown = JSON.parse(said.stdout)
    expect(shown).toEqual({
      filename: 'database.dump.zst',
      bucket,
      filepath_s3: `/site/single/${summary.backup}/time/metrics/database.dump.zst`,
      exectime_backup: expect.any(Number),
      size: shown.size_s3,
      size_s3: expect.any(Number),
      exectime_upload_s3: expect.any(Number),
    })
    await dropAll(server)
    // roles are not in it, and a job belongs to one
    await sql(server, 'CREATE ROLE keeper')
    await succeeds(work.holdfast('restore', '--backup', 'single'))
    const after = await described()
    expect(after.byTime).toEqual(before.byTime)
    expect(after.settings).toEqual(before.settings)
    const many = await work.holdfast('show', 'metrics', '--output', 'colonies')
    expect(many.code).toBe(2)
  })

  /** How often TimescaleDB was told that a restore begins, and that it is over. */
  async function told(): Promise<Record<string, number>> {
    const calls =
      "SELECT funcname AS name, calls::int FROM pg_stat_user_functions WHERE funcname ~ 'timescaledb_p.*_restore'"
    const rows = await sql<{ name: string; calls: number }>(server, calls, 'metrics')
    return Object.fromEntries(rows.map(({ name, calls }) => [name, calls]))
  }

  test('is told that a restore is over also when it failed, and when it was stopped', async () => {
    await sql(server, "ALTER SYSTEM SET track_functions = 'pl'")
    await sql(server, 'SELECT pg_reload_conf()')
    // an earlier test has added rows
    const now = await described()
    await succeeds(work.holdfast('backup', 'metrics'))
    await dropAll(server)
    const fault = 'case "$*" in *post-data*) echo no >&2; exit 1;; *) exec "$real" "$@";; esac'
    const clients = await fakeClients(`${work.dir}/failing`, server.clients, { pg_restore: fault })
    work.values.restores.failing = {
      from: { plan: 'metrics', storages: ['local'] },
      overwrite: true,
      targets: [source({ clients })],
    }
    const failed = await work.holdfast('restore', 'failing')
    expect(failed.code, failed.stderr).toBe(22)
    expect(await told()).toEqual({ timescaledb_pre_restore: 1, timescaledb_post_restore: 1 })
    const restoring = "SELECT current_setting('timescaledb.restoring', true) AS restoring"
    expect(await sql(server, restoring, 'metrics')).toEqual(now.settings)
    const run = work.start('restore', 'failing')
    await run.says('"step":"tables"')
    run.kill('SIGTERM')
    const stopped = await run.done
    expect(stopped.code, stopped.stderr).toBe(143)
    expect(await told()).toEqual({ timescaledb_pre_restore: 1, timescaledb_post_restore: 1 })
    expect(await sql(server, restoring, 'metrics')).toEqual(now.settings)
    work.values.restores.failing.targets = [source()]
    await succeeds(work.holdfast('restore', 'failing'))
    expect(await told()).toEqual({ timescaledb_pre_restore: 1, timescaledb_post_restore: 1 })
    expect(await described()).toEqual(now)
  })

  test('of another version is refused, naming both', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'metrics'))
    const id = `${summary.backup}`
    const manifest = await work.manifest('metrics', id)
    const facts = manifest.sources[0]?.facts as { databases: { extensions: { name: string; version: string }[] }[] }
    const extension = facts.databases[0]?.extensions.find((one) => one.name === 'timescaledb') as { version: string }
    const real = extension.version
    extension.version = '2.10.0'
    const { writeFile } = await import('node:fs/promises')
    await writeFile(`${work.store}/metrics/${id}.json`, JSON.stringify(manifest))
    const refused = await work.holdfast('restore', '--backup', 'metrics', '--pick', id, '--overwrite', '--token', 'v')
    expect(refused).toMatchObject({ code: 22, summary: { error: expect.stringContaining(`2.10.0, the target`) } })
    expect(refused.summary.error).toContain(real)
  })

  test('lists runs that succeeded and failed, and the next one', async () => {
    const clients = await fakeClients(`${work.dir}/none`, server.clients, { pg_dump: 'exit 1' })
    work.values.backups.metrics = { ...work.values.backups.metrics, sources: [source({ clients })] }
    expect((await work.holdfast('backup', 'metrics')).code).toBe(22)
    const { stdout } = await work.holdfast('list', 'metrics', '--runs', '--output', 'json')
    const states = JSON.parse(stdout).map((row: { state: string }) => row.state)
    expect(states[0]).toBe('scheduled')
    expect(new Set(states)).toEqual(new Set(['scheduled', 'failed', 'committed']))
  })
})
