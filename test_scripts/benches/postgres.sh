#!/usr/bin/env bash
# PostgreSQL: backups beside pg_dump in its custom and its directory format, restores beside pg_restore.
# shellcheck disable=SC2034,SC2154 # bench reads what is set here, and sets what is not

# shellcheck source=/dev/null
source test_scripts/servers/postgres.sh
server_options=(-c shared_buffers=1GB -c max_wal_size=8GB)

bench_postgres() { bench_engine postgres 2000; }

versions() { "$programs/postgres" --version; }

fill() {
  root server <<'SQL'
CREATE DATABASE shop;
\c shop
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL, name text NOT NULL, address text, phone text, balance numeric(12, 2),
  since timestamptz, settings jsonb, token text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, status text, placed timestamptz, total numeric(12, 2), currency char(3),
  address text, note text);
CREATE TABLE events (id bigint PRIMARY KEY, customer int NOT NULL, at timestamptz, session text, path text, agent text, took int, text text);
CREATE INDEX ON customers (name);
CREATE INDEX ON orders (customer);
CREATE INDEX ON events (customer);
SQL
  fill_table events 50
  fill_table orders 30
  fill_table customers 20
  shop <<<"VACUUM ANALYZE; CHECKPOINT"
}

fill_table() { # TABLE PERCENT
  node test_scripts/benches/rows.ts "$1" --megabytes $((megabytes * $2 / 100)) | shop -c "COPY $1 FROM STDIN"
}

shop() { root server -d shop "$@"; }

tally() {
  shop <<<"SELECT count(*), sum(length(text)) FROM events; SELECT count(*), sum(length(note)) FROM orders;
    SELECT count(*), sum(length(settings::text)) FROM customers"
}

backups_by_hand() {
  by_hand "pg_dump -Fd -j2" dump_to_folder
  slowly_by_hand "pg_dump -Fc" dump_to_stream
}

restores_by_hand() { by_hand "pg_restore -j2" restore_from_folder; }

back_up_for_restore() { dump_to_folder; }

dump_to_stream() { client server pg_dump -Fc shop | "$rclone" rcat s3:bench/by-hand/shop.dump; }

dump_to_folder() {
  client server pg_dump -Fd -j2 -f "$work/dump" shop
  "$rclone" copy "$work/dump" s3:bench/by-hand/shop
  rm -r "$work/dump"
}

restore_from_folder() {
  "$rclone" copy s3:bench/by-hand/shop "$work/dump"
  client server pg_restore -j2 --create -d postgres "$work/dump"
  rm -r "$work/dump"
}
