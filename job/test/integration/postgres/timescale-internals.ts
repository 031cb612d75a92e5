/**
 * What TimescaleDB's community edition makes for compression, continuous aggregates and policies, as its 2.31 does: tables, views and
 * catalog rows under their own names. The Apache edition, which tests can have, knows the catalog and not what fills it: so this does.
 * Hypertables 1 to 3 are there before.
 */
export const internals = `
CREATE TABLE _timescaledb_internal._compressed_hypertable_9 (_ts_meta_count int, _ts_meta_min_1 timestamptz, _ts_meta_max_1 timestamptz, sensor int, at bytea, value bytea);
ALTER TABLE _timescaledb_internal._compressed_hypertable_9 ALTER at SET STORAGE EXTENDED, ALTER sensor SET STATISTICS 1000;
CREATE TABLE _timescaledb_internal.compress_hyper_9_1_chunk () INHERITS (_timescaledb_internal._compressed_hypertable_9) WITH (toast_tuple_target = 128);
CREATE INDEX compress_hyper_9_1_chunk_sensor__ts_meta_min_1_idx ON _timescaledb_internal.compress_hyper_9_1_chunk (sensor, _ts_meta_min_1 DESC);
INSERT INTO _timescaledb_internal.compress_hyper_9_1_chunk SELECT 1000, '2026-01-01', '2026-01-02', i, decode(repeat(md5(i::text), 200), 'hex'), '\\x00ff' FROM generate_series(1, 500) i;
INSERT INTO _timescaledb_catalog.compression_settings (relid, compress_relid, segmentby, orderby, orderby_desc, orderby_nullsfirst)
  VALUES ('public.raw', NULL, '{sensor}', '{at}', '{t}', '{t}'),
         ((SELECT relid FROM _timescaledb_catalog.chunk WHERE hypertable_id = 3 ORDER BY id LIMIT 1), '_timescaledb_internal.compress_hyper_9_1_chunk', '{sensor}', '{at}', '{t}', '{t}');

CREATE TABLE _timescaledb_internal._materialized_hypertable_4 (bucket timestamptz NOT NULL, sensor int, average float8);
SELECT create_hypertable('_timescaledb_internal._materialized_hypertable_4', 'bucket', chunk_time_interval => interval '10 days');
INSERT INTO _timescaledb_internal._materialized_hypertable_4 SELECT time_bucket('1 day', at), sensor, avg(value) FROM raw GROUP BY 1, 2;
CREATE VIEW _timescaledb_internal._partial_view_4 AS SELECT time_bucket('1 day', at) AS bucket, sensor, avg(value) AS average FROM raw GROUP BY 1, 2;
CREATE VIEW _timescaledb_internal._direct_view_4 AS SELECT time_bucket('1 day', at) AS bucket, sensor, avg(value) AS average FROM raw GROUP BY 1, 2;
CREATE VIEW daily AS SELECT * FROM _timescaledb_internal._materialized_hypertable_4;
INSERT INTO _timescaledb_catalog.continuous_agg (mat_hypertable_id, raw_hypertable_id, user_view_schema, user_view_name, partial_view_schema, partial_view_name, direct_view_schema, direct_view_name)
  VALUES (4, 3, 'public', 'daily', '_timescaledb_internal', '_partial_view_4', '_timescaledb_internal', '_direct_view_4');
INSERT INTO _timescaledb_catalog.continuous_aggs_bucket_function (mat_hypertable_id, bucket_func, bucket_width, bucket_fixed_width) VALUES (4, 'public.time_bucket(interval,timestamp with time zone)', '1 day', true);
INSERT INTO _timescaledb_catalog.continuous_aggs_invalidation_threshold VALUES (3, 820454400000000);
INSERT INTO _timescaledb_catalog.continuous_aggs_watermark VALUES (4, 820454400000000);
INSERT INTO _timescaledb_catalog.continuous_aggs_materialization_invalidation_log VALUES (4, -9223372036854775808, 820454399999999), (4, 820454400000000, 9223372036854775807);
INSERT INTO _timescaledb_catalog.bgw_job (id, application_name, schedule_interval, max_runtime, max_retries, retry_period, proc_schema, proc_name, owner, scheduled, hypertable_id, config)
  VALUES (1000, 'Retention Policy [1000]', '1 day', '5 min', -1, '5 min', '_timescaledb_functions', 'policy_retention', 'keeper', false, 3, '{"drop_after": "90 days", "hypertable_id": 3}'),
         (1001, 'Refresh Continuous Aggregate Policy [1001]', '1 hour', '0', -1, '1 hour', '_timescaledb_functions', 'policy_refresh_continuous_aggregate', 'keeper', false, 4, '{"mat_hypertable_id": 4}')`

/** Of the catalog, which is no table of the user's: what must be again as it was. */
export const catalogRows = [
  'compression_settings',
  'continuous_agg',
  'continuous_aggs_bucket_function',
  'continuous_aggs_invalidation_threshold',
  'continuous_aggs_watermark',
  'continuous_aggs_materialization_invalidation_log',
  'bgw_job',
]
  .map((name) => {
    const mine = name === 'bgw_job' ? ' WHERE id >= 1000' : ''
    return `SELECT '${name}' AS name, (SELECT json_agg(t ORDER BY t::text) FROM _timescaledb_catalog.${name} t${mine}) AS rows`
  })
  .join(' UNION ALL ')
